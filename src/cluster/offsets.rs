//! Where logs begin and end, and what stands at a time: one question to each leader.

use super::{Cluster, ClusterError, Metadata, Use};
use crate::clock;
use crate::types::{NodeId, TopicPartition};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ListOffsetsRequest, TopicName as WireName};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// The first with the record of the largest timestamp (KIP-734).
const LIST_OFFSETS_VERSION_MAX: i16 = 7;
const LIST_OFFSETS_WITH_MAX_TIMESTAMP: i16 = 7;
const CONSUMER: i32 = -1;
const READ_COMMITTED: i8 = 1;
const LEADER_NOT_AVAILABLE: i16 = 5;
/// Between two looks at transactions that are about to end.
const POLL: Duration = Duration::from_millis(50);

/// What ListOffsets is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    Earliest,
    /// The high watermark.
    Latest,
    LastStable,
    /// The record with the largest timestamp; brokers before Kafka 3.0 do not tell.
    MaxTimestamp,
    /// The first record of this time or later, in ms since 1970.
    Time(i64),
}

impl At {
    fn timestamp(self) -> i64 {
        match self {
            Self::Latest | Self::LastStable => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::Time(ms) => ms.max(0),
        }
    }
}

/// −1: there is no such record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub offset: i64,
    pub timestamp: i64,
}

type Found = BTreeMap<TopicPartition, Result<Listed, ClusterError>>;

impl Cluster {
    /// Every partition that was asked for is in the answer.
    pub async fn offsets(&self, metadata: &Metadata, asked: &[(TopicPartition, At)]) -> Found {
        let mut found = Found::new();
        let mut by_leader: BTreeMap<(NodeId, bool), Vec<(TopicPartition, At)>> = BTreeMap::new();
        for (partition, at) in asked {
            match metadata.leader(partition) {
                Some(node) => {
                    let of = by_leader.entry((node, *at == At::LastStable)).or_default();
                    of.push((partition.clone(), *at));
                }
                None => {
                    found.insert(partition.clone(), Err(self.listing(LEADER_NOT_AVAILABLE)));
                }
            }
        }
        for ((node, committed), asked) in by_leader {
            match self.list(node, committed, &asked).await {
                Ok(listed) => {
                    for (partition, _) in asked {
                        let answer = listed.get(&partition).cloned().unwrap_or(Err(self.listing(-1)));
                        found.insert(partition, answer);
                    }
                }
                Err(error) => found.extend(asked.into_iter().map(|(partition, _)| (partition, Err(error.clone())))),
            }
        }
        found
    }

    /// The same of all of them; the first error is theirs together.
    pub async fn offsets_at(
        &self,
        metadata: &Metadata,
        partitions: &[TopicPartition],
        at: At,
    ) -> Result<BTreeMap<TopicPartition, i64>, ClusterError> {
        let asked: Vec<_> = partitions.iter().map(|it| (it.clone(), at)).collect();
        let found = self.offsets(metadata, &asked).await.into_iter();
        found.map(|(partition, it)| Ok((partition, it?.offset))).collect()
    }

    pub async fn offset_at(
        &self,
        metadata: &Metadata,
        partition: &TopicPartition,
        at: At,
    ) -> Result<i64, ClusterError> {
        let found = self.offsets_at(metadata, std::slice::from_ref(partition), at).await?;
        found.get(partition).copied().ok_or_else(|| self.listing(-1))
    }

    /// Where a partition's committed records begin, and behind the last of them.
    pub async fn committed_range(
        &self,
        metadata: &Metadata,
        partition: &TopicPartition,
    ) -> Result<Range<i64>, ClusterError> {
        let start = self.offset_at(metadata, partition, At::Earliest).await?;
        Ok(start..self.offset_at(metadata, partition, At::LastStable).await?)
    }

    /// Last stable offsets, as soon as they have reached what is written now: markers of transactions that are ended may still be
    /// on their way. After `patience` what is stable then: a transaction that is open longer is somebody else's.
    pub async fn stable_ends(
        &self,
        metadata: &Metadata,
        partitions: &[TopicPartition],
        patience: Duration,
    ) -> Result<BTreeMap<TopicPartition, i64>, ClusterError> {
        let latest = self.offsets_at(metadata, partitions, At::Latest).await?;
        let began = clock::now();
        loop {
            let stable = self.offsets_at(metadata, partitions, At::LastStable).await?;
            let is_stable = latest.iter().all(|(partition, end)| stable.get(partition).is_none_or(|it| it >= end));
            if is_stable || clock::now() - began > patience {
                return Ok(stable);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn listing(&self, code: i16) -> ClusterError {
        ClusterError::Answered { end: self.end(), api: "ListOffsets", code }
    }

    async fn list(&self, node: NodeId, committed: bool, asked: &[(TopicPartition, At)]) -> Result<Found, ClusterError> {
        let connection = self.dial(node, Use::Control).await?;
        let version = connection.version::<ListOffsetsRequest>(LIST_OFFSETS_VERSION_MAX);
        let version = version.map_err(|error| ClusterError::Wire { end: self.end(), error })?;
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        let is_known = |at: &At| *at != At::MaxTimestamp || version >= LIST_OFFSETS_WITH_MAX_TIMESTAMP;
        for (partition, at) in asked.iter().filter(|(_, at)| is_known(at)) {
            let wanted = ListOffsetsPartition::default()
                .with_partition_index(partition.partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(at.timestamp());
            topics.entry(&partition.topic).or_default().push(wanted);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            let name = WireName(StrBytes::from_string(name.to_owned()));
            ListOffsetsTopic::default().with_name(name).with_partitions(partitions)
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(CONSUMER.into())
            .with_isolation_level(if committed { READ_COMMITTED } else { 0 })
            .with_topics(topics.collect());
        let answer = self.ask(&connection, version, &request).await?;
        let listed = answer.topics.into_iter().flat_map(|topic| {
            let name = topic.name.0.to_string();
            topic.partitions.into_iter().map(move |it| (TopicPartition::new(name.as_str(), it.partition_index), it))
        });
        let listed = listed.map(|(partition, it)| {
            let listed = Listed { offset: it.offset, timestamp: it.timestamp };
            (partition, if it.error_code == 0 { Ok(listed) } else { Err(self.listing(it.error_code)) })
        });
        Ok(listed.collect())
    }
}
