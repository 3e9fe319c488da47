//! From Commit to the known verdict.

use crate::target::aborting::{Aborting, Then};
use crate::target::body::{Body, Enlisted};
use crate::target::call::{Call, Verdict, earlier, ended};
use crate::target::errors::AbortClass;
use crate::target::identity;
use crate::target::message::{
    Answer, Cause, CommitOffset, Destination, Event, Failure, OffsetCommit, RequestId, Timer, TransactionProtocol,
    Trouble, TxnRequest,
};
use crate::target::pipeline::{OFFSET_UNKNOWN, Outcome};
use crate::target::settling::{Unsettled, Verdicts};
use crate::target::transactor::{Context, State};
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use std::time::Instant;

enum Offsets {
    /// v1: AddOffsetsToTxn waits until AddPartitionsToTxn is through, or each would answer the other 51.
    Unregistered,
    Registering(Call),
    /// The ledger batch has not landed yet.
    Waiting,
    Sending(Call),
    Acknowledged,
}

/// Everything is appended; nothing is decided.
pub(super) struct Committing {
    body: Body,
    ledger_partition: TopicPartition,
    commit: Option<OffsetCommit>,
    promised: Vec<(TopicPartition, i64)>,
    offsets: Offsets,
}

impl Committing {
    pub(super) fn start(
        context: &mut Context,
        body: Body,
        ledger_partition: TopicPartition,
        (commit, promised): (Option<OffsetCommit>, Vec<(TopicPartition, i64)>),
    ) -> State {
        let offsets = match context.protocol {
            _ if commit.is_none() => Offsets::Acknowledged,
            TransactionProtocol::V1 => Offsets::Unregistered,
            TransactionProtocol::V2 => Offsets::Waiting,
        };
        Self { body, ledger_partition, commit, promised, offsets }.advance(context)
    }

    fn advance(mut self, context: &mut Context) -> State {
        self.body.pump(context);
        if matches!(self.offsets, Offsets::Unregistered) && self.body.is_registered() {
            let request = TxnRequest::AddOffsetsToTxn {
                transactional_id: context.settings.transactional_id.clone(),
                identity: context.identity,
                group_id: context.settings.group_id.clone(),
            };
            self.offsets = Offsets::Registering(Call::start(context, Destination::TransactionCoordinator, request));
        }
        if matches!(self.offsets, Offsets::Waiting)
            && self.body.is_enlisted(context.protocol)
            && let Some(commit) = &self.commit
        {
            let offset = match commit.offset {
                CommitOffset::Fixed(offset) => Some(offset),
                CommitOffset::LedgerBase => self.body.last_landed(&self.ledger_partition),
            };
            match offset {
                None => {}
                Some(OFFSET_UNKNOWN) => {
                    return self.abort(context, Cause::new(Trouble::LedgerOffsetUnknown), Then::GoOn);
                }
                Some(offset) => {
                    let request = self.offset_commit(context, commit, offset);
                    self.offsets = Offsets::Sending(Call::start(context, Destination::GroupCoordinator, request));
                }
            }
        }
        if matches!(self.offsets, Offsets::Acknowledged) && self.body.is_acknowledged() {
            if let Some(partition) = self.displaced() {
                let cause = Cause { partition: Some(partition), ..Cause::new(Trouble::Displaced) };
                return self.abort(context, cause, Then::GoOn);
            }
            return Ending::start(context, &self.body);
        }
        State::Committing(self)
    }

    /// A partition whose records did not land where they were to.
    fn displaced(&self) -> Option<TopicPartition> {
        let is_elsewhere = |(partition, promised): &&(TopicPartition, i64)| {
            self.body.first_landed(partition).is_some_and(|it| it != OFFSET_UNKNOWN && it != *promised)
        };
        self.promised.iter().find(is_elsewhere).map(|it| it.0.clone())
    }

    fn offset_commit(&self, context: &Context, commit: &OffsetCommit, offset: i64) -> TxnRequest {
        TxnRequest::TxnOffsetCommit {
            transactional_id: context.settings.transactional_id.clone(),
            identity: context.identity,
            group_id: context.settings.group_id.clone(),
            partition: self.ledger_partition.clone(),
            offset,
            generation_id: commit.generation_id,
            member_id: commit.member_id.clone(),
            group_instance_id: commit.group_instance_id.clone(),
            protocol: context.protocol,
        }
    }

    fn call(&mut self) -> Option<&mut Call> {
        match &mut self.offsets {
            Offsets::Registering(call) | Offsets::Sending(call) => Some(call),
            Offsets::Unregistered | Offsets::Waiting | Offsets::Acknowledged => None,
        }
    }

    pub(super) fn abort(self, context: &mut Context, cause: Cause, then: Then) -> State {
        let other = match &self.offsets {
            Offsets::Registering(call) | Offsets::Sending(call) => Some(call),
            Offsets::Unregistered | Offsets::Waiting | Offsets::Acknowledged => None,
        };
        self.body.abort(context, cause, then, other)
    }

