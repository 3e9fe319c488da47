//! The answer to a Fetch.

use crate::batch::BatchError;
use crate::source::committed::{Selection, select};
use crate::source::errors::{self, Action, Api};
use crate::source::fetcher::{Fetcher, Mutant};
use crate::source::message::{Answer, CorruptProblem, Delivery, Failure, FetchedPartition, IncidentKind, Trouble};
use crate::source::partition::{State, Watermarks};
use crate::types::{NodeId, TopicPartition};
use std::collections::BTreeSet;

/// A damaged batch may have been damaged on the way, or in the leader's page cache.
const CORRUPT_REFETCHES_MAX: u32 = 3;
/// The largest batch that is fetched: what the frame of an answer may hold, and a hundred times the default
/// `max.message.bytes`.
const PARTITION_BYTES_MAX: i32 = 100 << 20;

/// The grant that an answer spends.
struct Purse {
    left: usize,
}

impl Purse {
    /// An answer may exceed its grant by one batch (KIP-74); what was not granted cannot be charged.
    fn charge(&mut self, bytes: usize) -> usize {
        let charged = bytes.min(self.left);
        self.left -= charged;
        charged
    }
}

impl Fetcher {
    pub(super) fn fetch_answered(
        &mut self,
        node: NodeId,
        granted: usize,
        requested: Vec<(TopicPartition, u64)>,
        answer: Result<Answer, Failure>,
    ) {
        let mut purse = Purse { left: granted };
        let mut waiting: BTreeSet<_> = self.still_waiting(requested).into_iter().collect();
        let missing = match answer {
            Ok(Answer::Fetch { partitions }) => {
                self.node_answered(node);
                for (name, fetched) in partitions {
                    // Twice in one answer would be twice in one delivery.
                    if waiting.remove(&name) {
                        self.fetched(&name, fetched, &mut purse);
                    }
                }
                Trouble::NotInAnswer { api: Api::Fetch }
            }
            Ok(_) => Trouble::NotInAnswer { api: Api::Fetch },
            Err(failure) => {
                self.node_failed(node);
                Trouble::NoAnswer { api: Api::Fetch, failure }
            }
        };
        for name in waiting {
            self.retry(&name, missing);
        }
        if !(self.is_mutant(Mutant::LeakBudget) && purse.left == granted) {
            self.held_bytes -= purse.left;
            self.give_back(purse.left);
        }
    }

    /// Those for which the answer counts.
    pub(super) fn still_waiting(&mut self, requested: Vec<(TopicPartition, u64)>) -> Vec<TopicPartition> {
        let any_revision = self.is_mutant(Mutant::IgnoreRevision);
        let mut waiting = Vec::with_capacity(requested.len());
        for (name, revision) in requested {
            if let Some(partition) = self.partitions.get_mut(&name)
                && (partition.revision == revision || any_revision)
            {
                partition.in_flight = false;
                waiting.push(name);
            }
        }
        waiting
    }

    pub(super) fn retry(&mut self, name: &TopicPartition, trouble: Trouble) {
        if let Some(partition) = self.partitions.get_mut(name) {
            partition.back_off(self.now, trouble);
        }
    }

    /// Everything that is not data. Success is the caller's own.
    pub(super) fn failed(&mut self, name: &TopicPartition, api: Api, code: i16) {
        let trouble = Trouble::Answered { api, code };
        match errors::action(api, code) {
            Action::Success | Action::Retry => self.retry(name, trouble),
            Action::RefreshMetadata => {
                self.refresh();
                self.retry(name, trouble);
            }
            Action::OutOfRange => {
                if let Some(partition) = self.partitions.get_mut(name) {
                    partition.state = State::Examining { earliest: None };
                    partition.trouble = Some(trouble);
                }
            }
            Action::Corrupt => self.corrupt(name, CorruptProblem::Leader),
            Action::Unauthorized => self.incident(name, IncidentKind::Unauthorized { api, code }),
            Action::Refused => self.incident(name, IncidentKind::Refused { api, code }),
        }
    }

