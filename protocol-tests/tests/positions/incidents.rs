//! A gap that an operator accepts: beside a bridge that runs, and while none does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::{Fault, Rule};
use kafka_protocol::ResponseError;
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::{Pair, differences, until_none};
use protocol_tests::raw::{Codec, Isolation, NewRecord, RawClient};

use super::{LIMIT, LINK, Stage, command};
use crate::{real, trial};

const TOPIC: &str = "orders";
const REASON: &str = "known, ticket 4711";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("positions", "an_accepted_gap_is_gone_past", || {
            let stage = Stage::new()?;
            let file = stage.config(&[TOPIC]).write(stage.folder.path(), "bridge")?;
            accepts(&mut stage.source.client(), &mut stage.target.client(), &file)
        }),
        trial("positions", "a_ledger_that_stays_open_is_told_of", stays_open),
        trial("positions", "a_decision_that_cannot_be_written_is_none", cannot_be_written),
        real("positions", "kafka_4_4_0_to_3_9_2_an_accepted_gap_is_gone_past", &["4.4.0", "3.9.2"], || {
            let pair = Pair::start(Spec::kraft("4.4.0"), Spec::kraft("3.9.2"))?;
            let file = pair.config(LINK, &[TOPIC]).write(pair.folder(), "bridge")?;
            accepts(&mut pair.source.client(), &mut pair.target.client(), &file)
        }),
    ]
}

fn write(source: &mut RawClient, partition: i32, count: i64) -> Result<()> {
    let record = |number: i64| NewRecord {
        timestamp: 1_700_000_000_000,
        value: Some(format!("id={partition}-{}-{number}\n", fastrand::u64(..)).into_bytes()),
        ..NewRecord::default()
    };
    source.write(TOPIC, partition, Codec::None, (0..count).map(record).collect())?;
    Ok(())
}

fn read(client: &mut RawClient, partition: i32) -> Result<Vec<Option<Vec<u8>>>> {
    Ok(client.read(TOPIC, partition, Isolation::ReadCommitted)?.into_iter().map(|it| it.value).collect())
}

/// 20 records are copied, 20 to 24 are gone before anybody has read them; no bridge runs.
fn with_a_gap(stage: &Stage) -> Result<PathBuf> {
    let (mut source, mut target) = (stage.source.client(), stage.target.client());
    let file = stage.config(&[TOPIC]).write(stage.folder.path(), "bridge")?;
    source.create_topic(TOPIC, 1, 1, &[("retention.ms", "-1")])?;
    write(&mut source, 0, 20)?;
    let mut bridge = Bridge::run(&file)?;
    until(&mut target, 0, 20).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    write(&mut source, 0, 10)?;
    source.delete_records(TOPIC, 0, 25)?;
    Ok(file)
}

/// A right that is missing, a target that is gone: each has its code, and decides nothing.
fn cannot_be_written() -> Result<()> {
    const INIT_PRODUCER_ID: i16 = 22;
    const PRODUCE: i16 = 0;
    let stage = Stage::new()?;
    let file = with_a_gap(&stage)?;
    let accept = ["accept", "retention:orders-0:20", "--reason", REASON];
    for (api, error) in [
        (INIT_PRODUCER_ID, ResponseError::TransactionalIdAuthorizationFailed),
        (PRODUCE, ResponseError::TopicAuthorizationFailed),
    ] {
        let refusal = Rule::new(api, Fault::Refuse(error)).times(u64::MAX);
        let rule = stage.target.with(|cluster, _| cluster.add_rule(refusal));
        let refused = command("incidents", &file, &accept, 77)?;
        ensure!(refused.as_str().is_some_and(|it| it.contains("AuthorizationFailed")), "{refused:#}");
        let struck = stage.target.with(|cluster, _| {
            cluster.end_rule(rule);
            cluster.struck(rule)
        });
        ensure!(struck > 0, "API {api} was not refused");
        let found = command("incidents", &file, &[], 1)?;
        ensure!(found["decisions"].as_array().is_some_and(Vec::is_empty), "{found:#}");
    }
    let mut gone = stage.config(&[TOPIC]);
    // Nobody listens there.
    gone.target.bootstrap = vec!["localhost:1".to_owned()];
    let refused = command("incidents", &gone.write(stage.folder.path(), "gone")?, &accept, 69)?;
    ensure!(refused.as_str().is_some_and(|it| it.contains("target")), "{refused:#}");

    let accepted = command("incidents", &file, &accept, 0)?;
    ensure!(accepted["from_offset"] == 20 && accepted["next_offset"] == 25, "{accepted:#}");
    Ok(())
}

