//! How connections to one cluster are secured.

use super::pem::{self, PemError};
use crate::config::TlsFiles;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

#[derive(Clone)]
pub enum Security {
    Plaintext,
    Tls(TlsConnector),
}

#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    #[error("{}: {error}", file.display())]
    Pem { file: PathBuf, error: PemError },
    #[error("{}: certificate {number} is not one that TLS can use: {error}", file.display())]
    Root { file: PathBuf, number: usize, error: tokio_rustls::rustls::Error },
    #[error("{} and {} do not work together: {error}. Take the key that the certificate was made with", cert_file.display(), key_file.display())]
    Client { cert_file: PathBuf, key_file: PathBuf, error: tokio_rustls::rustls::Error },
    #[error("TLS cannot be set up: {0}")]
    Provider(tokio_rustls::rustls::Error),
}

impl Security {
    /// None is plaintext. TLS 1.2 and 1.3; the server's name is always checked, and only the CAs in `ca_file` are trusted:
    /// the machine's own store has no say about an isolated network.
    pub fn load(files: Option<&TlsFiles>) -> Result<Self, SecurityError> {
        let Some(files) = files else { return Ok(Self::Plaintext) };
        let of = |file: &PathBuf| {
            let file = file.clone();
            move |error| SecurityError::Pem { file, error }
        };
        let mut roots = RootCertStore::empty();
        for (index, certificate) in
            pem::certificates(&files.ca_file).map_err(of(&files.ca_file))?.into_iter().enumerate()
        {
            let wrong = |error| SecurityError::Root { file: files.ca_file.clone(), number: index + 1, error };
            roots.add(certificate).map_err(wrong)?;
        }
        // Named, so that a second provider somewhere in the tree cannot make the choice a panic at run time.
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(SecurityError::Provider)?
            .with_root_certificates(roots);
        let config = match &files.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let chain = pem::certificates(&client.cert_file).map_err(of(&client.cert_file))?;
                let key = pem::private_key(&client.key_file).map_err(of(&client.key_file))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| SecurityError::Client {
                    cert_file: client.cert_file.clone(),
                    key_file: client.key_file.clone(),
                    error,
                })?
            }
        };
        Ok(Self::Tls(TlsConnector::from(Arc::new(config))))
    }
}
