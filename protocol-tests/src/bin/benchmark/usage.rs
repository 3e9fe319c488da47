//! What the kernel has counted for processes and threads.

use std::fs;

use anyhow::{Context, Result};

/// Linux counts a process' time in these, whatever the kernel's own tick is (`sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds, user and system.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold spaces; user and system time are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(')').next().context("stat without a name")?.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|it| it.parse::<f64>().ok()).context("stat is too short");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

pub(crate) fn peak_mebibytes(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("status without VmHWM")?;
    let kibibytes: f64 = peak.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}

/// CPU seconds of the calling thread, to the nanosecond.
pub(crate) fn of_this_thread() -> Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().context("an empty schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}
