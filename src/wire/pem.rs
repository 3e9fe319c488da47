//! Certificates and keys from PEM files. The one place that knows `rustls-pemfile`.

use rustls_pemfile::Item;
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
    #[error("is {form}, and not PEM. It becomes PEM by `{command}`")]
    OtherForm { form: &'static str, command: &'static str },
    #[error("holds no certificate. A DER file becomes PEM by `openssl x509 -inform der -in FILE -out FILE.pem`")]
    NoCertificate,
    #[error(
        "holds an encrypted key. Decrypt it by `openssl pkey -in FILE -out FILE.plain`, readable by the bridge alone"
    )]
    EncryptedKey,
    #[error("holds no private key. PKCS#12 becomes PEM by `openssl pkcs12 -in FILE -nodes -out FILE.pem`")]
    NoKey,
}

/// What one file holds, in its order.
#[derive(Debug, Default)]
pub struct PemFile {
    pub certificates: Vec<CertificateDer<'static>>,
    pub keys: Vec<PrivateKeyDer<'static>>,
    pub has_encrypted_key: bool,
}

impl PemFile {
    pub fn read(file: &Path) -> Result<Self, PemError> {
        Self::parse(&bytes(file)?)
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, PemError> {
        let mut found = Self { has_encrypted_key: bytes.windows(9).any(|it| it == b"ENCRYPTED"), ..Self::default() };
        for item in rustls_pemfile::read_all(&mut BufReader::new(Cursor::new(bytes))) {
            match item {
                Ok(Item::X509Certificate(certificate)) => found.certificates.push(certificate),
                Ok(Item::Pkcs1Key(key)) => found.keys.push(key.into()),
                Ok(Item::Pkcs8Key(key)) => found.keys.push(key.into()),
                Ok(Item::Sec1Key(key)) => found.keys.push(key.into()),
                Ok(_) => {}
                // OpenSSL's older form has headers within the section, which are no base64.
                Err(_) if found.has_encrypted_key => return Err(PemError::EncryptedKey),
                Err(error) => return Err(PemError::Syntax(error)),
            }
        }
        match other_form(bytes) {
            Some(error) if found.certificates.is_empty() && found.keys.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    /// At least one.
    pub(super) fn chain(self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        if self.certificates.is_empty() { Err(PemError::NoCertificate) } else { Ok(self.certificates) }
    }

    /// The first one.
    pub(super) fn key(self) -> Result<PrivateKeyDer<'static>, PemError> {
        match self.keys.into_iter().next() {
            Some(key) => Ok(key),
            None if self.has_encrypted_key => Err(PemError::EncryptedKey),
            None => Err(PemError::NoKey),
        }
    }
}

pub(super) fn bytes(file: &Path) -> Result<Vec<u8>, PemError> {
    let opened = std::fs::File::open(file).map_err(PemError::Read)?;
    let mut bytes = Vec::new();
    opened.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(PemError::Read)?;
    if bytes.len() as u64 > PEM_BYTES_MAX { Err(PemError::TooLarge) } else { Ok(bytes) }
}

/// What people have in place of PEM, by its first bytes.
fn other_form(bytes: &[u8]) -> Option<PemError> {
    let (form, command) = match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] => (
            "a Java keystore",
            "keytool -importkeystore -srckeystore FILE -destkeystore FILE.p12 -deststoretype pkcs12; openssl pkcs12 -in FILE.p12 -nodes -out FILE.pem",
        ),
        // A sequence, whose length stands in the next one to five bytes.
        [0x30, length, rest @ ..] => {
            let skip = if length & 0x80 == 0 { 0 } else { usize::from(length & 0x7f) };
            match rest.get(skip..)? {
                [0x02, 0x01, 0x03, ..] => ("PKCS#12", "openssl pkcs12 -in FILE -nodes -out FILE.pem"),
                [0x02, 0x01, ..] => ("a key in DER", "openssl pkey -inform der -in FILE -out FILE.pem"),
                [0x30, ..] => ("a certificate in DER", "openssl x509 -inform der -in FILE -out FILE.pem"),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(PemError::OtherForm { form, command })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAMCAQI=\n-----END PRIVATE KEY-----\n";

    fn chain(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
        PemFile::parse(bytes)?.chain()
    }

    fn key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
        PemFile::parse(bytes)?.key()
    }

    /// rustls-pemfile is no longer maintained; its successor must read the same.
    #[test]
    fn reads_what_pki_types_reads() {
        let two = format!("{CERTIFICATE}some text\n{CERTIFICATE}");
        let ours = chain(two.as_bytes()).unwrap();
        let theirs: Vec<_> = CertificateDer::pem_slice_iter(two.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), 2);
        assert_eq!(key(KEY.as_bytes()).unwrap(), PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap());
    }

    #[test]
    fn says_what_a_wrong_file_is() {
        assert!(matches!(chain(b"no PEM"), Err(PemError::NoCertificate)));
        assert!(matches!(chain(KEY.as_bytes()), Err(PemError::NoCertificate)));
        assert!(matches!(key(CERTIFICATE.as_bytes()), Err(PemError::NoKey)));
        let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert!(matches!(key(encrypted.as_bytes()), Err(PemError::EncryptedKey)));
        let older = KEY.replace("\nMAM", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMAM");
        assert!(matches!(key(older.as_bytes()), Err(PemError::EncryptedKey)));
        let cut = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n";
        assert!(matches!(chain(cut.as_bytes()), Err(PemError::Syntax(_))));
        let form = |bytes: &[u8]| match chain(bytes) {
            Err(PemError::OtherForm { form, .. }) => form,
            other => panic!("{other:?}"),
        };
        assert_eq!(form(b"\xfe\xed\xfe\xed\x00"), "a Java keystore");
        assert_eq!(form(b"\x30\x82\x01\x00\x02\x01\x03\x30"), "PKCS#12");
        assert_eq!(form(b"\x30\x81\x80\x30\x10"), "a certificate in DER");
        assert_eq!(form(b"\x30\x10\x02\x01\x00"), "a key in DER");
    }
}
