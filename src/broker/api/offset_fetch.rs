//! OffsetFetch v1–8; of several groups from v8 on. A group that does not exist has no offsets, and that is no error. Errors:
//! 16, 88.

use super::topic_name;
use crate::broker::cluster::Cluster;
use crate::broker::groups::Committed;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use crate::types::TopicPartition;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;

const GROUPS_VERSION: i16 = 8;
const EPOCH_VERSION: i16 = 5;
const TOP_LEVEL_ERROR_VERSION: i16 = 2;

/// Topics with their partitions; None: all that the group has.
type Asked = Option<Vec<(String, Vec<i32>)>>;
type Found = BTreeMap<TopicPartition, Result<Committed, ResponseError>>;

impl Served for OffsetFetchRequest {
    const OFFERED: (i16, i16) = (1, 8);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let found = asked(&self, caller.version)
            .into_iter()
            .map(|(group, asked)| {
                let found = cluster.committed(&caller, &group, &asked, self.require_stable);
                (group, asked, found)
            })
            .collect();
        let response = respond(caller.version, found);
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, version: i16, error: ResponseError) -> OffsetFetchResponse {
        let groups = asked(self, version).into_iter().map(|(group, asked)| (group, asked, Err(error)));
        respond(version, groups.collect())
    }
}

fn asked(request: &OffsetFetchRequest, version: i16) -> Vec<(GroupId, Asked)> {
    if version >= GROUPS_VERSION {
        let groups = request.groups.iter().map(|group| {
            let topics = group.topics.as_ref();
            let topics =
                topics.map(|it| it.iter().map(|it| (it.name.to_string(), it.partition_indexes.clone())).collect());
            (group.group_id.clone(), topics)
        });
        return groups.collect();
    }
    let topics = request.topics.as_ref();
    let topics = topics.map(|it| it.iter().map(|it| (it.name.to_string(), it.partition_indexes.clone())).collect());
    vec![(request.group_id.clone(), topics)]
}

fn none() -> Committed {
    Committed { offset: -1, leader_epoch: -1, metadata: String::new(), commit_ms: 0 }
}

fn respond(version: i16, groups: Vec<(GroupId, Asked, Result<Found, ResponseError>)>) -> OffsetFetchResponse {
    if version >= GROUPS_VERSION {
        let groups = groups.into_iter().map(|(group, _, found)| {
            let code = found.as_ref().err().map_or(0, |it| it.code());
            let topics = by_topic(found.unwrap_or_default()).into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(index, code, committed)| {
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(index)
                        .with_error_code(code)
                        .with_committed_offset(committed.offset)
                        .with_committed_leader_epoch(committed.leader_epoch)
                        .with_metadata(Some(StrBytes::from_string(committed.metadata)))
                });
                let topic = OffsetFetchResponseTopics::default().with_name(topic_name(&name));
                topic.with_partitions(partitions.collect())
            });
            let response = OffsetFetchResponseGroup::default().with_group_id(group).with_error_code(code);
            response.with_topics(topics.collect())
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let Some((_, asked, found)) = groups.into_iter().next() else { return OffsetFetchResponse::default() };
    let error = found.as_ref().err().copied();
    let found = match error {
        // Before v2 an error has its place in the partitions alone.
        Some(error) if version < TOP_LEVEL_ERROR_VERSION => every(&asked, error),
        _ => found.unwrap_or_default(),
    };
    let topics = by_topic(found).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, code, committed)| {
            let partition = OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code)
                .with_committed_offset(committed.offset)
                .with_metadata(Some(StrBytes::from_string(committed.metadata)));
            if version >= EPOCH_VERSION {
                partition.with_committed_leader_epoch(committed.leader_epoch)
            } else {
                partition
            }
        });
        OffsetFetchResponseTopic::default().with_name(topic_name(&name)).with_partitions(partitions.collect())
    });
    let response = OffsetFetchResponse::default().with_topics(topics.collect());
    match error {
        Some(error) if version >= TOP_LEVEL_ERROR_VERSION => response.with_error_code(error.code()),
        _ => response,
    }
}

fn every(asked: &Asked, error: ResponseError) -> Found {
    let places = asked.iter().flatten().flat_map(|(topic, indexes)| {
        indexes.iter().map(move |index| (TopicPartition::new(topic.as_str(), *index), Err(error)))
    });
    places.collect()
}

fn by_topic(found: Found) -> BTreeMap<String, Vec<(i32, i16, Committed)>> {
    let mut topics: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (place, found) in found {
        let code = found.as_ref().err().map_or(0, |it| it.code());
        let partition = (place.partition, code, found.unwrap_or_else(|_| none()));
        topics.entry(place.topic.to_string()).or_default().push(partition);
    }
    topics
}

impl Cluster {
    fn committed(
        &self,
        caller: &Caller,
        group: &str,
        asked: &Asked,
        require_stable: bool,
    ) -> Result<Found, ResponseError> {
        self.coordinates(caller.node, Coordinator::Group, group)?;
        let offsets = self.groups.get(group).map(|it| &it.offsets);
        let of = |place: TopicPartition| {
            if require_stable && offsets.is_some_and(|it| it.is_unstable(&place)) {
                return (place, Err(ResponseError::UnstableOffsetCommit));
            }
            let committed = offsets.and_then(|it| it.committed.get(&place)).cloned().unwrap_or_else(none);
            (place, Ok(committed))
        };
        let found = match asked {
            Some(topics) => {
                let places = topics.iter().flat_map(|(topic, indexes)| {
                    indexes.iter().map(|index| TopicPartition::new(topic.as_str(), *index))
                });
                places.map(of).collect()
            }
            None => {
                let committed = offsets.into_iter().flat_map(|it| it.committed.keys());
                let pending = offsets.into_iter().flat_map(|it| it.pending.values()).flat_map(|it| it.keys());
                let unstable = pending.filter(|_| require_stable);
                committed.chain(unstable).cloned().map(of).collect()
            }
        };
        Ok(found)
    }
}
