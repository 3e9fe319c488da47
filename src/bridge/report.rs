//! What a running link tells its operator.

use super::event::{Beginning, LinkEvent};
use super::incident::Incident;
use super::transaction::Counts;
use crate::types::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// Told at the end of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub records: u64,
    pub bytes: u64,
    pub transactions: u64,
    pub aborted: u64,
    pub reencoded: BTreeMap<&'static str, u64>,
    /// By reason.
    pub dead_lettered: BTreeMap<String, u64>,
    pub incidents: Vec<Incident>,
    /// Partitions that have not moved since their last incident.
    standing: BTreeSet<TopicPartition>,
    /// Lanes that stopped, with the reason.
    pub failed_lanes: BTreeMap<u32, String>,
    /// Nothing was left open at the target.
    pub is_drained: bool,
}

impl Summary {
    pub fn is_well(&self) -> bool {
        self.incidents.is_empty() && self.failed_lanes.is_empty() && self.is_drained
    }

    /// False when it is there already: a lane that is taken again finds its incidents again. One that stops a partition which an
    /// operator has let go on is another.
    pub(super) fn incident(&mut self, incident: Incident) -> bool {
        let same = |it: &Incident| it.partition == incident.partition && it.kind.name() == incident.kind.name();
        let stood = !self.standing.insert(incident.partition.clone());
        let is_new = !(stood && self.incidents.iter().any(same));
        if is_new {
            self.incidents.push(incident);
        }
        is_new
    }

    pub(super) fn committed(&mut self, counts: &Counts) {
        self.records += counts.records;
        self.bytes += counts.bytes;
        self.transactions += 1;
        // An incident is told when everything before it is committed.
        for part in &counts.parts {
            self.standing.remove(&part.partition);
        }
        for (reason, count) in &counts.reencoded {
            *self.reencoded.entry(reason).or_default() += count;
        }
        for (reason, count) in &counts.dead_lettered {
            *self.dead_lettered.entry(reason.clone()).or_default() += count;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, bytes, transactions, aborted, reencoded, .. } = self;
        write!(f, "copied {records} records, {bytes} bytes, in {transactions} transactions ({aborted} aborted)")?;
        if !reencoded.is_empty() {
            let reasons: Vec<_> = reencoded.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            write!(f, "; batches rewritten: {}", reasons.join(", "))?;
        }
        if !self.dead_lettered.is_empty() {
            let reasons: Vec<_> =
                self.dead_lettered.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            write!(f, "; dead letters: {}", reasons.join(", "))?;
        }
        for incident in &self.incidents {
            let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(incident.time_ms));
            write!(f, "\nincident {} at {time}: {incident}", incident.kind.name())?;
        }
        for (lane, reason) in &self.failed_lanes {
            write!(f, "\nlane {lane} stopped: {reason}")?;
        }
        if !self.is_drained {
            write!(
                f,
                "\nnot everything was finished in time: the target aborts what is open, and the next start copies it again"
            )?;
        }
        Ok(())
    }
}

/// Looks at a link while it runs.
pub trait Watcher {
    /// Between two `tell`s.
    fn interval(&self) -> Duration;
    fn tell(&mut self, summary: &Summary);
    /// Once, before anything happens.
    fn begins(&mut self, _: Beginning<'_>) {}
    /// On the link's own task: whoever takes long holds it up.
    fn happened(&mut self, _: &LinkEvent<'_>) {}
}
