//! A group's offsets, read and set from outside.

use anyhow::{Context, Result};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, GroupId, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
    OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{RawClient, check, topic_name};

/// Longer than any trial: such a member sends no heartbeats.
const SESSION_MS: i32 = 600_000;

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

impl RawClient {
    /// What the group has committed for a partition; None is nothing.
    pub fn group_offset(&mut self, group: &str, topic: &str, partition: i32) -> Result<Option<i64>> {
        let topics =
            OffsetFetchRequestTopic::default().with_name(topic_name(topic)).with_partition_indexes(vec![partition]);
        let request = OffsetFetchRequest::default()
            .with_group_id(group_id(group))
            .with_topics(Some(vec![topics]))
            .with_require_stable(true);
        self.retry(|client| {
            let coordinator = client.group_coordinator(group)?;
            let answer = client.send(coordinator, 7, &request)?;
            check(answer.error_code)?;
            let found = answer.topics.first().and_then(|topic| topic.partitions.first()).context("no partition")?;
            check(found.error_code)?;
            Ok(Some(found.committed_offset).filter(|offset| *offset >= 0))
        })
    }

    /// Commits an offset as a consumer without a group would.
    pub fn set_group_offset(&mut self, group: &str, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let partitions =
            vec![OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(offset)];
        let topics = vec![OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions)];
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics);
        self.retry(|client| {
            let coordinator = client.group_coordinator(group)?;
            let answer = client.send(coordinator, 7, &request)?;
            let found = answer.topics.first().and_then(|topic| topic.partitions.first()).context("no partition")?;
            check(found.error_code)
        })
    }

    /// A consumer that joins and does nothing more; its member id.
    pub fn join_group(&mut self, group: &str) -> Result<String> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::new());
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(group))
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(SESSION_MS)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let coordinator = self.group_coordinator(group)?;
        // MEMBER_ID_REQUIRED, with the id.
        let member = self.send(coordinator, 7, &request)?.member_id;
        let joined = self.send(coordinator, 7, &request.with_member_id(member.clone()))?;
        check(joined.error_code)?;
        Ok(member.to_string())
    }

    /// The same by the protocol of KIP-848, which Kafka 4.x has.
    pub fn join_consumer_group(&mut self, group: &str, topic: &str) -> Result<()> {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(group))
            .with_rebalance_timeout_ms(SESSION_MS)
            .with_subscribed_topic_names(Some(vec![topic_name(topic)]))
            .with_topic_partitions(Some(vec![]));
        self.retry(|client| {
            let coordinator = client.group_coordinator(group)?;
            let answer = client.send(coordinator, 0, &request)?;
            check(answer.error_code).with_context(|| format!("{:?}", answer.error_message))
        })
    }

    pub fn leave_group(&mut self, group: &str, member: &str) -> Result<()> {
        let member = MemberIdentity::default().with_member_id(StrBytes::from_string(member.to_owned()));
        let request = LeaveGroupRequest::default().with_group_id(group_id(group)).with_members(vec![member]);
        let coordinator = self.group_coordinator(group)?;
        let answer = self.send(coordinator, 3, &request)?;
        check(answer.error_code)?;
        answer.members.iter().try_for_each(|it| check(it.error_code))
    }
}
