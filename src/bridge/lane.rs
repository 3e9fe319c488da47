//! One lane: fetched records gather, go to the target in one transaction together with their positions, and again.
//! Pure: inputs and the time go in, outputs come out; the fetch machine and the transaction machine are inside.
//!
//! What a driver owes it is what it owes these two machines (see their modules), and: `ReadLedger`, `WhoOwns` and
//! `TargetEnd` are each answered once, as is `FindSchema`.

use super::gather::{Stream, StreamState};
use super::incident::{Incident, IncidentKind};
use super::ownership::Ownership;
use super::screening::{KnownSchemas, SchemaKey};
use super::size::TransactionSize;
use super::transaction::{Counts, InFlight};
use crate::batch::LogAppendTimePolicy;
use crate::group::Membership;
use crate::ledger::{LaneLedger, Owner, PositionKey};
use crate::schemas::{SchemaVerdict, TopicCheck};
use crate::source::{self, Fetcher, FetcherSettings, LeaderView, StartAt};
use crate::target::{self, AbortClass, Cause, Transactor, TransactorSettings, Trouble};
use crate::types::{NodeId, TopicPartition};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A first Produce that meets the markers of the transaction before makes the broker sleep for 20 ms; after this long they
/// are written.
pub(super) const MARKER_PAUSE: Duration = Duration::from_millis(4);
/// A position that only passed markers and aborted records costs nothing when it is lost: it waits for data. Not for long, for
/// until it is written what it passed counts as lag.
pub(super) const PASSED_INTERVAL: Duration = Duration::from_secs(2);
/// Where nobody is fenced by it, the group's offset goes into a transaction when it moves, and this often, long before
/// `offsets.retention.minutes` of any broker: each time costs a request and a marker more.
pub(super) const OFFSET_INTERVAL: Duration = Duration::from_secs(3_600);
const ABORT_BACKOFF_FIRST: Duration = Duration::from_millis(50);
const ABORT_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A batch that is refused again when it is half as large is not refused for its size.
const REFUSALS_MAX: u32 = 3;

#[derive(Clone, Debug)]
pub(super) struct LaneSettings {
    pub(super) lane: u32,
    pub(super) source_cluster_id: Arc<str>,
    pub(super) ledger_partition: TopicPartition,
    /// This process.
    pub(super) owner: Owner,
    pub(super) commit_interval: Duration,
    pub(super) transaction_bytes_max: usize,
    pub(super) log_append_time: LogAppendTimePolicy,
    /// None: no topic is checked.
    pub(super) dead_letters: Option<DeadLetterBox>,
    pub(super) transactor: TransactorSettings,
    pub(super) fetcher: FetcherSettings,
    /// The same moment on both clocks.
    pub(super) started: Instant,
    pub(super) started_ms: u64,
}

/// Where records of this lane go that do not pass their check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeadLetterBox {
    pub(super) partition: TopicPartition,
    pub(super) max_message_bytes: usize,
}

/// One partition's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) target: TopicPartition,
    /// Of the source's topic.
    pub(super) topic_id: Uuid,
    /// Nil: not known.
    pub(super) target_topic_id: Uuid,
    /// Where to begin without a position.
    pub(super) start: StartAt,
    pub(super) max_message_bytes: usize,
    /// None: its records pass unchecked.
    pub(super) check: Option<Arc<TopicCheck>>,
}

#[derive(Debug)]
pub(super) enum Input {
    Take,
    /// The lane is shared out by a group, of which this is the newest generation.
    Membership(Membership),
    /// All partitions of the lane.
    Routes(BTreeMap<TopicPartition, Route>),
    Leaders(BTreeMap<TopicPartition, LeaderView>),
    /// `Answered` and `BudgetGranted` only.
    Source(source::Input),
    /// `Answered` and `SetProtocol` only.
    Target(target::Input),
    Ledger(LaneLedger),
    Owner(Option<Owner>),
    /// What an onlooker finds in the ledger; None: it could not be read.
    Decisions(Option<LaneLedger>),
    /// Where the log of a target partition ends; it is named by its source partition.
    TargetEnd {
        partition: TopicPartition,
        end_offset: i64,
    },
    Schema(SchemaKey, SchemaVerdict),
    /// Stop fetching, commit what is here, end.
    Drain,
    /// The ledger cannot be read, and waiting does not help.
    Broken(String),
    Timeout,
}

