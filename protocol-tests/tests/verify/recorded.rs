//! Proofs that are written down and gone on from, comparisons that are stopped, and topics that a cleaner works on.

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::pair::{differences, until_none};
use protocol_tests::raw::{Codec, Isolation, NewRecord, RawClient};
use protocol_tests::workload::Workload;

use super::{LIMIT, verify};
use crate::trial;

pub(super) const TOPIC: &str = "orders";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("verify", "goes_on_from_a_recorded_proof", recorded),
        trial("verify", "knows_everything_that_a_log_can_hold", workload),
    ]
}

pub(super) fn write(source: &mut RawClient, from: i64, to: i64) -> Result<()> {
    let record = |number: i64| NewRecord {
        timestamp: 1_700_000_000_000 + number,
        value: Some(format!("id={number}\n").into_bytes()),
        ..NewRecord::default()
    };
    source.write(TOPIC, 0, Codec::Lz4, (from..to).map(record).collect())?;
    Ok(())
}

pub(super) fn config(source: &EmbeddedCluster, target: &EmbeddedCluster, include: &str) -> Config {
    let mut config = Config::new("orders-dmz", source.end(), target.end(), &[include]);
    config.delivery = "accept_weak = [\"target_min_insync_replicas\"]\n".to_owned();
    config
}

fn recorded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (one, other) = (EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?);
    let (mut source, mut target) = (one.client(), other.client());
    source.create_topic(TOPIC, 1, 1, &[("retention.ms", "-1")])?;
    write(&mut source, 0, 100)?;
    let file = config(&one, &other, TOPIC).write(folder.path(), "bridge")?;
    let mut bridge = Bridge::run(&file)?;
    let topics = [TOPIC.to_owned()];
    until_none(LIMIT, || differences(&mut source, &mut target, &topics)).with_context(|| bridge.log())?;
    let (code, first) = verify(&file, &["--record"])?;
    ensure!(code == 0 && first["recorded"] == 1 && first["total"]["records"] == 100, "{first:#}");
    // The proof disturbs nobody, now and at the next start.
    write(&mut source, 100, 130)?;
    until_none(LIMIT, || differences(&mut source, &mut target, &topics)).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    let mut bridge = Bridge::run(&config(&one, &other, TOPIC).write(folder.path(), "again")?)?;
    bridge.process().wait_for_log("all lanes are taken", LIMIT)?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());

    let (code, next) = verify(&file, &["--since-last", "--record"])?;
    ensure!(code == 0 && next["total"]["records"] == 30 && next["recorded"] == 1, "{next:#}");
    let (code, whole) = verify(&file, &["--record"])?;
    ensure!(code == 0 && whole["total"]["records"] == 130, "{whole:#}");
    let hash = |report: &serde_json::Value| report["partitions"][0]["sha256"].as_str().map(str::to_owned);
    ensure!(hash(&next).is_some() && hash(&next) == hash(&whole) && hash(&next) != hash(&first), "{next:#} {whole:#}");
    let (code, nothing) = verify(&file, &["--since-last"])?;
    ensure!(code == 0 && nothing["total"]["records"] == 0, "{nothing:#}");

    let state = folder.path().join("state.json").to_string_lossy().into_owned();
    let (code, report) = verify(&file, &["--state", &state])?;
    ensure!(code == 0 && report["total"]["records"] == 130, "{report:#}");
    // What was read then is not read again, and still counts.
    let (code, report) = verify(&file, &["--state", &state])?;
    ensure!(code == 0 && report["total"]["records"] == 130, "{report:#}");
    ensure!(report["partitions"][0]["source_from"] == report["partitions"][0]["source_to"], "{report:#}");
    // What the source has deleted cannot be compared, and is no difference.
    source.delete_records(TOPIC, 0, 100)?;
    let (code, report) = verify(&file, &[])?;
    ensure!(code == 0 && report["total"]["unknown"] == 100 && report["total"]["records"] == 30, "{code}: {report:#}");
    // Whoever puts something into the copy afterwards is seen.
    target.write(TOPIC, 0, Codec::None, vec![NewRecord::default()])?;
    for more in [&["--since-last"][..], &["--state", &state], &[]] {
        let (code, report) = verify(&file, more)?;
        ensure!(code == 1 && report["total"]["phantom"] == 1, "{more:?}: {report:#}");
    }
    Ok(())
}

/// Every codec, aborted transactions, LogAppendTime, and a topic that both ends' cleaners work on.
fn workload() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let quiet = || EmbeddedCluster::start(Settings { upkeep_interval_ms: None, ..Settings::nodes(1) });
    let (one, other) = (quiet()?, quiet()?);
    let (mut source, mut target) = (one.client(), other.client());
    let written = Workload::new(7, "data").write(&mut source)?;
    let file = config(&one, &other, "data-*").write(folder.path(), "bridge")?;
    let mut bridge = Bridge::run(&file)?;
    until_none(LIMIT, || differences(&mut source, &mut target, &written.topics)).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    let (code, report) = verify(&file, &[])?;
    ensure!(code == 0 && report["total"]["superseded"] == 0, "exit code {code}: {:#}", report["total"]);
    let before = source.read("data-compacted", 0, Isolation::ReadCommitted)?.len();
    one.with(|cluster, now_ms| cluster.run_upkeep(now_ms));
    let after = source.read("data-compacted", 0, Isolation::ReadCommitted)?.len();
    ensure!(after < before, "the cleaner took nothing: {after} of {before}");
    let (code, report) = verify(&file, &[])?;
    let total = &report["total"];
    ensure!(code == 0 && total["superseded"].as_i64() > Some(0), "exit code {code}: {report:#}");
    println!("{total:#}");
    Ok(())
}
