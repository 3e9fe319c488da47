//! The cluster as one pure machine: frames and the time go in, frames come out. No I/O, no clock, no randomness but from its
//! seed, so that a simulation replays bit for bit.

use super::durable::{Change, Journal};
use super::faults::{Faults, Rule, RuleId};
use super::groups::Group;
use super::nodes::{Coordinator, ListenerId, Node};
use super::request::route;
use super::settings::{Millis, Settings};
use super::topics::{NewTopic, Topics};
use super::transactions::Transactions;
use super::waiting::Waiting;
use crate::types::NodeId;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

/// A connection's name, chosen by whoever carries its bytes; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What a connection does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub connection: ConnectionId,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a whole frame with its length; then the connection's next request may come.
    Send(Bytes),
    /// Nothing is to be sent; the next request may come.
    Next,
    /// Send what there is, a frame that is cut, and close.
    SendThenClose(Bytes),
    Close,
}

pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) listener: ListenerId,
}

/// A whole cluster. Its driver calls `handle` for each request of a connection once the one before has its output, and
/// `handle_timeout` at `poll_timeout`; after each call it drains `poll_output`.
pub struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) now_ms: Millis,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) connections: BTreeMap<ConnectionId, Peer>,
    pub(crate) topics: Topics,
    pub(crate) transactions: Transactions,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) faults: Faults,
    pub(crate) waiting: Waiting,
    /// Something that fetches wait for may have changed.
    pub(crate) logs_changed: bool,
    pub(crate) random: fastrand::Rng,
    pub(crate) journal: Journal,
    outputs: VecDeque<Output>,
    next_upkeep_ms: Option<Millis>,
    pub(crate) next_expiration_ms: Millis,
}

impl Cluster {
    pub fn new(settings: Settings, now_ms: Millis) -> Self {
        let node = |rack: &Option<String>| Node { rack: rack.clone(), is_alive: true, addresses: BTreeMap::new() };
        Self {
            now_ms,
            nodes: settings.nodes.iter().map(|(id, rack)| (*id, node(rack))).collect(),
            connections: BTreeMap::new(),
            topics: Topics::default(),
            transactions: Transactions::new(now_ms + settings.reap_interval_ms),
            groups: BTreeMap::new(),
            faults: Faults::default(),
            waiting: Waiting::default(),
            logs_changed: false,
            random: fastrand::Rng::with_seed(settings.seed),
            journal: Journal::new(settings.durable),
            outputs: VecDeque::new(),
            next_upkeep_ms: settings.upkeep_interval_ms.map(|it| now_ms + it),
            next_expiration_ms: now_ms + settings.producer_expiration_check_ms,
            settings,
        }
    }

