//! Elements of DER (X.690), as far as certificates need them.

use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// Elements, one behind the other.
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
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

    pub(super) fn of(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }

    /// As `of`, with tag and length in front: what is signed, and what is compared, are the bytes as they stand.
    pub(super) fn whole(&mut self, wanted: u8) -> Option<(&'a [u8], &'a [u8])> {
        let before = self.0;
        let content = self.of(wanted)?;
        Some((&before[..before.len() - self.0.len()], content))
    }

    /// The content of the next element where it is of this kind; else nothing is taken.
    pub(super) fn optional(&mut self, wanted: u8) -> Option<Option<&'a [u8]>> {
        if self.peek() == Some(wanted) { self.of(wanted).map(Some) } else { Some(None) }
    }
}

/// Of whole bytes: keys and signatures are.
pub(super) fn bytes_of(bit_string: &[u8]) -> Option<&[u8]> {
    bit_string.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
}

pub(super) fn time((tag, content): (u8, &[u8])) -> Option<SystemTime> {
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

/// As people write it: `2.5.29.17`.
pub(super) fn number(oid: &[u8]) -> String {
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
