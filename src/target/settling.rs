//! Between two transactions: what was written before must be decided before anything is written behind it.
//!
//! Since 4.0 a coordinator leaves out the marker of a partition that has no leader at that moment, as it does for one that
//! was deleted (`KRaftMetadataCache.getPartitionLeaderEndpoint` says nothing for both, `TransactionMarkerChannelManager`
//! drops it), and calls the transaction complete. Its records stay open there until the producer's next marker comes, and
//! that decides them whatever it says: an abort takes back what the ledger calls copied, a commit shows what was given up.
//! So the last stable offset has to pass a partition's last transaction before the next one touches it. Where it does not,
//! a transaction with nothing but the partition in it brings the marker that is missing. It is as brief as two requests can
//! be, for a bridge that takes the lane between them aborts it, and with it what it was to commit.

use crate::planted::{Bug, planted};
use crate::target::call::{Call, Verdict, ended};
use crate::target::errors::{self, AbortClass, Action, Api, Backoff};
use crate::target::identity::{self, Initializing};
use crate::target::message::{
    Answer, Destination, Event, Failure, Output, RequestId, Timer, TransactionProtocol, TxnRequest,
};
use crate::target::transactor::{Context, State};
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Markers are written within a few milliseconds of the verdict.
const ASK_FIRST: Duration = Duration::from_millis(3);
const ASK_MAX: Duration = Duration::from_millis(500);
/// Markers and their replication take this long only where they never come. Too early does no harm: one marker more.
const PATIENCE: Duration = Duration::from_secs(1);
/// A broker that has just started answers so for topics that it will find in a moment; after this long it is gone.
const UNKNOWN_PATIENCE: Duration = Duration::from_secs(10);
/// A leader that moves is back by then; beyond it somebody should know why nothing is copied.
const TELL_FIRST: Duration = Duration::from_secs(10);
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// When so many markers of ours did not end it, it is not ours. One or two may be left out again.
const MENDS_MAX: u32 = 5;
/// What is to be committed is not given up for an answer that says nothing; at the end of these the coordinator has timed the
/// transaction out.
const ATTEMPTS_MAX: u32 = 20;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// How an open transaction of ours has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdicts {
    Commit,
    Abort,
    /// The ledger says that the last committed transaction began here. An open one that begins here is that one; any other
    /// came after it, and was never committed.
    CommitAt(i64),
}

#[derive(Clone, Debug)]
pub(super) struct Unsettled {
    verdict: Verdicts,
    /// What the last stable offset has to reach; None: the high watermark, which is asked for first.
    reach: Option<i64>,
    stable: Option<i64>,
    /// Since when it is known to be open, and since when nobody knows the partition.
    open_since: Option<Instant>,
    unknown_since: Option<Instant>,
    mended: u32,
}

impl Unsettled {
    pub(super) fn new(verdict: Verdicts, reach: Option<i64>) -> Self {
        Self { verdict, reach, stable: None, open_since: None, unknown_since: None, mended: 0 }
    }

    fn is_settled(&self) -> bool {
        self.reach.is_some_and(|reach| self.stable.is_some_and(|stable| stable >= reach))
    }

    fn commits(&self) -> bool {
        match self.verdict {
            Verdicts::Commit => true,
            Verdicts::Abort => false,
            Verdicts::CommitAt(offset) => self.stable == Some(offset),
        }
    }
}

struct Mending {
    call: Call,
    partitions: Vec<TopicPartition>,
    commit: bool,
    /// AddPartitionsToTxn is through, EndTxn is called.
    is_registered: bool,
}

#[expect(clippy::large_enum_variant, reason = "one a lane; moving it costs less than a box")]
enum Step {
    Asking,
    Mending(Mending),
}

pub(super) struct Settling {
    unsettled: BTreeMap<TopicPartition, Unsettled>,
    step: Step,
    /// The questions under way; an older one's answer is no longer looked at.
    watermarks: Option<RequestId>,
    stables: Vec<RequestId>,
    /// None while there is an answer to come first.
    retry: Option<Instant>,
    attempts: u32,
    tell_at: Instant,
}

