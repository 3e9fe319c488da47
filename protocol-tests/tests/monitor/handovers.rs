//! When lanes came to a bridge and why they left it, as two bridges tell it that share them while one is cut off.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kafka_bridge::broker::{Fault, Loss, Rule, Settings};
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::embedded::EmbeddedCluster;
use serde_json::Value;
use tempfile::TempDir;

use super::{Console, LIMIT, POLL};
use crate::trial;

const LANES: u32 = 8;
const METADATA: i16 = 3;
/// Longer than a session of 6 s.
const FROZEN: Duration = Duration::from_secs(9);

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("monitor", "lanes_that_come_and_go_are_told_with_the_reason", handed_over)]
}

struct Member {
    bridge: Bridge,
    console: Console,
}

impl Member {
    fn start(source: &EmbeddedCluster, target: &EmbeddedCluster, folder: &TempDir, name: &str) -> Result<Member> {
        let console = Console::new()?;
        let mut config = Config::new("shared", source.end(), target.end(), &["shared"]);
        config.source.extra = format!("client_id = {name:?}\n");
        config.delivery = format!(
            "accept_weak = [\"target_min_insync_replicas\"]\nlanes = {LANES}\nsharing = \"group\"\ninstance_id = {name:?}\n"
        );
        config.tables = console.table();
        Ok(Member { bridge: Bridge::run(&config.write(folder.path(), name)?)?, console })
    }

    /// What it tells, and the lanes that it works.
    fn told(&self) -> Result<(Vec<Handover>, BTreeSet<u32>)> {
        let (_, link) = self.console.get("/api/link")?;
        let link: Value = serde_json::from_str(&link)?;
        let lanes = &link["lanes"];
        let all = lanes["handovers"].as_array().into_iter().flatten().map(Handover::of).collect();
        let taken = lanes["taken"].as_array().into_iter().flatten().filter_map(Value::as_u64);
        Ok((all, taken.filter_map(|it| u32::try_from(it).ok()).collect()))
    }

    /// Until it has told this story; the lanes of the last one like it.
    fn until(&self, change: &str, reason: &str) -> Result<BTreeSet<u32>> {
        let start = Instant::now();
        loop {
            let told = self.told();
            let is_it = |it: &&Handover| (it.change.as_str(), it.reason.as_str()) == (change, reason);
            if let Ok((all, _)) = &told
                && let Some(last) = all.iter().rev().find(is_it)
            {
                return Ok(last.lanes.clone());
            }
            ensure!(start.elapsed() < LIMIT, "{change}, {reason}: never; {told:?}\n{}", self.bridge.log());
            thread::sleep(POLL);
        }
    }

    /// Until it works so many; then its stories, told one after the other, lead to just these.
    fn until_works(&self, count: usize) -> Result<BTreeSet<u32>> {
        let start = Instant::now();
        loop {
            let told = self.told();
            if let Ok((all, taken)) = &told
                && taken.len() == count
            {
                let left = all.iter().fold(BTreeSet::new(), |held: BTreeSet<u32>, it| match it.change.as_str() {
                    "taken" => &held | &it.lanes,
                    _ => &held - &it.lanes,
                });
                ensure!(left == *taken, "the stories lead to {left:?}, and it works {taken:?}: {all:?}");
                return Ok(left);
            }
            ensure!(start.elapsed() < LIMIT, "it never worked {count} lanes: {told:?}\n{}", self.bridge.log());
            thread::sleep(POLL);
        }
    }
}

#[derive(Debug)]
struct Handover {
    change: String,
    reason: String,
    lanes: BTreeSet<u32>,
}

impl Handover {
    fn of(told: &Value) -> Handover {
        let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
        let ends = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
        };
        let lanes = text("lanes").split(',').filter_map(ends).flatten().collect();
        Handover { change: text("change"), reason: text("reason"), lanes }
    }
}

fn handed_over() -> Result<()> {
    let (source, target) = (EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?);
    let folder = tempfile::tempdir()?;
    source.client().create_topic("shared", 4, 1, &[])?;
    let (all, half) = (LANES as usize, LANES as usize / 2);

    let one = Member::start(&source, &target, &folder, "one")?;
    one.until_works(all)?;
    ensure!(one.until("taken", "assigned")?.len() == all, "it has not taken all");
    let other = Member::start(&source, &target, &folder, "other")?;
    let moved = other.until_works(half)?;
    ensure!(other.until("taken", "assigned")? == moved, "the other took other lanes");
    ensure!(one.until("given_up", "reassigned")? == moved, "one gave up other lanes than the other took");
    let kept = one.until_works(half)?;

    // The source does not answer one of them.
    let silence = Rule::new(METADATA, Fault::LoseRequest(Loss::Silence)).client_id("one").times(u64::MAX);
    let rule = source.with(|cluster, _| cluster.add_rule(silence));
    ensure!(one.until("given_up", "source_unreachable")? == kept, "it gave up other lanes than it had");
    other.until_works(all)?;
    ensure!(other.until("taken", "assigned")? == kept, "the other took other lanes");
    ensure!(source.with(|cluster, _| cluster.struck(rule)) > 0, "nothing was lost");
    source.with(|cluster, _| cluster.end_rule(rule));
    let kept = one.until_works(half)?;
    ensure!(one.until("taken", "assigned")? == kept, "it came back to other lanes");

    one.bridge.pause()?;
    thread::sleep(FROZEN);
    one.bridge.resume()?;
    ensure!(one.until("given_up", "session_lost")? == kept, "it lost other lanes than it had");
    one.until_works(half)?;
    other.until_works(half)?;
    Ok(())
}