#[derive(Debug)]
pub(super) enum Output {
    Source(source::Output),
    Target(target::Output),
    ReturnBudget {
        bytes: usize,
    },
    /// The whole ledger partition, for its owner.
    ReadLedger,
    /// Who signed the ledger last, for an onlooker.
    WhoOwns,
    /// What the ledger says by now of partitions that stand still, for an onlooker.
    Decisions,
    TargetEnd {
        partition: TopicPartition,
        target: TopicPartition,
    },
    /// What is to be known of a registry's schema.
    FindSchema(SchemaKey, Arc<TopicCheck>),
    Event(Event),
}

/// A partition's position in a lane that is taken, and what was done with it over the link's whole life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPosition {
    pub partition: TopicPartition,
    pub target: TopicPartition,
    pub next_offset: i64,
    pub records: u64,
    pub dead_letters: u64,
}

/// What a lane tells.
#[derive(Debug)]
pub enum Event {
    Taken {
        transaction: u64,
        positions: Vec<KnownPosition>,
    },
    Committed(Counts),
    Aborted(Cause),
    /// The verdict was sent, and nobody knows whether it arrived: the ledger decides.
    OutcomeUnknown(Cause),
    /// The target had left a transaction open; it was ended as it should have been.
    Mended {
        partitions: Vec<TopicPartition>,
        commit: bool,
    },
    /// Nobody can say yet whether the last transaction is decided in these partitions of the target.
    Unsettled(Vec<TopicPartition>),
    /// Somebody else's transaction is open in this partition of the target.
    Undecided(TopicPartition),
    Incident(Incident),
    /// Terminal, as those below: a newer bridge has this lane.
    TakenOver(Owner),
    /// Of a shared lane: somebody took it. Whether it is to be taken back is for the group to say.
    Fenced,
    Failed(String),
    Drained,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Taking,
    Replaying,
    Copying,
    /// Fenced: who was it?
    Asking,
    /// Nobody has signed yet: asked again then.
    Waiting(Instant),
    Ended,
}

pub(super) struct Lane {
    pub(super) settings: LaneSettings,
    pub(super) now: Instant,
    pub(super) transactor: Transactor,
    pub(super) fetcher: Fetcher,
    pub(super) phase: Phase,
    pub(super) ledger: Option<LaneLedger>,
    pub(super) routes: BTreeMap<TopicPartition, Route>,
    pub(super) leaders: BTreeMap<TopicPartition, LeaderView>,
    pub(super) streams: BTreeMap<TopicPartition, Stream>,
    pub(super) schemas: KnownSchemas,
    pub(super) in_flight: Option<InFlight>,
    pub(super) size: TransactionSize,
    /// Charged to deliveries that are not committed yet.
    pub(super) held_bytes: usize,
    /// Budget that the fetch machine asked for while this lane held enough.
    held_wants: VecDeque<(NodeId, usize)>,
    /// The ledger does not say yet who owns the lane.
    pub(super) is_unsigned: bool,
    pub(super) not_before: Instant,
    /// When the group's offset was last sent. With an aborted transaction in vain: one that moves it is sent again, and any other has
    /// time.
    pub(super) offset_at: Option<Instant>,
    /// When decisions were looked for last.
    pub(super) looked_at: Instant,
    aborts: u32,
    /// Somebody else has written to a target partition between two looks at where its log ends.
    pub(super) is_displaced: bool,
    pub(super) ownership: Ownership,
    /// None: all lanes are this process's.
    pub(super) membership: Option<Membership>,
    /// Held back while the ledger is being read.
    pub(super) wanted_protocol: Option<target::TransactionProtocol>,
    pub(super) is_draining: bool,
    pub(super) outputs: VecDeque<Output>,
    /// The stream that the next transaction begins with, so that a busy one does not keep the others out.
    pub(super) cursor: Option<TopicPartition>,
    #[cfg(test)]
    pub(super) mutant: Option<Mutant>,
}