/// Somebody else's transaction in the ledger: no end of waiting, and nothing decided.
fn stays_open() -> Result<()> {
    let stage = Stage::new()?;
    let file = with_a_gap(&stage)?;
    let mut target = stage.target.client();
    let ledger = protocol_tests::ledger::topic(LINK);
    let mut other = target.producer(Some("somebody"))?;
    for lane in 0..target.partition_count(&ledger)? {
        let record = NewRecord { key: Some(b"other".to_vec()), ..NewRecord::default() };
        other.send(&mut target, &ledger, lane, Codec::None, vec![record])?;
    }
    let accept = ["accept", "retention:orders-0:20", "--reason", REASON];
    let refused = command("incidents", &file, &accept, 1)?;
    ensure!(refused.as_str().is_some_and(|it| it.contains("cannot be read to its end")), "{refused:#}");
    other.abort(&mut target)?;
    let accepted = command("incidents", &file, &accept, 0)?;
    ensure!(accepted["from_offset"] == 20 && accepted["next_offset"] == 25, "{accepted:#}");
    Ok(())
}

fn accepts(source: &mut RawClient, target: &mut RawClient, file: &Path) -> Result<()> {
    source.create_topic(TOPIC, 2, 1, &[("retention.ms", "-1")])?;
    write(source, 0, 20)?;
    write(source, 1, 20)?;
    let topics = [TOPIC.to_owned()];
    let mut bridge = Bridge::run(file)?;
    until_none(LIMIT, || differences(source, target, &topics)).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    let nothing = command("incidents", file, &[], 0)?;
    ensure!(nothing["incidents"].as_array().is_some_and(Vec::is_empty), "{nothing:#}");

    // 20 to 24 of partition 0 are gone before anybody has read them.
    write(source, 0, 10)?;
    source.delete_records(TOPIC, 0, 25)?;
    let mut bridge = Bridge::run(file)?;
    bridge.process().wait_for_log("incident: ", LIMIT)?;
    let found = command("incidents", file, &[], 1)?;
    let incident = &found["incidents"][0];
    let id = incident["id"].as_str().context("no id")?.to_owned();
    ensure!(id == "retention:orders-0:20" && incident["resume_at"] == 25, "{found:#}");
    ensure!(incident["first_lost"] == 20 && incident["last_lost"] == 24, "{found:#}");
    let other = command("incidents", file, &["accept", "retention:orders-0:19", "--reason", REASON], 1)?;
    ensure!(other.as_str().is_some_and(|it| it.contains("no such incident")), "{other:#}");

    // Beside the bridge that has stopped the partition.
    let accepted = command("incidents", file, &["accept", &id, "--reason", REASON], 0)?;
    ensure!(accepted["from_offset"] == 20 && accepted["next_offset"] == 25, "{accepted:#}");
    let rest = read(source, 0)?;
    ensure!(rest.len() == 5, "{} records are left", rest.len());
    until(target, 0, 25).with_context(|| bridge.log())?;
    ensure!(read(target, 0)?[20..] == rest[..], "the copy went on with something else");
    // It still owns the lane, and what comes later is copied too.
    write(source, 0, 3)?;
    write(source, 1, 3)?;
    until(target, 0, 28).with_context(|| bridge.log())?;
    until(target, 1, 23).with_context(|| bridge.log())?;
    ensure!(!bridge.log().contains("taken over"), "{}", bridge.log());
    bridge.terminate(LIMIT)?;
    let found = command("incidents", file, &[], 0)?;
    let decision = &found["decisions"][0];
    ensure!(decision["reason"] == REASON && decision["from_offset"] == 20, "{found:#}");
    let proved = command("verify", file, &[], 0)?;
    ensure!(proved["total"]["missing"] == 0, "{proved:#}");

    // While no bridge runs; the next one begins with it.
    write(source, 1, 10)?;
    source.delete_records(TOPIC, 1, 30)?;
    command("incidents", file, &["accept", "retention:orders-1:23", "--reason", REASON], 0)?;
    let mut bridge = Bridge::run(file)?;
    until(target, 1, 26).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    ensure!(read(target, 1)?[23..] == read(source, 1)?[..], "the copy went on with something else");
    let row = command("positions", file, &["translate", "--topic", TOPIC, "--partition", "1", "--offset", "31"], 0)?;
    let expected = target.read(TOPIC, 1, Isolation::ReadCommitted)?[24].offset;
    ensure!(row["target_offset"] == expected, "{row:#}, not {expected}");
    Ok(())
}

pub(super) fn until(target: &mut RawClient, partition: i32, count: usize) -> Result<()> {
    let start = std::time::Instant::now();
    loop {
        let found = read(target, partition)?.len();
        if found >= count {
            ensure!(found == count, "{found} records of partition {partition} instead of {count}");
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "{found} records of partition {partition} after {LIMIT:?}, {count} are due");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
