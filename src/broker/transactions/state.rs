//! One transactional id at its coordinator (Kafka's TransactionMetadata and TransactionCoordinator).
//!
//! | state | AddPartitions | EndTxn v≤4 | EndTxn v5 | InitProducerId |
//! |---|---|---|---|---|
//! | Empty | Ongoing | 48 | abort: PrepareAbort, commit: 48 | Empty, epoch + 1 |
//! | Ongoing | Ongoing | Prepare | Prepare, epoch + 1 | PrepareAbort, 51 |
//! | Prepare | 51 | 51 | 51 | 51 |
//! | Complete, same verdict | Ongoing | 0 | retry: 0, else as Empty | Empty, epoch + 1 |
//! | Complete, other verdict | Ongoing | 48 | retry: 48, else as Empty | Empty, epoch + 1 |
//!
//! A state changes in one step here, where Kafka appends to its log first; so "pending" means that markers are on their way.

use crate::broker::settings::Millis;
use crate::types::{ProducerIdentity, TopicPartition};
use kafka_protocol::ResponseError;
use std::collections::BTreeSet;

const NO_ID: i64 = -1;
const NO_EPOCH: i16 = -1;
/// The last epoch that is never handed out: fencing needs one more.
const EPOCH_EXHAUSTED: i16 = i16::MAX - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl State {
    pub(crate) const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// As ListTransactions names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    fn is_pending(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) identity: ProducerIdentity,
    /// The id before a rotation, for a retry that has not heard of it.
    pub(crate) previous_id: i64,
    /// The id after this transaction, where its epochs are used up.
    pub(crate) next_id: i64,
    pub(crate) last_epoch: i16,
    pub(crate) timeout_ms: i32,
    pub(crate) state: State,
    /// Those that get a marker; while markers are written, those that still lack theirs.
    pub(crate) partitions: BTreeSet<TopicPartition>,
    pub(crate) start_ms: Millis,
    /// When markers are written next; None where none are due or all are held.
    pub(crate) markers_due_ms: Option<Millis>,
}

/// The answer to EndTxn, and whether it began something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What protocol v2 goes on with.
    pub(crate) identity: ProducerIdentity,
    pub(crate) is_new: bool,
}

impl Transaction {
    pub(crate) fn new(producer_id: i64, timeout_ms: i32) -> Self {
        Self {
            identity: ProducerIdentity { producer_id, producer_epoch: NO_EPOCH },
            previous_id: NO_ID,
            next_id: NO_ID,
            last_epoch: NO_EPOCH,
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            start_ms: -1,
            markers_due_ms: None,
        }
    }

    fn is_exhausted(&self) -> bool {
        self.identity.producer_epoch >= EPOCH_EXHAUSTED
    }

    /// InitProducerId (KIP-98, KIP-360). `expected` is who the caller thinks it is; `next_id` hands out producer ids.
    pub(crate) fn init(
        &mut self,
        expected: Option<ProducerIdentity>,
        timeout_ms: i32,
        server_bumps: bool,
        mut next_id: impl FnMut() -> i64,
    ) -> Result<ProducerIdentity, ResponseError> {
        if self.state.is_pending() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        let ProducerIdentity { producer_id, producer_epoch } = self.identity;
        let known = |it: &ProducerIdentity| {
            producer_epoch == NO_EPOCH
                || it.producer_id == producer_id
                || (it.producer_id == self.previous_id && it.producer_epoch >= EPOCH_EXHAUSTED)
        };
        if !expected.as_ref().is_none_or(known) {
            return Err(ResponseError::ProducerFenced);
        }
        if self.state == State::Ongoing {
            // The caller comes again when the old owner's transaction is aborted; its epoch is never handed out.
            self.fence(server_bumps)?;
            return Err(ResponseError::ConcurrentTransactions);
        }
        let expected_epoch = expected.map(|it| it.producer_epoch);
        let (identity, last_epoch) = if self.is_exhausted() && expected_epoch.is_none_or(|it| it == producer_epoch) {
            let last_epoch = if expected.is_some() { producer_epoch } else { NO_EPOCH };
            (ProducerIdentity { producer_id: next_id(), producer_epoch: 0 }, last_epoch)
        } else {
            let epoch = match expected_epoch {
                None => (self.bumped()?, NO_EPOCH),
                Some(it) if producer_epoch == NO_EPOCH || it == producer_epoch => (self.bumped()?, producer_epoch),
                // The same request again, whose answer was lost.
                Some(it) if it == self.last_epoch => (producer_epoch, self.last_epoch),
                Some(_) => return Err(ResponseError::ProducerFenced),
            };
            (ProducerIdentity { producer_id, producer_epoch: epoch.0 }, epoch.1)
        };
        self.previous_id = producer_id;
        (self.identity, self.last_epoch) = (identity, last_epoch);
        (self.state, self.timeout_ms, self.start_ms) = (State::Empty, timeout_ms, -1);
        self.partitions.clear();
        Ok(identity)
    }

    fn bumped(&self) -> Result<i16, ResponseError> {
        self.identity.producer_epoch.checked_add(1).ok_or(ResponseError::UnknownServerError)
    }

    /// Aborts what is open, in an epoch that its owner does not have.
    pub(crate) fn fence(&mut self, server_bumps: bool) -> Result<(), ResponseError> {
        let epoch = self.identity.producer_epoch;
        let bumped = self.bumped()?;
        self.previous_id = self.identity.producer_id;
        self.identity.producer_epoch = bumped;
        // Protocol v1 forgets the epoch before, so that its owner is fenced; v2 leaves it a way to learn what happened.
        self.last_epoch = if server_bumps { epoch } else { NO_EPOCH };
        self.state = State::PrepareAbort;
        Ok(())
    }

