//! Events as a producer writes them, good ones and ten kinds of bad ones, encoded by hand: by another hand than the bridge's.

use protocol_tests::raw::NewRecord;

/// `min`/`max` of `quantity` in `RULES`.
pub(super) const SCHEMA: &str = r#"{"type": "record", "name": "Event", "namespace": "trial", "fields": [
    {"name": "number", "type": "long"},
    {"name": "name", "type": "string"},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["GOOD", "BETTER"]}},
    {"name": "note", "type": ["null", "string"]},
    {"name": "urgent", "type": "boolean"},
    {"name": "quantity", "type": "int"}
]}"#;

/// A field more, with a default: readers of `SCHEMA` read it too.
pub(super) const GROWN: &str = r#"{"type": "record", "name": "Event", "namespace": "trial", "fields": [
    {"name": "number", "type": "long"},
    {"name": "name", "type": "string"},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["GOOD", "BETTER"]}},
    {"name": "note", "type": ["null", "string"]},
    {"name": "urgent", "type": "boolean"},
    {"name": "quantity", "type": "int"},
    {"name": "more", "type": "long", "default": 0}
]}"#;

/// Its number is a string: no reader of `SCHEMA` can read it.
pub(super) const CHANGED: &str = r#"{"type": "record", "name": "Event", "namespace": "trial", "fields": [
    {"name": "number", "type": "string"}
]}"#;

pub(super) const RULES: &str =
    "rules = [{ field = \"quantity\", min = 1, max = 100 }, { field = \"name\", max_length = 20 }]\n";

pub(super) const TIME_MS: i64 = 1_750_000_000_000;

/// What can be wrong with an event, and the reason that its dead letter gives.
pub(super) const POISON: [(Poison, &str); 10] = [
    (Poison::Magic, "framing_magic"),
    (Poison::Short, "framing_too_short"),
    (Poison::UnknownId, "unknown_schema"),
    (Poison::Cut, "truncated"),
    (Poison::Longer, "trailing_bytes"),
    (Poison::Text, "utf8"),
    (Poison::Symbol, "enum_index"),
    (Poison::Branch, "union_index"),
    (Poison::Flag, "boolean"),
    (Poison::Quantity, "rule_range"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poison {
    Magic,
    Short,
    UnknownId,
    Cut,
    Longer,
    Text,
    Symbol,
    Branch,
    Flag,
    Quantity,
}

pub(super) fn long(into: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        into.push((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    into.push(zigzag as u8);
}

pub(super) fn text(into: &mut Vec<u8>, bytes: &[u8]) {
    long(into, bytes.len() as i64);
    into.extend_from_slice(bytes);
}

pub(super) fn framed(id: i32, datum: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), datum].concat()
}

/// The datum of `SCHEMA`.
pub(super) fn datum(number: i64, poison: Option<Poison>) -> Vec<u8> {
    let mut bytes = Vec::new();
    long(&mut bytes, number);
    match poison {
        Some(Poison::Text) => text(&mut bytes, b"n\xff\xfe"),
        _ => text(&mut bytes, format!("name {number}").as_bytes()),
    }
    long(&mut bytes, if poison == Some(Poison::Symbol) { 2 } else { number % 2 });
    match poison {
        Some(Poison::Branch) => long(&mut bytes, 7),
        _ if number % 3 == 0 => long(&mut bytes, 0),
        _ => {
            long(&mut bytes, 1);
            text(&mut bytes, b"a note");
        }
    }
    bytes.push(if poison == Some(Poison::Flag) { 9 } else { (number % 2) as u8 });
    long(&mut bytes, if poison == Some(Poison::Quantity) { 101 } else { 1 + number % 100 });
    match poison {
        Some(Poison::Cut) => bytes.truncate(bytes.len() - 1),
        Some(Poison::Longer) => bytes.push(0),
        _ => {}
    }
    bytes
}

pub(super) fn event(id: i32, number: i64, poison: Option<Poison>) -> NewRecord {
    let mut value = framed(id, &datum(number, poison));
    match poison {
        Some(Poison::Magic) => value[0] = 1,
        Some(Poison::Short) => value.truncate(3),
        Some(Poison::UnknownId) => value[1..5].copy_from_slice(&987_654_i32.to_be_bytes()),
        _ => {}
    }
    record(number, Some(value))
}

pub(super) fn record(number: i64, value: Option<Vec<u8>>) -> NewRecord {
    NewRecord {
        timestamp: TIME_MS + number,
        key: Some(format!("key {number}").into_bytes()),
        value,
        headers: vec![(b"trace".to_vec(), Some(number.to_string().into_bytes())), (b"trace".to_vec(), None)],
    }
}
