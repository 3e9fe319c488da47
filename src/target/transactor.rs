//! The machine: its states, and which of them takes which input.

use crate::batch::RawBatch;
use crate::target::aborting::{Aborting, Then};
use crate::target::body::Body;
use crate::target::call::ended;
use crate::target::committing::{Committing, Ending};
use crate::target::identity::{self, Initializing};
use crate::target::message::{
    Answer, Cause, Destination, Event, Failure, Input, Misuse, OffsetCommit, Output, RequestId, Timer,
    TransactionProtocol, Trouble, TxnRequest,
};
use crate::target::pipeline::Outcome;
use crate::target::settling::{Settling, Unsettled, Verdicts};
use crate::types::{ProducerIdentity, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A transaction beyond this holds more unacknowledged headers than its commit interval is worth; the caller's limits in
/// bytes and records close it far earlier.
const BATCHES_PER_TRANSACTION_MAX: usize = 10_000;

#[derive(Clone, Debug)]
pub struct TransactorSettings {
    pub transactional_id: Arc<str>,
    pub group_id: Arc<str>,
    /// v1: named in the first AddPartitionsToTxn, which saves the commit a round trip. None: named at the commit.
    pub ledger_partition: Option<TopicPartition>,
    /// After this the coordinator aborts by itself, and fences.
    pub transaction_timeout: Duration,
    /// Retries end this long before `transaction_timeout`: enough for the requests in flight to end (one request timeout)
    /// and for the abort to arrive.
    pub abort_margin: Duration,
    /// Per partition; a leader recognises no more than five (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
    pub max_in_flight: usize,
    /// Off only in the test that shows what it prevents.
    pub harden_v1: bool,
}

/// What all states share.
pub(super) struct Context {
    pub(super) settings: TransactorSettings,
    pub(super) protocol: TransactionProtocol,
    /// Takes the place of `protocol` between transactions.
    pub(super) wanted: Option<TransactionProtocol>,
    pub(super) identity: ProducerIdentity,
    /// v1: the next sequence of every partition of this epoch. As many entries as the lane has target partitions.
    pub(super) sequences: BTreeMap<TopicPartition, i32>,
    /// What must be decided before the next transaction begins.
    pub(super) unsettled: BTreeMap<TopicPartition, Unsettled>,
    /// Where somebody else's transaction is open: nothing can be seen of ours before it ends.
    pub(super) undecided: BTreeSet<TopicPartition>,
    /// Where the log of each partition that is settled ends.
    pub(super) stable: BTreeMap<TopicPartition, i64>,
    pub(super) transactions: u64,
    pub(super) now: Instant,
    next_request: u64,
    outputs: VecDeque<Output>,
}

impl Context {
    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn unsettle(&mut self, partition: TopicPartition, unsettled: Unsettled) {
        self.stable.remove(&partition);
        if !self.undecided.contains(&partition) {
            self.unsettled.insert(partition, unsettled);
        }
    }

    pub(super) fn send(&mut self, to: Destination, request: TxnRequest) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.output(Output::Send { id, to, request });
        id
    }
}

#[expect(clippy::large_enum_variant, reason = "one a lane; moving it costs less than boxing every phase")]
pub(super) enum State {
    /// Not taken yet.
    Unowned,
    Taking(Initializing),
    Idle,
    Open(Body),
    Committing(Committing),
    Ending(Ending),
    Aborting(Aborting),
    Bumping(Initializing),
    Settling(Settling),
    Fenced,
    Unknown,
    Stopped,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            State::Unowned => "Unowned",
            State::Taking(_) => "Taking",
            State::Idle => "Idle",
            State::Open(_) => "Open",
            State::Committing(_) => "Committing",
            State::Ending(_) => "Ending",
            State::Aborting(_) => "Aborting",
            State::Bumping(_) => "Bumping",
            State::Settling(_) => "Settling",
            State::Fenced => "Fenced",
            State::Unknown => "Unknown",
            State::Stopped => "Stopped",
        }
    }
}

pub struct Transactor {
    context: Context,
    state: State,
}

impl Transactor {
    /// `now` only seeds the clock; the first input is `Take`.
    pub fn new(mut settings: TransactorSettings, protocol: TransactionProtocol, now: Instant) -> Self {
        settings.max_in_flight = settings.max_in_flight.clamp(1, 5);
        let context = Context {
            settings,
            protocol,
            wanted: None,
            identity: ProducerIdentity { producer_id: -1, producer_epoch: -1 },
            sequences: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            undecided: BTreeSet::new(),
            stable: BTreeMap::new(),
            transactions: 0,
            now,
            next_request: 0,
            outputs: VecDeque::new(),
        };
        Self { context, state: State::Unowned }
    }

