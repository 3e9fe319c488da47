//! Private keys: of which kind they are, and what public key belongs to them. Nothing of the secret part leaves this file.

use super::Finding;
use crate::wire::Certificate;
use tokio_rustls::rustls::crypto::ring::sign;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Everyone but the owner: reading by the owner's group is a way to share a key between services, writing is not.
const MODE_REFUSED: u32 = 0o026;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// SubjectPublicKeyInfo, as it stands in the certificate.
    pub(super) public_key: Vec<u8>,
    pub(super) kind: String,
}

impl Key {
    /// None: TLS cannot use it.
    pub(super) fn read(der: &PrivateKeyDer<'_>) -> Option<Self> {
        let key = sign::any_supported_type(der).ok()?;
        let public_key = key.public_key()?.to_vec();
        let kind = Certificate::kind_of(&public_key)?;
        Some(Self { public_key, kind })
    }
}

pub(super) fn unusable() -> Finding {
    Finding::wrong(
        "unusable_key",
        "holds a key that TLS cannot use: it must be RSA of 2048 to 4096 bits, EC on P-256 or P-384, or Ed25519, as \
         `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes it",
    )
}

pub(super) fn several(count: usize) -> Finding {
    let text = format!("holds {count} private keys, and the first is taken: leave the one of the certificate");
    Finding::wrong("several_keys", text)
}

pub(super) fn readable(mode: u32, file: &str) -> Option<Finding> {
    let mode = mode & 0o777;
    let text = format!("holds a private key and has mode {mode:04o}, open to others on this machine: chmod 600 {file}");
    (mode & MODE_REFUSED != 0).then(|| Finding::wrong("key_open_to_others", text))
}
