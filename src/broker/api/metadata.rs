//! Metadata v0–12. Errors: 3, 5, 17, 100.

use super::{text, topic_name};
use crate::broker::cluster::Cluster;
use crate::broker::request::{Caller, Served};
use crate::broker::topics::{Partition, Topic, is_valid_name};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};

const NULLABLE_NAME_VERSION: i16 = 12;
const ID_VERSION: i16 = 10;

impl Served for MetadataRequest {
    const OFFERED: (i16, i16) = (0, 12);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        // In v0 an empty list means all; from v1 on null does.
        let all = self.topics.as_ref().is_none_or(|it| caller.version == 0 && it.is_empty());
        let topics = if all {
            cluster.topics.iter().map(|(name, topic)| cluster.describe(name, topic)).collect()
        } else {
            let creates = cluster.settings.auto_create_topics && (caller.version < 4 || self.allow_auto_topic_creation);
            let asked = self.topics.iter().flatten();
            asked.map(|it| cluster.described_topic(it, caller.version, creates)).collect()
        };
        let listener = cluster.listener_of(caller.connection);
        let brokers = cluster.nodes.iter().filter_map(|(id, node)| {
            let (host, port) = cluster.address(*id, listener)?;
            let broker = MetadataResponseBroker::default().with_node_id((*id).into()).with_host(text(host));
            Some(broker.with_port(i32::from(port)).with_rack(node.rack.as_deref().map(text)))
        });
        let controller = cluster.alive().first().copied().unwrap_or(-1);
        let response = MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(text(&cluster.settings.cluster_id)))
            .with_controller_id(controller.into())
            .with_topics(topics);
        let response = if caller.version < 2 { response.with_cluster_id(None) } else { response };
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, version: i16, error: ResponseError) -> MetadataResponse {
        let topics = self.topics.iter().flatten().map(|it| failed(it, version, error));
        MetadataResponse::default().with_topics(topics.collect())
    }
}

fn failed(asked: &MetadataRequestTopic, version: i16, error: ResponseError) -> MetadataResponseTopic {
    let name = asked.name.clone().or((version < NULLABLE_NAME_VERSION).then(|| topic_name("")));
    let response = MetadataResponseTopic::default().with_error_code(error.code()).with_name(name);
    if version >= ID_VERSION { response.with_topic_id(asked.topic_id) } else { response }
}

impl Cluster {
    fn described_topic(&mut self, asked: &MetadataRequestTopic, version: i16, creates: bool) -> MetadataResponseTopic {
        let Some(name) = asked.name.as_ref().map(|it| it.to_string()) else {
            let found = self.topics.name_of(asked.topic_id).and_then(|name| Some((name, self.topics.get(name)?)));
            return match found {
                Some((name, topic)) => self.describe(name, topic),
                None => failed(asked, version, ResponseError::UnknownTopicId),
            };
        };
        if self.topics.get(&name).is_none() {
            if !is_valid_name(&name) {
                return failed(asked, version, ResponseError::InvalidTopicException);
            }
            let partitions = self.settings.default_partitions;
            let replicas = self.settings.default_replication_factor;
            if !creates || self.create_topic(&name, partitions, replicas, &[]).is_err() {
                return failed(asked, version, ResponseError::UnknownTopicOrPartition);
            }
        }
        match self.topics.get(&name) {
            Some(topic) => self.describe(&name, topic),
            None => failed(asked, version, ResponseError::UnknownTopicOrPartition),
        }
    }

    fn describe(&self, name: &str, topic: &Topic) -> MetadataResponseTopic {
        let partitions = (0..).zip(&topic.partitions).map(|(index, it)| self.describe_partition(index, it));
        MetadataResponseTopic::default()
            .with_name(Some(topic_name(name)))
            .with_topic_id(topic.id)
            .with_is_internal(topic.is_internal)
            .with_partitions(partitions.collect())
    }

    fn describe_partition(&self, index: i32, partition: &Partition) -> MetadataResponsePartition {
        let error = if partition.leader.is_none() { ResponseError::LeaderNotAvailable.code() } else { 0 };
        let offline = partition.replicas.iter().filter(|it| !self.is_alive(**it));
        MetadataResponsePartition::default()
            .with_error_code(error)
            .with_partition_index(index)
            .with_leader_id(partition.leader.unwrap_or(-1).into())
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(partition.replicas.iter().map(|it| (*it).into()).collect())
            .with_isr_nodes(partition.in_sync.iter().map(|it| (*it).into()).collect())
            .with_offline_replicas(offline.map(|it| (*it).into()).collect())
    }
}
