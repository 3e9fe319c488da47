//! The files of a tls table as they are at one moment, so that certificate and key are judged together.

use super::pem::{self, PemError, PemFile};
use super::security::SecurityError;
use crate::config::TlsFiles;
use ring::digest;
use std::path::{Path, PathBuf};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Tells whether files hold what they held before, without a second copy of the key in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

pub struct TlsContents {
    ca: Contents,
    /// Certificate and key.
    client: Option<(Contents, Contents)>,
}

struct Contents {
    file: PathBuf,
    bytes: Result<Vec<u8>, PemError>,
}

impl Contents {
    fn read(file: &Path) -> Self {
        Self { file: file.to_owned(), bytes: pem::bytes(file) }
    }

    fn parse<T>(self, take: impl FnOnce(PemFile) -> Result<T, PemError>) -> Result<T, SecurityError> {
        let Self { file, bytes } = self;
        let parsed = bytes.and_then(|it| PemFile::parse(&it)).and_then(take);
        parsed.map_err(|error| SecurityError::Pem { file, error })
    }
}

impl TlsContents {
    pub(super) fn read(files: &TlsFiles) -> Self {
        let client = files.client.as_ref();
        Self {
            ca: Contents::read(&files.ca_file),
            client: client.map(|it| (Contents::read(&it.cert_file), Contents::read(&it.key_file))),
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = digest::Context::new(&digest::SHA256);
        let files = [Some(&self.ca), self.client.as_ref().map(|it| &it.0), self.client.as_ref().map(|it| &it.1)];
        for contents in files.into_iter().flatten() {
            // Another reason is another content: it is told anew.
            let reason = contents.bytes.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let bytes = contents.bytes.as_ref().map_or(reason.as_bytes(), Vec::as_slice);
            hash.update(&[u8::from(contents.bytes.is_ok())]);
            hash.update(&(bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(hash.finish().as_ref());
        Fingerprint(fingerprint)
    }

    /// The authorities, and the client's chain with its key.
    pub(super) fn parse(self) -> Result<(Vec<CertificateDer<'static>>, Option<ClientPair>), SecurityError> {
        let authorities = self.ca.parse(PemFile::chain)?;
        let client = match self.client {
            None => None,
            Some((cert, key)) => Some((cert.parse(PemFile::chain)?, key.parse(PemFile::key)?)),
        };
        Ok((authorities, client))
    }
}

pub(super) type ClientPair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);
