//! What can go wrong on a connection.

use super::security::{Identity, Peer};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls;

/// Cheap to clone: when a connection dies, every request that waits on it receives the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{address}: {reason}")]
    Connect { address: Arc<str>, reason: Arc<str> },
    #[error("{address}: TLS: {reason}. {remedy}")]
    Tls { address: Arc<str>, reason: Arc<str>, remedy: Arc<str> },
    #[error("{address}: no connection within {} ms", within.as_millis())]
    ConnectTimeout { address: Arc<str>, within: Duration },
    #[error("{address}: the connection is closed: {reason}")]
    Closed { address: Arc<str>, reason: Arc<str> },
    #[error("{address}: {api} was not answered within {} ms", within.as_millis())]
    Timeout { address: Arc<str>, api: &'static str, within: Duration },
    #[error("{address}: {reason}. Does a Kafka broker listen there, with the same security as in the config?")]
    NotKafka { address: Arc<str>, reason: Arc<str> },
    #[error("{address}: the answer to {api} v{version} is malformed: {reason}")]
    Malformed { address: Arc<str>, api: &'static str, version: i16, reason: Arc<str> },
    #[error("{api} v{version} cannot be encoded: {reason}")]
    Unencodable { api: &'static str, version: i16, reason: Arc<str> },
    #[error(
        "{address}: the broker has {api} {broker}, kafka-bridge needs {ours}. Brokers of Kafka 2.7 and later have it"
    )]
    Unsupported { address: Arc<str>, api: &'static str, broker: Arc<str>, ours: Arc<str> },
    #[error("{address}: {api} was not sent: {max} requests already wait for their answers")]
    Full { address: Arc<str>, api: &'static str, max: usize },
}

impl WireError {
    pub fn closed(address: &str, reason: &str) -> Self {
        Self::Closed { address: address.into(), reason: reason.into() }
    }

    /// The request may still be on its way, or its answer.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Waiting does not help: a certificate, an address or a version must be mended.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::NotKafka { .. } | Self::Unsupported { .. })
    }

    /// Of a socket or of the TLS session on it.
    pub(super) fn io(address: &Arc<str>, error: &io::Error, identity: Option<&Identity>) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls.zip(identity) {
            Some((tls, identity)) => Self::Tls {
                address: Arc::clone(address),
                reason: tls.to_string().into(),
                remedy: identity.remedy(Peer::Broker, tls).into(),
            },
            None => Self::Closed { address: Arc::clone(address), reason: error.to_string().into() },
        }
    }
}
