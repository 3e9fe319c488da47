//! One request to a coordinator, retried until it has an answer that means something.

use crate::target::errors::{self, AbortClass, Action, Api, Backoff, Row};
use crate::target::message::{
    Answer, Cause, Destination, Event, Failure, Output, RequestId, Timer, Trouble, TxnRequest,
};
use crate::target::transactor::Context;
use std::time::{Duration, Instant};

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// A leader or a coordinator that moves is back within a few seconds; asking once a second wastes little of that.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Kafka's own step while the markers of the transaction before are written (`TransactionManager`, KIP-890).
const BACKOFF_MARKERS: Duration = Duration::from_millis(20);

pub(super) fn delay(backoff: Backoff, attempts: u32) -> Duration {
    match backoff {
        Backoff::Markers => BACKOFF_MARKERS,
        Backoff::Growing => BACKOFF_FIRST.saturating_mul(1 << attempts.min(8)).min(BACKOFF_MAX),
    }
}

/// What an answer, or its absence, means for the transaction.
pub(super) enum Verdict {
    Done(Answer),
    /// The same request will be sent again.
    Again,
    Abort(Cause),
    Fenced(Cause),
    OutcomeUnknown(Cause),
    Stop(Cause),
}

/// The table's row for an answer, and the words for it.
pub(super) fn judge(api: Api, answer: &Result<Answer, Failure>) -> (Row, Cause) {
    match answer {
        Err(failure) => (errors::failure_row(api), Cause::new(Trouble::NoAnswer { api, failure: *failure })),
        Ok(answer) if !answer.answers(api) => {
            let bug = Row { action: Action::Bug, dirty: true, exhausted: AbortClass::Plain };
            (bug, Cause::new(Trouble::WrongAnswer { api }))
        }
        Ok(answer) => {
            let (code, partition) = answer.error();
            let row = errors::action(api, code);
            let class = if let Action::Abort(class) = row.action { class } else { AbortClass::Plain };
            (row, Cause { trouble: Trouble::Answered { api, code }, partition, class })
        }
    }
}

/// What must happen to the connection before the request, or any other, is sent there again.
pub(super) fn after_failure(context: &mut Context, to: &Destination, answer: &Result<Answer, Failure>) {
    if let Err(Failure::TimedOut) = answer {
        context.output(Output::CloseConnection(to.clone()));
    }
}

impl Answer {
    fn answers(&self, api: Api) -> bool {
        match self {
            Answer::InitProducerId { .. } => api == Api::InitProducerId,
            Answer::AddPartitionsToTxn { .. } => api == Api::AddPartitionsToTxn,
            Answer::AddOffsetsToTxn { .. } => api == Api::AddOffsetsToTxn,
            Answer::Produce { .. } => api == Api::Produce,
            Answer::TxnOffsetCommit { .. } => api == Api::TxnOffsetCommit,
            Answer::EndTxn { .. } => matches!(api, Api::EndTxnCommit | Api::EndTxnAbort),
            Answer::DescribeTransactions { .. } => api == Api::DescribeTransactions,
            Answer::ListOffsets { .. } => api == Api::ListOffsets,
        }
    }

    /// The code that decides. Of several partitions the first that is a cause: OPERATION_NOT_ATTEMPTED only says that
    /// another one is.
    fn error(&self) -> (i16, Option<crate::types::TopicPartition>) {
        const OPERATION_NOT_ATTEMPTED: i16 = 55;
        match self {
            Answer::InitProducerId { error_code, .. }
            | Answer::AddOffsetsToTxn { error_code }
            | Answer::Produce { error_code, .. }
            | Answer::TxnOffsetCommit { error_code }
            | Answer::EndTxn { error_code, .. }
            | Answer::DescribeTransactions { error_code, .. } => (*error_code, None),
            Answer::ListOffsets { .. } => (0, None),
            Answer::AddPartitionsToTxn { partitions } => {
                let failed = || partitions.iter().filter(|(_, code)| *code != 0);
                match failed().find(|(_, code)| *code != OPERATION_NOT_ATTEMPTED).or_else(|| failed().next()) {
                    Some((partition, code)) => (*code, Some(partition.clone())),
                    None => (0, None),
                }
            }
        }
    }
}

