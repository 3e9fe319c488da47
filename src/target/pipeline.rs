//! The batches of one partition in one transaction: in order, at most [`Context`]'s window in flight, resent unchanged.

use crate::batch::{RawBatch, StampedBatch, split, stamp, unstamped};
use crate::planted::{Bug, planted};
use crate::target::call::{after_failure, delay, judge};
use crate::target::errors::{AbortClass, Action, Api, Backoff};
use crate::target::message::{Answer, Cause, Destination, Failure, Output, RequestId, Timer, TxnRequest};
use crate::target::transactor::Context;
use crate::types::TopicPartition;
use std::collections::VecDeque;
use std::time::Instant;

/// DUPLICATE_SEQUENCE_NUMBER: stored before, but the broker has forgotten where.
const DUPLICATE_SEQUENCE: i16 = 46;
/// The base offset of a batch that is stored nobody knows where.
pub(super) const OFFSET_UNKNOWN: i64 = -1;

enum Progress {
    Queued,
    InFlight(RequestId),
    /// Stored; it waits for the batches before it.
    Stored(i64),
}

struct Entry {
    batch: StampedBatch,
    progress: Progress,
    corrupt_once: bool,
}

/// A batch failed. Nothing is sent until its successors in flight have come back: a resend that overtakes them could be
/// stored out of order by a leader that has no state of this producer (protocol v1 accepts any first sequence then).
struct Recovery {
    resume: Instant,
}

pub(super) struct Pipeline {
    partition: TopicPartition,
    /// Unacknowledged, oldest first; the first one is never `Stored`.
    entries: VecDeque<Entry>,
    landed: Vec<i64>,
    next_sequence: i32,
    attempts: u32,
    recovery: Option<Recovery>,
    /// Why the oldest batch is not stored yet, for the case that time runs out.
    trouble: Option<(Cause, AbortClass)>,
}

/// What an answer means beyond its partition.
pub(super) enum Outcome {
    Going,
    Abort(Cause),
    Fenced(Cause),
    Stop(Cause),
}

/// Sequences count records and wrap from MAX to 0 (`DefaultRecordBatch.incrementSequence`).
pub(super) fn advance_sequence(sequence: i32, records: i32) -> i32 {
    let next = i64::from(sequence) + i64::from(records);
    let wrapped = next % (i64::from(i32::MAX) + 1);
    i32::try_from(wrapped).unwrap_or(0)
}

impl Pipeline {
    pub(super) fn new(partition: TopicPartition, next_sequence: i32) -> Self {
        Self {
            partition,
            entries: VecDeque::new(),
            landed: Vec::new(),
            next_sequence,
            attempts: 0,
            recovery: None,
            trouble: None,
        }
    }

    pub(super) fn append(&mut self, context: &Context, batch: &RawBatch, records: i32) {
        let is_ledger = context.settings.ledger_partition.as_ref() == Some(&self.partition);
        let is_outside = is_ledger && planted(Bug::PositionOutsideTransaction)
            || planted(Bug::LetterOutsideTransaction) && self.partition.topic.ends_with(".dead-letters");
        let batch = if is_outside { unstamped(batch) } else { stamp(batch, context.identity, self.next_sequence) };
        self.next_sequence = advance_sequence(self.next_sequence, records);
        self.entries.push_back(Entry { batch, progress: Progress::Queued, corrupt_once: false });
    }

    pub(super) fn next_sequence(&self) -> i32 {
        self.next_sequence
    }

    pub(super) fn landed(&self) -> &[i64] {
        &self.landed
    }

    /// Its leader has taken a batch of this transaction.
    pub(super) fn is_enlisted(&self) -> bool {
        !self.landed.is_empty()
    }