    pub(super) fn answered(mut self, context: &mut Context, id: RequestId, answer: Result<Answer, Failure>) -> State {
        let outcome = match self.body.answered(context, id, answer) {
            Ok(outcome) => outcome,
            Err(answer) => {
                let Some(call) = self.call().filter(|call| call.owns(id)) else { return State::Committing(self) };
                let verdict = call.answered(context, answer);
                if call.is_dirty() {
                    self.body.set_dirty();
                }
                match verdict {
                    Verdict::Done(_) => {
                        self.offsets = match self.offsets {
                            Offsets::Registering(_) => Offsets::Waiting,
                            _ => Offsets::Acknowledged,
                        };
                        Outcome::Going
                    }
                    Verdict::Again => Outcome::Going,
                    Verdict::Abort(cause) => Outcome::Abort(cause),
                    Verdict::Fenced(cause) | Verdict::OutcomeUnknown(cause) => Outcome::Fenced(cause),
                    Verdict::Stop(cause) => Outcome::Stop(cause),
                }
            }
        };
        match outcome {
            Outcome::Going => self.advance(context),
            Outcome::Abort(cause) => self.abort(context, cause, Then::GoOn),
            Outcome::Stop(cause) => self.abort(context, cause, Then::Stop),
            Outcome::Fenced(cause) => {
                ended(context, Event::Fenced { cause });
                State::Fenced
            }
        }
    }

    pub(super) fn timeout(mut self, context: &mut Context) -> State {
        if let Some(cause) = self.body.expired(context.now) {
            let own = self.call().and_then(|call| call.last_trouble().cloned());
            let cause = match own {
                Some((own, class)) if cause.trouble == Trouble::Deadline => Cause { class, ..own },
                _ => cause,
            };
            return self.abort(context, cause, Then::GoOn);
        }
        self.body.timeout(context);
        if let Some(call) = self.call() {
            call.timeout(context);
        }
        self.advance(context)
    }

    pub(super) fn timer(&self) -> Option<(Instant, Timer)> {
        let own = match &self.offsets {
            Offsets::Registering(call) | Offsets::Sending(call) => call.timer(),
            Offsets::Unregistered | Offsets::Waiting | Offsets::Acknowledged => None,
        };
        earlier(self.body.timer(), own)
    }
}

/// EndTxn(commit) is on its way. From here on nothing but its answer, or the ledger, says what happened.
pub(super) struct Ending {
    transaction: u64,
    landed: Vec<(TopicPartition, i64)>,
    sequences: Vec<(TopicPartition, i32)>,
    call: Call,
    body_dirty: bool,
    /// By then the coordinator has timed the transaction out, if no EndTxn reached it.
    expires: Instant,
}

impl Ending {
    fn start(context: &mut Context, body: &Body) -> State {
        let request = TxnRequest::EndTxn {
            transactional_id: context.settings.transactional_id.clone(),
            identity: context.identity,
            commit: true,
            protocol: context.protocol,
        };
        State::Ending(Self {
            transaction: body.transaction,
            landed: body.landed(),
            sequences: body.sequences(),
            call: Call::start(context, Destination::TransactionCoordinator, request),
            body_dirty: body.is_dirty(),
            expires: context.now + context.settings.transaction_timeout,
        })
    }

    pub(super) fn answered(mut self, context: &mut Context, id: RequestId, answer: Result<Answer, Failure>) -> State {
        if !self.call.owns(id) {
            return State::Ending(self);
        }
        let ambiguous = self.call.is_dirty();
        match self.call.answered(context, answer) {
            Verdict::Done(answer) => self.committed(context, &answer),
            Verdict::Again => State::Ending(self),
            // A refusal of the only EndTxn that was ever sent: aborting flips nothing. After an earlier attempt without an
            // answer it would, because the refusal may be of a transaction that attempt has committed already.
            Verdict::Abort(cause) if !ambiguous => {
                let dirty = self.body_dirty;
                let partitions = self.landed.into_iter().map(|it| it.0).collect();
                Aborting::start(context, cause, Then::GoOn, BTreeMap::new(), partitions, Enlisted::Certainly, dirty)
            }
            Verdict::Fenced(cause) if !ambiguous => {
                ended(context, Event::Fenced { cause });
                State::Fenced
            }
            Verdict::Stop(cause) if !ambiguous => {
                ended(context, Event::Stopped { cause });
                State::Stopped
            }
            Verdict::Abort(cause) | Verdict::Fenced(cause) | Verdict::OutcomeUnknown(cause) | Verdict::Stop(cause) => {
                unknown(context, cause)
            }
        }
    }

    fn committed(self, context: &mut Context, answer: &Answer) -> State {
        let dirty = self.body_dirty || self.call.is_dirty();
        context.sequences.extend(self.sequences);
        let mut bump = identity::after_end(context, answer);
        // A copy of a request without an answer may be held up on its way, and on v1 it would be taken for one of the next
        // transaction: a held EndTxn commits half of it (KAFKA-17754, seen on every version up to 4.4).
        bump |= dirty && context.protocol == TransactionProtocol::V1 && context.settings.harden_v1;
        for (partition, base_offset) in &self.landed {
            // Of several batches the last counts.
            let reach = (*base_offset != OFFSET_UNKNOWN).then_some(base_offset + 1);
            context.unsettle(partition.clone(), Unsettled::new(Verdicts::Commit, reach));
        }
        ended(context, Event::Committed { transaction: self.transaction, offsets: self.landed });
        identity::settle(context, bump)
    }

    pub(super) fn timeout(mut self, context: &mut Context) -> State {
        if self.expires <= context.now && self.call.in_flight().is_none() {
            let cause = match self.call.last_trouble() {
                Some((cause, _)) => Cause { class: AbortClass::Plain, ..cause.clone() },
                None => Cause::new(Trouble::Deadline),
            };
            return unknown(context, cause);
        }
        self.call.timeout(context);
        State::Ending(self)
    }

    pub(super) fn timer(&self) -> Option<(Instant, Timer)> {
        self.call.timer()
    }
}

fn unknown(context: &mut Context, cause: Cause) -> State {
    ended(context, Event::OutcomeUnknown { cause });
    State::Unknown
}
