//! Comparisons that do not come to their end: Ctrl-C, a source that dies, a state that cannot be kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::{Fault, Loss, Rule, RuleId, Settings};
use kafka_bridge::types::TopicPartition;
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::command::Finished;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::pair::{differences, until_none};
use protocol_tests::raw::{Codec, NewRecord};
use serde_json::Value;
use tempfile::TempDir;

use super::recorded::{TOPIC, config};
use super::{LIMIT, verify};
use crate::trial;

const FETCH: i16 = 1;
const RECORDS: usize = 100;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("verify", "goes_on_after_ctrl_c", interrupted),
        trial("verify", "ends_when_the_source_dies", dies),
        trial("verify", "says_that_its_state_cannot_be_kept", not_kept),
    ]
}

/// A copy of two partitions.
struct Copy {
    source: EmbeddedCluster,
    target: EmbeddedCluster,
    folder: TempDir,
    file: PathBuf,
    state: PathBuf,
}

impl Copy {
    fn new() -> Result<Copy> {
        let folder = tempfile::tempdir()?;
        let (one, other) = (EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?);
        let (mut source, mut target) = (one.client(), other.client());
        source.create_topic(TOPIC, 2, 1, &[("retention.ms", "-1")])?;
        for partition in 0..2 {
            let record = NewRecord { timestamp: 1_700_000_000_000, ..NewRecord::default() };
            source.write(TOPIC, partition, Codec::None, vec![record; RECORDS])?;
        }
        let file = config(&one, &other, TOPIC).write(folder.path(), "bridge")?;
        let mut bridge = Bridge::run(&file)?;
        until_none(LIMIT, || differences(&mut source, &mut target, &[TOPIC.to_owned()]))
            .with_context(|| bridge.log())?;
        ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
        let state = folder.path().join("state.json");
        Ok(Copy { source: one, target: other, folder, file, state })
    }

    /// A comparison that is done with partition 0, and waits for the source's partition 1.
    fn halfway(&self) -> Result<(Bridge, RuleId)> {
        let fault = Rule::new(FETCH, Fault::LoseRequest(Loss::Silence));
        let fault = fault.partition(TopicPartition::new(TOPIC, 1)).times(u64::MAX);
        let rule = self.source.with(|cluster, _| cluster.add_rule(fault));
        let file = config(&self.source, &self.target, TOPIC).write(self.folder.path(), "halfway")?;
        let verify = Bridge::command("verify", &file, &["--json", "--state", &self.state.to_string_lossy()])?;
        let start = Instant::now();
        while !is_done_with_one(&self.state) {
            ensure!(start.elapsed() < LIMIT, "no state after {LIMIT:?}: {}", verify.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        ensure!(self.source.with(|cluster, _| cluster.struck(rule)) > 0, "the fault did not happen");
        Ok((verify, rule))
    }
}

fn is_done_with_one(state: &Path) -> bool {
    let text = fs::read_to_string(state).unwrap_or_default();
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    let partitions = state["partitions"].as_array().map_or(&[][..], Vec::as_slice);
    partitions.iter().any(|it| it["partition"] == 0 && it["at"]["found"]["counts"]["records"] == RECORDS)
}

fn interrupted() -> Result<()> {
    let copy = Copy::new()?;
    let (mut stopped, rule) = copy.halfway()?;
    stopped.process().signal("INT")?;
    ensure!(stopped.wait(LIMIT)? == 1, "{}", stopped.log());
    ensure!(stopped.log().contains("\"is_interrupted\": true"), "{}", stopped.log());
    copy.source.with(|cluster, _| cluster.end_rule(rule));
    let (code, report) = verify(&copy.file, &["--state", &copy.state.to_string_lossy()])?;
    ensure!(code == 0 && report["total"]["records"] == 2 * RECORDS, "exit code {code}: {report:#}");
    let (done, rest) = (&report["partitions"][0], &report["partitions"][1]);
    ensure!(done["source_from"] == done["source_to"], "it was read again: {done:#}");
    ensure!(rest["source_from"] == 0 && rest["source_to"] == RECORDS, "{rest:#}");
    Ok(())
}

fn dies() -> Result<()> {
    let copy = Copy::new()?;
    let (mut verify, _) = copy.halfway()?;
    drop(copy.source);
    ensure!(verify.wait(LIMIT)? == 69, "{}", verify.log());
    ensure!(verify.log().contains("source: "), "{}", verify.log());
    ensure!(is_done_with_one(&copy.state), "how far it was is lost");
    Ok(())
}

fn not_kept() -> Result<()> {
    let copy = Copy::new()?;
    let folder = copy.folder.path();
    for state in [folder.to_owned(), folder.join("nowhere").join("state.json")] {
        let (file, state) = (copy.file.to_string_lossy(), state.to_string_lossy());
        let done = Finished::run(folder, &["verify", "--config", &file, "--state", &state], LIMIT)?;
        let told = format!("{state}: how far the comparison is cannot be kept there");
        ensure!(done.code == 1 && done.stderr.contains(&told), "{done:?}");
    }
    Ok(())
}
