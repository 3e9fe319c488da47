//! Between transactions: taking the lane, bumping its epoch, and what an ended transaction leaves for the next one.

use crate::planted::{Bug, planted};
use crate::target::call::{Call, Verdict, ended};
use crate::target::errors::Backoff;
use crate::target::message::{
    Answer, Destination, Event, Failure, LastTransaction, RequestId, Timer, TransactionProtocol, TxnRequest,
};
use crate::target::settling::{Settling, Unsettled, Verdicts};
use crate::target::transactor::{Context, State};
use crate::types::ProducerIdentity;
use std::time::Instant;

/// From here on the epoch is used up while the lane is idle: exhaustion in the middle of a transaction loses the new
/// producer id on 4.0–4.2 when the coordinator moves (KAFKA-20310, KAFKA-20090). 17 bumps lead from here to a new id.
const EPOCH_DRILL: i16 = 32_750;

/// InitProducerId until it is answered.
pub(super) struct Initializing {
    call: Call,
    /// Taking: how the former owner's last transaction was decided.
    last: Option<Verdicts>,
}

impl Initializing {
    /// Takes over from whoever was the owner. InitProducerId makes the coordinator forget what it decided last, so that is
    /// asked for before; and again before each further attempt, for a verdict that was held up may have come meanwhile.
    pub(super) fn take(context: &mut Context) -> State {
        let request = describe(context);
        let call = Call::start(context, Destination::TransactionCoordinator, request);
        State::Taking(Self { call, last: Some(Verdicts::Abort) })
    }

    /// Bumps the own epoch. Never with (−1, −1): that would take the lane back from a new owner, and go on from a position
    /// that the new owner has left behind. With the identity the coordinator refuses a fenced owner, and a lost answer can
    /// be asked for again (KIP-360).
    pub(super) fn bump(context: &mut Context) -> State {
        let request = init(context, Some(context.identity));
        State::Bumping(Self { call: Call::start(context, Destination::TransactionCoordinator, request), last: None })
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
                if let (Some(last), Some(ledger)) = (self.last, context.settings.ledger_partition.clone()) {
                    // The ledger cannot be read behind a transaction that stays open.
                    context.unsettle(ledger, Unsettled::new(last, None));
                }
                settle(context, false)
            }
            Verdict::Done(Answer::DescribeTransactions { state, .. }) => match state {
                // Its markers are being written.
                LastTransaction::Committing => {
                    self.call.again(context, Backoff::Markers);
                    same(self)
                }
                state => {
                    self.last = match state {
                        LastTransaction::Committed => Some(Verdicts::Commit),
                        // An InitProducerId whose answer was lost: what was known before it holds.
                        LastTransaction::Forgotten => self.last,
                        _ => Some(Verdicts::Abort),
                    };
                    let request = init(context, None);
                    self.call = self.call.then(context, request);
                    same(self)
                }
            },
            Verdict::Again => {
                if self.last.is_some() {
                    self.call.instead(describe(context));
                }
                same(self)
            }
            // Unreachable: `judge` refuses the answer of another API.
            Verdict::Done(_) => same(self),
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

fn describe(context: &Context) -> TxnRequest {
    TxnRequest::DescribeTransactions { transactional_id: context.settings.transactional_id.clone() }
}

fn init(context: &Context, identity: Option<ProducerIdentity>) -> TxnRequest {
    TxnRequest::InitProducerId {
        transactional_id: context.settings.transactional_id.clone(),
        transaction_timeout_ms: i32::try_from(context.settings.transaction_timeout.as_millis()).unwrap_or(i32::MAX),
        identity,
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
    if let Some(settling) = Settling::start(context) {
        return settling;
    }
    ended(context, Event::Ready { identity: context.identity });
    State::Idle
}