    pub(super) fn is_acknowledged(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn requests_in_flight(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.entries.iter().filter_map(|entry| match entry.progress {
            Progress::InFlight(id) => Some(id),
            _ => None,
        })
    }

    pub(super) fn owns(&self, id: RequestId) -> bool {
        self.requests_in_flight().any(|own| own == id)
    }

    pub(super) fn leader(&self) -> Destination {
        Destination::Leader(self.partition.clone())
    }

    /// Sends what the window allows. True if anything was sent.
    ///
    /// The window counts from the oldest unacknowledged batch, because the leader recognises a resend only among the
    /// producer's last five batches. Until the first acknowledgement it is one: on protocol v2 a second Produce that
    /// waits behind the leader's own AddPartitionsToTxn fails the first (`AddPartitionsToTxnManager.addTxnData`), and on
    /// v1 a leader without state of the producer takes whatever sequence comes first.
    pub(super) fn pump(&mut self, context: &mut Context) -> bool {
        if let Some(recovery) = &self.recovery {
            if recovery.resume > context.now || self.requests_in_flight().next().is_some() {
                return false;
            }
            self.recovery = None;
            if planted(Bug::SequenceReset) {
                self.renumber(context);
            }
        }
        let window = if self.is_enlisted() { context.settings.max_in_flight } else { 1 };
        let mut sent = false;
        let to = self.leader();
        for entry in self.entries.iter_mut().take(window) {
            if let Progress::Queued = entry.progress {
                let request = TxnRequest::Produce {
                    transactional_id: context.settings.transactional_id.clone(),
                    partition: self.partition.clone(),
                    batch: entry.batch.clone(),
                    protocol: context.protocol,
                };
                entry.progress = Progress::InFlight(context.send(to.clone(), request));
                sent = true;
            }
        }
        sent
    }

    /// What only a planted bug does: the leader can no longer tell a resend from something new.
    fn renumber(&mut self, context: &Context) {
        for entry in self.entries.iter_mut().filter(|it| matches!(it.progress, Progress::Queued)) {
            if let Some(Ok(batch)) = split(entry.batch.to_bytes()).next() {
                entry.batch = stamp(&batch, context.identity, self.next_sequence);
                self.next_sequence = advance_sequence(self.next_sequence, batch.header().record_count);
            }
        }
    }

    /// Returns the meaning, and whether the transaction is dirty by it.
    pub(super) fn answered(
        &mut self,
        context: &mut Context,
        id: RequestId,
        answer: Result<Answer, Failure>,
    ) -> (Outcome, bool) {
        let api = Api::Produce;
        let (row, mut cause) = judge(api, &answer);
        cause.partition = Some(self.partition.clone());
        after_failure(context, &self.leader(), &answer);
        let Some(index) =
            self.entries.iter().position(|entry| matches!(entry.progress, Progress::InFlight(own) if own == id))
        else {
            return (Outcome::Going, row.dirty);
        };
        let entry = &mut self.entries[index];
        entry.progress = Progress::Queued;
        let backoff = match row.action {
            Action::Success => {
                entry.progress = Progress::Stored(match answer {
                    Ok(Answer::Produce { error_code, base_offset, .. }) if error_code != DUPLICATE_SEQUENCE => {
                        base_offset
                    }
                    _ => OFFSET_UNKNOWN,
                });
                self.attempts = 0;
                self.trouble = None;
                while let Some(Entry { progress: Progress::Stored(offset), .. }) = self.entries.front() {
                    self.landed.push(*offset);
                    self.entries.pop_front();
                }
                return (Outcome::Going, row.dirty);
            }
            Action::Abort(_) => return (Outcome::Abort(cause), row.dirty),
            Action::Fenced | Action::OutcomeUnknown => return (Outcome::Fenced(cause), row.dirty),
            Action::Operator | Action::Bug => return (Outcome::Stop(cause), row.dirty),
            Action::RetryOnce if entry.corrupt_once => return (Outcome::Stop(cause), row.dirty),
            // With nothing unacknowledged before it the gap is real, and resending cannot close it.
            Action::RetryBehindEarlier if index == 0 => return (Outcome::Abort(cause), row.dirty),
            Action::RetryOnce => {
                entry.corrupt_once = true;
                Backoff::Growing
            }
            Action::RefreshMetadata | Action::RetryCoordinator => {
                context.output(Output::RefreshMetadata(vec![self.partition.clone()]));
                Backoff::Growing
            }
            Action::Retry(backoff) => backoff,
            Action::RetryBehindEarlier => Backoff::Growing,
        };
        let resume = context.now + delay(backoff, self.attempts);
        match &mut self.recovery {
            Some(recovery) => recovery.resume = recovery.resume.max(resume),
            // The first failure is the cause; those behind it only follow from it.
            None => {
                self.attempts += 1;
                self.trouble = Some((cause, row.exhausted));
                self.recovery = Some(Recovery { resume });
            }
        }
        (Outcome::Going, row.dirty)
    }

    /// The cause to name when the transaction runs out of time.
    pub(super) fn trouble(&self) -> Option<(Cause, AbortClass)> {
        self.trouble.clone()
    }

    pub(super) fn timer(&self) -> Option<(Instant, Timer)> {
        let recovery = self.recovery.as_ref()?;
        self.requests_in_flight().next().is_none().then_some((recovery.resume, Timer::Retry))
    }
}

#[cfg(test)]
mod tests {
    use super::advance_sequence;

    #[test]
    fn sequences_wrap_from_max_to_zero() {
        assert_eq!(advance_sequence(0, 1), 1);
        assert_eq!(advance_sequence(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(advance_sequence(i32::MAX, 1), 0);
        assert_eq!(advance_sequence(i32::MAX - 1, 5), 3);
    }
}
