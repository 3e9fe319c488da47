//! A consumer group's offsets, read and set from outside.

use super::error::TOPIC_AUTHORIZATION_FAILED;
use super::{Cluster, ClusterError, CoordinatorKind, Use};
use crate::types::TopicPartition;
use crate::wire::Connection;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;

/// The last version that asks for one group.
const OFFSET_FETCH_VERSION_MAX: i16 = 7;
const OFFSET_COMMIT_VERSION_MAX: i16 = 8;
/// Whoever commits without being a member.
const NO_GENERATION: i32 = -1;

type Committed = BTreeMap<TopicPartition, i64>;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Cluster {
    async fn group_coordinator(&self, group: &str) -> Result<Connection, ClusterError> {
        let node = self.coordinator(CoordinatorKind::Group, group).await?;
        self.dial(node, Use::Control).await
    }

    /// All that the group has committed; nothing where there is no such group. DESCRIBE on it is needed.
    pub async fn group_offsets(&self, group: &str) -> Result<Committed, ClusterError> {
        let coordinator = self.group_coordinator(group).await?;
        let request = OffsetFetchRequest::default().with_group_id(text(group).into()).with_topics(None);
        let answer = self.ask(&coordinator, OFFSET_FETCH_VERSION_MAX, &request).await;
        coordinator.close();
        let answer = answer?;
        let refused = |code| ClusterError::Refused {
            end: self.end(),
            api: "OffsetFetch",
            what: format!("group {group}"),
            code,
            message: String::new(),
        };
        if answer.error_code != 0 {
            return Err(refused(answer.error_code));
        }
        let mut committed = Committed::new();
        for topic in answer.topics {
            for it in topic.partitions {
                if it.error_code != 0 {
                    return Err(refused(it.error_code));
                }
                if it.committed_offset >= 0 {
                    committed.insert(TopicPartition::new(topic.name.as_str(), it.partition_index), it.committed_offset);
                }
            }
        }
        Ok(committed)
    }

    /// All of them in one request. The coordinator refuses it while the group has members. READ on the group is needed.
    pub async fn commit_group_offsets(&self, group: &str, offsets: &Committed) -> Result<(), ClusterError> {
        let coordinator = self.group_coordinator(group).await?;
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (partition, offset) in offsets {
            let committed = OffsetCommitRequestPartition::default()
                .with_partition_index(partition.partition)
                .with_committed_offset(*offset);
            topics.entry(&partition.topic).or_default().push(committed);
        }
        let topic = |(name, partitions)| {
            OffsetCommitRequestTopic::default().with_name(text(name).into()).with_partitions(partitions)
        };
        let request = OffsetCommitRequest::default()
            .with_group_id(text(group).into())
            .with_generation_id_or_member_epoch(NO_GENERATION)
            .with_topics(topics.into_iter().map(topic).collect());
        let answer = self.ask(&coordinator, OFFSET_COMMIT_VERSION_MAX, &request).await;
        coordinator.close();
        for topic in answer?.topics {
            let Some(code) = topic.partitions.iter().map(|it| it.error_code).find(|code| *code != 0) else { continue };
            let what = match code {
                TOPIC_AUTHORIZATION_FAILED => format!("topic {}", topic.name.as_str()),
                _ => format!("group {group}"),
            };
            return Err(ClusterError::Refused {
                end: self.end(),
                api: "OffsetCommit",
                what,
                code,
                message: String::new(),
            });
        }
        Ok(())
    }
}
