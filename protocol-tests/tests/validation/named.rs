//! The ways in which a record names its schema, and what becomes of those whose schema cannot be used.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use kafka_bridge::demo::registry::Fault;
use kafka_bridge::registry::Reference;
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::raw::{Isolation, NewRecord};

use super::events::{CHANGED, GROWN, Poison, RULES, SCHEMA, TIME_MS, datum, event, framed, long, record, text};
use super::judge::{Poisoned, letters, until_judged};
use super::poison::{DEAD_LETTERS, LIMIT, Schemas, TOPIC, config};
use super::registries::{Scene, done, grown, poisoned};
use crate::trial;

const KEY: &str =
    r#"{"type": "record", "name": "Key", "namespace": "trial", "fields": [{"name": "id", "type": "string"}]}"#;
const MONEY: &str =
    r#"{"type": "record", "name": "Money", "namespace": "trial", "fields": [{"name": "cents", "type": "long"}]}"#;
const PRICED: &str = r#"{"type": "record", "name": "Priced", "namespace": "trial", "fields": [
    {"name": "price", "type": "trial.Money"},
    {"name": "number", "type": "long"}
]}"#;
/// Named by nobody but records.
const NOWHERE: i32 = 4_242;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("validation", "keys_and_references_are_checked_and_mapped", keys_and_references),
        trial("validation", "single_objects_are_checked_by_their_fingerprint", single_objects),
        trial("validation", "schema_files_name_types_of_others", files),
        trial("validation", "schemas_that_cannot_be_used_say_why", unfit),
        trial("validation", "unknown_schemas_pass_where_the_config_says_so", unknown_passes),
    ]
}

fn priced(number: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    long(&mut bytes, 100 * number);
    long(&mut bytes, number);
    bytes
}

fn key(number: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    text(&mut bytes, format!("key {number}").as_bytes());
    bytes
}

fn keyed(number: i64, key: Vec<u8>, value: Vec<u8>) -> NewRecord {
    NewRecord { timestamp: TIME_MS + number, key: Some(key), value: Some(value), ..NewRecord::default() }
}

