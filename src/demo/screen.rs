//! What the demo shows while it runs: a picture on a terminal, plain lines in a pipe.

use super::checker::Counts;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// One moment.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) elapsed: Duration,
    pub(super) counts: Counts,
    pub(super) behind: usize,
    pub(super) transactions: u64,
    pub(super) aborted: u64,
    pub(super) bridge_starts: u64,
    pub(super) faults: BTreeMap<&'static str, u64>,
}

pub(super) struct Screen {
    is_live: bool,
    lines: usize,
    before: (Duration, u64, u64),
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { is_live: std::io::stdout().is_terminal(), lines: 0, before: (Duration::ZERO, 0, 0) }
    }

    pub(super) fn interval(&self) -> Duration {
        if self.is_live { Duration::from_millis(250) } else { Duration::from_secs(2) }
    }

    pub(super) fn show(&mut self, view: &View) {
        let seconds = (view.elapsed - self.before.0).as_secs_f64().max(0.001);
        let records = (view.counts.copied.saturating_sub(self.before.1)) as f64 / seconds;
        let transactions = (view.transactions.saturating_sub(self.before.2)) as f64 / seconds;
        self.before = (view.elapsed, view.counts.copied, view.transactions);
        let text = if self.is_live { picture(view, records, transactions) } else { line(view, records) };
        let mut output = std::io::stdout().lock();
        // The terminal may be gone; the verdict is the exit code.
        if self.lines > 0 {
            let _ = write!(output, "\x1b[{}A\x1b[J", self.lines);
        }
        let _ = output.write_all(text.as_bytes());
        let _ = output.flush();
        self.lines = if self.is_live { text.lines().count() } else { 0 };
    }
}

fn line(view: &View, records: f64) -> String {
    let Counts { produced, copied, .. } = &view.counts;
    let mut line = format!(
        "{:>4}s  produced {produced}, copied {copied} ({records:.0}/s), dead-lettered {}, behind {}, transactions {} ({} aborted)",
        view.elapsed.as_secs(),
        view.counts.letters(),
        view.behind,
        view.transactions,
        view.aborted
    );
    let faults: u64 = view.faults.values().sum();
    if faults > 0 {
        let _ = write!(line, ", faults survived {faults}");
    }
    line + "\n"
}

fn picture(view: &View, records: f64, transactions: f64) -> String {
    let Counts { produced, copied, doubled, reordered, altered, phantom, misplaced, misjudged, .. } = &view.counts;
    let mut text = String::new();
    let seconds = view.elapsed.as_secs();
    let _ = writeln!(text, "  in-process demo clusters, mutual TLS{:>38}:{:02}", seconds / 60, seconds % 60);
    let _ = writeln!(text);
    let _ = writeln!(text, "  ┌ source zone ────────┐      ┌ kafka-bridge ───────┐      ┌ target zone ────────┐");
    let _ = writeln!(
        text,
        "  │ {:<19} │ ───► │ {:<19} │ ───► │ {:<19} │",
        format!("{produced} records"),
        format!("{records:.0} records/s"),
        format!("{copied} records")
    );
    let _ = writeln!(
        text,
        "  │ {:<19} │      │ {:<19} │      │ {:<19} │",
        "3 nodes, v1",
        format!("{transactions:.0} transactions/s"),
        "3 nodes, v2"
    );
    let _ = writeln!(
        text,
        "  │ {:<19} │      │ {:<19} │      │ {:<19} │",
        "schema registry",
        "checks Avro events",
        format!("{} dead letters", view.counts.letters())
    );
    let _ = writeln!(text, "  └─────────────────────┘      └─────────────────────┘      └─────────────────────┘");
    let lag = if records > 0.0 { view.behind as f64 / records } else { 0.0 };
    let _ = writeln!(
        text,
        "  behind {} records ({lag:.2} s); transactions {}, aborted {}; bridge started {} times",
        view.behind, view.transactions, view.aborted, view.bridge_starts
    );
    let _ = writeln!(
        text,
        "  doubled {doubled}, reordered {reordered}, altered {altered}, phantom {phantom}, misplaced {misplaced}, misjudged {misjudged}"
    );
    if !view.faults.is_empty() {
        let faults: Vec<_> = view.faults.iter().map(|(what, times)| format!("{times} {what}")).collect();
        for part in faults.chunks(4) {
            let _ = writeln!(text, "  {}", part.join(", "));
        }
    }
    text
}
