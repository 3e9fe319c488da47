//! What an X.509 certificate says of itself (RFC 5280), and whether another has signed it. Whom to trust is the TLS
//! library's business.

mod algorithms;
mod der;
mod extensions;
mod name;

pub use algorithms::{Signed, Strength};
pub use extensions::Usage;

use algorithms::{PublicKey, Signature};
use der::{Der, INTEGER, SEQUENCE};
use extensions::Extensions;
use std::time::SystemTime;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// As `X500Principal.getName()` writes it (RFC 2253): what Kafka makes a principal of, and what ACLs are granted to.
    pub subject: String,
    pub issuer: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    extensions: Extensions,
    /// Those of version 1 have no extensions, and with them no say about what they are for.
    has_extensions: bool,
    key: PublicKey,
    signature: Signature,
}

/// Time to renew a certificate without haste.
pub const EXPIRY_WARNING_DAYS: i64 = 30;

const VERSION: u8 = 0xa0;
const ISSUER_ID: u8 = 0x81;
const SUBJECT_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;

impl Certificate {
    /// None: these bytes are no X.509 certificate.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).of(SEQUENCE)?);
        let (signed_bytes, signed) = certificate.whole(SEQUENCE)?;
        let signature = Signature::parse(signed_bytes, &mut certificate)?;
        let mut signed = Der(signed);
        let _version = signed.optional(VERSION)?;
        let _serial_number = signed.of(INTEGER)?;
        let _signature = signed.of(SEQUENCE)?;
        let issuer = name::name(signed.of(SEQUENCE)?)?;
        let mut validity = Der(signed.of(SEQUENCE)?);
        let (not_before, not_after) = (der::time(validity.next()?)?, der::time(validity.next()?)?);
        let subject = name::name(signed.of(SEQUENCE)?)?;
        let key = PublicKey::parse(signed.whole(SEQUENCE)?)?;
        signed.optional(ISSUER_ID)?;
        signed.optional(SUBJECT_ID)?;
        let extensions = signed.optional(EXTENSIONS)?;
        Some(Self {
            subject,
            issuer,
            not_before,
            not_after,
            has_extensions: extensions.is_some(),
            extensions: extensions.map_or(Some(Extensions::default()), Extensions::parse)?,
            key,
            signature,
        })
    }

    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.not_after < now
    }

    /// Soon enough to renew it now.
    pub fn ends_soon(&self, now: SystemTime) -> bool {
        self.days_left(now) <= EXPIRY_WARNING_DAYS
    }

    /// Whole days until it ends; below 0: it has ended.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        const DAY_SECONDS: u64 = 86_400;
        let days = |seconds: u64| i64::try_from(seconds / DAY_SECONDS).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => days(left.as_secs()),
            Err(over) => -1 - days(over.duration().as_secs()),
        }
    }

    /// The day on which it begins, in UTC.
    pub fn first_day(&self) -> String {
        day(self.not_before)
    }

    /// The day on which it ends, in UTC.
    pub fn last_day(&self) -> String {
        day(self.not_after)
    }

    /// The subject's alternative names: `DNS:kafka-1.example.org`, `IP:10.0.0.11`.
    pub fn names(&self) -> &[String] {
        &self.extensions.names
    }

    /// What it may be used for; None: for everything.
    pub fn usages(&self) -> Option<&[Usage]> {
        self.extensions.usages.as_deref()
    }

    pub fn is_for(&self, usage: &Usage) -> bool {
        self.usages().is_none_or(|all| all.contains(usage) || all.contains(&Usage::Any))
    }

    /// Its key may sign handshakes.
    pub fn may_sign(&self) -> bool {
        self.extensions.key_usages.is_none_or(|it| it.digital_signature)
    }

    /// It may sign other certificates. One of version 1 cannot say so; as a root it is taken for one.
    pub fn is_authority(&self) -> bool {
        match self.has_extensions {
            true => self.extensions.is_ca && self.extensions.key_usages.is_none_or(|it| it.certificate_signature),
            false => self.subject == self.issuer,
        }
    }

    /// Its own authority: the end of a chain.
    pub fn is_self_signed(&self) -> bool {
        self.signed_by(self) == Signed::Yes
    }

    /// By name and by signature.
    pub fn signed_by(&self, issuer: &Self) -> Signed {
        if self.issuer != issuer.subject {
            return Signed::No;
        }
        self.signature.verify(&issuer.key)
    }

    /// The public key as it stands in the certificate (SubjectPublicKeyInfo), to compare with that of a private key.
    pub fn public_key(&self) -> &[u8] {
        &self.key.whole
    }

    /// The kind of a public key that does not stand in a certificate.
    pub fn kind_of(public_key: &[u8]) -> Option<String> {
        PublicKey::parse(Der(public_key).whole(SEQUENCE)?).map(|it| it.kind())
    }

    /// `EC P-256`, `RSA 2048`.
    pub fn key_kind(&self) -> String {
        self.key.kind()
    }

    pub fn key_strength(&self) -> Strength {
        self.key.strength()
    }

    /// `ECDSA with SHA-256`.
    pub fn signature_kind(&self) -> String {
        self.signature.kind()
    }

    pub fn signature_strength(&self) -> Strength {
        self.signature.strength()
    }
}

