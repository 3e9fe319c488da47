//! What this client may do, found out without doing it.
//!
//! The brokers test a right before anything else (`KafkaApis`), so a request that they can only refuse, for a partition or a
//! member that does not exist, tells whether the right is there. InitProducerId would tell as well, and fence a running bridge.

use super::{Cluster, ClusterError, METADATA_VERSION_MAX};
use crate::types::TopicName;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{HeartbeatRequest, MetadataRequest, TopicName as WireName, TxnOffsetCommitRequest};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

const HEARTBEAT_VERSION_MAX: i16 = 4;
/// The one that has the member's fields and is of transaction protocol v1: nothing joins a transaction by it.
const TXN_OFFSET_COMMIT_VERSION_MAX: i16 = 3;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const GROUP_AUTHORIZATION_FAILED: i16 = 30;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
/// No topic has it: an offset for it cannot be committed.
const NO_PARTITION: i32 = i32::MAX;
/// The last version that tells of the cluster's own operations.
const METADATA_WITH_CLUSTER_OPERATIONS: i16 = 10;
/// The broker does not tell.
const UNKNOWN_OPERATIONS: i32 = i32::MIN;

/// `AclOperation`, with its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Alter = 7,
    Describe = 8,
    DescribeConfigs = 10,
}

impl Operation {
    /// As `kafka-acls.sh --operation` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Create => "Create",
            Self::Alter => "Alter",
            Self::Describe => "Describe",
            Self::DescribeConfigs => "DescribeConfigs",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DescribeConfigs => "DESCRIBE_CONFIGS",
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::Create => "CREATE",
            Self::Alter => "ALTER",
            Self::Describe => "DESCRIBE",
        })
    }
}

/// A set of operations (KIP-430).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations(i32);

impl Operations {
    pub fn has(self, operation: Operation) -> bool {
        self.0 & (1 << (operation as i32)) != 0
    }
}

impl Cluster {
    /// Of every topic, whether it exists or not; a topic that the broker does not tell about is left out.
    pub async fn topic_operations(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, Operations>, ClusterError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let named = topics.iter().map(|topic| MetadataRequestTopic::default().with_name(Some(wire_name(topic))));
        let request = MetadataRequest::default()
            .with_topics(Some(named.collect()))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(true);
        let connection = self.any().await?;
        let answer = self.ask(&connection, METADATA_VERSION_MAX, &request).await?;
        let told = answer.topics.iter().filter_map(|topic| {
            let name: TopicName = Arc::from(topic.name.as_ref()?.0.as_str());
            match (topic.error_code, topic.topic_authorized_operations) {
                // Without DESCRIBE nothing is told; what implies it, as READ and WRITE do, is missing too.
                (TOPIC_AUTHORIZATION_FAILED, _) => Some((name, Operations::default())),
                (_, UNKNOWN_OPERATIONS) => None,
                (_, operations) => Some((name, Operations(operations))),
            }
        });
        Ok(told.collect())
    }

    /// On the cluster itself; None: the broker does not tell.
    pub async fn cluster_operations(&self) -> Result<Option<Operations>, ClusterError> {
        let request = MetadataRequest::default()
            .with_topics(Some(Vec::new()))
            .with_allow_auto_topic_creation(false)
            .with_include_cluster_authorized_operations(true);
        let connection = self.any().await?;
        let answer = self.ask(&connection, METADATA_WITH_CLUSTER_OPERATIONS, &request).await?;
        Ok(Some(answer.cluster_authorized_operations).filter(|it| *it != UNKNOWN_OPERATIONS).map(Operations))
    }

    /// By the heartbeat of a member that no group has.
    pub async fn may_read_group(&self, group_id: &str) -> Result<bool, ClusterError> {
        let request = HeartbeatRequest::default()
            .with_group_id(StrBytes::from_string(group_id.to_owned()).into())
            .with_generation_id(-1)
            .with_member_id(StrBytes::from_static_str("kafka-bridge-check"));
        let connection = self.any().await?;
        let answer = self.ask(&connection, HEARTBEAT_VERSION_MAX, &request).await?;
        Ok(answer.error_code != GROUP_AUTHORIZATION_FAILED)
    }

    /// Whether all of them may be used: by an offset for a partition that does not exist, which every broker refuses before a
    /// coordinator hears of it.
    pub async fn may_write_transactional_ids(
        &self,
        transactional_ids: &[String],
        group_id: &str,
        topic: &TopicName,
    ) -> Result<bool, ClusterError> {
        let wire = |error| ClusterError::Wire { end: self.end(), error };
        let connection = self.any().await?;
        let version = connection.version::<TxnOffsetCommitRequest>(TXN_OFFSET_COMMIT_VERSION_MAX).map_err(wire)?;
        // All are on their way before the first answer is waited for: a link may have a thousand.
        let ask = |transactional_id: &String| {
            let partition = TxnOffsetCommitRequestPartition::default().with_partition_index(NO_PARTITION);
            let topic =
                TxnOffsetCommitRequestTopic::default().with_name(wire_name(topic)).with_partitions(vec![partition]);
            let request = TxnOffsetCommitRequest::default()
                .with_transactional_id(StrBytes::from_string(transactional_id.clone()).into())
                .with_group_id(StrBytes::from_string(group_id.to_owned()).into())
                .with_producer_id((-1).into())
                .with_producer_epoch(-1)
                .with_topics(vec![topic]);
            connection.send(version, &request, self.request_timeout())
        };
        let mut may = true;
        for answer in transactional_ids.iter().map(ask).collect::<Vec<_>>() {
            let answer = answer.await.map_err(wire)?;
            let partition = answer.topics.first().and_then(|it| it.partitions.first());
            may &= partition.is_none_or(|it| it.error_code != TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        }
        Ok(may)
    }
}

fn wire_name(topic: &TopicName) -> WireName {
    WireName(StrBytes::from_string(topic.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_bits_of_their_codes() {
        // READ, WRITE and DESCRIBE, as Java's `Utils.to32BitField` packs them.
        let operations = Operations(0b1_0001_1000);
        assert!(operations.has(Operation::Read) && operations.has(Operation::Write));
        assert!(operations.has(Operation::Describe));
        assert!(!operations.has(Operation::Alter) && !operations.has(Operation::DescribeConfigs));
    }
}
