//! The requests and answers of a transaction as kafka-protocol's messages.
//!
//! The coordinator takes a request for one of protocol v2 by its version alone (KIP-890), so the versions are capped by the
//! protocol that the transaction was begun with.

use crate::batch::StampedBatch;
use crate::target::message::{Answer, LastTransaction, TransactionProtocol};
use crate::types::{ProducerIdentity, TopicName as Topic, TopicPartition};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    self as wire, AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest,
    InitProducerIdRequest, TopicName, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// From 3 on an existing identity can be bumped (KIP-360); 6 belongs to two-phase commit.
pub const INIT_PRODUCER_ID_VERSION_MAX: i16 = 5;
pub const ADD_PARTITIONS_TO_TXN_VERSION_MAX: i16 = 3;
pub const ADD_OFFSETS_TO_TXN_VERSION_MAX: i16 = 4;
pub const DESCRIBE_TRANSACTIONS_VERSION_MAX: i16 = 0;
const PRODUCE_FLEXIBLE: i16 = 9;
const ACKS_ALL: i16 = -1;

pub fn produce_version_max(protocol: TransactionProtocol) -> i16 {
    match protocol {
        TransactionProtocol::V1 => 11,
        TransactionProtocol::V2 => 12,
    }
}

pub fn txn_offset_commit_version_max(protocol: TransactionProtocol) -> i16 {
    match protocol {
        TransactionProtocol::V1 => 4,
        TransactionProtocol::V2 => 5,
    }
}

pub fn end_txn_version_max(protocol: TransactionProtocol) -> i16 {
    match protocol {
        TransactionProtocol::V1 => 4,
        TransactionProtocol::V2 => 5,
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(text(id))
}

pub fn init_producer_id(
    transactional_id: &str,
    transaction_timeout_ms: i32,
    identity: Option<ProducerIdentity>,
) -> InitProducerIdRequest {
    let identity = identity.unwrap_or(ProducerIdentity { producer_id: -1, producer_epoch: -1 });
    InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional(transactional_id)))
        .with_transaction_timeout_ms(transaction_timeout_ms)
        .with_producer_id(identity.producer_id.into())
        .with_producer_epoch(identity.producer_epoch)
}

pub fn init_producer_id_answer(response: &wire::InitProducerIdResponse) -> Answer {
    let identity = ProducerIdentity { producer_id: response.producer_id.0, producer_epoch: response.producer_epoch };
    Answer::InitProducerId { error_code: response.error_code, identity }
}

pub fn add_partitions_to_txn(
    transactional_id: &str,
    identity: ProducerIdentity,
    partitions: &[TopicPartition],
) -> AddPartitionsToTxnRequest {
    let topics = partitions.chunk_by(|a, b| a.topic == b.topic).filter_map(|of| {
        let topic = AddPartitionsToTxnTopic::default().with_name(TopicName(text(&of.first()?.topic)));
        Some(topic.with_partitions(of.iter().map(|it| it.partition).collect()))
    });
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional(transactional_id))
        .with_v3_and_below_producer_id(identity.producer_id.into())
        .with_v3_and_below_producer_epoch(identity.producer_epoch)
        .with_v3_and_below_topics(topics.collect())
}

pub fn add_partitions_to_txn_answer(response: wire::AddPartitionsToTxnResponse) -> Answer {
    let topics = response.results_by_topic_v3_and_below.into_iter();
    let partitions = topics.flat_map(|topic| {
        let name = Topic::from(topic.name.as_str());
        topic
            .results_by_partition
            .into_iter()
            .map(move |it| (TopicPartition::new(Arc::clone(&name), it.partition_index), it.partition_error_code))
    });
    Answer::AddPartitionsToTxn { partitions: partitions.collect() }
}

pub fn add_offsets_to_txn(
    transactional_id: &str,
    identity: ProducerIdentity,
    group_id: &str,
) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(transactional(transactional_id))
        .with_producer_id(identity.producer_id.into())
        .with_producer_epoch(identity.producer_epoch)
        .with_group_id(text(group_id).into())
}

pub fn end_txn(transactional_id: &str, identity: ProducerIdentity, commit: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(transactional(transactional_id))
        .with_producer_id(identity.producer_id.into())
        .with_producer_epoch(identity.producer_epoch)
        .with_committed(commit)
}

pub fn end_txn_answer(response: &wire::EndTxnResponse) -> Answer {
    // Before v5 the fields keep their default, −1.
    let identity = ProducerIdentity { producer_id: response.producer_id.0, producer_epoch: response.producer_epoch };
    let identity = Some(identity).filter(|it| it.producer_id >= 0);
    Answer::EndTxn { error_code: response.error_code, identity }
}

pub fn describe_transactions(transactional_id: &str) -> DescribeTransactionsRequest {
    DescribeTransactionsRequest::default().with_transactional_ids(vec![transactional(transactional_id)])
}

