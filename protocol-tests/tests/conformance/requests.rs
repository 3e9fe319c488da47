//! The requests that are asked of one node and of three.

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use protocol_tests::raw::topic_name;

use super::probe::{Who, transactional};

pub(super) fn produce_request(
    topic: &str,
    partition: i32,
    bytes: Vec<u8>,
    id: Option<&str>,
    acks: i16,
) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(Bytes::from(bytes)));
    let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(id.map(transactional))
        .with_acks(acks)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![data])
}

pub(super) fn init_request(id: Option<&str>, who: Who, timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(id.map(transactional))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id(who.id.into())
        .with_producer_epoch(who.epoch)
}

pub(super) fn partitions_request(id: &str, who: Who, places: &[(&str, i32)]) -> AddPartitionsToTxnRequest {
    let topics = places.iter().map(|(topic, partition)| {
        AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(vec![*partition])
    });
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional(id))
        .with_v3_and_below_producer_id(who.id.into())
        .with_v3_and_below_producer_epoch(who.epoch)
        .with_v3_and_below_topics(topics.collect())
}

pub(super) fn end_request(id: &str, who: Who, commit: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(transactional(id))
        .with_producer_id(who.id.into())
        .with_producer_epoch(who.epoch)
        .with_committed(commit)
}

pub(super) fn list_request(topic: &str, timestamp: i64, isolation: i8, epoch: i32) -> ListOffsetsRequest {
    let asked = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(epoch);
    let asked = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
    ListOffsetsRequest::default().with_replica_id((-1).into()).with_isolation_level(isolation).with_topics(vec![asked])
}

pub(super) fn fetch_at(offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(8 << 20)
}
