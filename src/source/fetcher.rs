//! The machine: which partition is asked about where, and what its budget pays for.

use crate::planted::{Bug, planted};
use crate::source::lookup::Lookup;
use crate::source::message::{
    Answer, Delivery, Failure, FetchPartition, FetchRequest, Incident, IncidentKind, Input, LeaderView, Output,
    Position, RequestId, SourceRequest, StartAt, Timer, Trouble,
};
use crate::source::partition::{Partition, State, delay};
use crate::types::{NodeId, TopicPartition};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Asked for again only after this, so that a hundred partitions of a dead node ask once; a refresh that fails is not
/// answered, so it must be asked for again.
const REFRESH_INTERVAL: Duration = Duration::from_millis(50);
/// How long the broker holds a Fetch that finds nothing while another partition of its is looked up. That takes a few
/// milliseconds; where it takes longer, this is what keeps the Fetches from being a loop.
const LOOKUP_WAIT: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub struct FetcherSettings {
    /// How long the broker holds a Fetch that finds nothing, where no partition waits for its end.
    pub max_wait: Duration,
    pub min_bytes: i32,
    /// Of one answer, and so of one grant. The first batch of an answer comes whole even if it is larger (KIP-74).
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
}

impl Default for FetcherSettings {
    /// The limits in bytes: a Java consumer's per partition, an eighth of it per answer, since a lane reads ahead by no
    /// more than its next transaction.
    fn default() -> Self {
        Self { max_wait: Duration::from_millis(500), min_bytes: 1, max_bytes: 8 << 20, partition_max_bytes: 1 << 20 }
    }
}

/// A partition, for logs and the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    pub state: &'static str,
    /// None while it is not resolved.
    pub position: Option<Position>,
    pub leader: Option<NodeId>,
    /// −1 until the first answer. `high_watermark − last_stable_offset` is what open transactions hold back.
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    pub trouble: Option<Trouble>,
}

pub(super) enum Fetch {
    Idle,
    Wanting,
    InFlight { id: RequestId, granted: usize, partitions: Vec<(TopicPartition, u64)> },
}

pub(super) struct Node {
    pub(super) fetch: Fetch,
    retry_at: Option<Instant>,
    attempts: u32,
}

pub struct Fetcher {
    pub(super) settings: FetcherSettings,
    pub(super) partitions: BTreeMap<TopicPartition, Partition>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) lookups: BTreeMap<RequestId, Lookup>,
    pub(super) now: Instant,
    pub(super) held_bytes: usize,
    pub(super) fetches: u64,
    next_request: u64,
    next_revision: u64,
    refreshed_at: Option<Instant>,
    outputs: VecDeque<Output>,
    #[cfg(test)]
    pub(super) mutant: Option<Mutant>,
}

/// Faults planted by the tests, to show that the properties would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    LeakBudget,
    KeepAborted,
    IgnoreGap,
    IgnoreRevision,
    IgnoreEpoch,
    GoOnAfterIncident,
}

impl Fetcher {
    /// `now` only seeds the clock.
    pub fn new(settings: FetcherSettings, now: Instant) -> Self {
        Self {
            settings,
            partitions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            lookups: BTreeMap::new(),
            now,
            held_bytes: 0,
            fetches: 0,
            next_request: 0,
            next_revision: 0,
            refreshed_at: None,
            outputs: VecDeque::new(),
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

    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Assign { partition, topic_id, position } => {
                self.place(partition, topic_id, position, State::at(position));
            }
            Input::Resolve { partition, topic_id, start } => {
                let nowhere = Position { offset: -1, leader_epoch: -1 };
                self.place(partition, topic_id, nowhere, State::Resolving { start, latest: None });
            }
            Input::Remove(partition) => {
                if let Some(partition) = self.partitions.remove(&partition) {
                    self.release(partition.state);
                }
            }
            Input::Metadata(view) => self.metadata(view),
            Input::BudgetGranted { node, bytes } => self.granted(node, bytes),
            Input::Answered { id, answer } => self.answered(id, answer),
            Input::Timeout => {}
        }
        self.pump();
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let partition = self.partitions.values().filter_map(|it| it.retry_at).min();
        let node = self.nodes.values().filter_map(|it| it.retry_at).min();
        match (partition, node) {
            (Some(partition), Some(node)) if node < partition => Some((node, Timer::NodeRetry)),
            (Some(partition), _) => Some((partition, Timer::PartitionRetry)),
            (None, Some(node)) => Some((node, Timer::NodeRetry)),
            (None, None) => None,
        }
    }

