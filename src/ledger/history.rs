//! Everything that a ledger partition holds, for an onlooker: positions, and what is kept beside them.

use super::error::LedgerError;
use super::record::{Decision, LedgerRecord, Milestone, Owner, Position, PositionKey, Proof, Unreadable, VERSION};
use super::replay::UNCOMPRESSED_BYTES_MAX;
use crate::batch::RawBatch;
use crate::cluster::{At, Cluster, ClusterError, Metadata};
use crate::reader::{ReadError, Stream};
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
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
}

impl History {
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
        let found = metadata.topics.get(topic).map_or(0, |it| it.partitions.len());
        let lanes = u32::try_from(found).unwrap_or(u32::MAX).min(lanes.get());
        let partition = |lane| TopicPartition::new(topic, i32::try_from(lane).unwrap_or(i32::MAX));
        let at = async |at| {
            let asked: Vec<_> = (0..lanes).map(|lane| (partition(lane), at)).collect();
            cluster.offsets(metadata, &asked).await
        };
        let (mut starts, mut ends) = (at(At::Earliest).await, at(At::LastStable).await);
        let limit = Arc::new(Semaphore::new(READERS_MAX));
        let mut reading = JoinSet::new();
        for lane in 0..lanes {
            let (cluster, limit, partition) = (cluster.clone(), Arc::clone(&limit), partition(lane));
            let unanswered = || Err(ClusterError::Answered { end: cluster.end(), api: "ListOffsets", code: -1 });
            let from = starts.remove(&partition).unwrap_or_else(unanswered)?.offset;
            let to = ends.remove(&partition).unwrap_or_else(unanswered)?.offset;
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
