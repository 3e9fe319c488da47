//! What the registry does to a link: outages, slowness, schemas that change, other ids at the target.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use kafka_bridge::demo::registry::Fault;
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::command::Finished;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::raw::{Codec, Isolation};
use tempfile::TempDir;

use super::events::{CHANGED, GROWN, Poison, SCHEMA, datum, event, framed, record};
use super::judge::{Poisoned, letters, until_judged};
use super::poison::{DEAD_LETTERS, LIMIT, Schemas, TOPIC, config};
use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("validation", "a_registry_that_is_down_holds_what_it_must", down_holds),
        trial("validation", "a_registry_that_is_down_lets_pass_where_the_config_says_so", down_passes),
        trial("validation", "schemas_change_in_the_middle_of_a_topic", evolution),
        trial("validation", "noise_that_names_many_schemas_is_bounded", noise),
        trial("validation", "check_tells_of_registries_and_of_the_dead_letters_topic", told_by_check),
        trial("validation", "ids_are_mapped_to_the_targets_registry", mapped),
        trial("validation", "an_invalid_record_stops_its_partition_where_the_config_says_so", stops),
        trial("validation", "a_schema_file_checks_without_a_registry", file),
    ]
}

/// One lane works the first partition and the last: what one waits for must not hold the other.
const PARTITIONS: i32 = 5;
const BESIDE: i32 = 4;

pub(super) struct Scene {
    pub(super) source: EmbeddedCluster,
    pub(super) target: EmbeddedCluster,
    pub(super) schemas: Schemas,
    pub(super) folder: TempDir,
}

impl Scene {
    pub(super) fn new(partitions: i32) -> Result<Scene> {
        let (source, target) =
            (EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?);
        source.client().create_topic(TOPIC, partitions, 1, &[("retention.ms", "-1")])?;
        Ok(Scene { source, target, schemas: Schemas::start()?, folder: tempfile::tempdir()? })
    }

    pub(super) fn bridge(&self, lines: &str) -> Result<Bridge> {
        let config = config((self.source.end(), self.target.end()), &self.schemas, lines);
        let mut bridge = Bridge::run(&config.write(self.folder.path(), "bridge")?)?;
        bridge.process().wait_for_log("all lanes are taken", LIMIT)?;
        Ok(bridge)
    }

    pub(super) fn write(&self, partition: i32, records: Vec<protocol_tests::raw::NewRecord>) -> Result<()> {
        self.source.client().write(TOPIC, partition, Codec::Lz4, records)?;
        Ok(())
    }

    pub(super) fn until_judged(&self, poisoned: &Poisoned) -> Result<()> {
        let (mut source, mut target) = (self.source.client(), self.target.client());
        until_judged((&mut source, &mut target), &[TOPIC], DEAD_LETTERS, poisoned, LIMIT)
    }

    pub(super) fn copied(&self, partition: i32) -> Result<usize> {
        Ok(self.target.client().read(TOPIC, partition, Isolation::ReadCommitted)?.len())
    }
}

pub(super) fn poisoned(partition: i32, offset: i64, reason: &'static str) -> ((String, i32, i64), &'static str) {
    ((TOPIC.to_owned(), partition, offset), reason)
}

pub(super) fn done(mut bridge: Bridge) -> Result<()> {
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    Ok(())
}

