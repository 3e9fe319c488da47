//! What others have written: datums of fastavro and hostile ones (`avro/`), and fingerprints of the Avro project.

use super::testing::{event, hex, parse, schema, told};
use super::{Framing, Marker, Schema, SchemaError, SchemaText, Validator};
use serde_json::Value;

const EVENTS: [&str; 3] = ["order", "payment", "shipment"];

/// Lines come in pairs.
fn pairs(folder: &str, name: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(format!("{}/avro/{folder}/{name}.txt", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let lines: Vec<_> = text.lines().collect();
    lines.chunks(2).map(|it| (it[0].strip_prefix("# ").unwrap().to_owned(), it[1].to_owned())).collect()
}

#[test]
fn what_fastavro_writes_is_valid_and_reads_as_it_was_meant() {
    let mut count = 0;
    for name in EVENTS {
        let schema = event(name);
        assert_eq!(schema.name().to_lowercase(), format!("com.example.shop.{name}"));
        let validator = Validator::compile(&schema, &[]).unwrap();
        for (json, datum) in pairs("golden", name) {
            let (json, datum): (Value, _) = (serde_json::from_str(&json).unwrap(), hex(&datum));
            assert_eq!(validator.check(&datum), Ok(()), "{name} {json}");
            assert_eq!(schema.to_json(&datum).unwrap(), json);
            assert_eq!(schema.encode_json(&json).unwrap(), datum, "{json}");
            for end in 0..datum.len() {
                assert!(validator.check(&datum[..end]).is_err(), "{name} of {end} bytes");
            }
            count += 1;
        }
    }
    assert_eq!(count, 8);
}

#[test]
fn each_hostile_datum_has_its_fault_at_its_place() {
    let mut count = 0;
    for name in EVENTS {
        let validator = Validator::compile(&event(name), &[]).unwrap();
        for (what, line) in pairs("hostile", name) {
            let [fault, at, datum, path] = line.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
            let datum = hex(datum.trim_matches('-'));
            let expected = (fault, path.trim_matches('-').to_owned(), at.parse().unwrap());
            assert_eq!(told(validator.check(&datum)), Some(expected), "{name}: {what}");
            assert!(event(name).to_json(&datum).is_err());
            count += 1;
        }
    }
    assert!(count > 35, "{count}");
}

/// INPUT, canonical form and fingerprint of share/test/data/schema-tests.txt of the Avro project.
const VECTORS: &[(&str, &str, i64)] = &[
    (r#""null""#, r#""null""#, 7195948357588979594),
    (r#"{"type":"boolean"}"#, r#""boolean""#, -6970731678124411036),
    (r#""int""#, r#""int""#, 8247732601305521295),
    (r#""long""#, r#""long""#, -3434872931120570953),
    (r#""float""#, r#""float""#, 5583340709985441680),
    (r#""double""#, r#""double""#, -8181574048448539266),
    (r#""bytes""#, r#""bytes""#, 5746618253357095269),
    (r#""string""#, r#""string""#, -8142146995180207161),
    ("[  ]", "[]", -1241056759729112623),
    (r#"[ "int"  ]"#, r#"["int"]"#, -5232228896498058493),
    (r#"[ "int" , {"type":"boolean"} ]"#, r#"["int","boolean"]"#, 5392556393470105090),
    (
        r#"{"fields":[], "type":"record", "name":"foo"}"#,
        r#"{"name":"foo","type":"record","fields":[]}"#,
        -4824392279771201922,
    ),
    (
        r#"{"fields":[], "type":"record", "name":"foo", "namespace":"x.y"}"#,
        r#"{"name":"x.y.foo","type":"record","fields":[]}"#,
        5916914534497305771,
    ),
    (
        r#"{"fields":[], "type":"record", "name":"a.b.foo", "namespace":"x.y"}"#,
        r#"{"name":"a.b.foo","type":"record","fields":[]}"#,
        -4616218487480524110,
    ),
    (
        r#"{"fields":[], "type":"record", "name":"foo", "doc":"foo", "aliases":["foo","bar"]}"#,
        r#"{"name":"foo","type":"record","fields":[]}"#,
        -4824392279771201922,
    ),
    (
        r#"{"fields":[{"type":{"type":"boolean"}, "name":"f1"}], "type":"record", "name":"foo"}"#,
        r#"{"name":"foo","type":"record","fields":[{"name":"f1","type":"boolean"}]}"#,
        7843277075252814651,
    ),
    (
        r#"{ "fields":[{"type":"boolean", "aliases":[], "name":"f1", "default":"true"},
            {"order":"descending","name":"f2","doc":"Hello","type":"int"}],
            "type":"record", "name":"foo" }"#,
        r#"{"name":"foo","type":"record","fields":[{"name":"f1","type":"boolean"},{"name":"f2","type":"int"}]}"#,
        -4860222112080293046,
    ),
    (
        r#"{"type":"enum", "name":"foo", "symbols":["A1"]}"#,
        r#"{"name":"foo","type":"enum","symbols":["A1"]}"#,
        -6342190197741309591,
    ),
    (
        r#"{"namespace":"x.y.z", "type":"enum", "name":"foo", "doc":"foo bar", "symbols":["A1", "A2"]}"#,
        r#"{"name":"x.y.z.foo","type":"enum","symbols":["A1","A2"]}"#,
        -4448647247586288245,
    ),
    (r#"{"name":"foo","type":"fixed","size":15}"#, r#"{"name":"foo","type":"fixed","size":15}"#, 1756455273707447556),
    (
        r#"{"namespace":"x.y.z", "type":"fixed", "name":"foo", "doc":"foo bar", "size":32}"#,
        r#"{"name":"x.y.z.foo","type":"fixed","size":32}"#,
        -3064184465700546786,
    ),
    (r#"{ "items":{"type":"null"}, "type":"array"}"#, r#"{"type":"array","items":"null"}"#, -589620603366471059),
    (r#"{ "values":"string", "type":"map"}"#, r#"{"type":"map","values":"string"}"#, -8732877298790414990),
    (
        r#"{"name":"PigValue","type":"record",
            "fields":[{"name":"value", "type":["null", "int", "long", "PigValue"]}]}"#,
        r#"{"name":"PigValue","type":"record","fields":[{"name":"value","type":["null","int","long","PigValue"]}]}"#,
        -1759257747318642341,
    ),
];

#[test]
fn fingerprints_are_those_of_the_avro_project() {
    for (input, canonical, fingerprint) in VECTORS {
        let schema = schema(input);
        assert_eq!(schema.canonical_form(), *canonical);
        assert_eq!(schema.fingerprint(), fingerprint.to_le_bytes(), "{input}");
    }
}

#[test]
fn a_logical_type_is_no_part_of_the_fingerprint() {
    let logical = schema(
        r#"{"type": "record", "name": "R", "fields": [
        {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}},
        {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#,
    );
    let plain = schema(
        r#"{"type": "record", "name": "R", "fields": [
        {"name": "d", "type": "bytes"}, {"name": "t", "type": "long"}]}"#,
    );
    assert_eq!(logical.fingerprint(), plain.fingerprint());
    let marker = Marker::Fingerprint(plain.fingerprint());
    assert_eq!(Framing::SingleObject.split(&marker.header()), Ok((marker, &[][..])));
}

#[test]
fn references_are_where_they_are_first_used() {
    let shipment = event("shipment");
    let form = shipment.canonical_form();
    let first = form.find(r#"{"name":"from","type":{"name":"com.example.shop.Address","type":"record""#);
    assert!(first.is_some() && form.contains(r#"{"name":"to","type":"com.example.shop.Address"}"#), "{form}");
    assert_eq!(form, schema(&form).canonical_form());
    assert_eq!(shipment.fingerprint(), schema(&form).fingerprint());

    let reference = r#"{"type": "record", "name": "n.A", "fields": [{"name": "x", "type": "int"}]}"#;
    let other = reference.replace("int", "long");
    let of = |text: &str, references: &[&str]| {
        let references = references.iter().map(|it| (*it).to_owned()).collect();
        Schema::parse(&SchemaText { text: text.to_owned(), references })
    };
    assert_eq!(of("\"n.A\"", &[reference]).unwrap().name(), "n.A");
    // As registries answer where a subject repeats what it refers to.
    assert!(of(reference, &[reference]).is_ok());
    assert_eq!(of(&other, &[reference]).unwrap_err(), SchemaError::Redefined("n.A".to_owned()));
    assert_eq!(of(reference, &[&other]).unwrap_err(), SchemaError::Redefined("n.A".to_owned()));
    assert_eq!(of("\"n.B\"", &[reference]).unwrap_err(), SchemaError::Undefined("n.B".to_owned()));
    assert_eq!(of("\"<kafka-bridge>\"", &[]).unwrap_err(), SchemaError::Undefined("<kafka-bridge>".to_owned()));
    assert!(of("\"n.A\"", &[reference, reference]).is_ok());
    for wrong in ["\"string\"", "[]", "{}", r#"{"name": "n.A", "type": {"name": "n.B", "type": "fixed", "size": 1}}"#] {
        assert!(matches!(of("\"int\"", &[wrong]), Err(SchemaError::Reference { number: 1, .. })), "{wrong}");
    }
}

#[test]
fn what_registries_hold_is_parsed() {
    for text in [
        r#"{"type": "record", "name": "R$Inner", "namespace": "com.my-shop.événement", "fields": []}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "größe-1", "type": "long", "default": "0"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "f", "type": ["null", "int"], "default": 5}]}"#,
        r#"{"type": "enum", "name": "E", "symbols": ["A-B", "1"]}"#,
        r#"{"type": "error", "name": "R", "fields": []}"#,
        r#"{"type": "array", "items": "int", "logicalType": "date"}"#,
        r#"{"type": "string", "logicalType": 7}"#,
        "string",
        "\u{feff}\"long\"",
    ] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
    }
    let registered = parse(r#"{"type": "record", "name": "R$", "namespace": "a-b", "fields": []}"#).unwrap();
    assert_eq!(registered.name(), "a-b.R$");
}

#[test]
fn what_is_no_schema_is_told() {
    let field = |it: &str| format!(r#"{{"type": "record", "name": "R", "fields": [{it}]}}"#);
    for text in [
        "{",
        "7",
        "\"strin\"",
        r#"{"type": "record", "name": "R"}"#,
        r#"{"type": "record", "fields": []}"#,
        r#"{"type": "fixed", "name": "F", "size": -1}"#,
        r#"{"type": "enum", "name": "E", "symbols": ["A", "A"]}"#,
        r#"{"type": "record", "name": "a\"b", "fields": []}"#,
        r#"["int", "int"]"#,
        r#"["int", ["null"]]"#,
        &field("7"),
        &field(r#"{"name": "a", "type": "int"}, {"name": "a", "type": "int"}"#),
        &field(r#"{"name": "a.b", "type": "int"}"#),
        &field(
            r#"{"name": "a", "type": {"type": "fixed", "name": "F", "size": 1}},
                  {"name": "b", "type": {"type": "fixed", "name": "F", "size": 2}}"#,
        ),
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 100000}"#,
        r#"{"type": "fixed", "name": "F", "size": 9223372036854775807}"#,
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    // As deep as its JSON may be, on a small stack; then no deeper.
    let deep = "{\"type\": \"array\", \"items\": ".repeat(120) + "\"int\"" + &"}".repeat(120);
    let parsing = std::thread::Builder::new().stack_size(1 << 20).spawn(move || parse(&deep).is_ok()).unwrap();
    assert!(parsing.join().unwrap());
    let deep = "{\"type\": \"array\", \"items\": ".repeat(200) + "\"int\"" + &"}".repeat(200);
    assert!(matches!(parse(&deep), Err(SchemaError::Json(_))));
}