impl Settling {
    /// None: everything is.
    pub(super) fn start(context: &mut Context) -> Option<State> {
        if planted(Bug::MarkersTrusted) {
            context.unsettled.clear();
        }
        if context.unsettled.is_empty() {
            return None;
        }
        let unsettled = std::mem::take(&mut context.unsettled);
        // Right behind a verdict nobody would have an answer yet.
        let is_behind_verdict = unsettled.values().any(|it| it.reach.is_some());
        let retry = is_behind_verdict.then_some(context.now + ASK_FIRST);
        let (watermarks, stables, tell_at) = (None, Vec::new(), context.now + TELL_FIRST);
        let mut it = Self { unsettled, step: Step::Asking, watermarks, stables, retry, attempts: 0, tell_at };
        if !is_behind_verdict {
            it.ask(context);
        }
        Some(State::Settling(it))
    }

    /// One more before the lane goes on.
    pub(super) fn add(&mut self, context: &Context, partition: TopicPartition, it: Unsettled) {
        self.unsettled.entry(partition).or_insert(it);
        self.retry = Some(context.now);
    }

    fn ask(&mut self, context: &mut Context) {
        if self.tell_at <= context.now {
            self.tell_at = context.now + TELL_INTERVAL;
            ended(context, Event::Unsettled { partitions: self.unsettled.keys().cloned().collect() });
        }
        self.stables.clear();
        let (known, unknown): (Vec<_>, Vec<_>) = self.unsettled.iter().partition(|(_, it)| it.reach.is_some());
        let names = |of: Vec<(&TopicPartition, &Unsettled)>| of.into_iter().map(|it| it.0.clone()).collect();
        let (known, unknown): (Vec<TopicPartition>, Vec<TopicPartition>) = (names(known), names(unknown));
        self.watermarks = question(context, unknown, false);
        self.stables.extend(question(context, known, true));
        self.retry = None;
    }

    fn ask_again(&mut self, now: Instant) {
        if self.retry.is_none() {
            self.retry = Some(now + ASK_FIRST.saturating_mul(1 << self.attempts.min(8)).min(ASK_MAX));
            self.attempts += 1;
        }
    }

    pub(super) fn answered(mut self, context: &mut Context, id: RequestId, answer: Result<Answer, Failure>) -> State {
        match std::mem::replace(&mut self.step, Step::Asking) {
            Step::Asking => {
                self.told(context, id, answer);
                self.next(context)
            }
            Step::Mending(it) if it.call.owns(id) => self.mended(context, it, answer),
            step => {
                self.step = step;
                State::Settling(self)
            }
        }
    }

    fn told(&mut self, context: &mut Context, id: RequestId, answer: Result<Answer, Failure>) {
        let is_watermark = self.watermarks == Some(id);
        if !is_watermark && !self.stables.contains(&id) {
            return;
        }
        let offsets = match answer {
            Ok(Answer::ListOffsets { offsets }) => offsets,
            failed => {
                if let Err(Failure::TimedOut) = failed {
                    for partition in self.unsettled.keys() {
                        context.output(Output::CloseConnection(Destination::Leader(partition.clone())));
                    }
                }
                self.ask_again(context.now);
                return context.output(Output::RefreshMetadata(self.unsettled.keys().cloned().collect()));
            }
        };
        let (mut reached, mut lost) = (Vec::new(), Vec::new());
        for (partition, code, offset) in offsets {
            let Some(it) = self.unsettled.get_mut(&partition) else { continue };
            match errors::action(Api::ListOffsets, code).action {
                Action::Success if is_watermark => {
                    it.reach = Some(offset);
                    reached.push(partition);
                }
                Action::Success => {
                    it.stable = it.stable.max(Some(offset));
                    it.open_since.get_or_insert(context.now);
                    if it.is_settled() {
                        context.stable.insert(partition.clone(), offset);
                        self.unsettled.remove(&partition);
                    }
                }
                Action::Abort(AbortClass::Operator) => {
                    self.unsettled.remove(&partition);
                }
                _ if code == UNKNOWN_TOPIC_OR_PARTITION => {
                    let since = *it.unknown_since.get_or_insert(context.now);
                    if since + UNKNOWN_PATIENCE <= context.now {
                        self.unsettled.remove(&partition);
                    } else {
                        lost.push(partition);
                    }
                }
                _ => lost.push(partition),
            }
        }
        if !lost.is_empty() {
            context.output(Output::RefreshMetadata(lost));
        }
        match question(context, reached, true) {
            Some(id) => self.stables.push(id),
            None => self.ask_again(context.now),
        }
    }

