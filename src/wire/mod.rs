//! One connection to one broker: TCP or TLS, frames, correlation, version negotiation, deadlines.
//!
//! Every way of not getting an answer becomes a [`WireError`]; nothing a broker sends can panic or exhaust the process.

mod connection;
mod error;
mod pem;
mod security;
mod shapes;
mod versions;

#[cfg(test)]
mod tests;

pub use connection::{Connection, ConnectionSettings};
pub use error::WireError;
pub use security::{Security, SecurityError};
pub use versions::Versions;
