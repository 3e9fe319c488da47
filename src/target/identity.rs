//! Between transactions: taking the lane, bumping its epoch, and what an ended transaction leaves for the next one.

use crate::planted::{Bug, planted};
use crate::target::call::{Call, Verdict, ended};
use crate::target::message::{Answer, Destination, Event, Failure, RequestId, Timer, TransactionProtocol, TxnRequest};
use crate::target::transactor::{Context, State};
use std::time::Instant;

/// From here on the epoch is used up while the lane is idle: exhaustion in the middle of a transaction loses the new
/// producer id on 4.0–4.2 when the coordinator moves (KAFKA-20310, KAFKA-20090). 17 bumps lead from here to a new id.
const EPOCH_DRILL: i16 = 32_750;

/// InitProducerId until it is answered.
pub(super) struct Initializing {
    call: Call,
}

impl Initializing {
    /// Takes over from whoever was the owner.
    pub(super) fn take(context: &mut Context) -> State {
        State::Taking(Self::start(context, false))
    }

    /// Bumps the own epoch. Never with (−1, −1): that would take the lane back from a new owner, and go on from a position
    /// that the new owner has left behind. With the identity the coordinator refuses a fenced owner, and a lost answer can
    /// be asked for again (KIP-360).
    fn bump(context: &mut Context) -> State {
        State::Bumping(Self::start(context, true))
    }

    fn start(context: &mut Context, own: bool) -> Self {
        let request = TxnRequest::InitProducerId {
            transactional_id: context.settings.transactional_id.clone(),
            transaction_timeout_ms: i32::try_from(context.settings.transaction_timeout.as_millis()).unwrap_or(i32::MAX),
            identity: own.then_some(context.identity),
        };
        Self { call: Call::start(context, Destination::TransactionCoordinator, request) }
    }

    pub(super) fn answered(
        mut self,
        context: &mut Context,
        id: RequestId,
        answer: Result<Answer, Failure>,
        same: fn(Self) -> State,
    ) -> State {
        if !self.call.owns(id) {
            return same(self);
        }
        match self.call.answered(context, answer) {
            Verdict::Done(Answer::InitProducerId { identity, .. }) => {
                context.identity = identity;
                context.sequences.clear();
                settle(context, false)
            }
            // Unreachable: `judge` refuses the answer of another API.
            Verdict::Done(_) | Verdict::Again => same(self),
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

    pub(super) fn timeout(&mut self, context: &mut Context) {
        self.call.timeout(context);
    }

    pub(super) fn timer(&self) -> Option<(Instant, Timer)> {
        self.call.timer()
    }
}

/// Takes the identity an EndTxn was answered with. True if the epoch must be bumped to learn it.
pub(super) fn after_end(context: &mut Context, answer: &Answer) -> bool {
    if context.protocol == TransactionProtocol::V1 {
        return false;
    }
    context.sequences.clear();
    if planted(Bug::EpochKept) {
        return false;
    }
    match answer {
        Answer::EndTxn { identity: Some(identity), .. } => {
            context.identity = *identity;
            false
        }
        _ => true,
    }
}

/// The transaction is over, or the lane taken: everything that must happen before the next one begins.
pub(super) fn settle(context: &mut Context, bump: bool) -> State {
    let mut bump = bump || context.identity.producer_epoch >= EPOCH_DRILL;
    if let Some(protocol) = context.wanted.take() {
        context.protocol = protocol;
        // KAFKA-18227: the first v2 request of an epoch that has seen v1 fails.
        bump = true;
    }
    if bump {
        return Initializing::bump(context);
    }
    ended(context, Event::Ready { identity: context.identity });
    State::Idle
}
