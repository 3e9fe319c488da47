//! Values of a record: their framing, and datums of the repository's own events, through everything that is done with them.

use std::path::Path;

use kafka_bridge::avro::{Check, FieldRule, Framing, Marker, Schema, SchemaText, Validator, resolve};

use crate::mutate::choose;
use crate::targets::{Taken, Verdict, ensure};

const EVENTS: [&str; 3] = ["order", "payment", "shipment"];
const FRAMINGS: [Framing; 3] = [Framing::Confluent, Framing::SingleObject, Framing::Raw];

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../avro")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{name}.avsc"))).unwrap_or_default()
}

fn event(name: &str) -> Result<Schema, String> {
    let references = if name == "shipment" { vec![text("address")] } else { Vec::new() };
    Schema::parse(&SchemaText { text: text(name), references }).map_err(|error| format!("{name}: {error}"))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// A byte that chooses the event, then a datum: golden and hostile ones.
pub(crate) fn datums() -> Vec<Vec<u8>> {
    let mut corpus = Vec::new();
    for (index, name) in EVENTS.iter().enumerate() {
        for (kind, column) in [("golden", 0), ("hostile", 2)] {
            let lines = std::fs::read_to_string(folder().join(kind).join(format!("{name}.txt"))).unwrap_or_default();
            let lines = lines.lines().filter(|it| !it.starts_with('#'));
            let datums = lines.filter_map(|it| hex(it.split(' ').nth(column)?));
            corpus.extend(datums.map(|it| [&[index as u8], it.as_slice()].concat()));
        }
    }
    corpus
}

/// Bytes are mostly changed where they are: a length that moved would hide everything behind it.
pub(crate) fn input(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    if random.bool() {
        return crate::mutate::mutated(random, corpus, &[]);
    }
    let mut bytes = choose(random, corpus).cloned().unwrap_or_default();
    for _ in 0..random.usize(..3) {
        let at = random.usize(..bytes.len().max(1));
        if let Some(byte) = bytes.get_mut(at).filter(|_| at > 0) {
            *byte = if random.bool() { *byte ^ (1 << random.u8(..8)) } else { random.u8(..) };
        }
    }
    bytes
}

/// What is taken reads as JSON, and the JSON as a datum that reads the same; what is refused has its place in the datum.
pub(crate) fn datum(input: &[u8]) -> Verdict {
    let (chosen, datum) = input.split_first().map_or((0, input), |(first, rest)| (usize::from(*first), rest));
    let name = EVENTS[chosen % EVENTS.len()];
    let schema = event(name)?;
    let rules = [FieldRule { path: "id".to_owned(), check: Check::OneOf(vec!["00000001-1111".to_owned()]) }];
    let ruled = Validator::compile(&schema, &rules).map_err(|error| error.to_string())?;
    let validator = Validator::compile(&schema, &[]).map_err(|error| error.to_string())?;
    match validator.check(datum) {
        Err(fault) => {
            ensure(fault.at <= datum.len(), || format!("{fault}, of {} bytes", datum.len()))?;
            ensure(ruled.check(datum).is_err(), || "a rule makes it valid".to_owned())?;
            ensure(schema.to_json(datum).as_ref() == Err(&fault), || "it has another fault as JSON".to_owned())?;
            Ok(Taken::No)
        }
        Ok(()) => {
            ensure(ruled.check(datum).is_err(), || "no id is the one of the rule".to_owned())?;
            let json = schema.to_json(datum).map_err(|fault| fault.to_string())?;
            let again = schema.encode_json(&json).map_err(|fault| format!("{fault}: {json}"))?;
            let shown = schema.to_json(&again).map_err(|fault| fault.to_string())?;
            ensure(shown == json, || format!("{json} reads as {shown}"))?;
            Ok(Taken::Yes)
        }
    }
}

/// Values of all framings.
pub(crate) fn values() -> Vec<Vec<u8>> {
    let markers = [Marker::Id(7), Marker::Id(i32::MAX), Marker::Fingerprint([1, 2, 3, 4, 5, 6, 7, 8]), Marker::None];
    let datums = [&b""[..], b"\x00", b"{\"a\": 1}"];
    markers.iter().flat_map(|marker| datums.iter().map(|it| [&marker.header(), *it].concat())).collect()
}

/// A marker and a datum are the value again.
pub(crate) fn framing(input: &[u8]) -> Verdict {
    let mut taken = 0;
    for framing in FRAMINGS {
        match framing.split(input) {
            Ok((marker, datum)) => {
                ensure([&marker.header(), datum].concat() == input, || format!("{marker} is written otherwise"))?;
                taken += usize::from(framing != Framing::Raw);
            }
            Err(fault) => drop(fault.to_string()),
        }
    }
    Ok(Taken::when(taken > 0))
}

/// Two schemas with a NUL between them: parsed, or refused with a reason; whether one reads the other is found out.
pub(crate) fn schemas(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let parse = |text: &str| Schema::parse(&SchemaText { text: text.to_owned(), references: Vec::new() });
    let mut parsed = Vec::new();
    for text in text.splitn(2, '\0') {
        match parse(text) {
            Err(error) => drop(error.to_string()),
            Ok(schema) => {
                let form = schema.canonical_form();
                let again = parse(&form).map_err(|error| format!("{error}: {form}"))?;
                ensure(again.fingerprint() == schema.fingerprint(), || format!("{form} has another fingerprint"))?;
                resolve(&schema, &again).map_err(|mismatch| format!("{mismatch}: {form}"))?;
                parsed.push(schema);
            }
        }
    }
    if let [writer, reader] = parsed.as_slice() {
        let _ = resolve(writer, reader).map_err(|mismatch| mismatch.to_string());
    }
    Ok(Taken::when(!parsed.is_empty()))
}

pub(crate) fn schema_corpus() -> Vec<Vec<u8>> {
    let list =
        r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"], "default": null}]}"#;
    let mut corpus = vec![list.as_bytes().to_vec(), [list, "\0", &list.replace("null", "int")].concat().into_bytes()];
    for name in ["order", "payment", "address"] {
        let text = text(name);
        corpus.push([&text, "\0", &text.replace("long", "double")].concat().into_bytes());
    }
    corpus
}

/// Of schemas.
pub(crate) const WORDS: [&str; 20] = [
    "\"type\":",
    "\"record\"",
    "\"fields\":[]",
    "\"array\"",
    "\"map\"",
    "\"fixed\"",
    "\"size\":",
    "\"enum\"",
    "\"symbols\":[\"A\"]",
    "\"name\":\"",
    "\"namespace\":\"a.b\"",
    "\"aliases\":[\"x\"]",
    "\"default\":",
    "\"logicalType\":\"decimal\"",
    "\"precision\":",
    "{",
    "}",
    "[",
    "null",
    "\0",
];
