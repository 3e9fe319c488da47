//! `kafka-bridge dead-letters`: what is listed and shown is what was written.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::command::Finished;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::raw::Codec;
use serde_json::{Value, json};

use super::events::{POISON, Poison, RULES, SCHEMA, event};
use super::judge::{Poisoned, until_judged};
use super::poison::{DEAD_LETTERS, LIMIT, Schemas, TOPIC, config};
use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("validation", "dead_letters_are_listed_and_shown", listed_and_shown)]
}

fn command(file: &Path, arguments: &[&str]) -> Result<Finished> {
    let folder = file.parent().context("a config is in a folder")?;
    let name = file.to_string_lossy();
    Finished::run(folder, &[&["dead-letters"], arguments, &["--config", &name]].concat(), LIMIT)
}

fn answer(file: &Path, arguments: &[&str]) -> Result<Value> {
    let done = command(file, &[arguments, &["--json"]].concat())?;
    ensure!(done.code == 0, "{done:?}");
    serde_json::from_str(&done.stdout).with_context(|| format!("no report: {done:?}"))
}

fn listed_and_shown() -> Result<()> {
    let (source, target) = (EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?);
    let (schemas, folder) = (Schemas::start()?, tempfile::tempdir()?);
    let id = schemas.register("events-value", SCHEMA)?;
    source.client().create_topic(TOPIC, 1, 1, &[("retention.ms", "-1")])?;
    let file = config((source.end(), target.end()), &schemas, RULES).write(folder.path(), "bridge")?;
    // Before the bridge has run, there are none.
    ensure!(answer(&file, &["list"])?["total"] == 0);
    let poison = |number: i64| usize::try_from(number).ok().and_then(|it| POISON.get(it)).map(|it| it.0);
    source.client().write(TOPIC, 0, Codec::Lz4, (0..20).map(|it| event(id, it, poison(it))).collect())?;
    let poisoned: Poisoned = (0..).zip(POISON).map(|(at, it)| ((TOPIC.to_owned(), 0, at), it.1)).collect();
    let mut bridge = Bridge::run(&file)?;
    until_judged((&mut source.client(), &mut target.client()), &[TOPIC], DEAD_LETTERS, &poisoned, LIMIT)
        .with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());

    let report = answer(&file, &["list"])?;
    let letters = report["letters"].as_array().context("no letters")?;
    ensure!(report["total"] == 10 && letters.len() == 10 && report["others"] == 0, "{report:#}");
    for (letter, (at, (_, reason))) in letters.iter().zip((0..).zip(POISON)) {
        ensure!(letter["offset"] == at && letter["reason"] == reason && letter["topic"] == TOPIC, "{letter:#}");
        ensure!(report["by_reason"][reason] == 1, "{report:#}");
        let shown = answer(&file, &["show", letter["id"].as_str().context("no id")?])?;
        ensure!(shown["error"] == letter["error"] && shown["timestamp_ms"] == super::events::TIME_MS + at, "{shown:#}");
        ensure!(shown["key"]["text"] == format!("key {at}"), "{shown:#}");
        let headers = json!([at.to_string(), Value::Null]);
        let found: Vec<_> = (0..2).map(|it| shown["headers"][it]["value"]["text"].clone()).collect();
        ensure!(json!(found) == headers && shown["headers"].as_array().is_some_and(|it| it.len() == 2), "{shown:#}");
        let is_decoded = shown["value"]["json"].is_object();
        // What breaks a rule alone can be decoded; of the rest it is said how far.
        ensure!(
            is_decoded == (reason == "rule_range") && shown["value"]["fault"].is_string() != is_decoded,
            "{shown:#}"
        );
        if is_decoded {
            ensure!(shown["value"]["json"]["quantity"] == 101 && shown["value"]["schema_id"] == id, "{shown:#}");
        }
    }
    let one = answer(&file, &["list", "--reason", "utf8"])?;
    ensure!(one["total"] == 1 && one["letters"][0]["path"] == "name", "{one:#}");
    let newest = answer(&file, &["list", "--count", "3"])?;
    ensure!(
        newest["letters"].as_array().is_some_and(|it| it[..] == letters[7..]) && newest["total"] == 10,
        "{newest:#}"
    );
    ensure!(answer(&file, &["list", "--topic", "other"])?["total"] == 0);
    ensure!(answer(&file, &["list", "--since", "2999-01-01T00:00:00Z"])?["total"] == 0);

    let text = command(&file, &["list"])?.stdout;
    ensure!(text.contains("events-0@5  utf8  value name") && text.contains("total  10"), "{text}");
    let shown = command(&file, &["show", one["letters"][0]["id"].as_str().context("no id")?])?.stdout;
    ensure!(shown.contains("reason     utf8: value, name") && shown.contains("cannot be decoded: name:"), "{shown}");
    for (wrong, code) in [("x", 2), ("0--1", 2), ("77-0", 1), ("0-99999", 1)] {
        ensure!(command(&file, &["show", wrong])?.code == code, "{wrong}");
    }
    ensure!(Poison::Text == POISON[5].0, "the sixth is the text");
    Ok(())
}
