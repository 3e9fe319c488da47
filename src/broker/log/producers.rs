//! What a partition knows of its producers (Kafka's ProducerStateManager, ProducerAppendInfo, VerificationStateEntry):
//! sequences, epochs, open transactions, the list of aborted ones.

use crate::batch::Header;
use kafka_protocol::ResponseError;
use std::collections::{BTreeMap, VecDeque};

/// `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`: a duplicate of an older batch is out of order.
const BATCHES_KEPT: usize = 5;
pub(crate) const NO_EPOCH: i16 = -1;
const NO_SEQUENCE: i32 = -1;

/// One of the last batches of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) first_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) timestamp: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    pub(crate) coordinator_epoch: i32,
    pub(crate) last_timestamp: i64,
    pub(crate) transaction_first_offset: Option<i64>,
    batches: VecDeque<Appended>,
}

impl Producer {
    fn new() -> Self {
        Self {
            epoch: NO_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_first_offset: None,
            batches: VecDeque::new(),
        }
    }

    pub(crate) fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(NO_SEQUENCE, |it| it.last_sequence)
    }

    pub(crate) fn last_data_offset(&self) -> Option<i64> {
        self.batches.back().map(|it| it.last_offset)
    }

    fn adopt_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batches.clear();
            self.epoch = epoch;
        }
    }
}

/// A transactional batch whose partition is not known to be in the transaction yet (KIP-890).
#[derive(Clone, Copy, Debug)]
struct Verification {
    lowest_sequence: i32,
    epoch: i16,
    /// Protocol v2: without state only sequence 0 begins (KAFKA-18202).
    epoch_bump: bool,
}

/// An aborted transaction as a fetch answer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    known: BTreeMap<i64, Producer>,
    verifications: BTreeMap<i64, Verification>,
    /// First offset → producer of each transaction without a marker.
    open: BTreeMap<i64, i64>,
    /// First offset → marker's offset of those whose marker is not replicated: their end is not visible yet.
    unreplicated: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
}

/// What `check` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    Duplicate(Appended),
}

