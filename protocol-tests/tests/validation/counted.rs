//! What the ledger counts of a checked topic, held against what `kafka-bridge verify` finds.

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::ledger;
use protocol_tests::plant::reword;
use protocol_tests::raw::{Codec, NewRecord};
use serde_json::{Value, json};

use super::events::{Poison, SCHEMA, event};
use super::judge::{Poisoned, until_judged};
use super::poison::{DEAD_LETTERS, LIMIT, LINK, Schemas, TOPIC, config};
use super::verified::{copied, is_clean, verify};
use crate::trial;

const HEAD: i64 = 100;
const STEP: i64 = 50;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("validation", "verify_tells_a_ledger_that_counts_otherwise", told),
        trial("validation", "verify_counts_nothing_that_retention_took", retention),
    ]
}

/// Of three partitions the ledger counts otherwise; of one of these somebody has decided something.
fn told() -> Result<()> {
    let scene = copied(None)?;
    let mut target = scene.target.client();
    let mut decided = None;
    reword(&mut target, LINK, TOPIC, |key, mut value| {
        let add = |value: &mut Value, count: i64| *value = json!(value.as_i64().unwrap_or(0) + count);
        match (key.get("kind"), key["partition"].as_i64()) {
            (None, Some(1)) => add(&mut value["records"], 1),
            (None, Some(2)) => add(&mut value["dead_letters"]["records"], -1),
            (None, Some(3)) => {
                add(&mut value["records"], 1);
                let cluster = &key["source"];
                let key =
                    format!(r#"{{"kind":"decision","source":{cluster},"topic":"{TOPIC}","partition":3,"from":0}}"#);
                let decision = json!({
                    "v": 1, "kind": "truncation", "reason": "known", "next_offset": 0, "topic_id": value["topic_id"],
                    "host": "h", "time_ms": 0,
                });
                decided = Some((key, decision));
            }
            _ => {}
        }
        Some(value)
    })?;
    let (key, decision) = decided.context("the ledger does not know partition 3")?;
    let (key, value) = (Some(key.into_bytes()), Some(serde_json::to_vec(&decision)?));
    let (ledger, decision) = (ledger::topic(LINK), NewRecord { key, value, ..NewRecord::default() });
    // In the partition's lane it counts, and in others for nothing.
    for lane in 0..target.partition_count(&ledger)? {
        target.write(&ledger, lane, Codec::None, vec![decision.clone()])?;
    }

    let (code, report) = verify(&scene.file, &[])?;
    ensure!(code == 1 && report["total"]["missing"] == 0, "exit code {code}: {report:#}");
    for partition in report["partitions"].as_array().context("no partitions")? {
        let number = partition["partition"].as_i64().context("no number")?;
        let is_told = partition["miscounted"].as_str().is_some_and(|it| it.starts_with("the ledger counts"));
        ensure!(is_told == (number == 1 || number == 2), "{number}: {report:#}");
        ensure!(partition["differences"] == json!([]), "{report:#}");
    }
    Ok(())
}

/// Records that went to the dead letters before the first one was copied leave no count behind by which their loss at the
/// source would show.
fn retention() -> Result<()> {
    let cluster = || EmbeddedCluster::start(Settings { upkeep_interval_ms: None, ..Settings::nodes(1) });
    let (one, other) = (cluster()?, cluster()?);
    let (schemas, folder) = (Schemas::start()?, tempfile::tempdir()?);
    let id = schemas.register("events-value", SCHEMA)?;
    let (mut source, mut target) = (one.client(), other.client());
    source.create_topic(TOPIC, 1, 1, &[("retention.ms", "-1")])?;
    let file = config((one.end(), other.end()), &schemas, "").write(folder.path(), "bridge")?;
    let mut bridge = Bridge::run(&file)?;
    let poisoned: Poisoned = (0..HEAD).map(|it| ((TOPIC.to_owned(), 0, it), "enum_index")).collect();
    // Each in transactions of its own: the second is a point of the offset map, which the third writes down.
    for (from, to) in [(0, HEAD), (HEAD, HEAD + STEP), (HEAD + STEP, HEAD + 2 * STEP)] {
        let of = |it: i64| event(id, it, (it < HEAD).then_some(Poison::Symbol));
        source.write(TOPIC, 0, Codec::Lz4, (from..to).map(of).collect())?;
        until_judged((&mut source, &mut target), &[TOPIC], DEAD_LETTERS, &poisoned, LIMIT)
            .with_context(|| bridge.log())?;
    }
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    is_clean(&file, &[], 2 * STEP as usize, HEAD as usize)?;
    ensure!(source.delete_records(TOPIC, 0, HEAD)? == HEAD, "the log start moves");
    is_clean(&file, &[], 2 * STEP as usize, 0)
}