/// None: the broker has no such request.
pub fn describe_transactions_answer(response: Option<&wire::DescribeTransactionsResponse>) -> Answer {
    let described = response.map(|it| it.transaction_states.first());
    let state = match described.flatten().map(|it| it.transaction_state.as_str()) {
        Some("PrepareCommit") => LastTransaction::Committing,
        Some("CompleteCommit") => LastTransaction::Committed,
        Some("Empty") => LastTransaction::Forgotten,
        _ => LastTransaction::Other,
    };
    // An answer that does not name what was asked for is none.
    let error_code = described.map_or(0, |it| it.map_or(-1, |it| it.error_code));
    Answer::DescribeTransactions { error_code, state }
}

/// A group's member as the broker knows it; (−1, "", None) is nobody.
pub struct Member<'a> {
    pub group_id: &'a str,
    pub generation_id: i32,
    pub member_id: &'a str,
    pub group_instance_id: Option<&'a str>,
}

pub fn txn_offset_commit(
    transactional_id: &str,
    identity: ProducerIdentity,
    member: &Member<'_>,
    partition: &TopicPartition,
    offset: i64,
) -> TxnOffsetCommitRequest {
    let committed = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(partition.partition)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(StrBytes::default()));
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(TopicName(text(&partition.topic)))
        .with_partitions(vec![committed]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(transactional(transactional_id))
        .with_group_id(text(member.group_id).into())
        .with_producer_id(identity.producer_id.into())
        .with_producer_epoch(identity.producer_epoch)
        .with_generation_id(member.generation_id)
        .with_member_id(text(member.member_id))
        .with_group_instance_id(member.group_instance_id.map(text))
        .with_topics(vec![topic])
}

/// The one partition's code.
pub fn txn_offset_commit_answer(response: &wire::TxnOffsetCommitResponse) -> Answer {
    let partition = response.topics.first().and_then(|it| it.partitions.first());
    Answer::TxnOffsetCommit { error_code: partition.map_or(-1, |it| it.error_code) }
}