fn keys_and_references() -> Result<()> {
    const COUNT: i64 = 20;
    const BAD_KEY: i64 = 5;
    const BAD_VALUE: i64 = 9;
    let scene = Scene::new(1)?;
    let at_target = Schemas::start()?;
    // So that each schema has another id there.
    for number in 0..5 {
        at_target.register("others", &format!(r#"{{"type": "fixed", "name": "Other", "size": {}}}"#, number + 1))?;
    }
    let money = Reference { name: "trial.Money".to_owned(), subject: "money".to_owned(), version: 1 };
    scene.schemas.register("money", MONEY)?;
    let key_id = scene.schemas.register("events-key", KEY)?;
    let value_id = scene.schemas.register_with("events-value", PRICED, std::slice::from_ref(&money))?;
    let lines = "key_schema = \"registry:{topic}-key\"\nschema_ids = \"map\"\n";
    let mut config = config((scene.source.end(), scene.target.end()), &scene.schemas, lines);
    config.target.extra += &at_target.lines();
    let bridge = Bridge::run(&config.write(scene.folder.path(), "bridge")?)?;
    let of = |number: i64| {
        let (mut key, mut value) = (framed(key_id, &key(number)), framed(value_id, &priced(number)));
        match number {
            BAD_KEY => drop(key.pop()),
            BAD_VALUE => value.push(0),
            _ => {}
        }
        keyed(number, key, value)
    };
    scene.write(0, (0..COUNT).map(of).collect())?;
    let start = Instant::now();
    while scene.copied(0)? < (COUNT - 2) as usize {
        ensure!(start.elapsed() < LIMIT, "{} records are copied:\n{}", scene.copied(0)?, bridge.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    // Who registers what is there already gets the id that it has.
    let mapped_key = at_target.register("events-key", KEY)?;
    let mapped_value = at_target.register_with("events-value", PRICED, &[money])?;
    ensure!(at_target.register("money", MONEY)? < mapped_value, "what a schema names was not registered before it");
    ensure!(mapped_key != key_id && mapped_value != value_id, "both registries have the same ids");
    let copied = scene.target.client().read(TOPIC, 0, Isolation::ReadCommitted)?;
    let expected = (0..COUNT).filter(|it| ![BAD_KEY, BAD_VALUE].contains(it));
    for (copy, number) in copied.iter().zip(expected) {
        let wanted = (Some(framed(mapped_key, &key(number))), Some(framed(mapped_value, &priced(number))));
        ensure!((&copy.key, &copy.value) == (&wanted.0, &wanted.1), "{copy:?} is not {number}");
    }
    let letters = letters(&mut scene.target.client(), DEAD_LETTERS)?;
    let found: BTreeMap<_, _> = letters
        .iter()
        .map(|it| Ok((it.place()?.2, (it.header("reason").to_owned(), it.header("part").to_owned()))))
        .collect::<Result<_>>()?;
    let wanted = [(BAD_KEY, ("truncated", "key")), (BAD_VALUE, ("trailing_bytes", "value"))];
    let wanted = wanted.map(|(at, (reason, part))| (at, (reason.to_owned(), part.to_owned()))).into();
    ensure!(found == wanted, "dead letters: {found:?}");
    done(bridge)
}

fn single_objects() -> Result<()> {
    const LETTERS: &str = "odd-ones";
    let scene = Scene::new(1)?;
    std::fs::write(scene.folder.path().join("event.avsc"), SCHEMA)?;
    let mut config = config((scene.source.end(), scene.target.end()), &scene.schemas, "");
    config.source.extra = String::new();
    config.topics_extra = "value_schema = \"event.avsc\"\nframing = \"single_object\"\n".to_owned();
    config.delivery += &format!("dead_letter_topic = {LETTERS:?}\n");
    let bridge = Bridge::run(&config.write(scene.folder.path(), "bridge")?)?;
    let marked = |schema: &str, datum: &[u8]| -> Result<Vec<u8>> {
        let fingerprint = Schema::parse_str(schema)?.fingerprint::<Rabin>();
        Ok([&[0xc3, 0x01][..], &fingerprint.bytes, datum].concat())
    };
    let mut values = (0..5).map(|it| marked(SCHEMA, &datum(it, None))).collect::<Result<Vec<_>>>()?;
    values.push(marked(GROWN, &datum(5, None))?);
    values.push([&[0xc3, 0x02][..], &marked(SCHEMA, &datum(6, None))?[2..]].concat());
    values.push(marked(SCHEMA, &[])?[..9].to_vec());
    values.push(marked(SCHEMA, &datum(8, Some(Poison::Branch)))?);
    values.push(marked(SCHEMA, &datum(9, None))?);
    scene.write(0, (0..).zip(values).map(|(number, value)| record(number, Some(value))).collect())?;
    let reasons = ["other_schema", "framing_magic", "framing_too_short", "union_index"];
    let expected = (5..).zip(reasons).map(|(at, reason)| poisoned(0, at, reason)).collect();
    let (mut source, mut target) = (scene.source.client(), scene.target.client());
    until_judged((&mut source, &mut target), &[TOPIC], LETTERS, &expected, LIMIT).with_context(|| bridge.log())?;
    ensure!(!target.topic_names()?.contains(&DEAD_LETTERS.to_owned()), "there is another topic of dead letters too");
    done(bridge)
}

fn files() -> Result<()> {
    let scene = Scene::new(1)?;
    std::fs::write(scene.folder.path().join("money.avsc"), MONEY)?;
    std::fs::write(scene.folder.path().join("priced.avsc"), PRICED)?;
    let mut config = config((scene.source.end(), scene.target.end()), &scene.schemas, "");
    config.source.extra = String::new();
    config.topics_extra = "value_schema = \"priced.avsc\"\nreferences = [\"money.avsc\"]\n".to_owned();
    let bridge = Bridge::run(&config.write(scene.folder.path(), "bridge")?)?;
    let of = |it: i64| record(it, Some([priced(it), if it == 7 { vec![0] } else { vec![] }].concat()));
    scene.write(0, (0..10).map(of).collect())?;
    let expected = Poisoned::from([poisoned(0, 7, "trailing_bytes")]);
    scene.until_judged(&expected).with_context(|| bridge.log())?;
    done(bridge)
}

fn unfit() -> Result<()> {
    let scene = Scene::new(1)?;
    let at_target = Schemas::start()?;
    let id = scene.schemas.register("events-value", SCHEMA)?;
    let lines = format!("{RULES}schema_ids = \"map\"\n");
    let mut config = config((scene.source.end(), scene.target.end()), &scene.schemas, &lines);
    config.target.extra += &at_target.lines();
    let bridge = Bridge::run(&config.write(scene.folder.path(), "bridge")?)?;
    scene.write(0, vec![event(id, 0, None)])?;
    // The first schema of both registries has the same id: its record is the same at both ends.
    scene.until_judged(&Poisoned::new()).with_context(|| bridge.log())?;
    let changed = scene.schemas.register("events-value", CHANGED)?;
    let refused = scene.schemas.register("events-value", GROWN)?;
    at_target.server.fail("/subjects/", Fault::Status(409, 409));
    scene.schemas.server.fail(
        &format!("/schemas/ids/{NOWHERE}"),
        Fault::Body(br#"{"schema": "syntax", "schemaType": "PROTOBUF"}"#.to_vec()),
    );
    let records = vec![
        record(1, Some(framed(changed, b"\x02x"))),
        grown(refused, 2),
        event(NOWHERE, 3, None),
        event(id, 4, None),
    ];
    scene.write(0, records)?;
    let reasons = ["rule_path", "unmapped_schema", "unusable_schema"];
    let expected = (1..).zip(reasons).map(|(at, reason)| poisoned(0, at, reason)).collect();
    scene.until_judged(&expected).with_context(|| bridge.log())?;
    done(bridge)
}

fn unknown_passes() -> Result<()> {
    let scene = Scene::new(1)?;
    let id = scene.schemas.register("events-value", SCHEMA)?;
    let bridge = scene.bridge("on_unknown_schema = \"pass_unchecked\"\n")?;
    let records = vec![
        event(id, 0, None),
        event(NOWHERE, 1, Some(Poison::Cut)),
        event(id, 2, Some(Poison::Cut)),
        event(id, 3, None),
    ];
    scene.write(0, records)?;
    let expected = Poisoned::from([poisoned(0, 2, "truncated")]);
    scene.until_judged(&expected).with_context(|| bridge.log())?;
    done(bridge)
}
