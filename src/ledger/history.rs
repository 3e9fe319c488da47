//! Everything that a ledger partition holds, for an onlooker: positions, and what is kept beside them.

use super::error::LedgerError;
use super::record::{
    Decision, Delivered, LedgerRecord, LetterKey, Milestone, Owner, Position, PositionKey, Proof, Unreadable, VERSION,
};
use super::replay::UNCOMPRESSED_BYTES_MAX;
use crate::batch::RawBatch;
use crate::cluster::{At, Cluster, ClusterError, Metadata};
use crate::reader::{ReadError, Stream};
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Lanes that are read at a time.
const READERS_MAX: usize = 8;

/// One lane's.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub owner: Option<Owner>,
    pub positions: BTreeMap<PositionKey, Position>,
    /// Of each partition, by their records.
    pub anchors: BTreeMap<PositionKey, Vec<Milestone>>,
    /// By the offset at which the gap begins.
    pub decisions: BTreeMap<(PositionKey, i64), Decision>,
    pub proofs: BTreeMap<PositionKey, Proof>,
    /// Dead letters that were replayed.
    pub delivered: BTreeMap<LetterKey, Delivered>,
}

impl History {
    /// Of one lane, what is committed now.
    pub async fn of_lane(
        cluster: &Cluster,
        metadata: &Metadata,
        partition: &TopicPartition,
    ) -> Result<Self, LedgerError> {
        let range = cluster.committed_range(metadata, partition).await?;
        Self::read(cluster, partition, range.start, range.end).await
    }

    async fn read(cluster: &Cluster, partition: &TopicPartition, from: i64, to: i64) -> Result<Self, LedgerError> {
        let mut history = Self::default();
        let mut milestones = BTreeMap::new();
        let mut stream = Stream::open(cluster.clone(), partition.clone(), from, to);
        while let Some(part) = stream.next().await {
            let part = part.map_err(|error| match error {
                ReadError::Cluster(error) => LedgerError::Cluster(error),
                other => LedgerError::Damaged { partition: partition.clone(), offset: -1, reason: other.to_string() },
            })?;
            for batch in &part.batches {
                history.feed(partition, batch, &mut milestones)?;
            }
        }
        for (key, milestone) in milestones {
            history.anchors.entry(key.of).or_default().push(milestone);
        }
        for (key, position) in &history.positions {
            let kept = history.anchors.entry(key.clone()).or_default();
            let (topic_id, target_topic_id) = (position.topic_id, position.target_topic_id);
            kept.extend(position.anchor.map(|anchor| Milestone { anchor, topic_id, target_topic_id }));
            // An anchor of a topic that was made anew says nothing of the one that is there.
            kept.retain(|it| {
                it.topic_id == topic_id && (it.target_topic_id == target_topic_id || it.target_topic_id.is_nil())
            });
            kept.sort_by_key(|it| (it.anchor.records, it.anchor.source_offset));
            kept.dedup_by_key(|it| it.anchor);
        }
        Ok(history)
    }

    /// What is committed now, by the lanes' numbers; nothing where there is no ledger yet.
    pub async fn of_all_lanes(
        cluster: &Cluster,
        metadata: &Metadata,
        topic: &str,
        lanes: NonZeroU32,
    ) -> Result<BTreeMap<u32, Self>, LedgerError> {
        Self::of_lanes(cluster, metadata, (topic, lanes), Duration::ZERO).await
    }

    /// The dead letters that were replayed, of all lanes: whoever reads records of a transaction elsewhere, and asks then, is
    /// told of it. `patience`: how long its markers are waited for.
    pub async fn all_delivered(
        cluster: &Cluster,
        metadata: &Metadata,
        (topic, lanes): (&str, NonZeroU32),
        patience: Duration,
    ) -> Result<BTreeMap<LetterKey, Delivered>, LedgerError> {
        let histories = Self::of_lanes(cluster, metadata, (topic, lanes), patience).await?;
        Ok(histories.into_values().flat_map(|it| it.delivered).collect())
    }

    async fn of_lanes(
        cluster: &Cluster,
        metadata: &Metadata,
        (topic, lanes): (&str, NonZeroU32),
        patience: Duration,
    ) -> Result<BTreeMap<u32, Self>, LedgerError> {
        let found = metadata.topics.get(topic).map_or(0, |it| it.partitions.len());
        let lanes = u32::try_from(found).unwrap_or(u32::MAX).min(lanes.get());
        let partition = |lane| TopicPartition::new(topic, i32::try_from(lane).unwrap_or(i32::MAX));
        let partitions: Vec<_> = (0..lanes).map(partition).collect();
        let mut starts = cluster.offsets_at(metadata, &partitions, At::Earliest).await?;
        let mut ends = cluster.stable_ends(metadata, &partitions, patience).await?;
        let limit = Arc::new(Semaphore::new(READERS_MAX));
        let mut reading = JoinSet::new();
        for lane in 0..lanes {
            let (cluster, limit, partition) = (cluster.clone(), Arc::clone(&limit), partition(lane));
            let unanswered = || ClusterError::Answered { end: cluster.end(), api: "ListOffsets", code: -1 };
            let from = starts.remove(&partition).ok_or_else(unanswered)?;
            let to = ends.remove(&partition).ok_or_else(unanswered)?;
            reading.spawn(async move {
                let _permit = limit.acquire().await;
                Self::read(&cluster, &partition, from, to).await.map(|it| (lane, it))
            });
        }
        reading.join_all().await.into_iter().collect()
    }

    fn feed(
        &mut self,
        partition: &TopicPartition,
        batch: &RawBatch,
        milestones: &mut BTreeMap<super::anchor::MilestoneKey, Milestone>,
    ) -> Result<(), LedgerError> {
        let base = batch.header().base_offset;
        let damaged = |reason: String| LedgerError::Damaged { partition: partition.clone(), offset: base, reason };
        let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
        for record in decoded.records() {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            let (partition, offset) = (partition.clone(), decoded.offset(&record));
            match LedgerRecord::decode(record.key, record.value) {
                Ok(LedgerRecord::Owner(_, owner)) => self.owner = owner,
                Ok(LedgerRecord::Position(key, value)) => put(&mut self.positions, key, value),
                Ok(LedgerRecord::Milestone(key, value)) => put(milestones, key, value),
                Ok(LedgerRecord::Decision(key, from, value)) => put(&mut self.decisions, (key, from), value),
                Ok(LedgerRecord::Proof(key, value)) => put(&mut self.proofs, key, value),
                Ok(LedgerRecord::Delivered(key, value)) => put(&mut self.delivered, key, value),
                Err(Unreadable::UnknownKind) => {}
                Err(Unreadable::Newer(found)) => {
                    return Err(LedgerError::Newer { partition, offset, found, known: VERSION });
                }
                Err(Unreadable::Malformed(reason)) => {
                    return Err(LedgerError::Malformed { partition, offset, reason });
                }
            }
        }
        Ok(())
    }
}

fn put<K: Ord, V>(all: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(all.insert(key, value)),
        None => drop(all.remove(&key)),
    }
}