/// Faults planted by the tests, to show that the properties would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    PositionOffByOne,
    PositionOutsideTransaction,
    ForgetOnRewind,
    LeakGivenBack,
    ReversePutBack,
    DrainAtOnce,
}

impl Lane {
    pub(super) fn new(settings: LaneSettings, protocol: target::TransactionProtocol, now: Instant) -> Self {
        Self {
            transactor: Transactor::new(settings.transactor.clone(), protocol, now),
            fetcher: Fetcher::new(settings.fetcher.clone(), now),
            size: TransactionSize::new(settings.transaction_bytes_max),
            settings,
            now,
            phase: Phase::Idle,
            ledger: None,
            routes: BTreeMap::new(),
            leaders: BTreeMap::new(),
            streams: BTreeMap::new(),
            schemas: KnownSchemas::default(),
            in_flight: None,
            held_bytes: 0,
            held_wants: VecDeque::new(),
            is_unsigned: true,
            not_before: now,
            offset_at: None,
            looked_at: now,
            aborts: 0,
            is_displaced: false,
            ownership: Ownership::default(),
            membership: None,
            wanted_protocol: None,
            is_draining: false,
            outputs: VecDeque::new(),
            cursor: None,
            #[cfg(test)]
            mutant: None,
        }
    }

    #[cfg(test)]
    pub(super) fn is_mutant(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(test))]
    pub(super) fn is_mutant(&self, _: Mutant) -> bool {
        false
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        if self.phase == Phase::Ended {
            return self.handle_late(input);
        }
        match input {
            // Only once: a lane that works would forget what it has in its transaction.
            Input::Take if self.phase == Phase::Idle => self.take(),
            Input::Take => {}
            Input::Membership(membership) => self.membership = Some(membership),
            Input::Routes(routes) => {
                self.routes = routes;
                self.apply_routes();
            }
            Input::Leaders(leaders) => {
                self.fetcher.handle(self.now, source::Input::Metadata(leaders.clone()));
                self.leaders = leaders;
            }
            Input::Source(input) => self.fetcher.handle(self.now, input),
            // The transaction machine is idle then, and would bump its epoch at once: fenced by that, the lane would read the
            // ledger a second time, and the first reading could pass for the second.
            Input::Target(target::Input::SetProtocol(protocol)) if self.phase == Phase::Replaying => {
                self.wanted_protocol = Some(protocol);
            }
            Input::Target(input) => self.transact(input),
            Input::Ledger(ledger) => self.replayed(ledger),
            Input::Owner(owner) => self.asked(owner),
            Input::Decisions(ledger) => ledger.iter().for_each(|it| self.decided(it)),
            Input::TargetEnd { partition, end_offset } => self.target_end(&partition, end_offset),
            Input::Schema(key, verdict) => self.learn(key, verdict),
            Input::Drain => self.drain(),
            Input::Broken(reason) => self.end(Event::Failed(reason)),
            Input::Timeout => {
                self.fetcher.handle(self.now, source::Input::Timeout);
                self.transact(target::Input::Timeout);
                self.ask_again();
                self.look();
            }
        }
        self.pump();
    }

    /// What a lane that has ended still gets was on its way.
    fn handle_late(&mut self, input: Input) {
        if let Input::Source(source::Input::BudgetGranted { bytes, .. }) = input {
            self.output(Output::ReturnBudget { bytes });
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let machines = [self.transactor.poll_timeout().map(|it| it.0), self.fetcher.poll_timeout().map(|it| it.0)];
        let waiting = if let Phase::Waiting(until) = self.phase { Some(until) } else { None };
        machines.into_iter().chain([self.due(), self.look_due(), waiting]).flatten().min()
    }

    fn pump(&mut self) {
        loop {
            // What one machine says may make the other speak: left until the next input, it might wait for ever.
            let spoke = self.drain_fetcher() | self.drain_transactor();
            let spoke = self.place() | spoke;
            match self.due() {
                Some(due) if due <= self.now => self.begin(),
                _ if spoke => {}
                _ => break,
            }
        }
        self.question();
        let is_done = self.is_at_rest() && !(self.phase == Phase::Copying && self.suspects());
        if self.is_draining && (is_done || self.is_mutant(Mutant::DrainAtOnce)) {
            self.end(Event::Drained);
        }
        while self.phase != Phase::Ended
            && self.held_bytes < self.held_bytes_max()
            && let Some((node, bytes)) = self.held_wants.pop_front()
        {
            self.output(Output::Source(source::Output::WantBudget { node, bytes }));
        }
    }

    /// Nothing waits, and nothing of this process is open at the target.
    fn is_at_rest(&self) -> bool {
        match self.phase {
            Phase::Idle | Phase::Replaying => true,
            // To take a lane again is to end the transaction whose outcome is not known.
            Phase::Taking => !self.has_owned(),
            Phase::Copying => self.in_flight.is_none() && self.transactor.is_idle() && self.due().is_none(),
            // Whoever fenced it has ended its transaction, or nobody has: then it is to be taken again.
            Phase::Asking | Phase::Waiting(_) | Phase::Ended => false,
        }
    }

    /// One transaction commits while the next gathers.
    fn held_bytes_max(&self) -> usize {
        self.settings.transaction_bytes_max.saturating_mul(2)
    }

    pub(super) fn transact(&mut self, input: target::Input) {
        if let Err(misuse) = self.transactor.handle(self.now, input) {
            self.end(Event::Failed(format!("this is a bug of kafka-bridge: {misuse}")));
        }
    }

    pub(super) fn key(&self, partition: &TopicPartition) -> PositionKey {
        PositionKey {
            cluster_id: Arc::clone(&self.settings.source_cluster_id),
            topic: Arc::clone(&partition.topic),
            partition: partition.partition,
        }
    }

    fn drain(&mut self) {
        self.is_draining = true;
        for partition in self.streams.keys() {
            self.fetcher.handle(self.now, source::Input::Remove(partition.clone()));
        }
    }

    /// True if there was anything.
    fn drain_fetcher(&mut self) -> bool {
        let mut spoke = false;
        while let Some(output) = self.fetcher.poll_output() {
            spoke = true;
            match output {
                source::Output::WantBudget { node, bytes } if self.held_bytes >= self.held_bytes_max() => {
                    self.held_wants.push_back((node, bytes));
                }
                source::Output::Deliver(delivery) => {
                    self.held_bytes += delivery.charged_bytes;
                    let now = self.now;
                    match self.streams.get_mut(&delivery.partition) {
                        Some(stream) if stream.state == StreamState::Reading && stream.awaits.is_empty() => {
                            stream.push(delivery, now);
                        }
                        _ => self.give_back(delivery.charged_bytes),
                    }
                }
                source::Output::Resolved { partition, topic_id, offset, leader_epoch } => {
                    let now = self.now;
                    if let Some(stream) = self.streams.get_mut(&partition) {
                        stream.resolved(topic_id, offset, leader_epoch, now);
                    }
                }
                source::Output::Incident(incident) => {
                    let source::Incident { partition, .. } = &incident;
                    let partition = partition.clone();
                    self.incident(&partition, IncidentKind::Source(incident));
                }
                other => self.output(Output::Source(other)),
            }
        }
        spoke
    }

    fn drain_transactor(&mut self) -> bool {
        let mut spoke = false;
        while let Some(output) = self.transactor.poll_output() {
            spoke = true;
            match output {
                target::Output::Event(event) => self.happened(event),
                other => self.output(Output::Target(other)),
            }
        }
        spoke
    }

    fn happened(&mut self, event: target::Event) {
        match event {
            target::Event::Ready { .. } if self.phase == Phase::Taking => {
                self.phase = Phase::Replaying;
                self.output(Output::ReadLedger);
            }
            target::Event::Ready { .. } => {}
            target::Event::Committed { offsets, .. } => {
                self.aborts = 0;
                self.not_before = self.now + MARKER_PAUSE;
                self.committed(&offsets);
            }
            target::Event::Aborted { cause } => self.aborted(cause),
            target::Event::Fenced { .. } => self.fenced(),
            target::Event::OutcomeUnknown { cause } => {
                self.output(Output::Event(Event::OutcomeUnknown(cause)));
                self.forget();
                self.take();
            }
            target::Event::Mended { partitions, commit } => {
                self.output(Output::Event(Event::Mended { partitions, commit }));
            }
            target::Event::Unsettled { partitions } => self.output(Output::Event(Event::Unsettled(partitions))),
            target::Event::Undecided { partition } => self.output(Output::Event(Event::Undecided(partition))),
            target::Event::Stopped { cause } => self.end(Event::Failed(cause.to_string())),
        }
    }

    fn aborted(&mut self, cause: Cause) {
        let backoff = ABORT_BACKOFF_FIRST.saturating_mul(1 << self.aborts.min(8)).min(ABORT_BACKOFF_MAX);
        self.aborts = self.aborts.saturating_add(1);
        self.not_before = self.now + backoff;
        self.is_displaced |= cause.trouble == Trouble::Displaced;
        self.rewind();
        let of = cause.partition.as_ref();
        let refused = self.streams.iter().find(|(_, stream)| Some(&stream.route.target) == of).map(|it| it.0.clone());
        match (cause.class, refused) {
            (AbortClass::Plain | AbortClass::OwnershipLost, _) => {}
            (AbortClass::Reencode, Some(partition)) => {
                let stream = self.streams.get_mut(&partition);
                let is_hopeless = stream.is_none_or(|stream| stream.refused() > REFUSALS_MAX);
                if is_hopeless {
                    self.incident(&partition, IncidentKind::Refused(cause.clone()));
                }
            }
            (AbortClass::Operator, Some(partition)) => {
                self.incident(&partition, IncidentKind::Refused(cause.clone()));
            }
            (AbortClass::Reencode | AbortClass::Operator, None) => return self.end(Event::Failed(cause.to_string())),
        }
        self.output(Output::Event(Event::Aborted(cause)));
    }

    /// Stops one partition; the others go on.
    pub(super) fn incident(&mut self, partition: &TopicPartition, kind: IncidentKind) {
        self.fetcher.handle(self.now, source::Input::Remove(partition.clone()));
        let time_ms = self.time_ms();
        let committed = self.ledger.as_ref().and_then(|it| it.position(&self.key(partition))).map(|it| it.next_offset);
        let Some(stream) = self.streams.get_mut(partition) else { return };
        let target = stream.route.target.clone();
        let next_offset = match &kind {
            IncidentKind::Source(incident) => incident.position.offset,
            _ => committed.unwrap_or(-1),
        };
        // What was read before the incident is whole, and still goes to the target.
        let charged = if matches!(kind, IncidentKind::Source(_)) {
            stream.state = StreamState::Emptying;
            0
        } else {
            stream.state = StreamState::Stopped;
            stream.clear()
        };
        self.give_back(charged);
        let incident = Incident { partition: partition.clone(), target, next_offset, time_ms, kind };
        self.suspect(incident);
    }

    pub(super) fn time_ms(&self) -> u64 {
        let elapsed = self.now.saturating_duration_since(self.settings.started).as_millis();
        self.settings.started_ms.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Everything in memory may be of another incarnation: only the ledger says what was committed.
    pub(super) fn forget(&mut self) {
        self.rewind();
        self.ledger = None;
        for (partition, stream) in std::mem::take(&mut self.streams) {
            self.fetcher.handle(self.now, source::Input::Remove(partition));
            self.give_back(stream.charged_bytes());
        }
    }

    pub(super) fn end(&mut self, event: Event) {
        if self.phase == Phase::Ended {
            return;
        }
        self.forget();
        self.drain_fetcher();
        // Granted for answers that nobody will look at.
        let granted = self.fetcher.held_bytes();
        if granted > 0 {
            self.output(Output::ReturnBudget { bytes: granted });
        }
        self.phase = Phase::Ended;
        self.output(Output::Event(event));
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        if bytes > 0 && !self.is_mutant(Mutant::LeakGivenBack) {
            self.output(Output::ReturnBudget { bytes });
        }
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}
