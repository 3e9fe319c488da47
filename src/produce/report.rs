//! What was written.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// While it runs, for whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    pub events: AtomicU64,
    pub bytes: AtomicU64,
    pub transactions: AtomicU64,
    pub aborted: AtomicU64,
}

impl Progress {
    pub(super) fn add(of: &AtomicU64, count: usize) {
        of.fetch_add(count as u64, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub end: &'static str,
    pub topic: String,
    /// The run, as the header `producer` names it.
    pub producer: String,
    pub framing: &'static str,
    /// None without a registry.
    pub schema_id: Option<i32>,
    /// Those that a consumer can see, invalid ones among them.
    pub events: u64,
    /// Of values and keys, before compression.
    pub bytes: u64,
    /// By kind.
    pub poison: BTreeMap<&'static str, u64>,
    pub transactions: u64,
    /// Written once more and committed each.
    pub aborted: u64,
    pub partitions: Vec<PartitionReport>,
    pub seconds: f64,
    /// By a signal, before the end of the input or of the count.
    pub is_stopped: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct PartitionReport {
    pub partition: i32,
    pub events: u64,
    /// The highest `sequence` plus one.
    pub next_sequence: u64,
}
