//! Deterministic simulation of the shipping code: a whole link, everything but sockets, between two embedded clusters in
//! one thread and in virtual time, from one seed.
//!
//! The clusters check themselves what Kafka checks; a reference reads their logs by the tests' own decoder and holds the
//! target against all that the source ever was. The same seed gives the same run to the byte.

mod bridges;
mod client;
pub mod command;
mod datums;
mod generator;
mod harsh;
mod history;
mod letters;
pub mod network;
mod producer;
mod reference;
mod registries;
mod requests;
pub mod runner;
pub mod schedule;
mod shared;
mod steps;
mod validated;
mod world;

use anyhow::{Context, Result};

pub use network::Trace;
pub use reference::Violation;
pub use schedule::Schedule;

use world::World;

/// Seeds that once failed, and what they found.
pub static REGRESSIONS: std::sync::LazyLock<Vec<(u64, &'static str)>> = std::sync::LazyLock::new(|| {
    let lines = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ').and_then(|(seed, why)| Some((seed.parse().ok()?, why)))).collect()
});

/// What happens in the simulation of this seed.
pub fn schedule(seed: u64) -> Schedule {
    let mut schedule = generator::schedule(seed);
    shared::share(&mut schedule);
    validated::validate(&mut schedule);
    schedule
}

/// What happened in one run, for whoever wants to know that anything did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub virtual_ms: u64,
    pub transactions: u64,
    pub aborted: u64,
    pub starts: u64,
    /// Requests and answers that a rule struck.
    pub struck: u64,
    pub incidents: u64,
    /// Protocol v2 was finalized while bridges ran.
    pub upgrades: u64,
    /// Of the source, in transactions that were aborted.
    pub source_aborted: u64,
    /// Of the group.
    pub generations: u64,
    /// Bridges that gave way to a newer one of their instance id.
    pub superseded: u64,
    pub records: u64,
    /// Dead letters.
    pub filed: u64,
    /// Incidents of records that did not pass their check.
    pub objections: u64,
    pub trace: Trace,
}

impl Statistics {
    fn add(&mut self, other: &Statistics) {
        self.virtual_ms += other.virtual_ms;
        self.transactions += other.transactions;
        self.aborted += other.aborted;
        self.starts += other.starts;
        self.struck += other.struck;
        self.incidents += other.incidents;
        self.upgrades += other.upgrades;
        self.source_aborted += other.source_aborted;
        self.generations += other.generations;
        self.superseded += other.superseded;
        self.records += other.records;
        self.filed += other.filed;
        self.objections += other.objections;
        self.trace.chunks += other.trace.chunks;
        self.trace.bytes += other.trace.bytes;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub violation: Option<Violation>,
    pub statistics: Statistics,
}

/// Runs a schedule. An error is one of the simulation itself.
pub fn run(schedule: &Schedule) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    // The bridge's jitter and ids come from the thread's generator.
    fastrand::seed(schedule.seed);
    runtime.block_on(async {
        let mut world = World::new(schedule).await?;
        let checked = world.run().await.with_context(|| format!("seed {}", schedule.seed))?;
        Ok(Outcome { violation: checked.err(), statistics: world.statistics() })
    })
}
