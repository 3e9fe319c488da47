//! Topics and their partitions: replicas, leaders, leader epochs, logs.

use super::configs::{InvalidConfig, Overrides, TopicConfig};
use super::log::Log;
use crate::types::NodeId;
use kafka_protocol::ResponseError;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";
/// Of the whole cluster: each takes memory, and a request for a billion of them takes a few bytes.
const PARTITIONS_MAX: usize = 20_000;
const NAME_LENGTH_MAX: usize = 249;

#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// The first that is alive and in sync leads.
    pub(crate) replicas: Vec<NodeId>,
    pub(crate) in_sync: BTreeSet<NodeId>,
    pub(crate) leader: Option<NodeId>,
    pub(crate) leader_epoch: i32,
    /// Where this leader began: until the high watermark is there, nobody is told the end of the log (KIP-207).
    pub(crate) epoch_start: i64,
    /// Followers do not follow: the high watermark stands still.
    pub(crate) replication_held: bool,
    pub(crate) log: Log,
}

impl Partition {
    fn new(replicas: Vec<NodeId>, alive: &BTreeSet<NodeId>) -> Self {
        let in_sync: BTreeSet<NodeId> = replicas.iter().copied().filter(|it| alive.contains(it)).collect();
        let leader = replicas.iter().copied().find(|it| alive.contains(it));
        let mut log = Log::default();
        log.begin_epoch(0);
        Self { replicas, in_sync, leader, leader_epoch: 0, epoch_start: 0, replication_held: false, log }
    }

    /// After an append: followers are as fast as the leader, unless they are held.
    pub(crate) fn replicate(&mut self) {
        if !self.replication_held {
            self.log.replicate();
        }
    }

    /// Makes `leader` lead, in a new epoch.
    pub(crate) fn lead(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        self.leader_epoch += 1;
        if leader.is_some() {
            self.epoch_start = self.log.end();
            self.log.begin_epoch(self.leader_epoch);
            self.replicate();
        }
    }

    /// A node died. The last one in sync stays in sync: only it may lead again.
    pub(crate) fn node_lost(&mut self, node: NodeId, alive: &BTreeSet<NodeId>) {
        if self.in_sync.len() > 1 {
            self.in_sync.remove(&node);
        }
        if self.leader == Some(node) {
            let next = self.replicas.iter().copied().find(|it| alive.contains(it) && self.in_sync.contains(it));
            self.lead(next);
        }
    }

    /// A node came back with its log.
    pub(crate) fn node_back(&mut self, node: NodeId) {
        if !self.replicas.contains(&node) {
            return;
        }
        match self.leader {
            Some(_) => drop(self.in_sync.insert(node)),
            None if self.in_sync.contains(&node) => self.lead(Some(node)),
            None => {}
        }
    }

    /// Whether this node may answer for the partition, and knows the leader's epoch as the client does.
    pub(crate) fn led_by(&self, node: NodeId, known_epoch: i32) -> Result<(), ResponseError> {
        if known_epoch >= 0 && known_epoch < self.leader_epoch {
            return Err(ResponseError::FencedLeaderEpoch);
        }
        if known_epoch > self.leader_epoch {
            return Err(ResponseError::UnknownLeaderEpoch);
        }
        if self.leader == Some(node) { Ok(()) } else { Err(ResponseError::NotLeaderOrFollower) }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) id: Uuid,
    pub(crate) is_internal: bool,
    pub(crate) overrides: Overrides,
    pub(crate) config: TopicConfig,
    pub(crate) partitions: Vec<Partition>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Topics {
    by_name: BTreeMap<String, Topic>,
    /// Assignments go round the nodes.
    next_node: usize,
}

/// A topic that is to be.
#[derive(Clone, Debug)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    /// The replicas of each partition, the preferred leader first.
    pub(crate) replicas: Vec<Vec<NodeId>>,
    pub(crate) overrides: Overrides,
}

impl Topics {
    pub(crate) fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(crate) fn name_of(&self, id: Uuid) -> Option<&str> {
        self.by_name.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.by_name.iter().map(|(name, topic)| (name.as_str(), topic))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Topic)> {
        self.by_name.iter_mut().map(|(name, topic)| (name.as_str(), topic))
    }

    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Result<&Partition, ResponseError> {
        let found = self.by_name.get(topic).and_then(|it| it.partitions.get(usize::try_from(partition).ok()?));
        found.ok_or(ResponseError::UnknownTopicOrPartition)
    }

