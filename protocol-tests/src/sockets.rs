//! The TCP connections of a process, as Linux knows them: to see that they are replaced without asking who replaces them.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

const POLL: Duration = Duration::from_millis(50);
/// As `/proc/net/tcp` has it.
const ESTABLISHED: &str = "01";

/// Each by its inode, which no later one gets while this one is open.
pub fn established(process: u32) -> Result<BTreeSet<u64>> {
    let mut open = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let mut words = line.split_whitespace();
            let (state, inode) = (words.nth(3), words.nth(5));
            if state == Some(ESTABLISHED) {
                open.extend(inode.and_then(|it| it.parse::<u64>().ok()));
            }
        }
    }
    let mut own = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))?.flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|it| it.strip_suffix(']'));
        own.extend(inode.and_then(|it| it.parse::<u64>().ok()));
    }
    Ok(own.intersection(&open).copied().collect())
}

/// Until none of these is open any more, and others are.
pub fn until_replaced(process: u32, before: &BTreeSet<u64>, limit: Duration) -> Result<BTreeSet<u64>> {
    ensure!(!before.is_empty(), "the process has no connections that could be replaced");
    let start = Instant::now();
    loop {
        let now = established(process)?;
        let left: Vec<_> = now.intersection(before).collect();
        if left.is_empty() && !now.is_empty() {
            return Ok(now);
        }
        ensure!(start.elapsed() < limit, "{} of {} connections are still the old ones", left.len(), before.len());
        std::thread::sleep(POLL);
    }
}