impl Producers {
    pub(crate) fn get(&self, producer_id: i64) -> Option<&Producer> {
        self.known.get(&producer_id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.known.iter().map(|(id, producer)| (*id, producer))
    }

    pub(crate) fn has_open_transaction(&self, producer_id: i64, epoch: i16) -> bool {
        self.known.get(&producer_id).is_some_and(|it| it.transaction_first_offset.is_some() && it.epoch == epoch)
    }

    /// Whether the coordinator must be asked before this batch may be appended.
    pub(crate) fn start_verification(
        &mut self,
        producer_id: i64,
        sequence: i32,
        epoch: i16,
        epoch_bump: bool,
    ) -> Result<bool, ResponseError> {
        if self.known.get(&producer_id).is_some_and(|it| epoch < it.epoch) {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if self.has_open_transaction(producer_id, epoch) {
            return Ok(false);
        }
        let entry = self.verifications.entry(producer_id).or_insert(Verification {
            lowest_sequence: sequence,
            epoch,
            epoch_bump,
        });
        if epoch > entry.epoch {
            (entry.epoch, entry.lowest_sequence) = (epoch, sequence);
        } else if epoch == entry.epoch {
            entry.lowest_sequence = entry.lowest_sequence.min(sequence);
        }
        Ok(true)
    }

    /// The checks before a client's batch is appended. `verified`: the coordinator has said that the partition is part of
    /// the transaction.
    pub(crate) fn check(&self, header: &Header, verified: bool) -> Result<Verdict, ResponseError> {
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        let known = self.known.get(&id);
        let last_sequence = sequence_after(header.base_sequence, header.last_offset_delta);
        // Before the epoch is looked at: the answer to a retry is the answer to the first attempt.
        let duplicate = known.filter(|it| it.epoch == epoch).and_then(|it| {
            it.batches
                .iter()
                .find(|batch| batch.first_sequence == header.base_sequence && batch.last_sequence == last_sequence)
        });
        if let Some(duplicate) = duplicate {
            return Ok(Verdict::Duplicate(*duplicate));
        }
        let current = known.map_or(NO_EPOCH, |it| it.epoch);
        if header.is_transactional() && !self.has_open_transaction(id, epoch) {
            if epoch < current {
                return Err(ResponseError::InvalidProducerEpoch);
            }
            if !verified {
                return Err(ResponseError::InvalidTxnState);
            }
        }
        if epoch < current {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        self.check_sequence(header, known)?;
        if known.is_some_and(|it| it.transaction_first_offset.is_some()) && !header.is_transactional() {
            return Err(ResponseError::InvalidTxnState);
        }
        Ok(Verdict::Append)
    }

    fn check_sequence(&self, header: &Header, known: Option<&Producer>) -> Result<(), ResponseError> {
        let first = header.base_sequence;
        if let Some(verification) = self.verifications.get(&header.producer_id) {
            let too_early = first > verification.lowest_sequence;
            let no_state = known.is_none_or(|it| it.batches.is_empty());
            if too_early || (verification.epoch_bump && first != 0 && no_state) {
                return Err(ResponseError::OutOfOrderSequenceNumber);
            }
        }
        // After retention has taken all its records, any sequence begins.
        let Some(known) = known else { return Ok(()) };
        let in_order = if header.producer_epoch != known.epoch {
            first == 0 || known.epoch == NO_EPOCH
        } else {
            known.epoch == NO_EPOCH || follows(known.last_sequence(), first)
        };
        if in_order { Ok(()) } else { Err(ResponseError::OutOfOrderSequenceNumber) }
    }

    /// Notes a batch that was appended, with its final offsets.
    pub(crate) fn appended(&mut self, header: &Header) {
        if header.producer_id < 0 {
            return;
        }
        let producer = self.known.entry(header.producer_id).or_insert_with(Producer::new);
        producer.adopt_epoch(header.producer_epoch);
        // The coordinators' own records have no sequence.
        if header.base_sequence >= 0 {
            if producer.batches.len() == BATCHES_KEPT {
                producer.batches.pop_front();
            }
            producer.batches.push_back(Appended {
                first_sequence: header.base_sequence,
                last_sequence: sequence_after(header.base_sequence, header.last_offset_delta),
                first_offset: header.base_offset,
                last_offset: header.last_offset(),
                timestamp: header.max_timestamp,
            });
        }
        producer.last_timestamp = header.max_timestamp;
        if header.is_transactional() && producer.transaction_first_offset.is_none() {
            producer.transaction_first_offset = Some(header.base_offset);
            self.open.insert(header.base_offset, header.producer_id);
        }
        self.verifications.remove(&header.producer_id);
    }

    /// The check before a marker is appended.
    pub(crate) fn check_marker(
        &self,
        producer_id: i64,
        epoch: i16,
        coordinator_epoch: i32,
    ) -> Result<(), ResponseError> {
        let Some(known) = self.known.get(&producer_id) else { return Ok(()) };
        if epoch < known.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if coordinator_epoch < known.coordinator_epoch {
            return Err(ResponseError::TransactionCoordinatorFenced);
        }
        Ok(())
    }

    /// Notes a marker that was appended at `offset`.
    pub(crate) fn ended(&mut self, header: &Header, coordinator_epoch: i32, commit: bool) {
        let producer = self.known.entry(header.producer_id).or_insert_with(Producer::new);
        producer.adopt_epoch(header.producer_epoch);
        producer.coordinator_epoch = coordinator_epoch;
        producer.last_timestamp = header.max_timestamp;
        // A marker without data behind it moves no stable offset and is in no index.
        if let Some(first_offset) = producer.transaction_first_offset.take() {
            let last_offset = header.base_offset;
            self.open.remove(&first_offset);
            self.unreplicated.insert(first_offset, last_offset);
            if !commit {
                self.aborted.push(Aborted { producer_id: header.producer_id, first_offset, last_offset });
            }
        }
        // Protocol v2: the marker carries the epoch of the next transaction, whose first batch may already be waiting.
        let next_waits = |it: &Verification| it.epoch_bump && it.epoch == header.producer_epoch;
        if !self.verifications.get(&header.producer_id).is_some_and(next_waits) {
            self.verifications.remove(&header.producer_id);
        }
    }

    /// The first offset that a read_committed reader must not pass.
    pub(crate) fn first_unstable(&self) -> Option<i64> {
        let open = self.open.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        open.into_iter().chain(unreplicated).min().copied()
    }

    pub(crate) fn replicated(&mut self, high_watermark: i64) {
        self.unreplicated.retain(|_, last_offset| *last_offset >= high_watermark);
    }

    /// The aborted transactions with offsets in `from..to`.
    pub(crate) fn aborted(&self, from: i64, to: i64) -> Vec<Aborted> {
        self.aborted.iter().filter(|it| it.last_offset >= from && it.first_offset < to).copied().collect()
    }

    pub(crate) fn is_aborted(&self, producer_id: i64, offset: i64) -> bool {
        self.aborted
            .iter()
            .any(|it| it.producer_id == producer_id && (it.first_offset..=it.last_offset).contains(&offset))
    }

    pub(crate) fn log_start_moved(&mut self, log_start: i64) {
        self.unreplicated.retain(|_, last_offset| *last_offset >= log_start);
        self.aborted.retain(|it| it.last_offset >= log_start);
    }

    /// `producer.id.expiration.ms` counts from the records' own time, as in Kafka: old records make a producer old.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.known.retain(|_, it| {
            it.transaction_first_offset.is_some() || now_ms.saturating_sub(it.last_timestamp) < expiration_ms
        });
    }
}

fn follows(last: i32, next: i32) -> bool {
    i64::from(next) == i64::from(last) + 1 || (next == 0 && last == i32::MAX)
}

/// Sequences wrap to 0 behind the largest one.
fn sequence_after(sequence: i32, increment: i32) -> i32 {
    match sequence.checked_add(increment) {
        Some(sum) => sum,
        None => increment - (i32::MAX - sequence) - 1,
    }
}