    fn fetched(&mut self, name: &TopicPartition, fetched: FetchedPartition, purse: &mut Purse) {
        if errors::action(Api::Fetch, fetched.error_code) != Action::Success {
            return self.failed(name, Api::Fetch, fetched.error_code);
        }
        let keeps_aborted = self.is_mutant(Mutant::KeepAborted);
        let ignores_gap = self.is_mutant(Mutant::IgnoreGap);
        let Some(partition) = self.partitions.get_mut(name) else { return };
        if !matches!(partition.state, State::Fetching) {
            return;
        }
        let FetchedPartition { high_watermark, last_stable_offset, log_start_offset, .. } = fetched;
        partition.watermarks = Some(Watermarks { high_watermark, last_stable_offset, log_start_offset });
        if let Some(end) = fetched.diverging_epoch {
            let kind = IncidentKind::Truncation { end_offset: end.end_offset, leader_epoch: end.leader_epoch };
            return self.incident(name, kind);
        }
        let position = partition.position;
        if log_start_offset > position.offset {
            partition.state = State::Examining { earliest: None };
            return;
        }
        let bytes = fetched.records.len();
        let aborted = if keeps_aborted { Vec::new() } else { fetched.aborted_transactions };
        let Selection { batches, next, first_base, any, problem, .. } = select(fetched.records, aborted, position);
        if next.offset <= position.offset {
            return match problem {
                Some(problem) => self.corrupt(name, problem),
                None if bytes > 0 && !any => self.grow(name),
                None => partition.succeeded(),
            };
        }
        // What comes behind a problem is fetched again, from right before it.
        partition.succeeded();
        partition.corrupt = 0;
        partition.served = self.fetches;
        let charged_bytes = if batches.is_empty() { 0 } else { purse.charge(bytes) };
        let delivery = Delivery {
            partition: name.clone(),
            topic_id: partition.topic_id,
            position,
            batches,
            next_position: next,
            charged_bytes,
            high_watermark,
            last_stable_offset,
            log_start_offset,
        };
        if first_base.is_some_and(|it| it > position.offset) && !ignores_gap {
            partition.state = State::Confirming(Box::new(delivery));
        } else {
            partition.position = next;
            self.held_bytes -= charged_bytes;
            self.deliver(delivery);
        }
    }

    fn corrupt(&mut self, name: &TopicPartition, problem: CorruptProblem) {
        let Some(partition) = self.partitions.get_mut(name) else { return };
        // These pass every check at the broker; another fetch brings the same.
        let is_final = matches!(
            problem,
            CorruptProblem::Batch(
                BatchError::OldMagic { .. } | BatchError::UnknownMagic { .. } | BatchError::UnknownCodec { .. }
            )
        );
        if is_final || partition.corrupt >= CORRUPT_REFETCHES_MAX {
            let offset = match &problem {
                CorruptProblem::Batch(problem) => problem.base_offset().unwrap_or(partition.position.offset),
                CorruptProblem::Leader => partition.position.offset,
                CorruptProblem::Order { base_offset, .. } => *base_offset,
            };
            return self.incident(name, IncidentKind::Corrupt { offset, problem });
        }
        partition.corrupt += 1;
        partition.back_off(self.now, Trouble::Corrupt);
    }

    /// The answer held the beginning of a batch and no whole one.
    fn grow(&mut self, name: &TopicPartition) {
        let Some(partition) = self.partitions.get_mut(name) else { return };
        if partition.max_bytes >= PARTITION_BYTES_MAX {
            let offset = partition.position.offset;
            return self.incident(name, IncidentKind::Oversized { offset, bytes_max: PARTITION_BYTES_MAX });
        }
        partition.max_bytes = partition.max_bytes.max(1).saturating_mul(2).min(PARTITION_BYTES_MAX);
    }
}
