//! One connection to one broker: TCP or TLS, frames, correlation, version negotiation, deadlines.
//!
//! Every way of not getting an answer becomes a [`WireError`]; nothing a broker sends can panic or exhaust the process.

mod certificate;
mod connection;
mod contents;
mod error;
mod in_flight;
mod network;
mod pem;
mod release;
mod secured;
mod security;
mod shapes;
mod versions;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transitions;

pub use certificate::{Certificate, EXPIRY_WARNING_DAYS, Signed, Strength, Usage};
pub use connection::{Connection, ConnectionSettings};
pub use contents::{Fingerprint, TlsContents};
pub use error::WireError;
pub use network::{Connecting, Network, Stream, Tcp};
pub use pem::{PemError, PemFile};
pub use release::release;
pub use secured::Secured;
pub use security::{Peer, Security, SecurityError, Session};
pub use versions::Versions;
