//! A secured stream for another protocol than Kafka's, with the same trust and the same remedies.

use super::network::Stream;
use super::security::{Identity, Peer, Security};
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;

/// TLS where the security says so, and what to tell when it fails: with TLS 1.3 that may come with the first read.
pub struct Secured {
    identity: Option<Arc<Identity>>,
    peer: Peer,
}

impl Secured {
    pub fn new(security: &Security, peer: Peer) -> Self {
        Self { identity: security.identity(), peer }
    }

    /// `host`: what the server's certificate must name.
    pub async fn connect(security: &Security, host: &str, socket: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        let Security::Tls(tls) = security else { return Ok(socket) };
        let server = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        Ok(Box::new(tls.current.now().connector.connect(server, socket).await?))
    }

    /// What TLS has against the peer, with the remedy; None: it was something else.
    pub fn complaint(&self, error: &(dyn Error + 'static)) -> Option<String> {
        let identity = self.identity.as_ref()?;
        let tls = tls_error(error)?;
        Some(format!("TLS: {tls}. {}", identity.remedy(self.peer, tls)))
    }

    /// What may be behind a connection that was closed without an answer: the alert that tells it can get lost. None without TLS.
    pub fn suspicion(&self) -> Option<String> {
        self.identity.as_ref().map(|it| it.refused(self.peer, SystemTime::now()))
    }
}

/// An `io::Error` hides what it wraps from `source`.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}
