//! What a certificate is for, and which names it has.

use super::der::{BIT_STRING, BOOLEAN, Der, OCTET_STRING, OID, SEQUENCE, number};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

const KEY_USAGE: &[u8] = &[0x55, 29, 15];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 29, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 29, 37];

const RFC822_NAME: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const IP_ADDRESS: u8 = 0x87;

const TRUE: &[u8] = &[0xff];

/// One of the purposes in the extended key usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    Server,
    Client,
    Any,
    /// By number, as `1.3.6.1.5.5.7.3.3`.
    Other(String),
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Client => f.write_str("client"),
            Self::Any => f.write_str("any"),
            Self::Other(number) => f.write_str(number),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyUsages {
    pub(super) digital_signature: bool,
    pub(super) certificate_signature: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) names: Vec<String>,
    pub(super) is_ca: bool,
    pub(super) key_usages: Option<KeyUsages>,
    pub(super) usages: Option<Vec<Usage>>,
}

impl Extensions {
    pub(super) fn parse(content: &[u8]) -> Option<Self> {
        let mut all = Der(Der(content).of(SEQUENCE)?);
        let mut read = Self::default();
        while !all.is_empty() {
            let mut extension = Der(all.of(SEQUENCE)?);
            let oid = extension.of(OID)?;
            let _critical = extension.optional(BOOLEAN)?;
            let value = extension.of(OCTET_STRING)?;
            match oid {
                KEY_USAGE => read.key_usages = Some(key_usages(Der(value).of(BIT_STRING)?)?),
                SUBJECT_ALTERNATIVE_NAME => read.names = names(Der(value).of(SEQUENCE)?)?,
                BASIC_CONSTRAINTS => read.is_ca = Der(Der(value).of(SEQUENCE)?).optional(BOOLEAN)? == Some(TRUE),
                EXTENDED_KEY_USAGE => read.usages = Some(usages(Der(value).of(SEQUENCE)?)?),
                _ => {}
            }
        }
        Some(read)
    }
}

/// The first bit is the highest of the first byte; the byte in front counts the bits at the end that are none.
fn key_usages(bits: &[u8]) -> Option<KeyUsages> {
    let (_unused, bytes) = bits.split_first()?;
    let first = bytes.first().copied().unwrap_or(0);
    Some(KeyUsages { digital_signature: first & 0x80 != 0, certificate_signature: first & 0x04 != 0 })
}

fn usages(content: &[u8]) -> Option<Vec<Usage>> {
    let mut all = Der(content);
    let mut usages = Vec::new();
    while !all.is_empty() {
        let oid = number(all.of(OID)?);
        usages.push(match oid.as_str() {
            "1.3.6.1.5.5.7.3.1" => Usage::Server,
            "1.3.6.1.5.5.7.3.2" => Usage::Client,
            "2.5.29.37.0" => Usage::Any,
            _ => Usage::Other(oid),
        });
    }
    Some(usages)
}

fn names(content: &[u8]) -> Option<Vec<String>> {
    let mut all = Der(content);
    let mut names = Vec::new();
    while !all.is_empty() {
        let (tag, value) = all.next()?;
        let text = |kind: &str| std::str::from_utf8(value).ok().map(|it| format!("{kind}:{it}"));
        names.push(match tag {
            RFC822_NAME => text("email")?,
            DNS_NAME => text("DNS")?,
            URI => text("URI")?,
            IP_ADDRESS => format!("IP:{}", address(value)?),
            _ => "another kind of name".to_owned(),
        });
    }
    Some(names)
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).to_string())
}
