//! `kafka-bridge check` beside real brokers: what it says is what a run finds, and it changes nothing.

mod groups;
mod reading;
mod report;
mod rights;
mod settings;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use libtest_mimic::Trial;
use protocol_tests::command::Finished;
use protocol_tests::raw::{Codec, NewRecord, RawClient};
use serde_json::Value;

pub(super) fn trials() -> Vec<Trial> {
    [report::trials(), rights::trials(), settings::trials()].into_iter().flatten().collect()
}

const LIMIT: Duration = Duration::from_secs(60);
/// Brokers learn of rights and settings a moment after they were changed.
const POLL: Duration = Duration::from_millis(200);

/// Checks again and again until the report is as expected; the last one where it never is.
fn until(config: &Path, expected: impl Fn(i32, &Value) -> bool) -> Result<Value> {
    let start = Instant::now();
    loop {
        let (code, report) = Finished::check(config, LIMIT)?;
        if expected(code, &report) {
            return Ok(report);
        }
        if start.elapsed() > LIMIT {
            bail!("check never said what was expected; at last, with exit code {code}:\n{report:#}");
        }
        std::thread::sleep(POLL);
    }
}

/// Records of this moment: older ones would be gone by retention at once.
fn write(client: &mut RawClient, topic: &str, partition: i32, records: usize) -> Result<()> {
    let timestamp = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let record = NewRecord { timestamp, ..NewRecord::default() };
    client.write(topic, partition, Codec::Lz4, vec![record; records])?;
    Ok(())
}

/// Level and name of every note, with its subject.
fn notes(report: &Value) -> Vec<(String, String, String)> {
    let text = |note: &Value, key: &str| note[key].as_str().unwrap_or_default().to_owned();
    let all = report["notes"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|it| (text(it, "level"), text(it, "name"), text(it, "subject"))).collect()
}

fn has_note(report: &Value, level: &str, name: &str, subject: &str) -> bool {
    notes(report).iter().any(|it| (it.0.as_str(), it.1.as_str(), it.2.as_str()) == (level, name, subject))
}

fn array<'a>(report: &'a Value, pointer: &str) -> Result<&'a Vec<Value>> {
    report.pointer(pointer).and_then(Value::as_array).with_context(|| format!("no {pointer} in {report:#}"))
}