fn day(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::der::{GENERALIZED_TIME, UTC_TIME, time};
    use super::*;
    use proptest::prelude::*;
    use std::sync::OnceLock;
    use std::time::{Duration, UNIX_EPOCH};

    /// A certificate with a subject that needs every rule; the expected text is what Java 17 prints for it.
    const GOLDEN: &str = "-----BEGIN CERTIFICATE-----
MIIBzjCCAXQCAQEwCgYIKoZIzj0EAwIwcjELMAkGA1UEBhMCREUxFDASBgNVBAoMC09yZGVycywgSW5jMREwDwYDVQQLDAhab25lICJCIjEPMA
0GA1UEAwwGYnJpZGdlMRQwEgYJKoZIhvcNAQkBFgVhQGIuYzETMBEGCgmSJomT8ixkARkWA29yZzAgFw0yNDAxMDEwMDAwMDBaGA8yMDYxMDIw
MzA0MDUwNlowcjELMAkGA1UEBhMCREUxFDASBgNVBAoMC09yZGVycywgSW5jMREwDwYDVQQLDAhab25lICJCIjEPMA0GA1UEAwwGYnJpZGdlMR
QwEgYJKoZIhvcNAQkBFgVhQGIuYzETMBEGCgmSJomT8ixkARkWA29yZzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHn6s/k7inoQUHye0ebh
qrVG4pJ8FqTM7lit3KqyQDJIDwXUvz4eV+f0h/F055wkzf1AV+AowOKoaUz6PFXL/HAwCgYIKoZIzj0EAwIDSAAwRQIhAIdb5HluaaJHvebhI4
9WzzujQ9+tQlcxZOT4HZLh8+AlAiBHEUzaL7wUR/bRWydBjmw7Cm9YYkNYkJ2k9R1W0DhyhQ==
-----END CERTIFICATE-----
";

    fn golden() -> Vec<u8> {
        use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
        CertificateDer::from_pem_slice(GOLDEN.as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn the_subject_is_written_as_java_writes_it() {
        let certificate = Certificate::parse(&golden()).unwrap();
        let expected = r#"DC=org,1.2.840.113549.1.9.1=#16056140622e63,CN=bridge,OU=Zone \"B\",O=Orders\, Inc,C=DE"#;
        assert_eq!(certificate.subject, expected);
        assert_eq!(humantime::format_rfc3339(certificate.not_before).to_string(), "2024-01-01T00:00:00Z");
        assert_eq!(humantime::format_rfc3339(certificate.not_after).to_string(), "2061-02-03T04:05:06Z");
        assert_eq!(certificate.last_day(), "2061-02-03");
        assert!(!certificate.has_expired(certificate.not_after));
        assert!(certificate.has_expired(certificate.not_after + Duration::from_secs(1)));
    }

    #[test]
    fn times_before_1970_and_without_an_end() {
        assert_eq!(time((UTC_TIME, b"500101000000Z")), Some(UNIX_EPOCH));
        assert!(time((GENERALIZED_TIME, b"99991231235959Z")).is_some());
        for wrong in [&b"240101000000"[..], b"24010100000Z", b"241301000000Z", b"", b"Z", b"\xff40101000000Z"] {
            assert_eq!(time((UTC_TIME, wrong)), None);
        }
    }

    fn minted(params: impl FnOnce(&mut rcgen::CertificateParams)) -> Certificate {
        let mut given = rcgen::CertificateParams::new(vec!["kafka".to_owned(), "::1".to_owned()]).unwrap();
        params(&mut given);
        Certificate::parse(given.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der()).unwrap()
    }

    #[test]
    fn extensions_are_read() {
        use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose as Purpose, IsCa, KeyUsagePurpose};
        let leaf = minted(|it| it.extended_key_usages = vec![Purpose::ServerAuth, Purpose::CodeSigning]);
        assert_eq!(leaf.names(), ["DNS:kafka", "IP:::1"]);
        assert_eq!(leaf.usages(), Some(&[Usage::Server, Usage::Other("1.3.6.1.5.5.7.3.3".to_owned())][..]));
        assert!(leaf.is_for(&Usage::Server) && !leaf.is_for(&Usage::Client) && leaf.may_sign() && !leaf.is_authority());
        let any = minted(|it| it.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
        assert!(any.is_for(&Usage::Client) && !any.may_sign());
        let ca = |usage| {
            minted(|it| {
                it.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
                it.key_usages = vec![usage];
            })
        };
        assert!(ca(KeyUsagePurpose::KeyCertSign).is_authority() && !ca(KeyUsagePurpose::CrlSign).is_authority());
    }

    #[test]
    fn who_has_signed_is_told_by_name_and_by_signature() {
        let certificate = Certificate::parse(&golden()).unwrap();
        assert_eq!(certificate.signed_by(&certificate), Signed::Yes);
        assert!(certificate.is_self_signed() && certificate.is_authority());
        assert_eq!(certificate.key_kind(), "EC P-256");
        assert_eq!(certificate.signature_kind(), "ECDSA with SHA-256");
        // The same name, and another key.
        let (one, other) = (minted(|_| {}), minted(|_| {}));
        assert_eq!((one.signed_by(&other), one.signed_by(&certificate)), (Signed::No, Signed::No));
        let mut damaged = golden();
        let at = damaged.windows(6).position(|it| it == b"bridge").unwrap();
        damaged[at] = b'f';
        let damaged = Certificate::parse(&damaged).unwrap();
        assert_eq!(damaged.signature.verify(&certificate.key), Signed::No);
    }

    #[test]
    fn days_are_whole_ones() {
        let certificate = Certificate::parse(&golden()).unwrap();
        let at = |seconds: u64| certificate.days_left(certificate.not_after - Duration::from_secs(seconds));
        assert_eq!((at(0), at(86_399), at(86_400)), (0, 0, 1));
        assert_eq!(certificate.days_left(certificate.not_after + Duration::from_secs(1)), -1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Certificate::parse(&bytes);
        }

        #[test]
        fn no_damage_panics(at in 0_usize..520, value: u8, length in 0_usize..700) {
            static RICH: OnceLock<Vec<u8>> = OnceLock::new();
            let rich = RICH.get_or_init(|| {
                let mut params = rcgen::CertificateParams::new(vec!["kafka".to_owned(), "10.0.0.1".to_owned()]).unwrap();
                params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
                params.is_ca = rcgen::IsCa::ExplicitNoCa;
                params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
            });
            for mut bytes in [golden(), rich.clone()] {
                let at = at.min(bytes.len() - 1);
                bytes[at] = value;
                bytes.truncate(length);
                if let Some(read) = Certificate::parse(&bytes) {
                    let _ = (read.signed_by(&read), read.is_authority(), read.key_kind());
                }
            }
        }
    }
}
