//! What a comparison tells, as people and scripts read it.

use super::cut::{Cut, Job};
use super::found::{Counts, Difference};
use super::partition::Outcome;
use crate::config::Config;
use serde::Serialize;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub link: String,
    pub version: String,
    /// When the cut was taken: what was copied until then is compared.
    pub time: String,
    pub source_cluster_id: String,
    pub target_cluster_id: String,
    pub total: Counts,
    pub partitions: Vec<PartitionReport>,
    /// Partitions of the plan without a position.
    pub not_begun: usize,
    pub is_interrupted: bool,
    /// Proofs that were written to the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<usize>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct PartitionReport {
    pub topic: String,
    pub partition: i32,
    pub target_topic: String,
    pub target_partition: i32,
    /// Where the comparison began, and behind its last record.
    pub source_from: i64,
    pub source_to: i64,
    pub target_from: i64,
    pub target_to: i64,
    pub counts: Counts,
    /// Not all of them, where there are many.
    pub differences: Vec<Difference>,
    pub notes: Vec<String>,
    /// Why not everything could be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Where the ledger counts otherwise than what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miscounted: Option<String>,
    /// Over all copied records since the first proof, see `ledger::Proof`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl PartitionReport {
    pub fn is_clean(&self) -> bool {
        self.counts.differences() == 0 && self.stopped.is_none() && self.miscounted.is_none()
    }
}

impl Report {
    pub(super) fn new(config: &Config, cut: &Cut, outcomes: Vec<(Job, Outcome)>, is_interrupted: bool) -> Self {
        let partitions: Vec<_> = outcomes.into_iter().map(|(job, outcome)| partition(job, outcome)).collect();
        let mut total = Counts::default();
        partitions.iter().for_each(|it| total.add(&it.counts));
        Self {
            link: config.link.as_str().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: humantime::format_rfc3339_seconds(cut.time).to_string(),
            source_cluster_id: cut.source_cluster_id.clone(),
            target_cluster_id: cut.target_cluster_id.clone(),
            total,
            partitions,
            not_begun: cut.not_begun,
            is_interrupted,
            recorded: None,
        }
    }

    pub fn is_clean(&self) -> bool {
        !self.is_interrupted && self.partitions.iter().all(PartitionReport::is_clean)
    }
}

fn partition(job: Job, outcome: Outcome) -> PartitionReport {
    let first = job.ranges.first();
    PartitionReport {
        topic: job.source.topic.to_string(),
        partition: job.source.partition,
        target_topic: job.target.topic.to_string(),
        target_partition: job.target.partition,
        source_from: first.map_or(-1, |it| it.source.start),
        source_to: outcome.source_to,
        target_from: first.map_or(-1, |it| it.target.start),
        target_to: outcome.target_to,
        counts: outcome.found.counts,
        differences: outcome.found.differences,
        notes: job.notes,
        stopped: outcome.stopped,
        miscounted: outcome.miscounted,
        sha256: outcome.chain.map(|it| it.0.to_string()),
    }
}
