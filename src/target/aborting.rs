//! A transaction that is given up.

use crate::target::body::Enlisted;
use crate::target::call::{Call, Verdict, after_failure, ended, judge};
use crate::target::errors::{Action, Api};
use crate::target::identity;
use crate::target::message::{
    Answer, Cause, Destination, Event, Failure, RequestId, Timer, TransactionProtocol, Trouble, TxnRequest,
};
use crate::target::settling::{Unsettled, Verdicts};
use crate::target::transactor::{Context, State};
use crate::types::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

const INVALID_TXN_STATE: i16 = 48;

/// What the lane does once the transaction is ended.
pub(super) enum Then {
    GoOn,
    /// Even a lane that stops ends its transaction first: left open, it would hold back every reader of its partitions.
    Stop,
}

#[expect(clippy::large_enum_variant, reason = "one a lane; a box would cost an allocation for every abort")]
enum Step {
    /// Requests of the transaction are still under way. An EndTxn that overtakes one of them would let it land behind the
    /// abort, in the next transaction or in none (KAFKA-9144).
    Draining(BTreeMap<RequestId, (Api, Destination)>),
    Ending(Call),
}

pub(super) struct Aborting {
    cause: Cause,
    then: Then,
    enlisted: Enlisted,
    /// All that may hold records of the transaction.
    partitions: BTreeSet<TopicPartition>,
    step: Step,
    /// By then the coordinator has ended the transaction by itself and fenced this epoch.
    expires: Instant,
}

impl Aborting {
    pub(super) fn start(
        context: &mut Context,
        cause: Cause,
        then: Then,
        draining: BTreeMap<RequestId, (Api, Destination)>,
        partitions: BTreeSet<TopicPartition>,
        enlisted: Enlisted,
        dirty: bool,
    ) -> State {
        let enlisted = if dirty { enlisted.max(Enlisted::Perhaps) } else { enlisted };
        let expires = context.now + context.settings.transaction_timeout;
        Aborting { cause, then, enlisted, partitions, step: Step::Draining(draining), expires }.drained(context)
    }

    fn drained(mut self, context: &mut Context) -> State {
        if !matches!(&self.step, Step::Draining(left) if left.is_empty()) {
            return State::Aborting(self);
        }
        if self.enlisted == Enlisted::Nothing {
            return self.finish(context, false);
        }
        let request = TxnRequest::EndTxn {
            transactional_id: context.settings.transactional_id.clone(),
            identity: context.identity,
            commit: false,
            protocol: context.protocol,
        };
        self.step = Step::Ending(Call::start(context, Destination::TransactionCoordinator, request));
        State::Aborting(self)
    }

    pub(super) fn answered(mut self, context: &mut Context, id: RequestId, answer: Result<Answer, Failure>) -> State {
        match &mut self.step {
            Step::Draining(left) => {
                let Some((api, to)) = left.remove(&id) else { return State::Aborting(self) };
                let (row, cause) = judge(api, &answer);
                after_failure(context, &to, &answer);
                match row.action {
                    Action::Fenced => {
                        ended(context, Event::Fenced { cause });
                        return State::Fenced;
                    }
                    Action::Success if api == Api::AddPartitionsToTxn => self.enlisted = Enlisted::Certainly,
                    _ if row.dirty => self.enlisted = self.enlisted.max(Enlisted::Perhaps),
                    _ => {}
                }
                self.drained(context)
            }
            Step::Ending(call) if call.owns(id) => {
                // On v1 there is nothing to end if the only AddPartitionsToTxn never arrived. Should it still be under way,
                // the bump that follows every v1 abort fences it.
                let nothing_there = self.enlisted == Enlisted::Perhaps
                    && context.protocol == TransactionProtocol::V1
                    && matches!(answer, Ok(Answer::EndTxn { error_code: INVALID_TXN_STATE, .. }));
                if nothing_there {
                    return self.finish(context, true);
                }
                match call.answered(context, answer) {
                    Verdict::Done(answer) => {
                        let bump = identity::after_end(context, &answer);
                        self.finish(context, bump || context.protocol == TransactionProtocol::V1)
                    }
                    Verdict::Again => State::Aborting(self),
                    Verdict::Abort(cause) | Verdict::Fenced(cause) | Verdict::OutcomeUnknown(cause) => {
                        ended(context, Event::Fenced { cause });
                        State::Fenced
                    }
                    Verdict::Stop(cause) => {
                        ended(context, Event::Stopped { cause });
                        State::Stopped
                    }
                }
            }
            Step::Ending(_) => State::Aborting(self),
        }
    }

    /// `bump`: on v1 an abort leaves sequences behind that only some leaders have seen, so they restart in a new epoch.
    fn finish(self, context: &mut Context, bump: bool) -> State {
        match self.then {
            Then::GoOn => {
                if self.enlisted != Enlisted::Nothing {
                    for partition in self.partitions {
                        context.unsettle(partition, Unsettled::new(Verdicts::Abort, None));
                    }
                }
                ended(context, Event::Aborted { cause: self.cause });
                identity::settle(context, bump)
            }
            Then::Stop => {
                ended(context, Event::Stopped { cause: self.cause });
                State::Stopped
            }
        }
    }

    pub(super) fn timeout(mut self, context: &mut Context) -> State {
        if let Step::Ending(call) = &mut self.step {
            if self.expires <= context.now && call.in_flight().is_none() {
                let cause = call.last_trouble().map(|(cause, _)| cause.clone());
                ended(context, Event::Fenced { cause: cause.unwrap_or_else(|| Cause::new(Trouble::Deadline)) });
                return State::Fenced;
            }
            call.timeout(context);
        }
        State::Aborting(self)
    }

    pub(super) fn timer(&self) -> Option<(Instant, Timer)> {
        match &self.step {
            Step::Draining(_) => None,
            Step::Ending(call) => call.timer(),
        }
    }
}