    /// Where clients of this listener are sent.
    pub fn advertise(&mut self, node: NodeId, listener: ListenerId, host: impl Into<String>, port: u16) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.addresses.insert(listener, (host.into(), port));
        }
    }

    /// A connection was accepted. False: the node is dead, nobody listens there.
    pub fn connect(&mut self, connection: ConnectionId, node: NodeId, listener: ListenerId) -> bool {
        let accepted = self.is_alive(node);
        if accepted {
            self.connections.insert(connection, Peer { node, listener });
        }
        accepted
    }

    /// The client is gone. What a fault holds of it still takes effect.
    pub fn disconnect(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        self.waiting.disconnected(connection);
    }

    /// One request, without its length.
    pub fn handle(&mut self, now_ms: Millis, connection: ConnectionId, frame: &Bytes) {
        self.advance(now_ms);
        let Some(node) = self.connections.get(&connection).map(|it| it.node) else { return };
        if let Err(unreadable) = route(self, connection, node, frame) {
            tracing::debug!(reason = unreadable.0, "in-process demo cluster: a connection is closed");
            self.output(Output { connection, action: Action::Close });
        }
        self.run_watchers();
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Millis> {
        let groups = self.groups.values().filter_map(Group::next_due).min();
        [self.waiting.next_due(), self.transactions.next_due(), groups, self.next_upkeep_ms].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now_ms: Millis) {
        self.advance(now_ms);
    }

    /// The next change to keep, where the settings ask for durability.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.journal.pop()
    }

    /// Everything that was due by now happens in its order, at its own time.
    fn advance(&mut self, now_ms: Millis) {
        while let Some(due) = self.poll_timeout().filter(|it| *it <= now_ms) {
            // A clock that jumped ahead does not fire a timer twice: each moves its next time beyond its own.
            self.now_ms = self.now_ms.max(due);
            self.run_parked();
            self.run_transactions();
            self.run_groups();
            if self.next_upkeep_ms.is_some_and(|it| it <= self.now_ms) {
                self.next_upkeep_ms = self.settings.upkeep_interval_ms.map(|it| self.now_ms + it.max(1));
                self.upkeep();
            }
            self.run_watchers();
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    pub(crate) fn output(&mut self, output: Output) {
        if self.connections.contains_key(&output.connection) {
            if matches!(output.action, Action::Close | Action::SendThenClose(_)) {
                self.disconnect(output.connection);
            }
            self.outputs.push_back(output);
        }
    }

    pub(crate) fn new_uuid(&mut self) -> Uuid {
        Uuid::from_u128(self.random.u128(1..))
    }
}

/// Operation: what a test, a demo or a simulation does to a cluster beside its clients.
impl Cluster {
    pub fn add_rule(&mut self, rule: Rule) -> RuleId {
        self.faults.add(rule)
    }

    pub fn end_rule(&mut self, rule: RuleId) {
        self.faults.end(rule);
    }

    /// How often a rule struck.
    pub fn struck(&self, rule: RuleId) -> u64 {
        self.faults.struck(rule)
    }

    /// How many requests and answers a rule holds now.
    pub fn held(&self, rule: RuleId) -> usize {
        self.waiting.held_by(rule)
    }

    /// Lets go what a rule holds.
    pub fn release(&mut self, now_ms: Millis, rule: RuleId) {
        self.advance(now_ms);
        self.run_released(rule);
        self.run_watchers();
    }

    /// Dies at once: its connections close, its partitions and coordinators move.
    pub fn kill_node(&mut self, now_ms: Millis, node: NodeId) {
        self.advance(now_ms);
        self.kill(node);
        self.run_watchers();
    }

    /// Comes back with its log.
    pub fn restart_node(&mut self, now_ms: Millis, node: NodeId) {
        self.advance(now_ms);
        self.restart(node);
        self.run_watchers();
    }

    pub fn is_node_alive(&self, node: NodeId) -> bool {
        self.is_alive(node)
    }

    pub fn move_partition(
        &mut self,
        now_ms: Millis,
        topic: &str,
        partition: i32,
        to: NodeId,
    ) -> Result<(), ResponseError> {
        self.advance(now_ms);
        let moved = self.move_leader(topic, partition, to);
        self.run_watchers();
        moved
    }

    pub fn move_coordinator(
        &mut self,
        now_ms: Millis,
        kind: Coordinator,
        key: &str,
        to: NodeId,
    ) -> Result<(), ResponseError> {
        let index = self.coordinating_partition(kind, key).ok_or(ResponseError::CoordinatorNotAvailable)?;
        self.move_partition(now_ms, kind.topic(), index, to)
    }

    pub fn leader(&self, topic: &str, partition: i32) -> Option<NodeId> {
        self.topics.partition(topic, partition).ok().and_then(|it| it.leader)
    }

    pub fn coordinator(&self, kind: Coordinator, key: &str) -> Option<NodeId> {
        self.leader(kind.topic(), self.coordinating_partition(kind, key)?)
    }

    /// Creates a topic as CreateTopics does, without a client.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
        configs: &[(&str, &str)],
    ) -> Result<(), ResponseError> {
        let alive = self.alive();
        let replicas = self.topics.assign(partitions, replication_factor, &alive)?;
        let overrides = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let id = self.new_uuid();
        self.add_topic(NewTopic { name: name.to_owned(), id, replicas, overrides }).map_err(|it| it.0)
    }

    /// Retention has taken everything before this offset.
    pub fn advance_retention(&mut self, topic: &str, partition: i32, to: i64) -> Result<(), ResponseError> {
        self.move_log_start(topic, partition, to)
    }

    /// An unclean election: a leader that never had what lies behind `end`.
    pub fn truncate(&mut self, topic: &str, partition: i32, end: i64) -> Result<(), ResponseError> {
        let (found, config) = self.topics.partition_mut(topic, partition)?;
        found.log.truncate(end, config);
        let leader = found.leader;
        found.lead(leader);
        self.record_truncation(topic, partition, end);
        self.logs_changed = true;
        self.run_watchers();
        Ok(())
    }

    /// While held, followers do not follow: nothing new is visible, and acks=all waits.
    pub fn hold_replication(&mut self, topic: &str, partition: i32, held: bool) -> Result<(), ResponseError> {
        let (found, _) = self.topics.partition_mut(topic, partition)?;
        found.replication_held = held;
        found.replicate();
        self.logs_changed = true;
        self.run_watchers();
        Ok(())
    }

    /// While held, coordinators write no markers: transactions that ended stay undecided for readers.
    pub fn hold_markers(&mut self, now_ms: Millis, held: bool) {
        self.advance(now_ms);
        self.transactions.markers_held = held;
        self.advance(now_ms);
        self.run_watchers();
    }

    /// Finalizes another `transaction.version`.
    pub fn set_transaction_version(&mut self, version: i16) {
        self.settings.transaction_version = version;
    }

    /// Retention, compaction and expiration look now.
    pub fn run_upkeep(&mut self, now_ms: Millis) {
        self.advance(now_ms);
        self.upkeep();
        self.run_watchers();
    }
}