    /// Budget granted and neither returned nor charged to a delivery.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub fn status(&self, partition: &TopicPartition) -> Option<PartitionStatus> {
        let it = self.partitions.get(partition)?;
        let watermark = |of: fn(&crate::source::partition::Watermarks) -> i64| it.watermarks.as_ref().map_or(-1, of);
        Some(PartitionStatus {
            state: it.state.name(),
            position: (it.position.offset >= 0).then_some(it.position),
            leader: it.leader,
            high_watermark: watermark(|it| it.high_watermark),
            last_stable_offset: watermark(|it| it.last_stable_offset),
            log_start_offset: watermark(|it| it.log_start_offset),
            trouble: it.trouble,
        })
    }

    fn place(&mut self, name: TopicPartition, topic_id: Uuid, position: Position, state: State) {
        let revision = self.revision();
        let mut partition = Partition::new(revision, topic_id, position, state, self.settings.partition_max_bytes);
        if let Some(old) = self.partitions.remove(&name) {
            // What metadata said of another incarnation of the topic does not hold.
            if old.topic_id == topic_id {
                partition.leader = old.leader;
                partition.leader_epoch = old.leader_epoch;
            }
            self.release(old.state);
        }
        self.partitions.insert(name, partition);
    }

    fn metadata(&mut self, view: BTreeMap<TopicPartition, LeaderView>) {
        let mut recreated = Vec::new();
        for (name, LeaderView { leader, leader_epoch, topic_id }) in view {
            let Some(partition) = self.partitions.get_mut(&name) else { continue };
            if matches!(partition.state, State::Stopped) {
                continue;
            }
            if partition.topic_id.is_nil() {
                partition.topic_id = topic_id;
            } else if !topic_id.is_nil() && topic_id != partition.topic_id {
                // Without a position nothing of the old one was promised: the new one is begun like any other topic.
                if let State::Resolving { start, .. } = partition.state {
                    let state = State::Resolving { start, latest: None };
                    self.next_revision += 1;
                    let max_bytes = self.settings.partition_max_bytes;
                    *partition = Partition::new(self.next_revision, topic_id, partition.position, state, max_bytes);
                    partition.leader = leader;
                    partition.leader_epoch = leader_epoch;
                    continue;
                }
                let end_offset = partition.watermarks.as_ref().map_or(-1, |it| it.high_watermark);
                let old = partition.topic_id;
                recreated.push((name, IncidentKind::Recreated { old, new: topic_id, end_offset }));
                continue;
            }
            // A broker that lags behind still names the leader before (KIP-320).
            if leader_epoch >= 0 && leader_epoch < partition.leader_epoch {
                continue;
            }
            let moved = leader != partition.leader;
            if !moved && leader_epoch == partition.leader_epoch {
                continue;
            }
            partition.leader = leader;
            partition.leader_epoch = leader_epoch;
            partition.retry_at = None;
            partition.in_flight = false;
            self.next_revision += 1;
            partition.revision = self.next_revision;
            let state = match &partition.state {
                State::Resolving { start, .. } => State::Resolving { start: *start, latest: None },
                State::Stopped => State::Stopped,
                _ => State::at(partition.position),
            };
            let old = std::mem::replace(&mut partition.state, state);
            if self.is_mutant(Mutant::IgnoreEpoch)
                && let Some(partition) = self.partitions.get_mut(&name)
                && matches!(partition.state, State::Validating)
            {
                partition.state = State::Fetching;
            }
            self.release(old);
        }
        for (name, kind) in recreated {
            self.incident(&name, kind);
        }
    }

    fn granted(&mut self, id: NodeId, bytes: usize) {
        let node = self.nodes.get_mut(&id);
        let Some(node) = node.filter(|it| matches!(it.fetch, Fetch::Wanting)) else {
            return self.give_back(bytes);
        };
        node.fetch = Fetch::Idle;
        let can_send = node.retry_at.is_none();
        let max_wait = self.max_wait(id);
        let mut chosen: Vec<_> =
            self.partitions.iter_mut().filter(|(_, it)| can_send && it.is_fetchable_from(id)).collect();
        if chosen.is_empty() || bytes == 0 {
            return self.give_back(bytes);
        }
        // The broker fills an answer in this order. Those that were served last go to the end, as in Kafka's
        // `PartitionStates`: otherwise a busy partition could keep a large batch of another out for ever.
        chosen.sort_by_key(|(_, it)| it.served);
        let mut in_flight = Vec::with_capacity(chosen.len());
        let mut partitions = Vec::with_capacity(chosen.len());
        for (name, partition) in chosen {
            partition.in_flight = true;
            in_flight.push((name.clone(), partition.revision));
            partitions.push(FetchPartition {
                partition: name.clone(),
                topic_id: partition.topic_id,
                current_leader_epoch: partition.leader_epoch,
                fetch_offset: partition.position.offset,
                last_fetched_epoch: if planted(Bug::StaleEpochIgnored) { -1 } else { partition.position.leader_epoch },
                partition_max_bytes: partition.max_bytes,
            });
        }
        self.fetches += 1;
        self.held_bytes += bytes;
        let request = FetchRequest {
            max_wait,
            min_bytes: self.settings.min_bytes,
            max_bytes: i32::try_from(bytes).unwrap_or(i32::MAX),
            partitions,
        };
        let request = self.send(id, SourceRequest::Fetch(request));
        if let Some(node) = self.nodes.get_mut(&id) {
            node.fetch = Fetch::InFlight { id: request, granted: bytes, partitions: in_flight };
        }
    }

    /// A node has one Fetch at a time, so whoever is not in it yet waits until it ends: not for half a second where only
    /// partitions without new records are in it.
    fn max_wait(&self, node: NodeId) -> Duration {
        let led = self.partitions.values().filter(|it| it.leader == Some(node));
        let left_out = led.filter(|it| !it.is_fetchable_from(node) && !matches!(it.state, State::Stopped));
        let until_ready = |it: &Partition| it.retry_at.map_or(LOOKUP_WAIT, |at| LOOKUP_WAIT.max(at - self.now));
        left_out.map(until_ready).min().map_or(self.settings.max_wait, |it| it.min(self.settings.max_wait))
    }

    fn answered(&mut self, id: RequestId, answer: Result<Answer, Failure>) {
        if let Some(lookup) = self.lookups.remove(&id) {
            return self.lookup_answered(lookup, answer);
        }
        let fetch = self.nodes.iter_mut().find_map(|(name, node)| match &node.fetch {
            Fetch::InFlight { id: of, .. } if *of == id => {
                Some((*name, std::mem::replace(&mut node.fetch, Fetch::Idle)))
            }
            _ => None,
        });
        if let Some((node, Fetch::InFlight { granted, partitions, .. })) = fetch {
            self.fetch_answered(node, granted, partitions, answer);
        }
    }

    /// No answer: the connection, and with it everything that was asked there, is suspect.
    pub(super) fn node_failed(&mut self, id: NodeId) {
        self.output(Output::CloseConnection(id));
        self.refresh();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.retry_at = Some(self.now + delay(node.attempts));
            node.attempts = node.attempts.saturating_add(1);
        }
    }

    pub(super) fn node_answered(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.attempts = 0;
        }
    }

    /// Asks for whatever may be asked for now.
    fn pump(&mut self) {
        let now = self.now;
        for partition in self.partitions.values_mut() {
            partition.retry_at = partition.retry_at.filter(|it| *it > now);
        }
        for node in self.nodes.values_mut() {
            node.retry_at = node.retry_at.filter(|it| *it > now);
        }
        let mut leaderless = false;
        for partition in self.partitions.values_mut().filter(|it| it.leader.is_none() && it.is_due()) {
            partition.back_off(now, Trouble::NoLeader);
            leaderless = true;
        }
        if leaderless {
            self.refresh();
        }
        self.send_lookups();
        let mut wanted = BTreeMap::new();
        for partition in self.partitions.values() {
            if let Some(node) = partition.leader
                && partition.is_fetchable_from(node)
                && self.may_ask(node)
            {
                let bytes = wanted.entry(node).or_insert(self.settings.max_bytes);
                *bytes = partition.max_bytes.max(*bytes);
            }
        }
        for (id, bytes) in wanted {
            let node = self.node(id);
            if let Fetch::Idle = node.fetch {
                node.fetch = Fetch::Wanting;
                self.output(Output::WantBudget { node: id, bytes: usize::try_from(bytes).unwrap_or(0).max(1) });
            }
        }
    }

    pub(super) fn may_ask(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_none_or(|it| it.retry_at.is_none())
    }

    /// As many entries as the cluster has had brokers.
    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.entry(id).or_insert(Node { fetch: Fetch::Idle, retry_at: None, attempts: 0 })
    }

    pub(super) fn revision(&mut self) -> u64 {
        self.next_revision += 1;
        self.next_revision
    }

    pub(super) fn send(&mut self, node: NodeId, request: SourceRequest) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.output(Output::Send { id, node, request });
        id
    }

    pub(super) fn refresh(&mut self) {
        if self.refreshed_at.is_none_or(|it| it + REFRESH_INTERVAL <= self.now) {
            self.refreshed_at = Some(self.now);
            self.output(Output::RefreshMetadata);
        }
    }

    /// Budget that left the pool and pays for nothing.
    pub(super) fn give_back(&mut self, bytes: usize) {
        if bytes > 0 {
            self.output(Output::ReturnBudget { bytes });
        }
    }

    pub(super) fn release(&mut self, state: State) {
        if let State::Confirming(delivery) = state
            && !self.is_mutant(Mutant::LeakBudget)
        {
            self.held_bytes -= delivery.charged_bytes;
            self.give_back(delivery.charged_bytes);
        }
    }

    pub(super) fn deliver(&mut self, delivery: Delivery) {
        self.output(Output::Deliver(delivery));
    }

    pub(super) fn incident(&mut self, name: &TopicPartition, kind: IncidentKind) {
        let revision = self.revision();
        let goes_on = self.is_mutant(Mutant::GoOnAfterIncident);
        let Some(partition) = self.partitions.get_mut(name) else { return };
        partition.revision = revision;
        partition.in_flight = false;
        partition.retry_at = None;
        let state = if goes_on { State::Fetching } else { State::Stopped };
        let old = std::mem::replace(&mut partition.state, state);
        let incident = Incident { partition: name.clone(), position: partition.position, kind };
        self.release(old);
        self.output(Output::Incident(incident));
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}

impl StartAt {
    /// What ListOffsets is asked for next.
    pub(super) fn timestamp(self, latest: Option<i64>) -> i64 {
        match (self, latest) {
            (StartAt::Earliest, _) => super::lookup::EARLIEST,
            (StartAt::Latest, _) | (StartAt::Timestamp(_), None) => super::lookup::LATEST,
            (StartAt::Timestamp(timestamp), Some(_)) => timestamp.max(0),
        }
    }
}
