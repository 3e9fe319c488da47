//! What others see of a running link: health, metrics, and the state that a console shows. It looks, and changes nothing.

mod headroom;
mod health;
mod histogram;
mod host;
mod lag;
mod metrics;
mod sampler;
mod server;
mod snapshot;
mod state;

#[cfg(test)]
mod tests;

pub use server::{Server, ServerError};
pub use state::{Monitor, Monitored};
