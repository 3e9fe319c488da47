//! What a certificate says of itself: whose it is, and until when. Its signature is the TLS library's business.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// As `X500Principal.getName()` writes it (RFC 2253): what Kafka makes a principal of, and what ACLs are granted to.
    pub subject: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Types whose bytes are text in UTF-8 or a part of it: UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// The attributes that RFC 2253 has names for; Java writes all others by number.
const NAMES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
];

impl Certificate {
    /// None: these bytes are no X.509 certificate.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).of(SEQUENCE)?);
        let mut signed = Der(certificate.of(SEQUENCE)?);
        if signed.0.first() == Some(&VERSION) {
            signed.next()?;
        }
        let _serial_number = signed.next()?;
        let _signature = signed.of(SEQUENCE)?;
        let _issuer = signed.of(SEQUENCE)?;
        let mut validity = Der(signed.of(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        Some(Self { subject: name(signed.of(SEQUENCE)?)?, not_before, not_after })
    }

    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.not_after < now
    }

    /// The day on which it ends, in UTC.
    pub fn last_day(&self) -> String {
        let text = humantime::format_rfc3339_seconds(self.not_after).to_string();
        text.split('T').next().unwrap_or_default().to_owned()
    }
}

/// Elements of DER, one behind the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Four bytes of length are more than any file here holds.
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn of(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

fn time((tag, content): (u8, &[u8])) -> Option<SystemTime> {
    let digits = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let digits = match (tag, digits.len()) {
        // RFC 5280, 4.1.2.5.1: two digits of the year, of 1950 to 2049.
        (UTC_TIME, 12) => format!("{}{digits}", if digits < "50" { "20" } else { "19" }),
        (GENERALIZED_TIME, 14) => digits.to_owned(),
        _ => return None,
    };
    if digits.as_str() < "1970" {
        return Some(UNIX_EPOCH);
    }
    let part = |from: usize| &digits[from..from + 2];
    let text = format!("{}-{}-{}T{}:{}:{}Z", &digits[..4], part(4), part(6), part(8), part(10), part(12));
    humantime::parse_rfc3339(&text).ok()
}

/// The last part comes first.
fn name(content: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut sets = Der(content);
    while !sets.0.is_empty() {
        let mut attributes = Der(sets.next()?.1);
        let mut part = Vec::new();
        while !attributes.0.is_empty() {
            part.push(attribute(attributes.of(SEQUENCE)?)?);
        }
        parts.push(part.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

fn attribute(content: &[u8]) -> Option<String> {
    let mut pair = Der(content);
    let oid = pair.of(OID)?;
    let whole = pair.0;
    let (tag, value) = pair.next()?;
    let name = NAMES.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
    let text = Some(value).filter(|_| TEXTS.contains(&tag)).and_then(|it| std::str::from_utf8(it).ok());
    match (name, text) {
        (Some(name), Some(text)) => Some(format!("{name}={}", escaped(text))),
        _ => {
            let value = whole.iter().fold(String::new(), |mut hex, byte| {
                // Writing into a String does not fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            Some(format!("{}=#{value}", name.map_or_else(|| number(oid), str::to_owned)))
        }
    }
}

fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut escaped = String::new();
    for (index, letter) in text.chars().enumerate() {
        let is_edge = (index == 0 && " #".contains(letter)) || (index == last && letter == ' ');
        if is_edge || ",+\"\\<>;".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

fn number(oid: &[u8]) -> String {
    let mut arcs = Vec::new();
    let mut arc = 0u64;
    for byte in oid {
        arc = arc.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let root = (arc / 40).min(2);
                arcs.extend([root, arc - root * 40]);
            } else {
                arcs.push(arc);
            }
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert!(certificate.has_expired(certificate.not_after + std::time::Duration::from_secs(1)));
    }

    #[test]
    fn edges_of_a_value_are_escaped() {
        assert_eq!(escaped(" #a"), "\\ #a");
        assert_eq!(escaped("#a b "), "\\#a b\\ ");
        assert_eq!(escaped(""), "");
    }

    #[test]
    fn times_before_1970_and_without_an_end() {
        assert_eq!(time((UTC_TIME, b"500101000000Z")), Some(UNIX_EPOCH));
        assert!(time((GENERALIZED_TIME, b"99991231235959Z")).is_some());
        for wrong in [&b"240101000000"[..], b"24010100000Z", b"241301000000Z", b"", b"Z", b"\xff40101000000Z"] {
            assert_eq!(time((UTC_TIME, wrong)), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Certificate::parse(&bytes);
        }

        #[test]
        fn no_damage_panics(at in 0_usize..460, value: u8, length in 0_usize..500) {
            let mut bytes = golden();
            let at = at.min(bytes.len() - 1);
            bytes[at] = value;
            bytes.truncate(length);
            let _ = Certificate::parse(&bytes);
        }
    }
}
