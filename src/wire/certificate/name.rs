//! Names as Java writes them.

use super::der::{Der, OID, SEQUENCE, number};
use std::fmt::Write as _;

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

/// As `X500Principal.getName()` writes it (RFC 2253): the last part comes first.
pub(super) fn name(content: &[u8]) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_of_a_value_are_escaped() {
        assert_eq!(escaped(" #a"), "\\ #a");
        assert_eq!(escaped("#a b "), "\\#a b\\ ");
        assert_eq!(escaped(""), "");
    }
}
