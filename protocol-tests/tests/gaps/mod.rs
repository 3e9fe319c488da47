//! Gap or stop: what the source lost, or the ledger does not explain, stops its partition and no other.

mod ledger;
mod running;
mod stopped;
mod truncated;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::compare::ID_MARK;
use protocol_tests::raw::{Codec, Isolation, NewRecord, RawClient};

const LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// A topic whose old records stay.
const KEPT: [(&str, &str); 1] = [("retention.ms", "-1")];
const HOUR_MS: i64 = 3_600_000;

pub(super) fn trials() -> Vec<Trial> {
    [ledger::trials(), running::trials(), stopped::trials(), truncated::trials()].into_iter().flatten().collect()
}

/// Records named by their numbers, which are their offsets as long as no transaction writes to the partition; one batch.
fn write(client: &mut RawClient, topic: &str, partition: i32, numbers: std::ops::Range<i64>) -> Result<()> {
    write_aged(client, topic, partition, numbers, HOUR_MS)
}

fn write_aged(
    client: &mut RawClient,
    topic: &str,
    partition: i32,
    numbers: std::ops::Range<i64>,
    age_ms: i64,
) -> Result<()> {
    client.write(topic, partition, Codec::Zstd, records(numbers, age_ms)?)?;
    Ok(())
}

fn records(numbers: std::ops::Range<i64>, age_ms: i64) -> Result<Vec<NewRecord>> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let record = |number| NewRecord {
        timestamp: now - age_ms + number,
        key: Some(format!("key-{number}").into_bytes()),
        value: Some(format!("id={number}\n").into_bytes()),
        headers: vec![],
    };
    Ok(numbers.map(record).collect())
}

/// The numbers that a read_committed reader sees.
fn numbers(client: &mut RawClient, topic: &str, partition: i32) -> Result<Vec<i64>> {
    let records = client.read(topic, partition, Isolation::ReadCommitted)?;
    let number = |value: Option<Vec<u8>>| {
        let value = value.context("a record without a value")?;
        Ok(String::from_utf8_lossy(value.strip_prefix(ID_MARK).context("not a record of the trial")?).trim().parse()?)
    };
    records.into_iter().map(|record| number(record.value)).collect()
}

/// Waits until a partition holds exactly these numbers, in order.
fn until(client: &mut RawClient, bridge: &Bridge, topic: &str, partition: i32, expected: &[i64]) -> Result<()> {
    let start = Instant::now();
    loop {
        let found = numbers(client, topic, partition);
        if found.as_ref().is_ok_and(|found| found == expected) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < LIMIT,
            "{topic}-{partition}: expected {expected:?}, found {found:?}:\n{}",
            bridge.log()
        );
        std::thread::sleep(POLL);
    }
}

/// The log line of an incident: its fields tell kind, partition and what is lost.
fn incident(bridge: &mut Bridge, kind: &str, partition: &str, fields: &str) -> Result<String> {
    let wanted = format!("kind=\"{kind}\" partition={partition} {fields}");
    bridge.process().wait_for_log(&wanted, LIMIT)?;
    let log = bridge.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("incident: ") && line.contains(&wanted)).collect();
    ensure!(lines.len() == 1, "{wanted} stands in {} lines:\n{log}", lines.len());
    Ok(lines.concat())
}

/// Ends the bridge: exit code 1, and every incident in the summary; nothing else in it.
fn ends_with(bridge: &mut Bridge, incidents: &[(&str, &str)]) -> Result<()> {
    let code = bridge.terminate(LIMIT)?;
    let log = bridge.log();
    ensure!(code == 1, "exit code {code} with incidents:\n{log}");
    let summary: Vec<_> = log.lines().filter(|line| line.starts_with("incident ")).collect();
    for (kind, partition) in incidents {
        let is_told =
            summary.iter().any(|line| line.starts_with(&format!("incident {kind} ")) && line.contains(partition));
        ensure!(is_told, "the summary does not name {kind} of {partition}:\n{log}");
    }
    ensure!(summary.len() == incidents.len(), "{} incidents are expected:\n{log}", incidents.len());
    Ok(())
}

/// The control: before any fault there is no incident, and the exit code is 0.
fn ends_well(bridge: &mut Bridge) -> Result<()> {
    let code = bridge.terminate(LIMIT)?;
    ensure!(code == 0 && !bridge.log().contains("incident: "), "exit code {code}:\n{}", bridge.log());
    Ok(())
}

fn range(numbers: std::ops::Range<i64>) -> Vec<i64> {
    numbers.collect()
}
