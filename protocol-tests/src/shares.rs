//! Who of several bridges works which lanes, by what each says itself.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::bridge::Bridge;

const POLL: Duration = Duration::from_millis(50);

/// The lanes that the bridge said last it works; None before it said anything.
pub fn lanes(bridge: &Bridge) -> Option<BTreeSet<u32>> {
    let log = bridge.log();
    let line = log.lines().rev().find(|it| it.contains("now works lanes ") || it.contains("stands by: no lane"))?;
    let named = line.split_once("now works lanes ").and_then(|(_, rest)| rest.split_once(" of ")).map(|it| it.0);
    Some(named.unwrap_or_default().split(',').filter_map(|it| it.parse().ok()).collect())
}

/// Until these together work every lane once, and none works two more than another.
pub fn until_shared(bridges: &mut [&mut Bridge], all_lanes: u32, limit: Duration) -> Result<Vec<BTreeSet<u32>>> {
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
        if is_fair && all.len() == all_lanes as usize && sizes.iter().sum::<usize>() == all_lanes as usize {
            return Ok(shares);
        }
        if start.elapsed() > limit {
            let logs: Vec<_> = bridges.iter().map(|it| it.log()).collect();
            bail!("after {limit:?} the shares are {shares:?}:\n{}", logs.join("\n--\n"));
        }
        thread::sleep(POLL);
    }
}