    /// Whether the coordinator lets this producer speak at all.
    fn check(&self, identity: ProducerIdentity) -> Result<(), ResponseError> {
        if self.identity.producer_id != identity.producer_id {
            Err(ResponseError::InvalidProducerIdMapping)
        } else if self.identity.producer_epoch != identity.producer_epoch {
            Err(ResponseError::ProducerFenced)
        } else {
            Ok(())
        }
    }

    /// AddPartitionsToTxn, AddOffsetsToTxn, and what protocol v2 adds by itself. Returns whether anything changed.
    pub(crate) fn add(
        &mut self,
        identity: ProducerIdentity,
        partitions: &BTreeSet<TopicPartition>,
        now_ms: Millis,
    ) -> Result<bool, ResponseError> {
        if self.state.is_pending() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        self.check(identity)?;
        if self.state == State::Ongoing && partitions.is_subset(&self.partitions) {
            return Ok(false);
        }
        if self.state != State::Ongoing {
            (self.state, self.start_ms) = (State::Ongoing, now_ms);
        }
        self.previous_id = self.identity.producer_id;
        self.partitions.extend(partitions.iter().cloned());
        Ok(true)
    }

    /// Protocol v1's check that a partition was added (KIP-890, part 1).
    pub(crate) fn verify(&self, identity: ProducerIdentity, partition: &TopicPartition) -> Result<(), ResponseError> {
        self.check(identity)?;
        if self.state.is_pending() {
            Err(ResponseError::ConcurrentTransactions)
        } else if self.partitions.contains(partition) {
            Ok(())
        } else {
            Err(ResponseError::TransactionAbortable)
        }
    }

    /// EndTxn up to v4. The epoch stays: a delayed request of an earlier transaction ends a later one (KAFKA-17754).
    pub(crate) fn end_v1(&mut self, identity: ProducerIdentity, commit: bool) -> Result<Ended, ResponseError> {
        self.check(identity)?;
        match self.state {
            State::PrepareCommit | State::PrepareAbort => Err(ResponseError::ConcurrentTransactions),
            State::Ongoing => {
                self.prepare(commit);
                Ok(Ended { identity, is_new: true })
            }
            State::CompleteCommit if commit => Ok(Ended { identity, is_new: false }),
            State::CompleteAbort if !commit => Ok(Ended { identity, is_new: false }),
            State::CompleteCommit | State::CompleteAbort | State::Empty => Err(ResponseError::InvalidTxnState),
        }
    }

    /// EndTxn from v5: the epoch of the next transaction is another one.
    pub(crate) fn end_v2(
        &mut self,
        identity: ProducerIdentity,
        commit: bool,
        next_id: impl FnOnce() -> i64,
    ) -> Result<Ended, ResponseError> {
        if self.state.is_pending() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        let ours = self.identity;
        let rotated = self.previous_id == identity.producer_id
            && self.previous_id != ours.producer_id
            && identity.producer_epoch == EPOCH_EXHAUSTED
            && ours.producer_epoch == 0;
        if ours.producer_id != identity.producer_id && !rotated {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        let bumped = i32::from(ours.producer_epoch) == i32::from(identity.producer_epoch) + 1;
        let is_complete = matches!(self.state, State::CompleteCommit | State::CompleteAbort);
        let is_retry = bumped || rotated;
        if !(identity.producer_epoch == ours.producer_epoch || (is_complete && is_retry)) {
            return Err(ResponseError::ProducerFenced);
        }
        match (self.state, commit) {
            (State::CompleteCommit, true) | (State::CompleteAbort, false) if is_retry => {
                return Ok(Ended { identity: ours, is_new: false });
            }
            // Nothing to commit; the other verdict to a retry; an abort of nothing gives a new epoch.
            (State::CompleteCommit | State::CompleteAbort | State::Empty, true) => {
                return Err(ResponseError::InvalidTxnState);
            }
            (State::CompleteCommit, false) if is_retry => return Err(ResponseError::InvalidTxnState),
            _ => {}
        }
        self.next_id = if self.is_exhausted() { next_id() } else { NO_ID };
        let bumped = self.bumped()?;
        self.prepare(commit);
        self.last_epoch = self.identity.producer_epoch;
        self.identity.producer_epoch = bumped;
        Ok(Ended { identity: self.after_completion(), is_new: true })
    }

    fn prepare(&mut self, commit: bool) {
        self.previous_id = self.identity.producer_id;
        self.state = if commit { State::PrepareCommit } else { State::PrepareAbort };
    }

    fn after_completion(&self) -> ProducerIdentity {
        if self.next_id == NO_ID {
            self.identity
        } else {
            ProducerIdentity { producer_id: self.next_id, producer_epoch: 0 }
        }
    }

    /// All markers are written.
    pub(crate) fn complete(&mut self) {
        self.state = match self.state {
            State::PrepareCommit => State::CompleteCommit,
            State::PrepareAbort => State::CompleteAbort,
            other => other,
        };
        self.previous_id = self.identity.producer_id;
        self.identity = self.after_completion();
        self.next_id = NO_ID;
        self.partitions.clear();
        self.markers_due_ms = None;
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.state.is_pending()
    }

    pub(crate) fn has_timed_out(&self, now_ms: Millis) -> bool {
        self.state == State::Ongoing && self.start_ms + Millis::from(self.timeout_ms) < now_ms
    }
}
