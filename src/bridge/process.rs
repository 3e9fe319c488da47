//! One bridge with one lane, for the tests: the shipping lane, and everything that is under way between it and the world.

use super::lane::{Event, Input, Lane, LaneSettings, Output, Phase};
use super::model::{CLUSTER, key, ledger, source};
use crate::batch::LogAppendTimePolicy;
use crate::ledger::Owner;
use crate::source::{self, FetcherSettings, SourceRequest};
use crate::target::{self, Destination, TransactionProtocol, TransactorSettings, TxnRequest};
use crate::types::{NodeId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A few answers: the lane must go on with what it gives back.
pub(super) const POOL_BYTES: usize = 2_000;
pub(super) const TRANSACTION_BYTES_MAX: usize = 500;
const FETCH_BYTES: i32 = 600;

pub(super) struct Fetching {
    pub(super) id: source::RequestId,
    pub(super) node: NodeId,
    pub(super) request: SourceRequest,
    pub(super) answer: Option<Result<source::Answer, source::Failure>>,
}

pub(super) struct Sending {
    pub(super) id: target::RequestId,
    pub(super) to: Destination,
    pub(super) request: TxnRequest,
}

/// What takes a while to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The group's offset first, then where the log ends, then what stands between: read the other way round, a newer
    /// bridge's first transaction may be in neither.
    Ledger {
        owner: bool,
        from: Option<usize>,
        to: Option<usize>,
    },
    TargetEnd {
        partition: TopicPartition,
        target: TopicPartition,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    TakenOver(Uuid),
    Failed(String),
    Drained,
}

pub(super) struct Process {
    pub(super) lane: Lane,
    pub(super) number: u128,
    pub(super) fetching: Vec<Fetching>,
    pub(super) sending: Vec<Sending>,
    pub(super) questions: Vec<Question>,
    pub(super) wants: VecDeque<(NodeId, usize)>,
    pub(super) pool_bytes: usize,
    pub(super) wants_leaders: bool,
    pub(super) incidents: BTreeMap<TopicPartition, String>,
    pub(super) events: Vec<&'static str>,
    pub(super) ended: Option<Ended>,
    pub(super) is_draining: bool,
    /// A commit was reported, and not looked at yet.
    pub(super) has_committed: bool,
    pub(super) broken: Option<String>,
}

pub(super) fn owner(number: u128) -> Owner {
    let started_ms = 10 * u64::try_from(number).unwrap();
    Owner { instance: Uuid::from_u128(number), host: "h".into(), pid: 1, started_ms, version: "0".into() }
}

fn settings(number: u128, now: Instant) -> LaneSettings {
    LaneSettings {
        lane: 0,
        source_cluster_id: CLUSTER.into(),
        ledger_partition: ledger(),
        owner: owner(number),
        commit_interval: Duration::from_millis(10),
        transaction_bytes_max: TRANSACTION_BYTES_MAX,
        log_append_time: LogAppendTimePolicy::default(),
        dead_letters: None,
        transactor: TransactorSettings {
            transactional_id: "link.0".into(),
            group_id: "link".into(),
            ledger_partition: Some(ledger()),
            transaction_timeout: Duration::from_secs(15),
            abort_margin: Duration::from_secs(6),
            max_in_flight: 5,
            harden_v1: true,
        },
        fetcher: FetcherSettings { max_bytes: FETCH_BYTES, partition_max_bytes: 250, ..FetcherSettings::default() },
        started: now,
        started_ms: 0,
    }
}

impl Process {
    pub(super) fn start(number: u128, protocol: TransactionProtocol, now: Instant) -> Self {
        Self {
            lane: Lane::new(settings(number, now), protocol, now),
            number,
            fetching: Vec::new(),
            sending: Vec::new(),
            questions: Vec::new(),
            wants: VecDeque::new(),
            pool_bytes: POOL_BYTES,
            wants_leaders: true,
            incidents: BTreeMap::new(),
            events: Vec::new(),
            ended: None,
            is_draining: false,
            has_committed: false,
            broken: None,
        }
    }

    pub(super) fn is_working(&self) -> bool {
        self.ended.is_none() && !self.is_draining && self.lane.phase == Phase::Copying
    }

    /// The first partition's position, as the lane has it.
    pub(super) fn copied(&self) -> i64 {
        let position = self.lane.ledger.as_ref().and_then(|it| it.position(&key(&source(0))));
        position.map_or(-1, |it| it.next_offset)
    }

    /// Neither a target's answer nor a reader's is to be waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.sending.is_empty() && self.questions.is_empty()
    }

    pub(super) fn fail(&mut self, invariant: &str, what: impl std::fmt::Display) {
        let number = self.number;
        self.broken.get_or_insert_with(|| format!("{invariant}: bridge {number}: {what}"));
    }

    pub(super) fn input(&mut self, now: Instant, input: Input) {
        if self.ended.is_some() {
            return;
        }
        self.is_draining |= matches!(input, Input::Drain);
        // For every third its records never land where they are expected.
        self.lane.is_displaced |= self.number.is_multiple_of(3);
        self.lane.handle(now, input);
        while let Some(output) = self.lane.poll_output() {
            self.output(output);
            // As the worker does: behind the last event nobody listens.
            if self.ended.is_some() {
                break;
            }
        }
        let held = if self.ended.is_some() { 0 } else { self.lane.fetcher.held_bytes() + self.lane.held_bytes };
        if self.pool_bytes + held != POOL_BYTES {
            self.fail("BytesBounded", format!("{} in the pool, {held} held, {:?}", self.pool_bytes, self.ended));
        }
        if self.lane.held_bytes > 2 * TRANSACTION_BYTES_MAX + FETCH_BYTES as usize * 3 {
            self.fail("BytesBounded", format!("{} held", self.lane.held_bytes));
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Source(source::Output::WantBudget { node, bytes }) => self.wants.push_back((node, bytes)),
            Output::Source(source::Output::ReturnBudget { bytes }) | Output::ReturnBudget { bytes } => {
                self.pool_bytes += bytes;
            }
            Output::Source(source::Output::Send { id, node, request }) => {
                self.fetching.push(Fetching { id, node, request, answer: None });
            }
            Output::Source(source::Output::RefreshMetadata) => self.wants_leaders = true,
            Output::Source(source::Output::CloseConnection(node)) => {
                for it in self.fetching.iter_mut().filter(|it| it.node == node) {
                    it.answer = Some(Err(source::Failure::Disconnected));
                }
            }
            Output::Source(other) => panic!("the lane keeps this to itself: {other:?}"),
            Output::Target(target::Output::Send { id, to, request }) => self.sending.push(Sending { id, to, request }),
            // A connection that is closed has nothing under way any more: `World::cut` takes all of it at once.
            Output::Target(_) => {}
            Output::ReadLedger => self.questions.push(Question::Ledger { owner: true, from: None, to: None }),
            Output::WhoOwns => self.questions.push(Question::Ledger { owner: false, from: None, to: None }),
            // Nobody decides anything there.
            Output::Decisions => {}
            // Nothing is checked there.
            Output::FindSchema(..) => {}
            Output::TargetEnd { partition, target } => self.questions.push(Question::TargetEnd { partition, target }),
            Output::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: Event) {
        let name = match event {
            Event::Taken { .. } => "taken",
            Event::Committed(_) => {
                self.has_committed = true;
                "committed"
            }
            Event::Aborted(_) => "aborted",
            Event::OutcomeUnknown(_) => "outcome unknown",
            Event::Unsettled(_) => "unsettled",
            Event::Mended { .. } => "mended",
            Event::Undecided(partition) => {
                self.fail("Settled", format!("nobody else writes to {partition}"));
                "undecided"
            }
            Event::Incident(incident) => {
                self.incidents.insert(incident.partition.clone(), incident.kind.name().to_owned());
                "incident"
            }
            Event::TakenOver(owner) => {
                self.ended = Some(Ended::TakenOver(owner.instance));
                "taken over"
            }
            Event::Failed(reason) => {
                self.ended = Some(Ended::Failed(reason));
                "failed"
            }
            Event::Fenced => {
                self.fail("NoGroup", "fenced as a member of a group");
                "fenced"
            }
            Event::Drained => {
                self.ended = Some(Ended::Drained);
                "drained"
            }
        };
        self.events.push(name);
    }

    pub(super) fn grant(&mut self, now: Instant) {
        if let Some((node, bytes)) = self.wants.front().copied()
            && bytes <= self.pool_bytes
            && self.ended.is_none()
        {
            self.wants.pop_front();
            self.pool_bytes -= bytes;
            self.input(now, Input::Source(source::Input::BudgetGranted { node, bytes }));
        }
    }

    /// The first request under way to each destination, which is the next to arrive there.
    pub(super) fn destinations(&self) -> Vec<Destination> {
        let all: BTreeSet<_> = self.sending.iter().map(|it| it.to.clone()).collect();
        all.into_iter().collect()
    }
}
