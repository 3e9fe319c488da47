//! The requests and answers as kafka-protocol's messages.
//!
//! Encoding fails where a field is set that the version lacks, so a request is built for its version.

use crate::source::message::{
    AbortedTransaction, Answer, EpochEnd, FetchRequest, FetchedPartition, Isolation, ListOffsetsPartition,
    ListedOffset, OffsetForLeaderEpochPartition,
};
use crate::types::{TopicName as Topic, TopicPartition};
use kafka_protocol::messages::{
    self as wire, BrokerId, TopicName, fetch_request, list_offsets_request, offset_for_leader_epoch_request,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use uuid::Uuid;

/// 12 brings the diverging epoch, 13 topic ids.
pub const FETCH_VERSIONS: RangeInclusive<i16> = 12..=17;
/// 4 brings the leader epoch, 5 OFFSET_NOT_AVAILABLE.
pub const LIST_OFFSETS_VERSIONS: RangeInclusive<i16> = 1..=8;
pub const OFFSET_FOR_LEADER_EPOCH_VERSIONS: RangeInclusive<i16> = 2..=4;

const FETCH_WITH_TOPIC_IDS: i16 = 13;
const FETCH_WITHOUT_REPLICA_ID: i16 = 15;
const LIST_OFFSETS_WITH_ISOLATION: i16 = 2;
const LIST_OFFSETS_WITH_EPOCH: i16 = 4;
const OFFSET_FOR_LEADER_EPOCH_WITH_REPLICA_ID: i16 = 3;
const READ_COMMITTED: i8 = 1;
const CONSUMER: BrokerId = BrokerId(-1);

/// The version to use, of those up to `max` that both ends speak: without an id for every topic, names.
pub fn fetch_version(request: &FetchRequest, max: i16) -> i16 {
    let has_ids = request.partitions.iter().all(|it| !it.topic_id.is_nil());
    if has_ids { max } else { max.min(FETCH_WITH_TOPIC_IDS - 1) }
}

fn wire_name(partition: &TopicPartition) -> TopicName {
    TopicName(StrBytes::from_string(partition.topic.to_string()))
}

pub fn fetch_request(request: &FetchRequest, version: i16) -> wire::FetchRequest {
    let partitions = |of: &[crate::source::FetchPartition]| {
        let wire = of.iter().map(|it| {
            fetch_request::FetchPartition::default()
                .with_partition(it.partition.partition)
                .with_current_leader_epoch(it.current_leader_epoch)
                .with_fetch_offset(it.fetch_offset)
                .with_last_fetched_epoch(it.last_fetched_epoch)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(it.partition_max_bytes)
        });
        wire.collect()
    };
    // Entries one after another of the same topic share an entry of the message, so that their order is kept.
    let chunks = request.partitions.chunk_by(|a, b| a.partition.topic == b.partition.topic && a.topic_id == b.topic_id);
    let topics = chunks.filter_map(|of| {
        let first = of.first()?;
        let topic = fetch_request::FetchTopic::default().with_partitions(partitions(of));
        Some(if version >= FETCH_WITH_TOPIC_IDS {
            topic.with_topic_id(first.topic_id)
        } else {
            topic.with_topic(wire_name(&first.partition))
        })
    });
    let message = wire::FetchRequest::default()
        .with_max_wait_ms(i32::try_from(request.max_wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(request.min_bytes)
        .with_max_bytes(request.max_bytes)
        .with_isolation_level(READ_COMMITTED)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(topics.collect());
    if version >= FETCH_WITHOUT_REPLICA_ID { message } else { message.with_replica_id(CONSUMER) }
}

/// `request`: the one that is answered; from version 13 on its topic ids are all that names a topic.
pub fn fetch_answer(request: &FetchRequest, response: wire::FetchResponse, version: i16) -> Answer {
    if response.error_code != 0 {
        let failed = |it: &crate::source::FetchPartition| (it.partition.clone(), refused(response.error_code));
        return Answer::Fetch { partitions: request.partitions.iter().map(failed).collect() };
    }
    // A topic's partitions stand together, and may be thousands.
    let topics = request.partitions.chunk_by(|a, b| a.topic_id == b.topic_id).filter_map(|of| of.first());
    let names: BTreeMap<Uuid, _> = topics.map(|it| (it.topic_id, it.partition.topic.clone())).collect();
    let mut partitions = Vec::with_capacity(request.partitions.len());
    for topic in response.responses {
        let name = if version >= FETCH_WITH_TOPIC_IDS {
            names.get(&topic.topic_id).cloned()
        } else {
            Some(topic.topic.as_str().into())
        };
        // A topic that was not asked for.
        let Some(name) = name else { continue };
        for data in topic.partitions {
            let end = data.diverging_epoch;
            let aborted = data.aborted_transactions.unwrap_or_default().into_iter();
            let fetched = FetchedPartition {
                error_code: data.error_code,
                high_watermark: data.high_watermark,
                last_stable_offset: data.last_stable_offset,
                log_start_offset: data.log_start_offset,
                diverging_epoch: (end.end_offset >= 0).then_some(EpochEnd {
                    error_code: 0,
                    leader_epoch: end.epoch,
                    end_offset: end.end_offset,
                }),
                aborted_transactions: aborted
                    .map(|it| AbortedTransaction { producer_id: it.producer_id.0, first_offset: it.first_offset })
                    .collect(),
                records: data.records.unwrap_or_default(),
            };
            partitions.push((TopicPartition::new(name.clone(), data.partition_index), fetched));
        }
    }
    Answer::Fetch { partitions }
}

fn refused(error_code: i16) -> FetchedPartition {
    FetchedPartition {
        error_code,
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        diverging_epoch: None,
        aborted_transactions: Vec::new(),
        records: bytes::Bytes::new(),
    }
}

pub fn list_offsets_request(
    isolation: Isolation,
    partitions: &[ListOffsetsPartition],
    version: i16,
) -> wire::ListOffsetsRequest {
    let topics = partitions.chunk_by(|a, b| a.partition.topic == b.partition.topic).filter_map(|of| {
        let wire = of.iter().map(|it| {
            let partition = list_offsets_request::ListOffsetsPartition::default()
                .with_partition_index(it.partition.partition)
                .with_timestamp(it.timestamp);
            if version >= LIST_OFFSETS_WITH_EPOCH {
                partition.with_current_leader_epoch(it.current_leader_epoch)
            } else {
                partition
            }
        });
        let topic = list_offsets_request::ListOffsetsTopic::default().with_name(wire_name(&of.first()?.partition));
        Some(topic.with_partitions(wire.collect()))
    });
    let message = wire::ListOffsetsRequest::default().with_replica_id(CONSUMER).with_topics(topics.collect());
    if version >= LIST_OFFSETS_WITH_ISOLATION && isolation == Isolation::ReadCommitted {
        message.with_isolation_level(READ_COMMITTED)
    } else {
        message
    }
}

pub fn list_offsets_answer(response: wire::ListOffsetsResponse) -> Answer {
    let topics = response.topics.into_iter().map(|topic| (Topic::from(topic.name.as_str()), topic.partitions));
    let partitions = topics.flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |it| {
            let (error_code, offset, leader_epoch) = (it.error_code, it.offset, it.leader_epoch);
            let name = TopicPartition::new(topic.clone(), it.partition_index);
            (name, ListedOffset { error_code, offset, leader_epoch })
        })
    });
    Answer::ListOffsets { partitions: partitions.collect() }
}

