//! How connections to one cluster are secured.

use super::certificate::{Certificate, Usage};
use super::contents::{Fingerprint, TlsContents};
use super::pem::PemError;
use crate::config::TlsFiles;
use crate::latest::{self, Latest, Publisher};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

#[derive(Clone)]
pub enum Security {
    Plaintext,
    Tls(Tls),
}

/// A handle: all clones change together.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    publisher: Arc<Publisher<Arc<Loaded>>>,
    pub(super) current: Latest<Arc<Loaded>>,
}

/// Certificates, key and CAs as they were when the files were read.
pub(super) struct Loaded {
    pub(super) connector: TlsConnector,
    pub(super) identity: Arc<Identity>,
    /// None: one that only the TLS library understands.
    authorities: Vec<Option<Certificate>>,
    fingerprint: Fingerprint,
}

/// The files, and what the client's certificate says: errors name them, for a broker's alert does not.
pub(super) struct Identity {
    files: TlsFiles,
    certificate: Option<Certificate>,
}

/// Who is at the other side, for remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Broker,
    Registry,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broker => "broker",
            Self::Registry => "registry",
        })
    }
}

/// What secures one connection, as the handshake left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// As rustls names it: `TLSv1_3`.
    pub version: &'static str,
    pub peer: Option<Certificate>,
}

#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    #[error("{}: {error}", file.display())]
    Pem { file: PathBuf, error: PemError },
    #[error("{}: certificate {number} is not one that TLS can use: {error}", file.display())]
    Root { file: PathBuf, number: usize, error: tokio_rustls::rustls::Error },
    #[error("{} and {} do not work together: {error}. Take the key that the certificate was made with", cert_file.display(), key_file.display())]
    Client { cert_file: PathBuf, key_file: PathBuf, error: tokio_rustls::rustls::Error },
    #[error("{}: {reason}", file.display())]
    Unfit { file: PathBuf, reason: String },
    #[error("TLS cannot be set up: {0}")]
    Provider(tokio_rustls::rustls::Error),
}

impl Security {
    /// None is plaintext. TLS 1.2 and 1.3; the server's name is always checked, and only the CAs in `ca_file` are trusted:
    /// the machine's own store has no say about an isolated network.
    pub fn load(files: Option<&TlsFiles>) -> Result<Self, SecurityError> {
        let Some(files) = files else { return Ok(Self::Plaintext) };
        let loaded = Loaded::of(files, TlsContents::read(files))?;
        let (publisher, current) = latest::channel(Arc::new(loaded));
        Ok(Self::Tls(Tls { files: Arc::new(files.clone()), publisher: Arc::new(publisher), current }))
    }

    /// What the files hold now, where that is not what is in use.
    pub fn changes(&self) -> Option<TlsContents> {
        let Self::Tls(tls) = self else { return None };
        let contents = TlsContents::read(&tls.files);
        (contents.fingerprint() != tls.current.now().fingerprint).then_some(contents)
    }

    /// All new connections use these from now on, whoever holds a clone of this; returns the client's certificate. An error
    /// leaves everything as it is.
    pub fn renew(&self, contents: TlsContents, now: SystemTime) -> Result<Option<Certificate>, SecurityError> {
        let Self::Tls(tls) = self else { return Ok(None) };
        let loaded = Loaded::of(&tls.files, contents)?;
        if let Some(unfit) = loaded.unfit(now) {
            return Err(unfit);
        }
        let certificate = loaded.identity.certificate.clone();
        tls.publisher.publish(Arc::new(loaded));
        Ok(certificate)
    }

    /// Of the client; None without mutual TLS.
    pub fn certificate(&self) -> Option<Certificate> {
        self.identity()?.certificate.clone()
    }

    pub(super) fn identity(&self) -> Option<Arc<Identity>> {
        match self {
            Self::Plaintext => None,
            Self::Tls(tls) => Some(Arc::clone(&tls.current.now().identity)),
        }
    }
}

