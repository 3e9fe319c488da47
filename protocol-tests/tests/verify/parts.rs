//! Comparisons of a part: from an offset or a time on, and of a sample.

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::pair::{differences, until_none};
use protocol_tests::raw::{Codec, NewRecord};
use serde_json::Value;

use super::recorded::{TOPIC, config, write};
use super::{LIMIT, verify};
use crate::trial;

/// Each is more than a step of the offset map, so that a point lies between.
const STRETCH: i64 = 5_000;
const RECORDS: i64 = 5 * STRETCH;
const FROM: i64 = 4 * STRETCH;
/// Of record `FROM`: one each ms.
const FROM_TIME: &str = "2023-11-14T22:13:40Z";

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("verify", "compares_a_part_where_it_is_told", parts)]
}

fn records(report: &Value) -> Result<i64> {
    report["total"]["records"].as_i64().context("no count")
}

fn parts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (one, other) = (EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?);
    let (mut source, mut target) = (one.client(), other.client());
    source.create_topic(TOPIC, 1, 1, &[("retention.ms", "-1")])?;
    let file = config(&one, &other, TOPIC).write(folder.path(), "bridge")?;
    let mut bridge = Bridge::run(&file)?;
    let topics = [TOPIC.to_owned()];
    // A transaction each, at least: points of the map are beginnings of transactions.
    for from in (0..RECORDS).step_by(STRETCH as usize) {
        write(&mut source, from, from + STRETCH)?;
        until_none(LIMIT, || differences(&mut source, &mut target, &topics)).with_context(|| bridge.log())?;
    }
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());

    let (offset, time) = (FROM.to_string(), FROM_TIME.to_owned());
    for from in [&offset, &time] {
        let (code, report) = verify(&file, &["--from", from])?;
        let began = report["partitions"][0]["source_from"].as_i64().context("no offset")?;
        ensure!(code == 0 && (FROM - STRETCH..=FROM).contains(&began), "--from {from} exits with {code}: {report:#}");
        ensure!(records(&report)? == RECORDS - began && report["total"]["unknown"] == 0, "{report:#}");
    }
    for _ in 0..5 {
        let (code, report) = verify(&file, &["--sample", "1%"])?;
        ensure!(code == 0 && (1..RECORDS).contains(&records(&report)?), "exit code {code}: {report:#}");
    }
    let (code, report) = verify(&file, &["--sample", "100%"])?;
    ensure!(code == 0 && records(&report)? == RECORDS, "exit code {code}: {report:#}");

    // Each of them sees what is wrong in its part.
    target.write(TOPIC, 0, Codec::None, vec![NewRecord::default()])?;
    for more in [["--from", &offset], ["--from", &time], ["--sample", "100%"]] {
        let (code, report) = verify(&file, &more)?;
        ensure!(code == 1 && report["total"]["phantom"] == 1, "{more:?}: {report:#}");
    }
    Ok(())
}
