//! One copy by one bridge, and what it cost.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::pair::Pair;
use protocol_tests::raw::RawClient;

/// Linux counts a process' time in these, whatever the kernel's own tick is (`sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: f64 = 100.0;
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// Nothing has been committed for so long: the copy is complete.
const QUIET: Duration = Duration::from_secs(1);
pub(crate) const LIMIT: Duration = Duration::from_secs(600);

/// What the kernel counted for a process.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_mebibytes: f64,
}

pub(crate) struct Copy {
    pub(crate) log: String,
    /// To the first committed record.
    pub(crate) first: Duration,
    pub(crate) wall: f64,
    pub(crate) used: Usage,
}

/// Runs a bridge until the target's topic has all.
pub(crate) fn copy(
    pair: &Pair,
    config: &Config,
    name: &str,
    (topic, partitions): (&str, i32),
    expected: i64,
) -> Result<Copy> {
    let mut target = pair.target.client();
    let start = Instant::now();
    let mut bridge = pair.run(config, name)?;
    let first = until(start, &mut bridge, || Ok(copied(&mut target, topic, partitions)? > 0))?;
    // Markers count too, so the sum says that the end is near, not that it is reached.
    let mut last = (0, Duration::ZERO);
    until(start, &mut bridge, || {
        let now = copied(&mut target, topic, partitions)?;
        if now != last.0 {
            last = (now, start.elapsed());
        }
        Ok(now >= expected && start.elapsed() > last.1 + QUIET)
    })?;
    let used = usage(&mut bridge)?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    let log = bridge.log();
    ensure!(log.contains(&format!("copied {expected} records")), "not everything was copied:\n{log}");
    Ok(Copy { log, first, wall: last.1.as_secs_f64(), used })
}

/// Records and markers of all partitions below their last stable offsets.
pub(crate) fn copied(target: &mut RawClient, topic: &str, partitions: i32) -> Result<i64> {
    // Before the bridge has made the topic, nothing is copied.
    if !target.topic_names()?.iter().any(|name| name == topic) {
        return Ok(0);
    }
    (0..partitions).map(|partition| Ok(target.offsets(topic, partition)?.last_stable)).sum()
}

pub(crate) fn until(start: Instant, bridge: &mut Bridge, mut done: impl FnMut() -> Result<bool>) -> Result<Duration> {
    while !done()? {
        ensure!(bridge.process().exit_code()?.is_none(), "the bridge has ended:\n{}", bridge.log());
        ensure!(start.elapsed() < LIMIT, "not done after {LIMIT:?}");
        std::thread::sleep(POLL);
    }
    Ok(start.elapsed())
}

pub(crate) fn usage(bridge: &mut Bridge) -> Result<Usage> {
    let id = bridge.process().id();
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in parentheses may hold spaces; user and system time are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(')').next().context("stat without a name")?.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|it| it.parse::<f64>().ok()).context("stat is too short");
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("status without VmHWM")?;
    let kibibytes: f64 = peak.trim().trim_end_matches(" kB").parse()?;
    Ok(Usage { cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND, peak_mebibytes: kibibytes / 1024.0 })
}