impl Loaded {
    fn of(files: &TlsFiles, contents: TlsContents) -> Result<Self, SecurityError> {
        let fingerprint = contents.fingerprint();
        let (authorities, client) = contents.parse()?;
        let mut roots = RootCertStore::empty();
        let known: Vec<_> = authorities.iter().map(|it| Certificate::parse(it)).collect();
        for (index, certificate) in authorities.into_iter().enumerate() {
            let wrong = |error| SecurityError::Root { file: files.ca_file.clone(), number: index + 1, error };
            roots.add(certificate).map_err(wrong)?;
        }
        // Named, so that a second provider somewhere in the tree cannot make the choice a panic at run time.
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(SecurityError::Provider)?
            .with_root_certificates(roots);
        let mut certificate = None;
        let config = match (client, &files.client) {
            (Some((chain, key)), Some(named)) => {
                certificate = chain.first().and_then(|it| Certificate::parse(it));
                builder.with_client_auth_cert(chain, key).map_err(|error| SecurityError::Client {
                    cert_file: named.cert_file.clone(),
                    key_file: named.key_file.clone(),
                    error,
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        let identity = Arc::new(Identity { files: files.clone(), certificate });
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), identity, authorities: known, fingerprint })
    }

    /// What would only show when a connection is made: then what works now is gone.
    fn unfit(&self, now: SystemTime) -> Option<SecurityError> {
        let files = &self.identity.files;
        let is_root =
            |it: &Option<Certificate>| it.as_ref().is_none_or(|it| it.is_authority() || it.subject == it.issuer);
        if !self.authorities.iter().any(is_root) {
            let reason = "holds no CA certificate: put that of the CA there".to_owned();
            return Some(SecurityError::Unfit { file: files.ca_file.clone(), reason });
        }
        let (certificate, client) = self.identity.certificate.as_ref().zip(files.client.as_ref())?;
        let subject = &certificate.subject;
        let reason = if certificate.has_expired(now) {
            format!("{subject} has expired on {}: renew it", certificate.last_day())
        } else if certificate.not_before > now {
            format!("{subject} is not valid before {}: wait, or set this machine's clock", certificate.first_day())
        } else if !certificate.is_for(&Usage::Client) {
            format!("{subject} is not for clients (extendedKeyUsage): make one with clientAuth")
        } else {
            return None;
        };
        Some(SecurityError::Unfit { file: client.cert_file.clone(), reason })
    }
}

impl Identity {
    /// What to do about a failed handshake.
    pub(super) fn remedy(&self, peer: Peer, error: &rustls::Error) -> String {
        use rustls::{AlertDescription as Alert, CertificateError as Wrong, Error};
        match error {
            Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => format!(
                "The {peer}'s certificate is not signed by a CA in {}: put the CA that signed it there",
                self.files.ca_file.display()
            ),
            Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => {
                format!("The {peer}'s certificate has expired: renew it, or set this machine's clock")
            }
            Error::InvalidCertificate(Wrong::NotValidYet | Wrong::NotValidYetContext { .. }) => {
                format!("The {peer}'s certificate is not valid yet: check the clocks")
            }
            Error::InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. }) => {
                let advertised = match peer {
                    Peer::Broker => ", and let the broker's advertised.listeners say that name",
                    Peer::Registry => "",
                };
                format!(
                    "The {peer}'s certificate is for another name: connect by a name in its subjectAltName{advertised}"
                )
            }
            Error::AlertReceived(
                Alert::CertificateRequired
                | Alert::HandshakeFailure
                | Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::DecryptError
                | Alert::CertificateUnknown
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::UnsupportedCertificate
                | Alert::AccessDenied,
            ) => self.refused(peer, SystemTime::now()),
            Error::InvalidMessage(_) => {
                format!("The port does not speak TLS: take the {peer}'s TLS listener, or leave the tls table out")
            }
            _ => "Check the CA, the certificates and the listener".to_owned(),
        }
    }

    /// A server says that it refuses a certificate, seldom why.
    pub(super) fn refused(&self, peer: Peer, now: SystemTime) -> String {
        let Some(client) = &self.files.client else {
            return format!("The {peer} wants a client certificate: set cert_file and key_file");
        };
        let file = client.cert_file.display();
        match &self.certificate {
            Some(known) if known.has_expired(now) => format!(
                "The {peer} refuses the client certificate {file} ({}), which expired on {}: renew it",
                known.subject,
                known.last_day()
            ),
            known => format!(
                "The {peer} refuses the client certificate {file}{}: the CA that signed it must be in the {peer}'s truststore",
                known.as_ref().map(|it| format!(" ({})", it.subject)).unwrap_or_default()
            ),
        }
    }
}
