//! The figures, for people and for scripts.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::Fault;

/// All runs of one fault.
#[derive(Clone, Debug)]
pub struct Series {
    pub fault: Fault,
    pub times: Vec<Duration>,
    /// Verified after the runs.
    pub records: u64,
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub fn markdown(all: &[Series]) -> String {
    let mut text = "| fault | runs | median | worst | limit |\n|---|---|---|---|---|\n".to_owned();
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    for it in all {
        let (median, worst, limit) = (seconds(it.median()), seconds(it.worst()), it.fault.limit().as_secs());
        let _ = writeln!(text, "| {} | {} | {median} | {worst} | {limit} s |", it.fault.title(), it.times.len());
    }
    text
}

pub fn json(version: &str, all: &[Series]) -> Value {
    let series = |it: &Series| {
        json!({
            "fault": it.fault.name(),
            "runs": it.times.len(),
            "median_ms": ms(it.median()),
            "worst_ms": ms(it.worst()),
            "limit_ms": ms(it.fault.limit()),
            "is_within": it.is_within(),
            "verified_records": it.records,
            "times_ms": it.times.iter().map(|time| ms(*time)).collect::<Vec<_>>(),
        })
    };
    json!({ "kafka": version, "faults": all.iter().map(series).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(times_ms: &[u64]) -> Series {
        let times = times_ms.iter().map(|it| Duration::from_millis(*it)).collect();
        Series { fault: Fault::Restart, times, records: 7 }
    }

    #[test]
    fn the_worst_run_decides() {
        assert!(series(&[400, 1_000, 300]).is_within());
        assert!(!series(&[400, 1_001, 300]).is_within());
        assert!(!series(&[]).is_within());
    }

    #[test]
    fn median_and_worst_are_told() {
        let told = markdown(&[series(&[600, 400, 1_200])]);
        assert!(
            told.ends_with("| planned restart of one of two (SIGTERM, and start) | 3 | 0.6 s | 1.2 s | 1 s |\n"),
            "{told}"
        );
        let told = json("4.4.0", &[series(&[600, 400, 1_200])]);
        assert_eq!(told["faults"][0]["median_ms"], 600);
        assert_eq!(told["faults"][0]["is_within"], false);
    }
}
