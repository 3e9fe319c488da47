//! What the trials look for in the bridges' logs.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use protocol_tests::bridge::Bridge;

/// For anything that must come about on a slow and noisy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(90);
pub(super) const LANES: u32 = 8;
pub(super) const SEED: u64 = 20_261_125;
/// Longer than a session of 6 s.
pub(super) const FROZEN: Duration = Duration::from_secs(9);
const POLL: Duration = Duration::from_millis(100);

pub(super) fn delivery(lanes: u32, instance_id: &str) -> String {
    format!(
        "accept_weak = [\"target_min_insync_replicas\"]\nlanes = {lanes}\nsharing = \"group\"\ninstance_id = {instance_id:?}\n"
    )
}

/// One that slept through its session says so, and that a newer process has its instance id.
pub(super) fn gave_way(older: &mut Bridge) -> Result<()> {
    ensure!(older.wait(LIMIT)? == 1, "{}", older.log());
    ensure!(older.log().contains("no heartbeat was answered"), "it did not sleep long enough:\n{}", older.log());
    ensure!(
        older.log().contains("was taken over by a newer kafka-bridge with the same instance id"),
        "{}",
        older.log()
    );
    Ok(())
}

/// The lanes that the bridge said last it works; None before it said anything.
pub(super) fn lanes(bridge: &Bridge) -> Option<BTreeSet<u32>> {
    let log = bridge.log();
    let line = log.lines().rev().find(|it| it.contains("now works lanes ") || it.contains("stands by: no lane"))?;
    let named = line.split_once("now works lanes ").and_then(|(_, rest)| rest.split_once(" of ")).map(|it| it.0);
    Some(named.unwrap_or_default().split(',').filter_map(|it| it.parse().ok()).collect())
}

/// Until these together work every lane once, and none works two more than another.
pub(super) fn until_shared(bridges: &mut [&mut Bridge]) -> Result<Vec<BTreeSet<u32>>> {
    let start = Instant::now();
    loop {
        for bridge in bridges.iter_mut() {
            let code = bridge.process().exit_code()?;
            ensure!(code.is_none(), "a bridge ended with {code:?}:\n{}", bridge.log());
        }
        let shares: Vec<_> = bridges.iter().map(|it| lanes(it).unwrap_or_default()).collect();
        let all: BTreeSet<u32> = shares.iter().flatten().copied().collect();
        let sizes: Vec<_> = shares.iter().map(BTreeSet::len).collect();
        let is_fair = sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0) <= 1;
        if is_fair && all.len() == LANES as usize && sizes.iter().sum::<usize>() == LANES as usize {
            return Ok(shares);
        }
        if start.elapsed() > LIMIT {
            let logs: Vec<_> = bridges.iter().map(|it| it.log()).collect();
            bail!("after {LIMIT:?} the shares are {shares:?}:\n{}", logs.join("\n--\n"));
        }
        thread::sleep(POLL);
    }
}
