//! Values of topics that are checked: valid ones under two schemas, and several kinds of poison. What is wrong with a record
//! stands in a header of it, so that the reference needs to know nothing of Avro.

use std::collections::BTreeSet;

use super::schedule::Validation;

/// Another subject's.
pub(super) const OTHER: &str = r#""string""#;
pub(super) const OLDER: &str = r#"{"type":"record","name":"E","fields":[
    {"name":"id","type":"string"},{"name":"n","type":"int"},{"name":"filler","type":"bytes"}]}"#;
pub(super) const NEWER: &str = r#"{"type":"record","name":"E","fields":[
    {"name":"id","type":"string"},{"name":"n","type":"int"},{"name":"filler","type":"bytes"},
    {"name":"more","type":["null","string"],"default":null}]}"#;
/// What else the target's registry has, so that its ids are not those of the source.
pub(super) const FOREIGN: [&str; 3] = [r#""int""#, r#""long""#, r#""double""#];
/// The ids are given in the order in which the registries get the schemas.
const OTHER_ID: i32 = 1;
const OLDER_ID: i32 = 2;
const NEWER_ID: i32 = 3;
const UNKNOWN_ID: i32 = 77;
/// At the target and at the source.
pub(super) const MAPPED: [(i32, i32); 2] = [(4, OLDER_ID), (5, NEWER_ID)];
/// `n` may be no larger.
pub(super) const N_MAX: i32 = 1_000;
/// Names the reason for which the record does not pass.
pub(super) const EXPECTED: &[u8] = b"expected";

/// What is written in one step.
#[derive(Clone, Debug)]
pub(super) struct Datums {
    pub(super) topics: BTreeSet<String>,
    pub(super) validation: Validation,
    /// The newer schema is registered.
    pub(super) is_evolved: bool,
}

/// Zigzag, as int, long and lengths are.
fn number(value: i32, into: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 31)).cast_unsigned();
    while rest > 0x7f {
        into.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

fn bytes(value: &[u8], into: &mut Vec<u8>) {
    number(value.len() as i32, into);
    into.extend_from_slice(value);
}

fn datum(is_newer: bool, id: &[u8], n: i32, filler: &[u8]) -> Vec<u8> {
    let mut datum = Vec::new();
    bytes(id, &mut datum);
    number(n, &mut datum);
    bytes(filler, &mut datum);
    if is_newer {
        number(1, &mut datum);
        bytes(id, &mut datum);
    }
    datum
}

fn framed(id: i32, datum: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), datum].concat()
}

impl Datums {
    /// A value, and why it does not pass, if so.
    pub(super) fn value(
        &self,
        name: &[u8],
        filler: &[u8],
        random: &mut fastrand::Rng,
    ) -> (Vec<u8>, Option<&'static str>) {
        let Validation { stops, waits_for_schema, .. } = self.validation;
        let is_newer = (self.is_evolved || waits_for_schema) && random.bool();
        let id = if is_newer { NEWER_ID } else { OLDER_ID };
        let n = random.i32(0..=N_MAX);
        let valid = datum(is_newer, name, n, filler);
        // What stops a partition is rare, or nothing would be copied.
        if random.u8(..if stops { 60 } else { 5 }) > 0 {
            return (framed(id, &valid), None);
        }
        match random.u8(..9) {
            0 => ([&[7][..], &framed(id, &valid)[1..]].concat(), Some("framing_magic")),
            1 => (vec![0, 0, 0], Some("framing_too_short")),
            2 => (framed(-1, &valid), Some("framing_negative_id")),
            3 => (framed(id, &valid[..2]), Some("truncated")),
            4 => (framed(id, &[&valid[..], &[0]].concat()), Some("trailing_bytes")),
            5 => (framed(id, &datum(is_newer, b"\xff\xfe", n, filler)), Some("utf8")),
            // It would wait for ever.
            6 if !waits_for_schema => (framed(UNKNOWN_ID, &valid), Some("unknown_schema")),
            7 => (framed(OTHER_ID, &valid), Some("other_subject")),
            _ => (framed(id, &datum(is_newer, name, N_MAX + 1, filler)), Some("rule_range")),
        }
    }
}
