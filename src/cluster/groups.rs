//! Consumer groups from outside: which there are, their offsets, read and set, and who their members are.

use super::error::TOPIC_AUTHORIZATION_FAILED;
use super::{Cluster, ClusterError, CoordinatorKind, Use};
use crate::types::TopicPartition;
use crate::wire::Connection;
use bytes::Bytes;
use kafka_protocol::messages::describe_groups_response::DescribedGroupMember;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::fmt;

/// The last version that asks for one group.
const OFFSET_FETCH_VERSION_MAX: i16 = 7;
const OFFSET_COMMIT_VERSION_MAX: i16 = 8;
/// The last version in which a group that is not there is described as Dead.
const DESCRIBE_GROUPS_VERSION_MAX: i16 = 5;
/// The first that tells groups of KIP-848 from the others, which are described by another request.
const LIST_GROUPS_VERSION_MAX: i16 = 5;
const CONSUMER_GROUP_DESCRIBE_VERSION_MAX: i16 = 1;
/// What `group_type` is for a group of KIP-848.
const CONSUMER_TYPE: &str = "consumer";
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

/// As the broker that coordinates it lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub name: String,
    /// As Kafka spells it: `Stable`, `Empty`, …; None: a broker before Kafka 2.6, which does not say.
    pub state: Option<String>,
    /// Of the protocol of KIP-848.
    pub is_consumer_type: bool,
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

    /// The groups that this broker coordinates, of those on which DESCRIBE was granted. To look a coordinator up would create
    /// `__consumer_offsets` in a cluster that has no group; to be listed, a group has to have one.
    pub async fn list_groups(&self, broker: &Connection) -> Result<Vec<ListedGroup>, ClusterError> {
        let answer = self.ask(broker, LIST_GROUPS_VERSION_MAX, &ListGroupsRequest::default()).await?;
        if answer.error_code != 0 {
            return Err(ClusterError::Answered { end: self.end(), api: "ListGroups", code: answer.error_code });
        }
        let listed = answer.groups.into_iter().map(|it| ListedGroup {
            name: it.group_id.to_string(),
            state: Some(it.group_state.to_string()).filter(|it| !it.is_empty()),
            is_consumer_type: it.group_type.eq_ignore_ascii_case(CONSUMER_TYPE),
        });
        Ok(listed.collect())
    }

    /// All that the group has committed; nothing where there is no such group. DESCRIBE on it is needed.
    pub async fn group_offsets(&self, group: &str) -> Result<Committed, ClusterError> {
        let coordinator = self.group_coordinator(group).await?;
        let committed = self.offsets_of_group(&coordinator, group).await;
        coordinator.close();
        committed
    }

    /// The same, from its coordinator.
    pub async fn offsets_of_group(&self, coordinator: &Connection, group: &str) -> Result<Committed, ClusterError> {
        let request = OffsetFetchRequest::default().with_group_id(text(group).into()).with_topics(None);
        let answer = self.ask(coordinator, OFFSET_FETCH_VERSION_MAX, &request).await?;
        let refused = |code| self.refused_group("OffsetFetch", group, code);
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

    fn refused_group(&self, api: &'static str, group: &str, code: i16) -> ClusterError {
        let what = format!("group {group}");
        ClusterError::Refused { end: self.end(), api, what, code, message: String::new() }
    }

    /// How many there are. DESCRIBE on the group is needed; on one of KIP-848, DESCRIBE on all topics that it reads too.
    pub async fn count_members(&self, coordinator: &Connection, group: &ListedGroup) -> Result<usize, ClusterError> {
        let name = &group.name;
        if !group.is_consumer_type {
            return Ok(self.members_of_group(coordinator, name).await?.len());
        }
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![text(name).into()]);
        let answer = self.ask(coordinator, CONSUMER_GROUP_DESCRIBE_VERSION_MAX, &request).await?;
        let described = answer.groups.into_iter().next().unwrap_or_default();
        match described.error_code {
            0 => Ok(described.members.len()),
            code => Err(self.refused_group("ConsumerGroupDescribe", name, code)),
        }
    }

    /// Nobody where there is no such group. DESCRIBE on it is needed.
    pub async fn group_members(&self, group: &str) -> Result<Vec<GroupMember>, ClusterError> {
        let coordinator = self.group_coordinator(group).await?;
        let members = self.members_of_group(&coordinator, group).await;
        coordinator.close();
        members
    }

    async fn members_of_group(&self, coordinator: &Connection, group: &str) -> Result<Vec<GroupMember>, ClusterError> {
        let request = DescribeGroupsRequest::default().with_groups(vec![text(group).into()]);
        let answer = self.ask(coordinator, DESCRIBE_GROUPS_VERSION_MAX, &request).await?;
        let described = answer.groups.into_iter().next().unwrap_or_default();
        if described.error_code != 0 {
            return Err(self.refused_group("DescribeGroups", group, described.error_code));
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
