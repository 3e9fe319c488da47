//! Keys and signatures: their names, whether they are still good, and who has signed what. The mathematics are rustls's.

use super::der::{BIT_STRING, Der, INTEGER, OID, SEQUENCE, bytes_of, number};
use tokio_rustls::rustls::crypto::ring;

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";

/// Brokers (Java's `jdk.certpath.disabledAlgorithms`) and rustls refuse shorter ones, or soon will.
const RSA_BITS_MIN: usize = 2_048;

const KEYS: [(&str, &str); 5] =
    [(RSA, "RSA"), (EC, "EC"), ("1.3.101.112", "Ed25519"), ("1.3.101.113", "Ed448"), ("1.2.840.10040.4.1", "DSA")];

const CURVES: [(&str, &str); 4] = [
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.10", "secp256k1"),
];

const SIGNATURES: [(&str, &str, Strength); 13] = [
    ("1.2.840.113549.1.1.4", "RSA with MD5", Strength::Weak),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1", Strength::Weak),
    ("1.2.840.113549.1.1.11", "RSA with SHA-256", Strength::Good),
    ("1.2.840.113549.1.1.12", "RSA with SHA-384", Strength::Good),
    ("1.2.840.113549.1.1.13", "RSA with SHA-512", Strength::Good),
    ("1.2.840.113549.1.1.10", "RSA-PSS", Strength::Good),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1", Strength::Weak),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256", Strength::Good),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384", Strength::Good),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512", Strength::Good),
    ("1.2.840.10040.4.3", "DSA with SHA-1", Strength::Weak),
    ("1.3.101.112", "Ed25519", Strength::Good),
    ("1.3.101.113", "Ed448", Strength::Good),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    Good,
    Weak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Yes,
    No,
    /// The names fit, and rustls does not compute signatures of this kind: SHA-1, or keys that are too short.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Algorithm {
    /// The content of an AlgorithmIdentifier, as rustls lists what it can do.
    content: Vec<u8>,
    oid: String,
    /// Of an elliptic curve's key.
    curve: Option<String>,
}

impl Algorithm {
    fn parse(content: &[u8]) -> Option<Self> {
        let mut parts = Der(content);
        let oid = number(parts.of(OID)?);
        let curve = if oid == EC { parts.optional(OID)?.map(number) } else { None };
        Some(Self { content: content.to_vec(), oid, curve })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// The whole SubjectPublicKeyInfo.
    pub(super) whole: Vec<u8>,
    algorithm: Algorithm,
    bytes: Vec<u8>,
    rsa_bits: Option<usize>,
}

impl PublicKey {
    pub(super) fn parse((whole, content): (&[u8], &[u8])) -> Option<Self> {
        let mut parts = Der(content);
        let algorithm = Algorithm::parse(parts.of(SEQUENCE)?)?;
        let bytes = bytes_of(parts.of(BIT_STRING)?)?.to_vec();
        let rsa_bits = if algorithm.oid == RSA { Some(rsa_bits(&bytes)?) } else { None };
        Some(Self { whole: whole.to_vec(), algorithm, bytes, rsa_bits })
    }

    pub(super) fn kind(&self) -> String {
        let name = named(&KEYS, &self.algorithm.oid);
        match (self.rsa_bits, &self.algorithm.curve) {
            (Some(bits), _) => format!("{name} {bits}"),
            (None, Some(curve)) => format!("{name} {}", named(&CURVES, curve)),
            (None, None) => name.to_owned(),
        }
    }

    pub(super) fn strength(&self) -> Strength {
        if self.rsa_bits.is_some_and(|it| it < RSA_BITS_MIN) { Strength::Weak } else { Strength::Good }
    }
}

fn rsa_bits(key: &[u8]) -> Option<usize> {
    let modulus = Der(Der(key).of(SEQUENCE)?).of(INTEGER)?;
    let first = modulus.iter().position(|it| *it != 0)?;
    let leading = modulus[first].leading_zeros() as usize;
    Some((modulus.len() - first) * 8 - leading)
}

fn named<'a>(names: &[(&str, &'a str)], oid: &'a str) -> &'a str {
    names.iter().find(|(known, _)| *known == oid).map_or(oid, |(_, name)| *name)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    signed: Vec<u8>,
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl Signature {
    /// `rest`: what stands behind the part that is signed.
    pub(super) fn parse(signed: &[u8], rest: &mut Der<'_>) -> Option<Self> {
        let algorithm = Algorithm::parse(rest.of(SEQUENCE)?)?;
        let bytes = bytes_of(rest.of(BIT_STRING)?)?.to_vec();
        Some(Self { signed: signed.to_vec(), algorithm, bytes })
    }

    pub(super) fn kind(&self) -> String {
        let known = SIGNATURES.iter().find(|it| it.0 == self.algorithm.oid);
        known.map_or_else(|| self.algorithm.oid.clone(), |it| it.1.to_owned())
    }

    pub(super) fn strength(&self) -> Strength {
        SIGNATURES.iter().find(|it| it.0 == self.algorithm.oid).map_or(Strength::Good, |it| it.2)
    }

    pub(super) fn verify(&self, key: &PublicKey) -> Signed {
        let provider = ring::default_provider();
        let known = provider.signature_verification_algorithms.all.iter().find(|it| {
            it.public_key_alg_id().as_ref() == key.algorithm.content
                && it.signature_alg_id().as_ref() == self.algorithm.content
        });
        match known {
            Some(known) if key.strength() == Strength::Good => {
                match known.verify_signature(&key.bytes, &self.signed, &self.bytes) {
                    Ok(()) => Signed::Yes,
                    Err(_) => Signed::No,
                }
            }
            _ => Signed::Unknown,
        }
    }
}
