//! A consumer group from outside: its offsets, read and set, and who its members are.

use super::error::TOPIC_AUTHORIZATION_FAILED;
use super::{Cluster, ClusterError, CoordinatorKind, Use};
use crate::types::TopicPartition;
use crate::wire::Connection;
use bytes::Bytes;
use kafka_protocol::messages::describe_groups_response::DescribedGroupMember;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{DescribeGroupsRequest, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::fmt;

/// The last version that asks for one group.
const OFFSET_FETCH_VERSION_MAX: i16 = 7;
const OFFSET_COMMIT_VERSION_MAX: i16 = 8;
/// The last version in which a group that is not there is described as Dead.
const DESCRIBE_GROUPS_VERSION_MAX: i16 = 5;
/// Whoever commits without being a member.
const NO_GENERATION: i32 = -1;

/// As the coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    /// Mostly an address.
    pub host: String,
    /// What it reads, as the leader of its group gave it; only a consumer's can be read.
    pub assignment: Bytes,
}

impl fmt::Display for GroupMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { member_id, instance_id, client_id, host, .. } = self;
        write!(f, "{} at host {host} (client id {client_id})", instance_id.as_ref().unwrap_or(member_id))
    }
}

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

    /// Nobody where there is no such group. DESCRIBE on it is needed.
    pub async fn group_members(&self, group: &str) -> Result<Vec<GroupMember>, ClusterError> {
        let coordinator = self.group_coordinator(group).await?;
        let request = DescribeGroupsRequest::default().with_groups(vec![text(group).into()]);
        let answer = self.ask(&coordinator, DESCRIBE_GROUPS_VERSION_MAX, &request).await;
        coordinator.close();
        let described = answer?.groups.into_iter().next().unwrap_or_default();
        if described.error_code != 0 {
            return Err(ClusterError::Answered { end: self.end(), api: "DescribeGroups", code: described.error_code });
        }
        let member = |it: DescribedGroupMember| GroupMember {
            member_id: it.member_id.to_string(),
            instance_id: it.group_instance_id.map(|id| id.to_string()),
            client_id: it.client_id.to_string(),
            // Java prints an address without a name as "/10.0.0.3".
            host: it.client_host.trim_start_matches('/').to_owned(),
            assignment: it.member_assignment,
        };
        Ok(described.members.into_iter().map(member).collect())
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