enum Progress {
    InFlight(RequestId),
    Waiting(Instant),
    Answered,
}

pub(super) struct Call {
    to: Destination,
    request: TxnRequest,
    progress: Progress,
    attempts: u32,
    dirty: bool,
    /// Why it was last sent again, for the case that time runs out.
    last: Option<(Cause, AbortClass)>,
}

impl Call {
    pub(super) fn start(context: &mut Context, to: Destination, request: TxnRequest) -> Self {
        let id = context.send(to.clone(), request.clone());
        Self { to, request, progress: Progress::InFlight(id), attempts: 0, dirty: false, last: None }
    }

    /// Goes on with another request, whose patience is used up as far as this one's.
    pub(super) fn then(&self, context: &mut Context, request: TxnRequest) -> Self {
        Self { attempts: self.attempts, ..Self::start(context, self.to.clone(), request) }
    }

    /// When it is to be sent again, this is sent instead.
    pub(super) fn instead(&mut self, request: TxnRequest) {
        self.request = request;
    }

    pub(super) fn in_flight(&self) -> Option<RequestId> {
        match self.progress {
            Progress::InFlight(id) => Some(id),
            Progress::Waiting(_) | Progress::Answered => None,
        }
    }

    pub(super) fn to(&self) -> &Destination {
        &self.to
    }

    pub(super) fn api(&self) -> Api {
        self.request.api()
    }

    pub(super) fn owns(&self, id: RequestId) -> bool {
        self.in_flight() == Some(id)
    }

    /// Some attempt of this call may still take effect, or has taken effect unseen.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The cause to name when the retries are used up.
    pub(super) fn last_trouble(&self) -> Option<&(Cause, AbortClass)> {
        self.last.as_ref()
    }

    pub(super) fn answered(&mut self, context: &mut Context, answer: Result<Answer, Failure>) -> Verdict {
        let api = self.api();
        let (row, cause) = judge(api, &answer);
        after_failure(context, &self.to, &answer);
        self.dirty |= row.dirty;
        self.progress = Progress::Answered;
        let backoff = match row.action {
            Action::Success => {
                return match answer {
                    Ok(answer) => Verdict::Done(answer),
                    // Unreachable by the table: no failure row is a success.
                    Err(_) => Verdict::Stop(cause),
                };
            }
            Action::Abort(_) => return Verdict::Abort(cause),
            Action::Fenced => return Verdict::Fenced(cause),
            Action::OutcomeUnknown => return Verdict::OutcomeUnknown(cause),
            Action::Operator | Action::Bug => return Verdict::Stop(cause),
            Action::Retry(backoff) => backoff,
            Action::RetryCoordinator => {
                context.output(Output::RefreshCoordinator(self.to.clone()));
                Backoff::Growing
            }
            Action::RefreshMetadata => {
                if let TxnRequest::AddPartitionsToTxn { partitions, .. } = &self.request {
                    context.output(Output::RefreshMetadata(partitions.clone()));
                }
                Backoff::Growing
            }
            Action::RetryOnce | Action::RetryBehindEarlier => Backoff::Growing,
        };
        self.last = Some((cause, row.exhausted));
        self.progress = Progress::Waiting(context.now + delay(backoff, self.attempts));
        self.attempts += 1;
        Verdict::Again
    }

    /// For reasons of the caller's own.
    pub(super) fn again(&mut self, context: &Context, backoff: Backoff) {
        self.progress = Progress::Waiting(context.now + delay(backoff, self.attempts));
        self.attempts += 1;
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) fn timeout(&mut self, context: &mut Context) {
        if let Progress::Waiting(until) = self.progress
            && until <= context.now
        {
            self.progress = Progress::InFlight(context.send(self.to.clone(), self.request.clone()));
        }
    }

    pub(super) fn timer(&self) -> Option<(Instant, Timer)> {
        match self.progress {
            Progress::InFlight(_) | Progress::Answered => None,
            Progress::Waiting(until) => Some((until, Timer::Retry)),
        }
    }
}

/// The earlier of two timers.
pub(super) fn earlier(a: Option<(Instant, Timer)>, b: Option<(Instant, Timer)>) -> Option<(Instant, Timer)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Ends the incarnation with its event.
pub(super) fn ended(context: &mut Context, event: Event) {
    context.output(Output::Event(event));
}
