//! A lane's positions in memory, and the record of the next transaction.

use super::anchor::{Anchor, MilestoneKey, places};
use super::error::LedgerError;
use super::record::{DeadLetters, Decision, LedgerRecord, Milestone, Owner, Position, PositionKey};
use crate::batch::{BatchBuilder, BatchError, Compression, RawBatch};
use crate::planted::{Bug, planted};
use crate::target::CommitOffset;
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A restart reads at most about so many records behind the last snapshot.
const TAIL_RECORDS_MAX: usize = 1_000;
/// Below the default `max.message.bytes` (1,048,588), with room for the header.
const BATCH_BYTES_MAX: usize = 1_000_000;
/// Smaller batches are readable by eye in a dump of the log.
const COMPRESS_FROM_BYTES: usize = 16 << 10;

/// What one transaction does to one source partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: PositionKey,
    /// `transaction`, `time_ms` and sums are the ledger's to fill in; `records` and `dead_letters` count this change alone.
    pub position: Position,
}

/// The ledger's part of a transaction whose verdict is open. Nothing has changed yet.
#[derive(Debug)]
pub struct Pending {
    pub batch: RawBatch,
    /// What TxnOffsetCommit commits: where a restart has to read from.
    pub offset: CommitOffset,
    changes: Vec<Change>,
    transaction: u64,
    records: usize,
    is_snapshot: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneLedger {
    partition: TopicPartition,
    positions: BTreeMap<PositionKey, Position>,
    owner: Option<Owner>,
    transaction: u64,
    /// Where the last full snapshot of this incarnation begins.
    snapshot_at: Option<i64>,
    tail_records: usize,
    /// Of the last committed transaction of a partition; written with its next one, for where a transaction's records land
    /// is known only when they have landed.
    landed: BTreeMap<PositionKey, Anchor>,
}

/// One is known, the other is another.
fn differ(one: Uuid, other: Uuid) -> bool {
    !one.is_nil() && !other.is_nil() && one != other
}

fn is_of_same_topics(before: &Position, position: &Position) -> bool {
    !differ(before.topic_id, position.topic_id)
        && !differ(before.target_topic_id, position.target_topic_id)
        && (&before.target_topic, before.target_partition) == (&position.target_topic, position.target_partition)
}

fn sum(before: Option<DeadLetters>, change: &Change, transaction: u64) -> Option<DeadLetters> {
    let Some(new) = &change.position.dead_letters else { return before };
    let records = before.map_or(0, |it| it.records).saturating_add(new.records);
    Some(DeadLetters { records, transaction, target_offset: new.target_offset })
}

impl LaneLedger {
    pub fn new(partition: TopicPartition) -> Self {
        Self {
            partition,
            positions: BTreeMap::new(),
            owner: None,
            transaction: 0,
            snapshot_at: None,
            tail_records: 0,
            landed: BTreeMap::new(),
        }
    }

    pub(super) fn replayed(
        partition: TopicPartition,
        positions: BTreeMap<PositionKey, Position>,
        owner: Option<Owner>,
        transaction: u64,
    ) -> Self {
        Self { positions, owner, transaction, ..Self::new(partition) }
    }

    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    pub fn position(&self, key: &PositionKey) -> Option<&Position> {
        self.positions.get(key)
    }

    /// The source cluster that the partition has a position of, if it is another than the key's.
    pub fn other_source(&self, key: &PositionKey) -> Option<Arc<str>> {
        let same = |it: &&PositionKey| it.topic == key.topic && it.partition == key.partition;
        self.positions.keys().find(same).map(|it| Arc::clone(&it.cluster_id)).filter(|it| *it != key.cluster_id)
    }

    pub fn positions(&self) -> &BTreeMap<PositionKey, Position> {
        &self.positions
    }

    /// Where the log of the lane's dead letters ended before the last transaction that wrote some. None: none did, or nobody
    /// knew.
    pub fn dead_letters_at(&self) -> Option<i64> {
        let all = self.positions.values().filter_map(|it| it.dead_letters.as_ref());
        all.max_by_key(|it| it.transaction).and_then(|it| it.target_offset)
    }

    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// Number of the last committed transaction.
    pub fn transaction(&self) -> u64 {
        self.transaction
    }

    /// Stands in every snapshot from the next on; the first transaction of an incarnation is one.
    pub fn take(&mut self, owner: Owner) {
        self.owner = Some(owner);
        self.snapshot_at = None;
    }

    /// The record of the next transaction: its changes, or a full snapshot when the tail behind the last one is long, or
    /// when nothing changes but the owner.
    pub fn begin(&self, lane: u32, changes: Vec<Change>, time_ms: u64) -> Result<Pending, LedgerError> {
        self.begin_with(lane, changes, None, time_ms)
    }

    /// The record of a transaction that lets a partition go on past a gap, by an operator's word.
    pub fn decide(&self, lane: u32, change: Change, decision: Decision, time_ms: u64) -> Result<Pending, LedgerError> {
        let from = change.position.from;
        let record = LedgerRecord::Decision(change.key.clone(), from, Some(decision));
        self.begin_with(lane, vec![change], Some(record), time_ms)
    }

