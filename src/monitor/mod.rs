//! What others see of a running link: health, metrics, and the console. It looks, and changes nothing.

mod advice;
mod assets;
mod clusters;
mod handovers;
mod headroom;
mod health;
mod histogram;
mod host;
mod lag;
mod metrics;
mod query;
mod readers;
mod records;
mod sampler;
mod server;
mod snapshot;
mod state;

#[cfg(test)]
mod tests;

pub use server::{Server, ServerError};
pub use state::{Monitor, Monitored};