/// The body of a Produce request with one batch of each partition, in parts: the batches' own bytes are not copied, so it is written
/// here and not by kafka-protocol, whose message holds each batch in one piece. Those of one topic stand together.
pub fn produce_body(
    transactional_id: &str,
    batches: &[(TopicPartition, StampedBatch)],
    timeout: Duration,
    version: i16,
) -> Result<Vec<Bytes>, String> {
    let mut body = Body { written: BytesMut::new(), is_flexible: version >= PRODUCE_FLEXIBLE };
    let topics = || batches.chunk_by(|a, b| a.0.topic == b.0.topic);
    let mut parts = Vec::with_capacity(2 * batches.len() + 1);
    body.text(transactional_id)?;
    body.written.put_i16(ACKS_ALL);
    body.written.put_i32(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    body.count(topics().count())?;
    for of in topics() {
        body.text(of.first().map_or("", |it| &it.0.topic))?;
        body.count(of.len())?;
        for (partition, batch) in of {
            body.written.put_i32(partition.partition);
            body.count(batch.len())?;
            body.written.extend_from_slice(&batch.header);
            parts.push(body.written.split().freeze());
            parts.push(batch.body.clone());
            body.tags();
        }
        body.tags();
    }
    body.tags();
    parts.push(body.written.freeze());
    Ok(parts)
}

/// A message as far as it is written. Since KIP-482 lengths are varints, one more than they say, and behind each structure stand its
/// tagged fields, of which a Produce has none.
struct Body {
    written: BytesMut,
    is_flexible: bool,
}

impl Body {
    fn text(&mut self, text: &str) -> Result<(), String> {
        if self.is_flexible {
            self.count(text.len())?;
        } else {
            self.written.put_i16(i16::try_from(text.len()).map_err(|_| "a name is longer than 32 KiB".to_owned())?);
        }
        self.written.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Of the elements of an array, or of bytes.
    fn count(&mut self, count: usize) -> Result<(), String> {
        let count = i32::try_from(count).map_err(|_| "the batch is larger than 2 GiB".to_owned())?;
        if !self.is_flexible {
            self.written.put_i32(count);
            return Ok(());
        }
        let mut left = count.unsigned_abs() + 1;
        while left >= 0x80 {
            self.written.put_u8((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        self.written.put_u8(left as u8);
        Ok(())
    }

    fn tags(&mut self) {
        if self.is_flexible {
            self.written.put_u8(0);
        }
    }
}

/// One for each partition that was asked for, in that order. The leader answers for each; where it does not, that is no answer that
/// Kafka gives.
pub fn produce_answers(response: &wire::ProduceResponse, partitions: &[TopicPartition]) -> Vec<Answer> {
    let answered: BTreeMap<(&str, i32), _> = (response.responses.iter())
        .flat_map(|topic| topic.partition_responses.iter().map(|it| ((topic.name.0.as_str(), it.index), it)))
        .collect();
    let answer = |it: &TopicPartition| match answered.get(&(&*it.topic, it.partition)) {
        Some(it) => Answer::Produce {
            error_code: it.error_code,
            base_offset: it.base_offset,
            log_append_time_ms: it.log_append_time_ms,
        },
        None => Answer::Produce { error_code: -1, base_offset: -1, log_append_time_ms: -1 },
    };
    partitions.iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Compression, stamp};
    use kafka_protocol::messages::ProduceRequest;
    use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
    use kafka_protocol::protocol::{Decodable, Encodable};

    const IDENTITY: ProducerIdentity = ProducerIdentity { producer_id: 7, producer_epoch: 2 };

    fn there_and_back<T: Encodable + Decodable + PartialEq + std::fmt::Debug>(
        message: &T,
        versions: std::ops::RangeInclusive<i16>,
    ) {
        for version in versions {
            let mut bytes = BytesMut::new();
            message.encode(&mut bytes, version).unwrap();
            assert_eq!(&T::decode(&mut bytes.freeze(), version).unwrap(), message, "version {version}");
        }
    }

    #[test]
    fn requests_survive_the_versions_that_are_used() {
        let partitions = [TopicPartition::new("a", 0), TopicPartition::new("a", 2), TopicPartition::new("b", 1)];
        there_and_back(&init_producer_id("t", 15_000, Some(IDENTITY)), 3..=INIT_PRODUCER_ID_VERSION_MAX);
        let added = add_partitions_to_txn("t", IDENTITY, &partitions);
        assert_eq!(added.v3_and_below_topics.len(), 2);
        there_and_back(&added, 0..=ADD_PARTITIONS_TO_TXN_VERSION_MAX);
        there_and_back(&add_offsets_to_txn("t", IDENTITY, "g"), 0..=ADD_OFFSETS_TO_TXN_VERSION_MAX);
        there_and_back(&end_txn("t", IDENTITY, true), 0..=5);
        let member = Member { group_id: "g", generation_id: 3, member_id: "m", group_instance_id: Some("i") };
        there_and_back(&txn_offset_commit("t", IDENTITY, &member, &partitions[2], 9), 3..=5);
    }

    #[test]
    fn a_produce_body_in_parts_is_the_whole_one() {
        let batch = |value_length: usize| {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push(1, None, Some(&vec![b'x'; value_length]), &[]);
            stamp(&builder.build().unwrap(), IDENTITY, 5)
        };
        let all: Vec<_> = [("orders", 3, 1), ("orders", 0, 40), ("link.ledger", 7, 200), ("audit", 1, 20_000)]
            .into_iter()
            .map(|(topic, partition, length)| (TopicPartition::new(topic, partition), batch(length)))
            .collect();
        for batches in [&all[..1], &all[1..], &all[..]] {
            for version in 3..=12 {
                let parts = produce_body("link.3", batches, Duration::from_secs(5), version).unwrap();
                let whole: Vec<u8> = parts.concat();
                let request = ProduceRequest::decode(&mut Bytes::from(whole.clone()), version).unwrap();
                let found: Vec<_> = (request.topic_data.iter())
                    .flat_map(|topic| topic.partition_data.iter().map(move |it| (topic, it)))
                    .map(|(topic, it)| {
                        (TopicPartition::new(topic.name.0.as_str(), it.index), it.records.clone().unwrap())
                    })
                    .collect();
                let sent: Vec<_> = batches.iter().map(|(partition, it)| (partition.clone(), it.to_bytes())).collect();
                assert_eq!(found, sent, "version {version}");
                let mut again = BytesMut::new();
                request.encode(&mut again, version).unwrap();
                assert_eq!(&again[..], &whole[..], "version {version}");
            }
        }
    }

    #[test]
    fn answers_are_told_by_their_partitions() {
        let answered = |index, error_code| {
            PartitionProduceResponse::default().with_index(index).with_error_code(error_code).with_base_offset(40)
        };
        let topic = |name: &str, of| {
            TopicProduceResponse::default().with_name(TopicName(text(name))).with_partition_responses(of)
        };
        let topics = vec![topic("b", vec![answered(1, 6)]), topic("a", vec![answered(1, 0), answered(0, 3)])];
        let response = wire::ProduceResponse::default().with_responses(topics);
        let asked =
            [("a", 0), ("a", 1), ("b", 0), ("b", 1)].map(|(topic, partition)| TopicPartition::new(topic, partition));
        let codes: Vec<_> = produce_answers(&response, &asked)
            .into_iter()
            .map(|it| if let Answer::Produce { error_code, .. } = it { error_code } else { i16::MIN })
            .collect();
        assert_eq!(codes, [3, 0, -1, 6]);
    }
}
