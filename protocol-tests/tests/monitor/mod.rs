//! What a running link tells of itself: health, metrics that add up, and lag held against the truth.

mod adds_up;
mod alerts;
mod groups;
mod handovers;
mod holes;
mod lag;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::{http, ports};

const LIMIT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = adds_up::trials();
    trials.extend(alerts::trials());
    trials.extend(handovers::trials());
    trials.extend(holes::trials());
    trials.extend(lag::trials());
    trials
}

/// Where a bridge serves it.
struct Console {
    port: u16,
}

impl Console {
    fn new() -> Result<Console> {
        Ok(Console { port: ports::free()? })
    }

    /// For the end of a config.
    fn table(&self) -> String {
        format!("[console]\nlisten = \"127.0.0.1:{}\"\n", self.port)
    }

    fn get(&self, path: &str) -> Result<(u16, String)> {
        http::get(self.port, path)
    }

    fn metrics(&self) -> Result<Metrics> {
        let (status, text) = self.get("/metrics")?;
        ensure!(status == 200, "/metrics: {status}: {text}");
        Ok(Metrics(text))
    }

    /// Waits until it is so; an error names the metrics as they were.
    fn until(&self, what: &str, mut is: impl FnMut(&Metrics) -> bool) -> Result<Metrics> {
        let start = Instant::now();
        loop {
            match self.metrics() {
                Ok(metrics) if is(&metrics) => return Ok(metrics),
                Ok(metrics) => ensure!(start.elapsed() < LIMIT, "{what}: not after {LIMIT:?}:\n{}", metrics.0),
                Err(error) => ensure!(start.elapsed() < LIMIT, "{what}: {error:#}"),
            }
            std::thread::sleep(POLL);
        }
    }

    fn until_status(&self, path: &str, wanted: u16) -> Result<String> {
        let start = Instant::now();
        loop {
            let found = self.get(path);
            if let Ok((status, body)) = &found
                && *status == wanted
            {
                return Ok(body.clone());
            }
            ensure!(start.elapsed() < LIMIT, "{path} never answered {wanted}: {found:?}");
            std::thread::sleep(POLL);
        }
    }
}

struct Metrics(String);

impl Metrics {
    /// Of one name, those whose labels hold this text.
    fn values<'a>(&'a self, name: &'a str, label: &'a str) -> impl Iterator<Item = f64> + 'a {
        self.0.lines().filter_map(move |line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (of, labels) = series.split_once('{')?;
            if of != name || !labels.contains(label) {
                return None;
            }
            if value == "+Inf" { Some(f64::INFINITY) } else { value.parse().ok() }
        })
    }

    fn sum(&self, name: &str, label: &str) -> f64 {
        self.values(&format!("kafka_bridge_{name}"), label).sum()
    }

    fn max(&self, name: &str, label: &str) -> Option<f64> {
        self.values(&format!("kafka_bridge_{name}"), label).reduce(f64::max)
    }
}