    /// The state's name, for logs and the console.
    pub fn state_name(&self) -> &'static str {
        self.state.name()
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// `Append` and `Commit` will not be refused.
    pub fn accepts_append(&self) -> bool {
        matches!(self.state, State::Idle | State::Open(_))
    }

    /// Where the batches of the open transaction landed, those of a partition in the order of their appends, −1 where the
    /// broker no longer knew. None: not all have landed yet, or no transaction is open.
    pub fn landed(&self) -> Option<Vec<(TopicPartition, i64)>> {
        match &self.state {
            State::Open(body) if body.is_acknowledged() => Some(body.landed()),
            _ => None,
        }
    }

    /// Where the log of this partition ended when it was last found to be settled; what the next transaction appends lands
    /// there, if nobody else writes to it.
    pub fn stable_offset(&self, partition: &TopicPartition) -> Option<i64> {
        self.context.stable.get(partition).copied()
    }

    pub fn protocol(&self) -> TransactionProtocol {
        self.context.protocol
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.context.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        match &self.state {
            State::Taking(it) | State::Bumping(it) => it.timer(),
            State::Open(it) => it.timer(),
            State::Committing(it) => it.timer(),
            State::Ending(it) => it.timer(),
            State::Aborting(it) => it.timer(),
            State::Settling(it) => it.timer(),
            State::Unowned | State::Idle | State::Fenced | State::Unknown | State::Stopped => None,
        }
    }

    pub fn handle(&mut self, now: Instant, input: Input) -> Result<(), Misuse> {
        self.context.now = self.context.now.max(now);
        match input {
            Input::Take => {
                if !matches!(self.state, State::Taking(_)) {
                    self.state = self.take_over();
                }
                Ok(())
            }
            Input::Append { partition, batch, records } => {
                let records = checked_records(&batch, Some(records))?;
                self.append(partition, &batch, records)
            }
            Input::Commit { ledger_partition, ledger_batch, offsets, promised } => {
                self.commit(ledger_partition, &ledger_batch, offsets, promised)
            }
            Input::Abort => self.abort(),
            Input::Settle { partition, committed_at } => {
                let unsettled = Unsettled::new(committed_at.map_or(Verdicts::Abort, Verdicts::CommitAt), None);
                self.settle(partition, unsettled);
                Ok(())
            }
            Input::Answered { id, answer } => {
                self.step(|state, context| state.answered(context, id, answer));
                Ok(())
            }
            Input::SetProtocol(protocol) => {
                self.set_protocol(protocol);
                Ok(())
            }
            Input::Timeout => {
                self.step(State::timeout);
                Ok(())
            }
        }
    }

    fn step(&mut self, next: impl FnOnce(State, &mut Context) -> State) {
        let state = std::mem::replace(&mut self.state, State::Stopped);
        self.state = next(state, &mut self.context);
    }

    fn take_over(&mut self) -> State {
        if let Some(protocol) = self.context.wanted.take() {
            self.context.protocol = protocol;
        }
        self.context.sequences.clear();
        self.context.unsettled.clear();
        self.context.undecided.clear();
        self.context.stable.clear();
        Initializing::take(&mut self.context)
    }

    fn append(&mut self, partition: TopicPartition, batch: &RawBatch, records: i32) -> Result<(), Misuse> {
        match &self.state {
            State::Open(body) if body.batches() >= BATCHES_PER_TRANSACTION_MAX => {
                return Err(Misuse::Full { max: BATCHES_PER_TRANSACTION_MAX });
            }
            State::Idle | State::Open(_) => {}
            State::Aborting(_) => return Ok(()),
            state => return Err(Misuse::NotReady { input: "Append", state: state.name() }),
        }
        self.step(|state, context| {
            let mut body = if let State::Open(body) = state { body } else { Body::open(context) };
            body.append(context, partition, batch, records);
            body.pump(context);
            State::Open(body)
        });
        Ok(())
    }

