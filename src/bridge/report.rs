//! What a running link tells its operator.

use super::incident::Incident;
use super::transaction::Counts;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant, UNIX_EPOCH};

const LINE_INTERVAL: Duration = Duration::from_secs(60);
const LIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Told at the end of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub records: u64,
    pub bytes: u64,
    pub transactions: u64,
    pub aborted: u64,
    pub reencoded: BTreeMap<&'static str, u64>,
    pub incidents: Vec<Incident>,
    /// Lanes that stopped, with the reason.
    pub failed_lanes: BTreeMap<u32, String>,
    /// Nothing was left open at the target.
    pub is_drained: bool,
}

impl Summary {
    pub fn is_well(&self) -> bool {
        self.incidents.is_empty() && self.failed_lanes.is_empty() && self.is_drained
    }

    /// False when it is there already: a lane that is taken again finds its incidents again.
    pub(super) fn incident(&mut self, incident: Incident) -> bool {
        let same = |it: &Incident| it.partition == incident.partition && it.kind.name() == incident.kind.name();
        let is_new = !self.incidents.iter().any(same);
        if is_new {
            self.incidents.push(incident);
        }
        is_new
    }

    pub(super) fn committed(&mut self, counts: &Counts) {
        self.records += counts.records;
        self.bytes += counts.bytes;
        self.transactions += 1;
        for (reason, count) in &counts.reencoded {
            *self.reencoded.entry(reason).or_default() += count;
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

/// A live line on a terminal, a plain line a minute elsewhere.
pub(super) struct Progress {
    link: String,
    is_live: bool,
    told_at: Instant,
    told: (u64, u64),
}

impl Progress {
    pub(super) fn new(link: &str) -> Self {
        let is_live = std::io::stderr().is_terminal();
        Self { link: link.to_owned(), is_live, told_at: Instant::now(), told: (0, 0) }
    }

    pub(super) fn interval(&self) -> Duration {
        if self.is_live { LIVE_INTERVAL } else { LINE_INTERVAL }
    }

    pub(super) fn tell(&mut self, summary: &Summary) {
        let seconds = self.told_at.elapsed().as_secs_f64().max(0.001);
        let (records, bytes) = (summary.records - self.told.0, summary.bytes - self.told.1);
        let rate = records as f64 / seconds;
        let megabytes = bytes as f64 / seconds / 1e6;
        if self.is_live {
            // The terminal may be gone.
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[K{}: {} records, {rate:.0}/s, {megabytes:.1} MB/s, {} incidents",
                self.link,
                summary.records,
                summary.incidents.len()
            );
        } else {
            tracing::info!(
                link = %self.link,
                records = summary.records,
                records_per_second = %format!("{rate:.0}"),
                megabytes_per_second = %format!("{megabytes:.1}"),
                transactions = summary.transactions,
                aborted = summary.aborted,
                incidents = summary.incidents.len(),
                "progress"
            );
        }
        self.told_at = Instant::now();
        self.told = (summary.records, summary.bytes);
    }

    /// Before anything else is written.
    pub(super) fn clear(&self) {
        if self.is_live {
            // The terminal may be gone.
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
