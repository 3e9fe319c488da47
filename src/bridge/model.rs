//! The target as its lanes and their auditor see it: the brokers' model, a limit on batches, and the ledger's reader.

use super::lane::Route;
use crate::batch::{RawBatch, split};
use crate::ledger::{LaneLedger, LedgerError, Position, PositionKey, Replay};
use crate::source::StartAt;
use crate::target::model::{Fate, Model, Stored};
use crate::target::{Answer, TxnRequest};
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) const CLUSTER: &str = "source";
/// Of the copied topics, at first.
pub(super) const MAX_MESSAGE_BYTES: usize = 400;
const MESSAGE_TOO_LARGE: i16 = 10;

pub(super) fn source(index: u8) -> TopicPartition {
    TopicPartition::new("orders", i32::from(index))
}

pub(super) fn target(source: &TopicPartition) -> TopicPartition {
    TopicPartition::new("copy", source.partition)
}

pub(super) fn ledger() -> TopicPartition {
    TopicPartition::new("link.ledger", 0)
}

pub(super) fn key(source: &TopicPartition) -> PositionKey {
    PositionKey { cluster_id: CLUSTER.into(), topic: source.topic.clone(), partition: source.partition }
}

pub(super) fn route(name: &TopicPartition, topic_id: Uuid, max_message_bytes: usize) -> Route {
    Route {
        target: target(name),
        topic_id,
        target_topic_id: Uuid::from_u128(99),
        start: if name.partition == 1 { StartAt::Latest } else { StartAt::Earliest },
        max_message_bytes,
        check: None,
    }
}

pub(super) struct Target {
    pub(super) broker: Model,
    /// What the copied topics take now.
    pub(super) max_message_bytes: usize,
}

fn batch(stored: &Stored) -> RawBatch {
    split(stored.bytes.clone()).next().unwrap().unwrap()
}

impl Target {
    pub(super) fn new() -> Self {
        Self { broker: Model::new(0), max_message_bytes: MAX_MESSAGE_BYTES }
    }

    pub(super) fn apply(&mut self, request: &TxnRequest) -> Answer {
        match request {
            TxnRequest::Produce { partition, batch, .. }
                if *partition != ledger() && batch.to_bytes().len() > self.max_message_bytes =>
            {
                Answer::Produce { error_code: MESSAGE_TOO_LARGE, base_offset: -1, log_append_time_ms: -1 }
            }
            request => self.broker.apply(request),
        }
    }

    pub(super) fn end(&self, partition: &TopicPartition) -> usize {
        self.broker.log(partition).len()
    }

    pub(super) fn is_stable(&self, partition: &TopicPartition, end: usize) -> bool {
        self.broker.log(partition).iter().take(end).all(|it| it.fate != Fate::Open)
    }

    fn committed(&self, partition: &TopicPartition, from: usize, to: usize) -> impl Iterator<Item = RawBatch> {
        let log = self.broker.log(partition).iter().take(to).skip(from);
        log.filter(|it| it.fate == Fate::Committed).map(batch)
    }

    /// What a reader of the ledger finds between two offsets.
    pub(super) fn replay(&self, from: usize, to: usize) -> Result<LaneLedger, LedgerError> {
        let mut replay = Replay::new(ledger());
        for batch in self.committed(&ledger(), from, to) {
            replay.feed(&batch)?;
        }
        Ok(replay.finish())
    }

    /// The whole ledger: what is true.
    pub(super) fn positions(&self) -> BTreeMap<PositionKey, Position> {
        self.replay(0, usize::MAX).unwrap().positions().clone()
    }

    /// The positions that each committed batch of the ledger names.
    pub(super) fn history(&self) -> Vec<BTreeMap<PositionKey, Position>> {
        let of = |batch: RawBatch| {
            let mut replay = Replay::new(ledger());
            replay.feed(&batch).unwrap();
            replay.finish().positions().clone()
        };
        self.committed(&ledger(), 0, usize::MAX).map(of).collect()
    }

    /// The values of the records that a read_committed consumer of the copy sees.
    pub(super) fn copied(&self, source: &TopicPartition) -> Vec<u64> {
        self.copied_before(source, usize::MAX)
    }

    /// Below an offset of the target.
    pub(super) fn copied_before(&self, source: &TopicPartition, offset: usize) -> Vec<u64> {
        let mut values = Vec::new();
        for batch in self.committed(&target(source), 0, offset) {
            let decoded = batch.decode(1 << 20).unwrap();
            for record in decoded.records() {
                values.push(u64::from_be_bytes(record.unwrap().value.unwrap().try_into().unwrap()));
            }
        }
        values
    }
}
