//! What an operator sees of a running link.

use crate::bridge::{Summary, Watcher};
use crate::config::LogFormat;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const LINE_INTERVAL: Duration = Duration::from_secs(60);
const LIVE_INTERVAL: Duration = Duration::from_secs(1);
/// To the begin of the line, and nothing behind it.
pub(super) const CLEAR_LINE: &str = "\r\x1b[K";

/// A live line on a terminal, a plain line a minute elsewhere.
pub(super) struct Progress {
    link: String,
    is_live: bool,
    told_at: Instant,
    told: (u64, u64),
}

impl Progress {
    pub(super) fn new(link: &str, format: LogFormat) -> Self {
        // What reads JSON from a terminal has no use for a line that is written over.
        let is_live = format == LogFormat::Text && std::io::stderr().is_terminal();
        Self { link: link.to_owned(), is_live, told_at: Instant::now(), told: (0, 0) }
    }
}

impl Watcher for Progress {
    fn interval(&self) -> Duration {
        if self.is_live { LIVE_INTERVAL } else { LINE_INTERVAL }
    }

    fn tell(&mut self, summary: &Summary) {
        let seconds = self.told_at.elapsed().as_secs_f64().max(0.001);
        let (records, bytes) = (summary.records - self.told.0, summary.bytes - self.told.1);
        let rate = records as f64 / seconds;
        let megabytes = bytes as f64 / seconds / 1e6;
        if self.is_live {
            // The terminal may be gone.
            let _ = write!(
                std::io::stderr(),
                "{CLEAR_LINE}{}: {} records, {rate:.0}/s, {megabytes:.1} MB/s, {} incidents",
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
}
