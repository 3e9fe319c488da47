//! Writing: raw batches, idempotent and transactional producers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest,
    ProducerId, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::records::{Codec, NewBatch, NewRecord};
use super::{RawClient, check, topic_name};

const ACKS_ALL: i16 = -1;
const TIMEOUT_MS: i32 = 20_000;
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;
const GROUP_COORDINATOR: i8 = 0;
const TRANSACTION_COORDINATOR: i8 = 1;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

/// An idempotent or transactional producer, by transaction protocol v1, which every broker still speaks.
pub struct Producer {
    transactional_id: Option<String>,
    producer_id: i64,
    producer_epoch: i16,
    sequences: BTreeMap<(String, i32), i32>,
    /// The partitions of the open transaction; None when none is open.
    open: Option<Vec<(String, i32)>>,
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

impl RawClient {
    /// Produces one batch as it is and returns its base offset.
    pub fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Vec<u8>,
        transactional_id: Option<&str>,
    ) -> Result<i64> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(Bytes::from(batch)));
        let topics = vec![TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data])];
        let request = ProduceRequest::default()
            .with_transactional_id(transactional_id.map(transactional))
            .with_acks(ACKS_ALL)
            .with_timeout_ms(TIMEOUT_MS)
            .with_topic_data(topics);
        self.retry(|client| {
            let leader = client.leader(topic, partition)?;
            let answer = client.send(leader, 9, &request)?;
            let result =
                answer.responses.first().and_then(|topic| topic.partition_responses.first()).context("no partition")?;
            if result.error_code != DUPLICATE_SEQUENCE_NUMBER {
                check(result.error_code)?;
            }
            Ok(result.base_offset)
        })
    }

    /// Writes one batch without a producer id.
    pub fn write(&mut self, topic: &str, partition: i32, codec: Codec, records: Vec<NewRecord>) -> Result<i64> {
        self.produce(topic, partition, NewBatch::plain(codec, records).encode()?, None)
    }

    /// A producer: transactional with an id (fencing the former one), idempotent without.
    pub fn producer(&mut self, transactional_id: Option<&str>) -> Result<Producer> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(transactional_id.map(transactional))
            .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = self.retry(|client| {
            let answer = match transactional_id {
                Some(id) => {
                    let coordinator = client.transaction_coordinator(id)?;
                    client.send(coordinator, 4, &request)?
                }
                None => client.any(4, &request)?,
            };
            check(answer.error_code)?;
            Ok(answer)
        })?;
        Ok(Producer {
            transactional_id: transactional_id.map(str::to_owned),
            producer_id: answer.producer_id.0,
            producer_epoch: answer.producer_epoch,
            sequences: BTreeMap::new(),
            open: None,
        })
    }

    /// The node that coordinates a transactional id.
    pub fn transaction_coordinator(&mut self, id: &str) -> Result<i32> {
        self.coordinator(TRANSACTION_COORDINATOR, id)
    }

    /// The node that coordinates a group.
    pub fn group_coordinator(&mut self, group: &str) -> Result<i32> {
        self.coordinator(GROUP_COORDINATOR, group)
    }

    fn coordinator(&mut self, key_type: i8, key: &str) -> Result<i32> {
        let request =
            FindCoordinatorRequest::default().with_key(StrBytes::from_string(key.to_owned())).with_key_type(key_type);
        self.retry(|client| {
            let answer = client.any(3, &request)?;
            check(answer.error_code)?;
            Ok(answer.node_id.0)
        })
    }
}

impl Producer {
    pub fn producer_id(&self) -> i64 {
        self.producer_id
    }

    pub fn producer_epoch(&self) -> i16 {
        self.producer_epoch
    }

    /// Sends one batch, inside the open transaction when the producer is transactional; a transaction opens by itself.
    pub fn send(
        &mut self,
        client: &mut RawClient,
        topic: &str,
        partition: i32,
        codec: Codec,
        records: Vec<NewRecord>,
    ) -> Result<i64> {
        let place = (topic.to_owned(), partition);
        if let Some(id) = self.transactional_id.clone() {
            let open = self.open.get_or_insert_default();
            if !open.contains(&place) {
                open.push(place.clone());
                self.add_partition(client, &id, topic, partition)?;
            }
        }
        let count = i32::try_from(records.len())?;
        let sequence = self.sequences.entry(place).or_insert(0);
        let batch = NewBatch {
            codec,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: *sequence,
            transactional: self.transactional_id.is_some(),
            records,
        };
        *sequence += count;
        client.produce(topic, partition, batch.encode()?, self.transactional_id.as_deref())
    }

    pub fn commit(&mut self, client: &mut RawClient) -> Result<()> {
        self.end(client, true)
    }

    pub fn abort(&mut self, client: &mut RawClient) -> Result<()> {
        self.end(client, false)
    }

    fn end(&mut self, client: &mut RawClient, commit: bool) -> Result<()> {
        let Some(id) = self.transactional_id.clone() else { bail!("not a transactional producer") };
        if self.open.take().is_none() {
            return Ok(());
        }
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional(&id))
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.producer_epoch)
            .with_committed(commit);
        client.retry(|client| {
            let coordinator = client.transaction_coordinator(&id)?;
            check(client.send(coordinator, 3, &request)?.error_code)
        })
    }

    fn add_partition(&self, client: &mut RawClient, id: &str, topic: &str, partition: i32) -> Result<()> {
        let topics =
            vec![AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition])];
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional(id))
            .with_v3_and_below_producer_id(ProducerId(self.producer_id))
            .with_v3_and_below_producer_epoch(self.producer_epoch)
            .with_v3_and_below_topics(topics);
        client.retry(|client| {
            let coordinator = client.transaction_coordinator(id)?;
            let answer = client.send(coordinator, 3, &request)?;
            let topic = answer.results_by_topic_v3_and_below.first().context("no topic in the answer")?;
            check(topic.results_by_partition.first().context("no partition in the answer")?.partition_error_code)
        })
    }
}
