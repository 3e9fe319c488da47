//! Certificates and keys from PEM files. The one place that knows `rustls-pemfile`.

use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A chain or a bundle of CAs is some kilobytes; anything larger is the wrong file.
const PEM_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("cannot read it: {0}")]
    Read(io::Error),
    #[error("is larger than {PEM_BYTES_MAX} bytes: it is no PEM file")]
    TooLarge,
    #[error("is not PEM: {0}")]
    Syntax(io::Error),
    #[error("holds no certificate. A DER file becomes PEM by `openssl x509 -inform der -in FILE -out FILE.pem`")]
    NoCertificate,
    #[error(
        "holds an encrypted key. Decrypt it by `openssl pkey -in FILE -out FILE.plain`, readable by the bridge alone"
    )]
    EncryptedKey,
    #[error("holds no private key. PKCS#12 becomes PEM by `openssl pkcs12 -in FILE -nodes -out FILE.pem`")]
    NoKey,
}

pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    certificates_of(&read(file)?)
}

pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    private_key_of(&read(file)?)
}

fn read(file: &Path) -> Result<Vec<u8>, PemError> {
    let opened = std::fs::File::open(file).map_err(PemError::Read)?;
    let mut bytes = Vec::new();
    opened.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(PemError::Read)?;
    if bytes.len() as u64 > PEM_BYTES_MAX { Err(PemError::TooLarge) } else { Ok(bytes) }
}

fn certificates_of(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut reader = BufReader::new(Cursor::new(bytes));
    let found: Vec<_> = rustls_pemfile::certs(&mut reader).collect::<Result<_, _>>().map_err(PemError::Syntax)?;
    if found.is_empty() { Err(PemError::NoCertificate) } else { Ok(found) }
}

fn private_key_of(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let mut reader = BufReader::new(Cursor::new(bytes));
    match rustls_pemfile::private_key(&mut reader).map_err(PemError::Syntax)? {
        Some(key) => Ok(key),
        None if bytes.windows(9).any(|it| it == b"ENCRYPTED") => Err(PemError::EncryptedKey),
        None => Err(PemError::NoKey),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAMCAQI=\n-----END PRIVATE KEY-----\n";

    /// rustls-pemfile is no longer maintained; its successor must read the same.
    #[test]
    fn reads_what_pki_types_reads() {
        let chain = format!("{CERTIFICATE}some text\n{CERTIFICATE}");
        let ours = certificates_of(chain.as_bytes()).unwrap();
        let theirs: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), 2);
        assert_eq!(private_key_of(KEY.as_bytes()).unwrap(), PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap());
    }

    #[test]
    fn says_what_a_wrong_file_is() {
        assert!(matches!(certificates_of(b"\x30\x82\x01"), Err(PemError::NoCertificate)));
        assert!(matches!(certificates_of(KEY.as_bytes()), Err(PemError::NoCertificate)));
        assert!(matches!(private_key_of(CERTIFICATE.as_bytes()), Err(PemError::NoKey)));
        let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert!(matches!(private_key_of(encrypted.as_bytes()), Err(PemError::EncryptedKey)));
        let cut = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n";
        assert!(matches!(certificates_of(cut.as_bytes()), Err(PemError::Syntax(_))));
    }
}
