//! How long a take-over takes: the time from a fault until the last stable offset of every target partition moves again.
//!
//! Every partition is written to every 50 ms, and looked at every few milliseconds. A run counts only when everything moved
//! before the fault, the fault is proved, and the victim's partitions stood still; after it the copy is verified.

mod fault;
mod feed;
pub mod judge;
mod report;
mod stage;
mod watch;

use std::time::Duration;

use anyhow::{Context, Result};

pub use fault::Fault;
pub use report::{Series, json, markdown};

use crate::audit::Audited;
use stage::Stage;

/// Runs each of these faults so often, one after the other. `tell` gets a line for each run.
pub fn measure(
    version: &str,
    faults: &[Fault],
    runs: usize,
    tell: &mut dyn FnMut(&str),
) -> Result<(Vec<Series>, Audited)> {
    tell(&format!("two clusters of Kafka {version}"));
    let mut stage = Stage::start(version)?;
    let mut all = vec![];
    for fault in faults {
        stage.bridges(fault.bridges())?;
        let mut series = Series { fault: *fault, times: vec![], records: 0 };
        for number in 1..=runs {
            let run = stage.run(*fault)?;
            series.times.push(run.took);
            series.records += run.records;
            tell(&format!(
                "{} {number} of {runs}: {} ms; the victim had {} lanes, {} partitions stood still; {} records verified",
                fault.name(),
                run.took.as_millis(),
                run.victims_lanes,
                run.stood_still,
                run.records
            ));
        }
        all.push(series);
    }
    let audited = stage.audit().context("the audit of the whole copy")?;
    tell(&format!("the whole copy is right: {audited:?}"));
    Ok((all, audited))
}

impl Series {
    pub fn worst(&self) -> Duration {
        self.times.iter().max().copied().unwrap_or_default()
    }

    /// Of an even number of runs the upper one.
    pub fn median(&self) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    pub fn is_within(&self) -> bool {
        !self.times.is_empty() && self.worst() <= self.fault.limit()
    }
}