    fn commit(
        &mut self,
        ledger: TopicPartition,
        batch: &RawBatch,
        offsets: Option<OffsetCommit>,
        promised: Vec<(TopicPartition, i64)>,
    ) -> Result<(), Misuse> {
        let records = checked_records(batch, None)?;
        if offsets.as_ref().is_some_and(|it| (it.generation_id < 0) != it.member_id.is_empty()) {
            return Err(Misuse::HalfFence);
        }
        match &self.state {
            State::Idle | State::Open(_) => {}
            State::Aborting(_) => return Ok(()),
            state => return Err(Misuse::NotReady { input: "Commit", state: state.name() }),
        }
        self.step(|state, context| {
            let mut body = if let State::Open(body) = state { body } else { Body::open(context) };
            body.append(context, ledger.clone(), batch, records);
            Committing::start(context, body, ledger, (offsets, promised))
        });
        Ok(())
    }

    fn abort(&mut self) -> Result<(), Misuse> {
        if let State::Ending(_) = self.state {
            return Err(Misuse::VerdictSent);
        }
        let cause = Cause::new(Trouble::Requested);
        self.step(|state, context| match state {
            State::Open(body) => body.abort(context, cause, Then::GoOn, None),
            State::Committing(it) => it.abort(context, cause, Then::GoOn),
            state => state,
        });
        Ok(())
    }

    fn settle(&mut self, partition: TopicPartition, unsettled: Unsettled) {
        match &mut self.state {
            State::Settling(it) => it.add(&self.context, partition, unsettled),
            State::Idle => {
                self.context.unsettle(partition, unsettled);
                self.step(|_, context| identity::settle(context, false));
            }
            _ => self.context.unsettle(partition, unsettled),
        }
    }

    fn set_protocol(&mut self, protocol: TransactionProtocol) {
        self.context.wanted = (protocol != self.context.protocol).then_some(protocol);
        if self.context.wanted.is_some() && self.is_idle() {
            self.step(|_, context| identity::settle(context, false));
        }
    }
}

impl State {
    fn answered(self, context: &mut Context, id: RequestId, answer: Result<Answer, Failure>) -> State {
        match self {
            State::Taking(it) => it.answered(context, id, answer, State::Taking),
            State::Bumping(it) => it.answered(context, id, answer, State::Bumping),
            State::Open(mut body) => match body.answered(context, id, answer) {
                Ok(Outcome::Going) => {
                    body.pump(context);
                    State::Open(body)
                }
                Ok(Outcome::Abort(cause)) => body.abort(context, cause, Then::GoOn, None),
                Ok(Outcome::Stop(cause)) => body.abort(context, cause, Then::Stop, None),
                Ok(Outcome::Fenced(cause)) => {
                    ended(context, Event::Fenced { cause });
                    State::Fenced
                }
                Err(_) => State::Open(body),
            },
            State::Committing(it) => it.answered(context, id, answer),
            State::Ending(it) => it.answered(context, id, answer),
            State::Aborting(it) => it.answered(context, id, answer),
            State::Settling(it) => it.answered(context, id, answer),
            // The answer to a request of an incarnation that has ended.
            state @ (State::Unowned | State::Idle | State::Fenced | State::Unknown | State::Stopped) => state,
        }
    }

    fn timeout(self, context: &mut Context) -> State {
        match self {
            State::Taking(mut it) => {
                it.timeout(context);
                State::Taking(it)
            }
            State::Bumping(mut it) => {
                it.timeout(context);
                State::Bumping(it)
            }
            State::Open(mut body) => {
                if let Some(cause) = body.expired(context.now) {
                    return body.abort(context, cause, Then::GoOn, None);
                }
                body.timeout(context);
                body.pump(context);
                State::Open(body)
            }
            State::Committing(it) => it.timeout(context),
            State::Ending(it) => it.timeout(context),
            State::Aborting(it) => it.timeout(context),
            State::Settling(it) => it.timeout(context),
            state @ (State::Unowned | State::Idle | State::Fenced | State::Unknown | State::Stopped) => state,
        }
    }
}

/// The leader counts the sequences of a batch by its last offset delta; a header that counts differently would tear the
/// sequence of everything that follows.
fn checked_records(batch: &RawBatch, caller: Option<u32>) -> Result<i32, Misuse> {
    let header = batch.header();
    let count = i64::from(header.record_count);
    let by_delta = i64::from(header.last_offset_delta) + 1;
    let caller = caller.map_or(count, i64::from);
    match i32::try_from(count) {
        Ok(records) if records > 0 && caller == count && by_delta == count => Ok(records),
        _ => Err(Misuse::RecordCount { header: by_delta, caller }),
    }
}
