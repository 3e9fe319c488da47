//! What the tests of this folder share.

use super::{Check, Fault, FieldRule, Schema, SchemaError, SchemaText, Validator};

pub(super) fn parse(text: &str) -> Result<Schema, SchemaError> {
    Schema::parse(&SchemaText { text: text.to_owned(), references: Vec::new() })
}

pub(super) fn schema(text: &str) -> Schema {
    parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub(super) fn check(text: &str, datum: &[u8]) -> Result<(), Fault> {
    Validator::compile(&schema(text), &[]).unwrap().check(datum)
}

/// Name of the fault, path, byte.
pub(super) fn told(verdict: Result<(), Fault>) -> Option<(&'static str, String, usize)> {
    verdict.err().map(|fault| (fault.kind.name(), fault.path, fault.at))
}

pub(super) fn rule(path: &str, check: Check) -> FieldRule {
    FieldRule { path: path.to_owned(), check }
}

pub(super) fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub(super) fn long(value: i64) -> Vec<u8> {
    let mut output = Vec::new();
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw > 127 {
        output.push(raw as u8 | 128);
        raw >>= 7;
    }
    output.push(raw as u8);
    output
}

/// The events of the folder `avro`.
pub(super) fn event(name: &str) -> Schema {
    let read =
        |name: &str| std::fs::read_to_string(format!("{}/avro/{name}.avsc", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let references = if name == "shipment" { vec![read("address")] } else { Vec::new() };
    Schema::parse(&SchemaText { text: read(name), references }).unwrap()
}
