//! The nodes of a cluster: where clients find them, and what happens when one dies, comes back or gives a partition away.

use super::cluster::{Action, Cluster, ConnectionId, Output};
use super::topics::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC, is_internal, partition_for};
use crate::types::NodeId;
use kafka_protocol::ResponseError;
use std::collections::{BTreeMap, BTreeSet};

/// Several listeners of one node have addresses of their own, as Kafka's have.
pub type ListenerId = u8;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) rack: Option<String>,
    pub(crate) is_alive: bool,
    pub(crate) addresses: BTreeMap<ListenerId, (String, u16)>,
}

/// Who coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinator {
    Group,
    Transaction,
}

impl Coordinator {
    pub(crate) fn topic(self) -> &'static str {
        match self {
            Self::Group => OFFSETS_TOPIC,
            Self::Transaction => TRANSACTIONS_TOPIC,
        }
    }
}

impl Cluster {
    pub(crate) fn alive(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.is_alive).map(|(id, _)| *id).collect()
    }

    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|it| it.is_alive)
    }

    /// The address that a client of this listener is told.
    pub(crate) fn address(&self, node: NodeId, listener: ListenerId) -> Option<(&str, u16)> {
        let addresses = &self.nodes.get(&node).filter(|it| it.is_alive)?.addresses;
        addresses.get(&listener).map(|(host, port)| (host.as_str(), *port))
    }

    pub(crate) fn listener_of(&self, connection: ConnectionId) -> ListenerId {
        self.connections.get(&connection).map_or(0, |it| it.listener)
    }

    /// The partition of the internal topic that a key belongs to. None: the topic does not exist yet.
    pub(crate) fn coordinating_partition(&self, kind: Coordinator, key: &str) -> Option<i32> {
        self.topics.get(kind.topic()).map(|it| partition_for(key, it.partitions.len()))
    }

    /// Whether this node coordinates the key; returns the partition and the coordinator's epoch.
    pub(crate) fn coordinates(&self, node: NodeId, kind: Coordinator, key: &str) -> Result<(i32, i32), ResponseError> {
        let index = self.coordinating_partition(kind, key).ok_or(ResponseError::NotCoordinator)?;
        let partition = self.topics.partition(kind.topic(), index).map_err(|_| ResponseError::NotCoordinator)?;
        if partition.leader == Some(node) {
            Ok((index, partition.leader_epoch))
        } else {
            Err(ResponseError::NotCoordinator)
        }
    }

    pub(crate) fn kill(&mut self, node: NodeId) {
        let Some(state) = self.nodes.get_mut(&node).filter(|it| it.is_alive) else { return };
        state.is_alive = false;
        let alive = self.alive();
        let mut coordinated_here = Vec::new();
        for (name, topic) in self.topics.iter_mut() {
            for (index, partition) in (0..).zip(&mut topic.partitions) {
                if partition.leader == Some(node) && is_internal(name) {
                    coordinated_here.push((name.to_owned(), index));
                }
                partition.node_lost(node, &alive);
            }
        }
        self.coordinators_moved(&coordinated_here);
        let lost: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, peer)| peer.node == node).map(|(id, _)| *id).collect();
        for connection in lost {
            self.output(Output { connection, action: Action::Close });
        }
        self.record_leaders();
        self.logs_changed = true;
    }

    pub(crate) fn restart(&mut self, node: NodeId) {
        let Some(state) = self.nodes.get_mut(&node).filter(|it| !it.is_alive) else { return };
        state.is_alive = true;
        for (_, topic) in self.topics.iter_mut() {
            for partition in &mut topic.partitions {
                partition.node_back(node);
            }
        }
        self.record_leaders();
        self.logs_changed = true;
    }

    /// Gives a partition to another of its replicas. Of an internal topic: moves the coordinator.
    pub(crate) fn move_leader(&mut self, topic: &str, partition: i32, to: NodeId) -> Result<(), ResponseError> {
        if !self.is_alive(to) {
            return Err(ResponseError::BrokerNotAvailable);
        }
        let (found, _) = self.topics.partition_mut(topic, partition)?;
        if !found.replicas.contains(&to) {
            // A reassignment and an election in one: in this cluster every node can have every log at once.
            found.replicas.push(to);
        }
        found.in_sync.insert(to);
        found.lead(Some(to));
        if is_internal(topic) {
            self.coordinators_moved(&[(topic.to_owned(), partition)]);
        }
        self.record_leaders();
        self.logs_changed = true;
        Ok(())
    }

    /// What a coordinator had in memory alone is gone: joins and syncs that waited. Offsets, members and transactions are in
    /// its log, and the next one has them.
    fn coordinators_moved(&mut self, partitions: &[(String, i32)]) {
        let now_ms = self.now_ms;
        let count = self.topics.get(OFFSETS_TOPIC).map_or(0, |it| it.partitions.len());
        let moved = |id: &str| {
            partitions.iter().any(|(topic, index)| topic == OFFSETS_TOPIC && partition_for(id, count) == *index)
        };
        for (_, group) in self.groups.iter_mut().filter(|(id, _)| moved(id)) {
            group.reloaded(now_ms);
        }
    }
}
