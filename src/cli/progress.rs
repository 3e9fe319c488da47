//! What an operator sees of a running link.

use crate::bridge::{Summary, Watcher};
use crate::config::LogFormat;
use std::future::Future;
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

/// How often a command tells how far it is: on a terminal, and elsewhere.
const COMMAND_LIVE_INTERVAL: Duration = Duration::from_secs(1);
const COMMAND_LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Does the work, and tells meanwhile how far it is. `line` is given the seconds since the begin.
pub(super) async fn lines<T>(line: impl Fn(f64) -> String, work: impl Future<Output = T>) -> T {
    let (began, mut live) = (Instant::now(), Live::new(false));
    let mut ticks = tokio::time::interval(live.interval);
    ticks.tick().await;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                live.clear();
                return done;
            }
            _ = ticks.tick() => live.write(&line(began.elapsed().as_secs_f64().max(0.001))),
        }
    }
}

/// A line on a terminal that is written over, a plain one now and then elsewhere.
pub(super) struct Live {
    is_live: bool,
    /// Something else is written to the same terminal.
    is_silent: bool,
    interval: Duration,
    told_at: Instant,
}

impl Live {
    pub(super) fn new(is_silent: bool) -> Self {
        let is_live = std::io::stderr().is_terminal();
        let interval = if is_live { COMMAND_LIVE_INTERVAL } else { COMMAND_LINE_INTERVAL };
        Self { is_live, is_silent, interval, told_at: Instant::now() }
    }

    /// When it is time for it.
    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.told_at.elapsed() >= self.interval {
            self.told_at = Instant::now();
            self.write(&line());
        }
    }

    fn write(&mut self, line: &str) {
        let (begin, end) = if self.is_live { (CLEAR_LINE, "") } else { ("", "\n") };
        if !self.is_silent {
            // The terminal may be gone.
            let _ = write!(std::io::stderr(), "{begin}{line}{end}");
        }
    }

    pub(super) fn clear(&self) {
        if self.is_live && !self.is_silent {
            // The terminal may be gone.
            let _ = write!(std::io::stderr(), "{CLEAR_LINE}");
        }
    }
}