    /// With the topic's config, which nearly every change needs.
    pub(crate) fn partition_mut(
        &mut self,
        topic: &str,
        partition: i32,
    ) -> Result<(&mut Partition, &TopicConfig), ResponseError> {
        let topic = self.by_name.get_mut(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let index = usize::try_from(partition).map_err(|_| ResponseError::UnknownTopicOrPartition)?;
        let partition = topic.partitions.get_mut(index).ok_or(ResponseError::UnknownTopicOrPartition)?;
        Ok((partition, &topic.config))
    }

    pub(crate) fn log_bytes(&self) -> usize {
        self.by_name.values().flat_map(|it| &it.partitions).map(|it| it.log.bytes()).sum()
    }

    fn partition_count(&self) -> usize {
        self.by_name.values().map(|it| it.partitions.len()).sum()
    }

    /// Replicas for `partitions` partitions, one after the other round the living nodes.
    pub(crate) fn assign(
        &mut self,
        partitions: i32,
        replication_factor: i16,
        alive: &BTreeSet<NodeId>,
    ) -> Result<Vec<Vec<NodeId>>, ResponseError> {
        let nodes: Vec<NodeId> = alive.iter().copied().collect();
        let count = usize::try_from(partitions).ok().filter(|it| *it > 0).ok_or(ResponseError::InvalidPartitions)?;
        let replicas = usize::try_from(replication_factor).ok().filter(|it| (1..=nodes.len()).contains(it));
        let replicas = replicas.ok_or(ResponseError::InvalidReplicationFactor)?;
        if self.partition_count() + count > PARTITIONS_MAX {
            return Err(ResponseError::PolicyViolation);
        }
        let first = self.next_node;
        self.next_node = (first + count) % nodes.len();
        let of = |index: usize| (0..replicas).map(|replica| nodes[(first + index + replica) % nodes.len()]).collect();
        Ok((0..count).map(of).collect())
    }

    pub(crate) fn create(
        &mut self,
        new: NewTopic,
        defaults: &Overrides,
        alive: &BTreeSet<NodeId>,
    ) -> Result<(), InvalidConfig> {
        let config = merged(defaults, &new.overrides)?;
        let is_internal = is_internal(&new.name);
        let partitions = new.replicas.into_iter().map(|it| Partition::new(it, alive)).collect();
        let topic = Topic { id: new.id, is_internal, overrides: new.overrides, config, partitions };
        self.by_name.insert(new.name, topic);
        Ok(())
    }

    pub(crate) fn grow(&mut self, name: &str, replicas: Vec<Vec<NodeId>>, alive: &BTreeSet<NodeId>) {
        if let Some(topic) = self.by_name.get_mut(name) {
            topic.partitions.extend(replicas.into_iter().map(|it| Partition::new(it, alive)));
        }
    }

    pub(crate) fn configure(
        &mut self,
        name: &str,
        overrides: Overrides,
        defaults: &Overrides,
    ) -> Result<(), InvalidConfig> {
        let config = merged(defaults, &overrides)?;
        if let Some(topic) = self.by_name.get_mut(name) {
            (topic.config, topic.overrides) = (config, overrides);
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, name: &str) -> Option<Topic> {
        self.by_name.remove(name)
    }
}

pub(crate) fn is_internal(name: &str) -> bool {
    name == OFFSETS_TOPIC || name == TRANSACTIONS_TOPIC
}

/// Kafka's `Topic.validate`.
pub(crate) fn is_valid_name(name: &str) -> bool {
    let letters = name.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-'));
    letters && !name.is_empty() && name.len() <= NAME_LENGTH_MAX && name != "." && name != ".."
}

fn merged(defaults: &Overrides, overrides: &Overrides) -> Result<TopicConfig, InvalidConfig> {
    let mut all = defaults.clone();
    all.extend(overrides.iter().map(|(name, value)| (name.clone(), value.clone())));
    TopicConfig::of(&all)
}

/// Java's `String.hashCode`, without its sign: which partition of an internal topic coordinates a group or a transaction.
pub(crate) fn partition_for(key: &str, partitions: usize) -> i32 {
    let hash = key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let hash = if hash == i32::MIN { 0 } else { hash.abs() };
    i32::try_from(hash.unsigned_abs() as usize % partitions.max(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Partition {
        Partition::new(vec![1, 2, 3], &[1, 2, 3].into())
    }

    #[test]
    fn leaders_move_with_a_new_epoch_and_only_to_nodes_in_sync() {
        let mut partition = partition();
        partition.node_lost(1, &[2, 3].into());
        assert_eq!((partition.leader, partition.leader_epoch), (Some(2), 1));
        partition.node_lost(2, &[3].into());
        partition.node_lost(3, &[].into());
        assert_eq!((partition.leader, partition.leader_epoch), (None, 3));
        partition.node_back(1);
        assert_eq!(partition.leader, None, "node 1 may lack what node 3 has");
        partition.node_back(3);
        assert_eq!((partition.leader, partition.leader_epoch), (Some(3), 4));
        partition.node_back(1);
        assert_eq!(partition.in_sync, [1, 3].into());
    }

    #[test]
    fn a_client_with_another_epoch_is_told() {
        let mut partition = partition();
        partition.lead(Some(2));
        assert_eq!(partition.led_by(2, -1), Ok(()));
        assert_eq!(partition.led_by(2, 1), Ok(()));
        assert_eq!(partition.led_by(2, 0), Err(ResponseError::FencedLeaderEpoch));
        assert_eq!(partition.led_by(2, 2), Err(ResponseError::UnknownLeaderEpoch));
        assert_eq!(partition.led_by(1, 1), Err(ResponseError::NotLeaderOrFollower));
    }

    #[test]
    fn partitions_go_round_the_nodes() {
        let mut topics = Topics::default();
        let alive = [0, 1, 2].into();
        assert_eq!(topics.assign(2, 2, &alive).unwrap(), [[0, 1], [1, 2]]);
        assert_eq!(topics.assign(2, 1, &alive).unwrap(), [[2], [0]]);
        assert_eq!(topics.assign(1, 4, &alive), Err(ResponseError::InvalidReplicationFactor));
        assert_eq!(topics.assign(0, 1, &alive), Err(ResponseError::InvalidPartitions));
        assert_eq!(topics.assign(i32::MAX, 1, &alive), Err(ResponseError::PolicyViolation));
    }

    #[test]
    fn keys_are_hashed_as_java_does() {
        // "kafka".hashCode() == 101807910
        assert_eq!(partition_for("kafka", 50), 10);
        assert_eq!(partition_for("", 50), 0);
    }

    #[test]
    fn names() {
        assert!(is_valid_name("orders.eu_west-1"));
        assert!(["", ".", "..", "a b", "ä"].iter().all(|it| !is_valid_name(it)));
        assert!(!is_valid_name(&"x".repeat(250)));
    }
}
