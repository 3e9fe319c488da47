//! What a cluster says of itself.

use crate::types::{NodeId, TopicName, TopicPartition};
use kafka_protocol::messages::MetadataResponse;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// One answer of the cluster, cheap to share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub cluster_id: String,
    pub controller: Option<NodeId>,
    /// Host and port as advertised.
    pub brokers: BTreeMap<NodeId, (String, u16)>,
    pub topics: BTreeMap<TopicName, TopicMetadata>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Nil where the broker has no topic ids.
    pub topic_id: Uuid,
    pub is_internal: bool,
    /// The topic's own error code; 0 is none.
    pub error_code: i16,
    pub partitions: BTreeMap<i32, PartitionMetadata>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    pub leader: Option<NodeId>,
    /// −1 where the broker does not say.
    pub leader_epoch: i32,
    pub replicas: usize,
    /// Of these, those that have everything.
    pub in_sync: usize,
}

impl Metadata {
    pub fn leader(&self, partition: &TopicPartition) -> Option<NodeId> {
        self.topics.get(&partition.topic)?.partitions.get(&partition.partition)?.leader
    }

    pub(super) fn of(response: &MetadataResponse) -> Self {
        let brokers = response.brokers.iter().filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            Some((broker.node_id.0, (broker.host.to_string(), port)))
        });
        let topics = response.topics.iter().filter_map(|topic| {
            let name: TopicName = Arc::from(topic.name.as_ref()?.0.as_str());
            let partitions = topic.partitions.iter().map(|partition| {
                let leader = (partition.error_code != LEADER_NOT_AVAILABLE && partition.leader_id.0 >= 0)
                    .then_some(partition.leader_id.0);
                let known = PartitionMetadata {
                    leader,
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes.len(),
                    in_sync: partition.isr_nodes.len(),
                };
                (partition.partition_index, known)
            });
            let known = TopicMetadata {
                topic_id: topic.topic_id,
                is_internal: topic.is_internal,
                error_code: topic.error_code,
                partitions: partitions.collect(),
            };
            Some((name, known))
        });
        Self {
            cluster_id: response.cluster_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            controller: Some(response.controller_id.0).filter(|id| *id >= 0),
            brokers: brokers.collect(),
            topics: topics.collect(),
        }
    }
}

const LEADER_NOT_AVAILABLE: i16 = 5;