/// What it has told goes on; what it has not waits, and no longer than the outage.
fn down_holds() -> Result<()> {
    let scene = Scene::new(PARTITIONS)?;
    let known = scene.schemas.register("events-value", SCHEMA)?;
    let mut bridge = scene.bridge("")?;
    scene.write(0, (0..10).map(|it| event(known, it, None)).collect())?;
    scene.until_judged(&Poisoned::new()).with_context(|| bridge.log())?;
    let new = scene.schemas.register("events-value", GROWN)?;
    scene.schemas.server.fail("/", Fault::Down);
    scene.write(BESIDE, vec![grown(new, 0)])?;
    bridge.process().wait_for_log("wait for it", LIMIT)?;
    scene.write(0, (10..20).map(|it| event(known, it, None)).collect())?;
    let start = std::time::Instant::now();
    while scene.copied(0)? < 20 {
        ensure!(start.elapsed() < LIMIT, "the lane's other partition stands still too:\n{}", bridge.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(scene.copied(BESIDE)? == 0, "a record was copied whose schema nobody knew");
    scene.schemas.server.mend();
    scene.until_judged(&Poisoned::new()).with_context(|| bridge.log())?;
    bridge.process().wait_for_log("answers again", LIMIT)?;
    ensure!(scene.schemas.server.requests("/schemas/ids/") > 2, "the registry was not asked while it was down");
    done(bridge)
}

pub(super) fn grown(id: i32, number: i64) -> protocol_tests::raw::NewRecord {
    let mut bytes = datum(number, None);
    bytes.push(2);
    record(number, Some(framed(id, &bytes)))
}

fn down_passes() -> Result<()> {
    let scene = Scene::new(1)?;
    let id = scene.schemas.register("events-value", SCHEMA)?;
    scene.schemas.server.fail("/", Fault::Status(503, 50003));
    let mut bridge = scene.bridge("on_registry_down = \"pass_unchecked\"\n")?;
    scene.write(0, vec![event(id, 0, None), event(id, 1, Some(Poison::Cut))])?;
    scene.until_judged(&Poisoned::new()).with_context(|| bridge.log())?;
    bridge.process().wait_for_log("records pass unchecked", LIMIT)?;
    scene.schemas.server.mend();
    // It is asked again after a while, and nothing passes unchecked any more.
    let (mut number, start) = (2, std::time::Instant::now());
    while letters(&mut scene.target.client(), DEAD_LETTERS)?.is_empty() {
        ensure!(start.elapsed() < LIMIT, "the registry is back, and still nothing is checked:\n{}", bridge.log());
        scene.write(0, vec![event(id, number, Some(Poison::Cut))])?;
        number += 1;
        std::thread::sleep(Duration::from_millis(500));
    }
    done(bridge)
}

/// A new id and a new field are good; a change that old readers cannot read is not.
fn evolution() -> Result<()> {
    let scene = Scene::new(1)?;
    std::fs::write(scene.folder.path().join("event.avsc"), SCHEMA)?;
    let first = scene.schemas.register("events-value", SCHEMA)?;
    let second = scene.schemas.register("events-value", GROWN)?;
    let changed = scene.schemas.register("events-value", CHANGED)?;
    let other = scene.schemas.register("other-value", "\"string\"")?;
    let late = other + 1;
    let mut bridge = scene.bridge("compatible_with = \"event.avsc\"\non_unknown_schema = \"wait\"\n")?;
    let mut records: Vec<_> = (0..30).map(|it| event(first, it, None)).collect();
    records.extend((30..60).map(|it| grown(second, it)));
    records.push(record(60, Some(framed(changed, b"\x02x"))));
    records.push(record(61, Some(framed(other, b"\x02x"))));
    scene.write(0, records)?;
    let mut expected = Poisoned::from([poisoned(0, 60, "incompatible_schema"), poisoned(0, 61, "other_subject")]);
    scene.until_judged(&expected).with_context(|| bridge.log())?;
    // What nobody has registered yet waits until somebody does.
    scene.write(0, vec![event(late, 62, None), event(late, 63, Some(Poison::Longer))])?;
    bridge.process().wait_for_log("a partition waits for a schema", LIMIT)?;
    ensure!(scene.copied(0)? == 60, "a record was copied whose schema nobody knew");
    let documented = SCHEMA.replace("\"trial\"", "\"trial\", \"doc\": \"the same\"");
    let registered = scene.schemas.register("events-value", &documented)?;
    ensure!(registered == late, "the registry gave the id {registered}");
    expected.extend([poisoned(0, 63, "trailing_bytes")]);
    scene.until_judged(&expected).with_context(|| bridge.log())?;
    done(bridge)
}

/// Each of its ids is a request, and none is a schema: so many are asked for in one batch, and no more.
fn noise() -> Result<()> {
    const ASKED_MAX: i64 = 1_000;
    const NOISE: i64 = 1_500;
    let scene = Scene::new(1)?;
    let id = scene.schemas.register("events-value", SCHEMA)?;
    let bridge = scene.bridge("")?;
    let noise = |it: i64| record(it, Some(framed(1_000_000 + it as i32, b"noise")));
    let mut records: Vec<_> = (0..NOISE).map(noise).collect();
    records.extend((NOISE..NOISE + 10).map(|it| event(id, it, None)));
    // The good one is known by then.
    scene.write(0, vec![event(id, 0, None)])?;
    scene.until_judged(&Poisoned::new()).with_context(|| bridge.log())?;
    scene.write(0, records)?;
    let reason = |it| if it < ASKED_MAX { "unknown_schema" } else { "too_many_schemas" };
    let expected = (0..NOISE).map(|it| poisoned(0, 1 + it, reason(it))).collect();
    scene.until_judged(&expected).with_context(|| bridge.log())?;
    let asked = scene.schemas.server.requests("/schemas/ids/");
    ensure!(asked <= 2 + ASKED_MAX as u64, "the registry was asked {asked} times");
    done(bridge)
}

fn told_by_check() -> Result<()> {
    let scene = Scene::new(1)?;
    scene.target.client().create_topic(DEAD_LETTERS, 4, 1, &[("cleanup.policy", "compact")])?;
    let config = config((scene.source.end(), scene.target.end()), &scene.schemas, "");
    let file = config.write(scene.folder.path(), "bridge")?;
    let notes = || -> Result<(i32, Vec<String>)> {
        let (code, report) = Finished::check(&file, LIMIT)?;
        let all = report["notes"].as_array().cloned().unwrap_or_default();
        Ok((code, all.iter().map(|it| format!("{} {} {}", it["level"], it["name"], it["text"])).collect()))
    };
    let (code, told) = notes()?;
    ensure!(code == 78 && told.iter().any(|it| it.contains("\"refused\" \"dead_letters\"")), "{code}: {told:#?}");
    ensure!(!told.iter().any(|it| it.contains("schema_registry")), "{told:#?}");
    let run = Finished::run(scene.folder.path(), &["run", "--config", &file.to_string_lossy()], LIMIT)?;
    ensure!(run.code == 78 && run.stderr.contains("cleanup.policy=delete"), "{run:?}");
    scene.target.client().alter_topic(DEAD_LETTERS, &[("cleanup.policy", "delete")])?;
    scene.schemas.server.fail("/", Fault::Down);
    let (code, told) = notes()?;
    ensure!(code == 1 && told.iter().any(|it| it.contains("\"stopped\" \"schema_registry\"")), "{code}: {told:#?}");
    scene.schemas.server.mend();
    let (code, told) = notes()?;
    ensure!(code == 0 && !told.iter().any(|it| it.contains("schema_registry")), "{code}: {told:#?}");
    Ok(())
}

fn mapped() -> Result<()> {
    let scene = Scene::new(1)?;
    let at_target = Schemas::start()?;
    // So that the same schema gets another id there.
    at_target.register("something-else", "\"int\"")?;
    at_target.register("something-more", "\"long\"")?;
    let id = scene.schemas.register("events-value", SCHEMA)?;
    let mut config = config((scene.source.end(), scene.target.end()), &scene.schemas, "schema_ids = \"map\"\n");
    config.target.extra += &at_target.lines();
    let mut bridge = Bridge::run(&config.write(scene.folder.path(), "bridge")?)?;
    scene.write(0, (0..50).map(|it| event(id, it, (it == 20).then_some(Poison::Cut))).collect())?;
    let start = std::time::Instant::now();
    while scene.copied(0)? < 49 {
        ensure!(start.elapsed() < LIMIT, "{} of 49 records are copied:\n{}", scene.copied(0)?, bridge.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let mapped = at_target.register("events-value", SCHEMA)?;
    ensure!(mapped != id, "both registries have the same id");
    ensure!(at_target.text(mapped)?.contains("\"Event\""), "the target's registry has something else");
    let written = scene.source.client().read(TOPIC, 0, Isolation::ReadCommitted)?;
    let copied = scene.target.client().read(TOPIC, 0, Isolation::ReadCommitted)?;
    let expected = written.iter().filter(|it| it.offset != 20);
    for (copy, record) in copied.iter().zip(expected) {
        let value = record.value.clone().unwrap_or_default();
        ensure!(copy.value == Some(framed(mapped, &value[5..])), "{copy:?} is not {record:?} under id {mapped}");
        ensure!((&copy.key, &copy.headers, copy.timestamp) == (&record.key, &record.headers, record.timestamp));
    }
    // A dead letter keeps the id that it came with.
    let letters = letters(&mut scene.target.client(), DEAD_LETTERS)?;
    ensure!(letters.len() == 1 && letters[0].record.value == written[20].value, "{} dead letters", letters.len());
    ensure!(letters[0].header("schema-id") == id.to_string());
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    Ok(())
}

fn stops() -> Result<()> {
    let scene = Scene::new(PARTITIONS)?;
    let id = scene.schemas.register("events-value", SCHEMA)?;
    let mut bridge = scene.bridge("on_invalid = \"stop\"\n")?;
    scene.write(0, (0..10).map(|it| event(id, it, None)).collect())?;
    scene.write(0, (10..20).map(|it| event(id, it, (it == 15).then_some(Poison::Symbol))).collect())?;
    scene.write(BESIDE, (0..10).map(|it| event(id, it, None)).collect())?;
    bridge.process().wait_for_log("is not valid", LIMIT)?;
    let start = std::time::Instant::now();
    while scene.copied(BESIDE)? < 10 {
        ensure!(start.elapsed() < LIMIT, "the lane's other partition stands still too:\n{}", bridge.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(scene.copied(0)? == 10, "{} records are copied, 10 come before the batch", scene.copied(0)?);
    ensure!(letters(&mut scene.target.client(), DEAD_LETTERS)?.is_empty(), "a dead letter, where the config says stop");
    let log = bridge.log();
    ensure!(log.contains("offset 15") && log.contains("kind") && log.contains("enum_index"), "{log}");
    ensure!(bridge.terminate(LIMIT)? == 1, "a link with an incident ended well:\n{}", bridge.log());
    // It is found without a bridge too, and not to be passed over: that would leave its batch in neither place.
    let file = scene.folder.path().join("bridge.toml");
    let command = |arguments: &[&str]| {
        let config = ["--config", &file.to_string_lossy()].map(str::to_owned);
        let all: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).chain(config).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        Finished::run(scene.folder.path(), &all, LIMIT)
    };
    let listed = command(&["incidents"])?;
    ensure!(listed.stdout.contains("invalid:events-0:10"), "{listed:?}");
    let accepted = command(&["incidents", "accept", "invalid:events-0:10", "--reason", "no"])?;
    ensure!(accepted.code == 1 && accepted.stderr.contains("on_invalid = \"dead_letter\""), "{accepted:?}");
    let mut bridge = scene.bridge("")?;
    scene.until_judged(&Poisoned::from([poisoned(0, 15, "enum_index")])).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    Ok(())
}

fn file() -> Result<()> {
    let scene = Scene::new(1)?;
    std::fs::write(scene.folder.path().join("event.avsc"), SCHEMA)?;
    let mut config = config((scene.source.end(), scene.target.end()), &scene.schemas, "");
    config.source.extra = String::new();
    config.topics_extra = "value_schema = \"event.avsc\"\n".to_owned();
    let mut bridge = Bridge::run(&config.write(scene.folder.path(), "bridge")?)?;
    let records = (0..20).map(|it| record(it, Some(datum(it, (it % 5 == 4).then_some(Poison::Text))))).collect();
    scene.write(0, records)?;
    let expected = (0..20).filter(|it| it % 5 == 4).map(|it| poisoned(0, it, "utf8")).collect();
    scene.until_judged(&expected).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    ensure!(bridge.log().contains("dead letters: utf8 4"), "the summary does not count them:\n{}", bridge.log());
    Ok(())
}