pub fn offset_for_leader_epoch_request(
    partitions: &[OffsetForLeaderEpochPartition],
    version: i16,
) -> wire::OffsetForLeaderEpochRequest {
    let topics = partitions.chunk_by(|a, b| a.partition.topic == b.partition.topic).filter_map(|of| {
        let wire = of.iter().map(|it| {
            offset_for_leader_epoch_request::OffsetForLeaderPartition::default()
                .with_partition(it.partition.partition)
                .with_current_leader_epoch(it.current_leader_epoch)
                .with_leader_epoch(it.leader_epoch)
        });
        let name = wire_name(&of.first()?.partition);
        let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default().with_topic(name);
        Some(topic.with_partitions(wire.collect()))
    });
    let message = wire::OffsetForLeaderEpochRequest::default().with_topics(topics.collect());
    // Its default is −2, a debugging consumer, which must not be sent by others.
    if version >= OFFSET_FOR_LEADER_EPOCH_WITH_REPLICA_ID { message.with_replica_id(CONSUMER) } else { message }
}

pub fn offset_for_leader_epoch_answer(response: wire::OffsetForLeaderEpochResponse) -> Answer {
    let topics = response.topics.into_iter().map(|topic| (Topic::from(topic.topic.as_str()), topic.partitions));
    let partitions = topics.flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |it| {
            let (error_code, leader_epoch, end_offset) = (it.error_code, it.leader_epoch, it.end_offset);
            (TopicPartition::new(topic.clone(), it.partition), EpochEnd { error_code, leader_epoch, end_offset })
        })
    });
    Answer::OffsetForLeaderEpoch { partitions: partitions.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::FetchPartition;
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::{fetch_response, list_offsets_response};
    use kafka_protocol::protocol::{Decodable, Encodable};
    use std::time::Duration;

    fn fetch(topics: &[(&str, i32, Uuid)]) -> FetchRequest {
        let partition = |(topic, partition, topic_id): &(&str, i32, Uuid)| FetchPartition {
            partition: TopicPartition::new(*topic, *partition),
            topic_id: *topic_id,
            current_leader_epoch: 3,
            fetch_offset: 40,
            last_fetched_epoch: 2,
            partition_max_bytes: 1000,
        };
        let partitions = topics.iter().map(partition).collect();
        FetchRequest { max_wait: Duration::from_millis(500), min_bytes: 1, max_bytes: 5000, partitions }
    }

    fn there_and_back<T: Encodable + Decodable + PartialEq + std::fmt::Debug>(message: &T, version: i16) {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes, version).unwrap();
        assert_eq!(&T::decode(&mut bytes.freeze(), version).unwrap(), message, "version {version}");
    }

    /// Nothing that matters is lost in any version, and nothing is set that a version lacks.
    #[test]
    fn requests_survive_every_version() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let request = fetch(&[("a", 1, a), ("b", 0, b), ("a", 0, a), ("a", 2, a)]);
        for version in FETCH_VERSIONS {
            let message = fetch_request(&request, version);
            assert_eq!(message.topics.iter().map(|it| it.partitions.len()).collect::<Vec<_>>(), [1, 1, 2]);
            there_and_back(&message, version);
        }
        let offsets =
            [ListOffsetsPartition { partition: TopicPartition::new("a", 1), current_leader_epoch: 3, timestamp: -2 }];
        for version in LIST_OFFSETS_VERSIONS {
            there_and_back(&list_offsets_request(Isolation::ReadCommitted, &offsets, version), version);
        }
        let epochs = [OffsetForLeaderEpochPartition {
            partition: TopicPartition::new("a", 1),
            current_leader_epoch: 3,
            leader_epoch: 2,
        }];
        for version in OFFSET_FOR_LEADER_EPOCH_VERSIONS {
            there_and_back(&offset_for_leader_epoch_request(&epochs, version), version);
        }
    }

    #[test]
    fn a_topic_without_an_id_is_fetched_by_name() {
        let id = Uuid::from_u128(1);
        assert_eq!(fetch_version(&fetch(&[("a", 0, id)]), 17), 17);
        assert_eq!(fetch_version(&fetch(&[("a", 0, id), ("b", 0, Uuid::nil())]), 17), 12);
    }

    #[test]
    fn an_answer_finds_its_topic_by_id() {
        let id = Uuid::from_u128(9);
        let request = fetch(&[("a", 4, id)]);
        let end = fetch_response::EpochEndOffset::default().with_epoch(1).with_end_offset(30);
        let aborted = fetch_response::AbortedTransaction::default().with_producer_id(7.into()).with_first_offset(41);
        let data = fetch_response::PartitionData::default()
            .with_partition_index(4)
            .with_last_stable_offset(44)
            .with_diverging_epoch(end)
            .with_aborted_transactions(Some(vec![aborted]))
            .with_records(Some(Bytes::from_static(b"records")));
        let topic = fetch_response::FetchableTopicResponse::default().with_topic_id(id).with_partitions(vec![data]);
        let stranger = topic.clone().with_topic_id(Uuid::from_u128(10));
        let response = wire::FetchResponse::default().with_responses(vec![stranger, topic]);
        let Answer::Fetch { partitions } = fetch_answer(&request, response, 13) else { unreachable!() };
        let [(name, fetched)] = &partitions[..] else { panic!("{partitions:?}") };
        assert_eq!(name, &TopicPartition::new("a", 4));
        assert_eq!(fetched.diverging_epoch.map(|it| (it.leader_epoch, it.end_offset)), Some((1, 30)));
        assert_eq!(fetched.aborted_transactions, [AbortedTransaction { producer_id: 7, first_offset: 41 }]);
        assert_eq!((fetched.last_stable_offset, &fetched.records[..]), (44, &b"records"[..]));
    }

    #[test]
    fn a_top_level_code_goes_to_every_partition() {
        let request = fetch(&[("a", 4, Uuid::from_u128(9)), ("b", 0, Uuid::from_u128(8))]);
        let response = wire::FetchResponse::default().with_error_code(70);
        let Answer::Fetch { partitions } = fetch_answer(&request, response, 13) else { unreachable!() };
        assert_eq!(partitions.iter().map(|(_, it)| it.error_code).collect::<Vec<_>>(), [70, 70]);
    }

    #[test]
    fn lookups_are_answered_by_name() {
        let partition =
            list_offsets_response::ListOffsetsPartitionResponse::default().with_offset(5).with_leader_epoch(2);
        let topic = list_offsets_response::ListOffsetsTopicResponse::default()
            .with_name(wire_name(&TopicPartition::new("a", 0)))
            .with_partitions(vec![partition]);
        let answer = list_offsets_answer(wire::ListOffsetsResponse::default().with_topics(vec![topic]));
        let Answer::ListOffsets { partitions } = answer else { unreachable!() };
        let listed = ListedOffset { error_code: 0, offset: 5, leader_epoch: 2 };
        assert_eq!(partitions, [(TopicPartition::new("a", 0), listed)]);
    }
}