    fn next(mut self, context: &mut Context) -> State {
        if self.unsettled.is_empty() {
            // The protocol may have changed, and partitions been added.
            return identity::settle(context, false);
        }
        let is_stuck = |it: &Unsettled| it.open_since.is_some_and(|since| since + PATIENCE <= context.now);
        let stuck: Vec<_> = self.unsettled.iter().filter(|(_, it)| is_stuck(it)).collect();
        let commit = stuck.iter().any(|(_, it)| it.commits());
        let partitions: Vec<_> =
            stuck.iter().filter(|(_, it)| it.commits() == commit).map(|(partition, _)| (*partition).clone()).collect();
        if partitions.is_empty() {
            return State::Settling(self);
        }
        let request = TxnRequest::AddPartitionsToTxn {
            transactional_id: context.settings.transactional_id.clone(),
            identity: context.identity,
            partitions: partitions.clone(),
        };
        let call = Call::start(context, Destination::TransactionCoordinator, request);
        self.step = Step::Mending(Mending { call, partitions, commit, is_registered: false });
        State::Settling(self)
    }

    fn mended(mut self, context: &mut Context, mut it: Mending, answer: Result<Answer, Failure>) -> State {
        match it.call.answered(context, answer) {
            Verdict::Done(_) if it.is_registered => return self.ended(context, it),
            Verdict::Done(_) => {
                let request = TxnRequest::EndTxn {
                    transactional_id: context.settings.transactional_id.clone(),
                    identity: context.identity,
                    commit: it.commit,
                    // By this version the coordinator takes partitions that nothing was produced to.
                    protocol: TransactionProtocol::V1,
                };
                it.call = Call::start(context, Destination::TransactionCoordinator, request);
                it.is_registered = true;
            }
            Verdict::Again => {}
            Verdict::Fenced(cause) => {
                ended(context, Event::Fenced { cause });
                return State::Fenced;
            }
            Verdict::Abort(cause) | Verdict::OutcomeUnknown(cause) | Verdict::Stop(cause) => {
                if it.call.attempts() >= ATTEMPTS_MAX {
                    ended(context, Event::OutcomeUnknown { cause });
                    return State::Unknown;
                }
                it.call.again(context, Backoff::Growing);
            }
        }
        self.step = Step::Mending(it);
        State::Settling(self)
    }

    fn ended(mut self, context: &mut Context, it: Mending) -> State {
        for partition in &it.partitions {
            let Some(left) = self.unsettled.get_mut(partition) else { continue };
            left.mended += 1;
            left.open_since = None;
            if left.mended >= MENDS_MAX {
                self.unsettled.remove(partition);
                context.undecided.insert(partition.clone());
                ended(context, Event::Undecided { partition: partition.clone() });
            }
        }
        ended(context, Event::Mended { partitions: it.partitions, commit: it.commit });
        context.unsettled.append(&mut self.unsettled);
        // Copies of these requests may be under way, and this epoch is known to leaders that no sequence was counted at.
        Initializing::bump(context)
    }

    pub(super) fn timeout(mut self, context: &mut Context) -> State {
        match &mut self.step {
            Step::Mending(it) => it.call.timeout(context),
            Step::Asking if self.retry.is_some_and(|at| at <= context.now) => self.ask(context),
            Step::Asking => {}
        }
        State::Settling(self)
    }

    pub(super) fn timer(&self) -> Option<(Instant, Timer)> {
        match &self.step {
            Step::Mending(it) => it.call.timer(),
            Step::Asking => self.retry.map(|at| (at, Timer::Retry)),
        }
    }
}

fn question(context: &mut Context, partitions: Vec<TopicPartition>, committed: bool) -> Option<RequestId> {
    if partitions.is_empty() {
        return None;
    }
    Some(context.send(Destination::Leaders, TxnRequest::ListOffsets { partitions, committed }))
}
