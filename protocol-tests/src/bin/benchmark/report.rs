//! Medians, and how they compare.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Result;

use crate::copier::{Contender, Copier};
use crate::stage::median;

/// Of one copy. Seconds of CPU are for a gigabyte of uncompressed records.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) contender: Contender,
    pub(crate) first_ms: f64,
    pub(crate) megabytes_per_second: f64,
    pub(crate) records_per_cpu_second: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_seconds_of_source: f64,
    pub(crate) cpu_seconds_of_target: f64,
    pub(crate) peak_mebibytes: f64,
    /// Of uncompressed records.
    pub(crate) fetches_per_megabyte: f64,
    pub(crate) produces_per_megabyte: f64,
    pub(crate) transactions_per_second: f64,
    /// What it says of itself.
    pub(crate) summary: Option<String>,
}

impl Cost {
    pub(crate) fn cpu_seconds_of_brokers(&self) -> f64 {
        self.cpu_seconds_of_source + self.cpu_seconds_of_target
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:>6.0} MB/s", self.contender, self.megabytes_per_second)?;
        let (source, target) = (self.cpu_seconds_of_source, self.cpu_seconds_of_target);
        if self.contender.copier != Copier::Ceiling {
            write!(f, "  {:>6.2} CPU-s/GB, {:>9.0} records/CPU-s", self.cpu_seconds, self.records_per_cpu_second)?;
        }
        write!(f, "  brokers {source:.1} + {target:.1} CPU-s/GB")?;
        if self.contender.copier != Copier::Ceiling {
            write!(f, "  peak {:.0} MiB  first record after {:.0} ms", self.peak_mebibytes, self.first_ms)?;
        }
        write!(f, "  requests/MB {:.2} + {:.2}", self.fetches_per_megabyte, self.produces_per_megabyte)?;
        if self.contender.copier != Copier::Ceiling {
            write!(f, "  {:.1} transactions/s", self.transactions_per_second)?;
        }
        match self.summary.as_deref().and_then(|it| it.split(" in ").nth(1)) {
            Some(summary) => write!(f, "  {summary}"),
            None => Ok(()),
        }
    }
}

/// Ratios of the medians, for each `[delivery]` that was tried.
pub(crate) fn compare(costs: &[Cost]) -> Result<()> {
    let bridges = costs.iter().map(|it| &it.contender).filter(|it| it.copier.is_bridge());
    let tried: BTreeSet<&str> = bridges.map(|it| it.delivery.as_str()).collect();
    tried.into_iter().try_for_each(|it| compare_with(costs, it))
}

fn compare_with(costs: &[Cost], delivery: &str) -> Result<()> {
    if !delivery.is_empty() {
        println!("  [{delivery}]");
    }
    let of = |copier: Copier, figure: fn(&Cost) -> f64| {
        let delivery = if copier.is_bridge() { delivery } else { "" };
        let is_it = |it: &&Cost| it.contender.copier == copier && it.contender.delivery == delivery;
        let of_it: Vec<f64> = costs.iter().filter(is_it).map(figure).collect();
        if of_it.is_empty() { Ok(None) } else { median(of_it).map(Some) }
    };
    for (one, other, figures) in [
        (Copier::Checked, Copier::Bridge, &[("CPU", (|it| it.cpu_seconds) as fn(&Cost) -> f64)][..]),
        (
            Copier::Bridge,
            Copier::MirrorMaker,
            &[
                ("throughput", (|it| it.megabytes_per_second) as fn(&Cost) -> f64),
                ("CPU", |it| it.cpu_seconds),
                ("CPU of both brokers", Cost::cpu_seconds_of_brokers),
                ("Produce requests", |it| it.produces_per_megabyte),
                ("transactions", |it| it.transactions_per_second / it.megabytes_per_second),
                ("peak memory", |it| it.peak_mebibytes),
                ("start", |it| it.first_ms),
            ][..],
        ),
        (
            Copier::Bridge,
            Copier::Ceiling,
            &[
                ("throughput", (|it| it.megabytes_per_second) as fn(&Cost) -> f64),
                ("CPU of both brokers", Cost::cpu_seconds_of_brokers),
            ][..],
        ),
    ] {
        for (name, figure) in figures {
            if let (Some(ours), Some(theirs)) = (of(one, *figure)?, of(other, *figure)?) {
                println!("  {} / {}, {name}: {:.3} ({ours:.2} / {theirs:.2})", one.name(), other.name(), ours / theirs);
            }
        }
    }
    Ok(())
}
