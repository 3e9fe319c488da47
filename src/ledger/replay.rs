//! From the ledger's records back to positions.

use super::error::LedgerError;
use super::record::{LedgerRecord, Owner, Position, PositionKey, Unreadable, VERSION, is_beside};
use super::state::LaneLedger;
use crate::batch::RawBatch;
use crate::types::TopicPartition;
use std::collections::BTreeMap;

/// A ledger batch is at most a megabyte of JSON, compressed; beyond this it is not one of ours.
pub(super) const UNCOMPRESSED_BYTES_MAX: usize = 64 << 20;

pub struct Replay {
    partition: TopicPartition,
    positions: BTreeMap<PositionKey, Position>,
    owner: Option<Owner>,
    transaction: u64,
}

impl Replay {
    pub fn new(partition: TopicPartition) -> Self {
        Self { partition, positions: BTreeMap::new(), owner: None, transaction: 0 }
    }

    /// Committed batches, in the order of their offsets; the last record of a key counts.
    pub fn feed(&mut self, batch: &RawBatch) -> Result<(), LedgerError> {
        let base = batch.header().base_offset;
        let damaged = |reason: String| LedgerError::Damaged { partition: self.partition.clone(), offset: base, reason };
        let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
        let before = self.transaction;
        for record in decoded.records() {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            if is_beside(record.key) {
                continue;
            }
            let offset = decoded.offset(&record);
            let partition = || self.partition.clone();
            let parsed = LedgerRecord::decode(record.key, record.value).map_err(|error| match error {
                Unreadable::Newer(found) => {
                    LedgerError::Newer { partition: partition(), offset, found, known: VERSION }
                }
                Unreadable::Malformed(reason) => LedgerError::Malformed { partition: partition(), offset, reason },
                Unreadable::UnknownKind => {
                    LedgerError::Malformed { partition: partition(), offset, reason: "its key".to_owned() }
                }
            })?;
            match parsed {
                LedgerRecord::Owner(_, owner) => self.owner = owner,
                LedgerRecord::Position(key, None) => {
                    self.positions.remove(&key);
                }
                LedgerRecord::Position(_, Some(position)) if position.transaction == u64::MAX => {
                    // No bridge gets there; the next transaction could not be numbered.
                    let reason = "its transaction has the last number that there is".to_owned();
                    return Err(LedgerError::Malformed { partition: partition(), offset, reason });
                }
                LedgerRecord::Position(key, Some(position)) => {
                    let known = self.positions.get(&key).map_or(0, |it| it.transaction);
                    if position.transaction < known {
                        return Err(LedgerError::Disorder {
                            partition: partition(),
                            offset,
                            before: known.max(before),
                            found: position.transaction,
                        });
                    }
                    self.transaction = self.transaction.max(position.transaction);
                    self.positions.insert(key, position);
                }
                LedgerRecord::Milestone(..)
                | LedgerRecord::Decision(..)
                | LedgerRecord::Proof(..)
                | LedgerRecord::Delivered(..) => {}
            }
        }
        Ok(())
    }

    pub fn finish(self) -> LaneLedger {
        LaneLedger::replayed(self.partition, self.positions, self.owner, self.transaction)
    }
}