    fn begin_with(
        &self,
        lane: u32,
        changes: Vec<Change>,
        decision: Option<LedgerRecord>,
        time_ms: u64,
    ) -> Result<Pending, LedgerError> {
        let transaction = self.transaction.saturating_add(1);
        let changes: Vec<_> = changes
            .into_iter()
            .map(|change| {
                let before = self.positions.get(&change.key);
                let anchor = change.position.anchor.or_else(|| self.anchor(&change));
                let records = before.map_or(0, |it| it.records).saturating_add(change.position.records);
                let dead_letters = sum(before.and_then(|it| it.dead_letters.clone()), &change, transaction);
                let position = Position { transaction, time_ms, records, dead_letters, anchor, ..change.position };
                Change { position, ..change }
            })
            .collect();
        let tail_max = TAIL_RECORDS_MAX.max(4 * self.positions.len());
        let fixed = self.snapshot_at.filter(|_| !changes.is_empty() && self.tail_records + changes.len() <= tail_max);
        let mut records = Vec::new();
        if fixed.is_none() {
            records.push(LedgerRecord::Owner(lane, self.owner.clone()));
            let mut positions: BTreeMap<_, _> = self.positions.iter().collect();
            positions.extend(changes.iter().map(|change| (&change.key, &change.position)));
            // Each says again in which transaction it was made; the snapshot's own number is that of its first record.
            let of = |(key, value): (&PositionKey, &Position)| LedgerRecord::Position(key.clone(), Some(value.clone()));
            let left_out = usize::from(planted(Bug::SnapshotIncomplete) && positions.len() > 1);
            records.extend(positions.into_iter().skip(left_out).map(of));
        } else {
            let of = |change: &Change| LedgerRecord::Position(change.key.clone(), Some(change.position.clone()));
            records.extend(changes.iter().map(of));
        }
        // Behind the snapshot, which a replay needs.
        records.extend(changes.iter().flat_map(|change| self.milestones(change)));
        records.extend(decision);
        let batch = batch(&self.partition, &records, time_ms)?;
        let offset = fixed.map_or(CommitOffset::LedgerBase, CommitOffset::Fixed);
        Ok(Pending { batch, offset, changes, transaction, records: records.len(), is_snapshot: fixed.is_none() })
    }

    /// The newest one that is known of the partition as it is.
    fn anchor(&self, change: &Change) -> Option<Anchor> {
        let Change { key, position } = change;
        let Some(before) = self.positions.get(key) else {
            // A partition begins with its position alone, and only where the target holds nothing.
            let begins = position.records == 0;
            return begins.then_some(Anchor { records: 0, source_offset: position.from, target_offset: 0 });
        };
        let known = self.landed.get(key).copied().or(before.anchor);
        known.filter(|_| is_of_same_topics(before, position))
    }

    fn milestones(&self, change: &Change) -> Vec<LedgerRecord> {
        let Change { key, position } = change;
        let Some(anchor) = position.anchor else { return Vec::new() };
        // Of topics that are there no more, nothing is kept.
        let before = self.positions.get(key).filter(|it| is_of_same_topics(it, position));
        let last = before.and_then(|it| it.anchor);
        let milestone = Milestone { anchor, topic_id: position.topic_id, target_topic_id: position.target_topic_id };
        let kept = places(last, anchor).into_iter();
        kept.map(|(level, slot)| {
            let of = MilestoneKey { of: key.clone(), level, slot };
            LedgerRecord::Milestone(of, Some(milestone.clone()))
        })
        .collect()
    }

    /// `landed`: where the broker put the batches of the transaction, those of a partition in their order; −1 where it did not
    /// say.
    pub fn committed(&mut self, pending: Pending, landed: &[(TopicPartition, i64)]) {
        self.transaction = pending.transaction;
        for Change { key, position } in &pending.changes {
            let before = self.positions.get(key).map_or(0, |it| it.records);
            let is_target = |it: &&(TopicPartition, i64)| {
                (&it.0.topic, it.0.partition) == (&position.target_topic, position.target_partition)
            };
            let first = landed.iter().find(is_target).filter(|it| it.1 >= 0 && position.records > before);
            match first {
                Some((_, target_offset)) => {
                    let source_offset = position.from;
                    let anchor = Anchor { records: before, source_offset, target_offset: *target_offset };
                    self.landed.insert(key.clone(), anchor);
                }
                // What was known of an earlier transaction is in this position.
                None => drop(self.landed.remove(key)),
            }
        }
        let of_ledger = landed.iter().rev().find(|it| it.0 == self.partition).map(|it| it.1);
        self.positions.extend(pending.changes.into_iter().map(|change| (change.key, change.position)));
        if pending.is_snapshot {
            // Without its place the next transaction is a snapshot again.
            self.snapshot_at = of_ledger.filter(|offset| *offset >= 0);
            self.tail_records = 0;
        } else {
            self.tail_records += pending.records;
        }
    }
}

/// Records for a partition of the ledger, as one batch.
pub fn batch(partition: &TopicPartition, records: &[LedgerRecord], time_ms: u64) -> Result<RawBatch, LedgerError> {
    let failed = |reason: String| LedgerError::Damaged { partition: partition.clone(), offset: -1, reason };
    let encoded: Vec<_> =
        records.iter().map(LedgerRecord::encode).collect::<Result<_, _>>().map_err(|e| failed(e.to_string()))?;
    let bytes: usize = encoded.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
    let compression = if bytes < COMPRESS_FROM_BYTES { Compression::None } else { Compression::Lz4 };
    let mut builder = BatchBuilder::new(compression);
    let time = i64::try_from(time_ms).unwrap_or(i64::MAX);
    for (key, value) in &encoded {
        builder.push(time, Some(key), value.as_deref(), &[]);
    }
    let batch = builder.build().map_err(|error: BatchError| failed(error.to_string()))?;
    match batch.bytes().len() {
        bytes if bytes > BATCH_BYTES_MAX => Err(LedgerError::TooLarge {
            partition: partition.clone(),
            records: records.len(),
            bytes,
            bytes_max: BATCH_BYTES_MAX,
        }),
        _ => Ok(batch),
    }
}
