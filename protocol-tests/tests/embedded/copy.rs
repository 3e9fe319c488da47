//! The fidelity workload, copied over mutual TLS between two embedded clusters.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kafka_bridge::broker::{Fault, Loss, Rule, RuleId, Settings};
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::pair::differences;
use protocol_tests::raw::{Isolation, RawClient};
use protocol_tests::workload::{Workload, Written};

use crate::trial;

const SEED: u64 = 20_261_124;
const LIMIT: Duration = Duration::from_secs(120);
/// Whatever the speed, more than the ten transactions whose answers are to be lost.
const SMALL_TRANSACTIONS: &str = "transaction_bytes_max = 1_048_576\n";
const POLL: Duration = Duration::from_millis(100);
const ACCEPT_WEAK: &str = "accept_weak = [\"target_min_insync_replicas\"]\n";
const PRODUCE: i16 = 0;
const END_TXN: i16 = 26;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("embedded", "copies_the_workload", || copies(Settings::nodes(1), Settings::nodes(1), &[])),
        trial("embedded", "copies_the_workload_to_protocol_v1", || {
            copies(Settings::nodes(3), Settings::nodes(1).like_3_9(), &[])
        }),
        trial("embedded", "copies_the_workload_through_lost_answers", || {
            let lost = |api, skip| Rule::new(api, Fault::LoseAnswer(Loss::Close)).client_id("kafka-bridge").skip(skip);
            let rules = [lost(END_TXN, 2), lost(PRODUCE, 5), lost(END_TXN, 9)];
            copies(Settings::nodes(1), Settings::nodes(3), &rules)
        }),
        trial("embedded", "the_checker_sees_a_record_that_was_lost", || {
            let cluster = EmbeddedCluster::start(settings(Settings::nodes(1)))?;
            let (mut whole, mut short) = (cluster.client(), cluster.client());
            let written = Workload { compacted: false, ..Workload::new(SEED, "data") }.write(&mut whole)?;
            ensure!(differences(&mut whole, &mut short, &written.topics)?.is_empty(), "a cluster equals itself");
            let other = EmbeddedCluster::start(settings(Settings::nodes(1)))?;
            let mut short = other.client();
            Workload { compacted: false, ..Workload::new(SEED, "data") }.write(&mut short)?;
            other.with(|cluster, _| cluster.truncate("data-none", 0, 1))?;
            ensure!(!differences(&mut whole, &mut short, &written.topics)?.is_empty(), "the loss was not seen");
            Ok(())
        }),
        trial("embedded", "a_bridge_has_no_huge_pages", ordinary_pages),
    ]
}

/// They are a third of the memory of a copy, whatever the machine's setting is.
fn ordinary_pages() -> Result<()> {
    let has_them = |process: &str| -> Result<bool> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|it| it.strip_prefix("THP_enabled:"));
        Ok(line.context("the kernel does not tell")?.trim() == "1")
    };
    ensure!(has_them("self")?, "they are off for every process here, so a bridge without them shows nothing");
    let folder = tempfile::tempdir()?;
    let (source, target) = (EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?);
    source.client().create_topic("orders", 1, 1, &[("retention.ms", "-1")])?;
    let mut config = Config::new("orders-dmz", source.end(), target.end(), &["orders"]);
    config.delivery = ACCEPT_WEAK.to_owned();
    let mut bridge = Bridge::run(&config.write(folder.path(), "bridge")?)?;
    bridge.process().wait_for_log("all lanes are taken", LIMIT)?;
    ensure!(!has_them(&bridge.id().to_string())?, "the kernel may back its memory with huge pages");
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    Ok(())
}

/// The cleaner comes when it is called: a log that is compacted while it is compared equals nothing.
fn settings(settings: Settings) -> Settings {
    Settings { upkeep_interval_ms: None, ..settings }
}

fn copies(source: Settings, target: Settings, faults: &[Rule]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (source, target) = (EmbeddedCluster::start(settings(source))?, EmbeddedCluster::start(settings(target))?);
    let (mut at_source, mut at_target) = (source.client(), target.client());
    let written = Workload::new(SEED, "data").write(&mut at_source)?;
    let before = at_source.read("data-compacted", 0, Isolation::ReadUncommitted)?.len();
    source.with(|cluster, now_ms| cluster.run_upkeep(now_ms));
    let after = at_source.read("data-compacted", 0, Isolation::ReadUncommitted)?.len();
    ensure!(after < before, "the compacted topic has no holes: {after} of {before} records are left");
    let rules: Vec<RuleId> =
        target.with(|cluster, _| faults.iter().map(|rule| cluster.add_rule(rule.clone())).collect());
    let mut config = Config::new("orders-dmz", source.end(), target.end(), &["data-*"]);
    config.delivery = ACCEPT_WEAK.to_owned();
    if !faults.is_empty() {
        config.delivery += SMALL_TRANSACTIONS;
    }
    let mut bridge = Bridge::run(&config.write(folder.path(), "bridge")?)?;
    let copied = until_equal(&mut bridge, &mut at_source, &mut at_target, &written);
    copied.with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    at_target.no_transaction_hangs(&written.topics)?;
    for rule in rules {
        ensure!(target.with(|cluster, _| cluster.struck(rule)) == 1, "a fault never happened");
    }
    // A second start finds everything done.
    let before = at_target.quiet(&written.topics)?;
    let mut again = Bridge::run(&config.write(folder.path(), "again")?)?;
    again.process().wait_for_log("all lanes are taken", LIMIT)?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(again.terminate(LIMIT)? == 0, "the second run did not end well:\n{}", again.log());
    ensure!(before == at_target.quiet(&written.topics)?, "the second run wrote something");
    Ok(())
}

fn until_equal(bridge: &mut Bridge, source: &mut RawClient, target: &mut RawClient, written: &Written) -> Result<()> {
    let start = Instant::now();
    loop {
        let found = differences(source, target, &written.topics);
        ensure!(bridge.process().exit_code()?.is_none(), "the bridge has ended");
        match found {
            Ok(found) if found.is_empty() => return Ok(()),
            Ok(found) if start.elapsed() > LIMIT => {
                let shown: Vec<_> = found.iter().take(8).map(ToString::to_string).collect();
                bail!("{} differences after {LIMIT:?}: {}", found.len(), shown.join("; "));
            }
            Err(error) if start.elapsed() > LIMIT => return Err(error).context("the copy cannot be read"),
            Ok(_) | Err(_) => std::thread::sleep(POLL),
        }
    }
}
