//! Writes events to the source: single batches and transactions, of which some are aborted. What it writes under faults may or
//! may not arrive; the source's log alone says what was produced.

use super::events::{Event, event};
use crate::batch::{BatchBuilder, Compression, RawBatch, stamp};
use crate::cluster::{Backoff, Cluster, ClusterError, CoordinatorKind, Use};
use crate::types::{NodeId, ProducerIdentity, TopicPartition};
use crate::wire::Connection;
use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::Instant;

const BATCH_RECORDS_MAX: u64 = 250;
const TRANSACTION_BATCHES_MAX: usize = 3;
/// In percent.
const TRANSACTIONS: u8 = 40;
const ABORTED_TRANSACTIONS: u8 = 25;
/// A transaction that a fault left open must not hold the copy back for longer.
const TRANSACTION_TIMEOUT_MS: i32 = 10_000;
const PRODUCE_TIMEOUT_MS: i32 = 5_000;
const ACKS_ALL: i16 = -1;
/// Of protocol v1, which every broker speaks.
const INIT_PRODUCER_ID_VERSION_MAX: i16 = 4;
const ADD_PARTITIONS_VERSION_MAX: i16 = 3;
const PRODUCE_VERSION_MAX: i16 = 9;
const END_TXN_VERSION_MAX: i16 = 3;

/// How many records are still to be written, by all producers together; aborted ones are extra.
pub(super) struct Quota(AtomicU64);

impl Quota {
    pub(super) fn new(records: Option<u64>) -> Self {
        Self(AtomicU64::new(records.unwrap_or(u64::MAX)))
    }

    fn take(&self, wanted: u64) -> u64 {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left - wanted.min(left)));
        taken.map_or(0, |left| wanted.min(left))
    }
}

pub(super) struct Producer {
    cluster: Cluster,
    topic: &'static str,
    compression: Compression,
    random: Rng,
    /// The next number of each partition.
    numbers: Vec<u64>,
    connections: BTreeMap<NodeId, Connection>,
    session: Option<Session>,
}

/// A producer epoch with the sequences written in it.
struct Session {
    identity: ProducerIdentity,
    sequences: BTreeMap<i32, i32>,
}

impl Producer {
    pub(super) fn new(
        cluster: Cluster,
        topic: &'static str,
        compression: Compression,
        partitions: usize,
        seed: u64,
    ) -> Self {
        let (numbers, random) = (vec![0; partitions], Rng::with_seed(seed));
        Self { cluster, topic, compression, random, numbers, connections: BTreeMap::new(), session: None }
    }

    /// Until the quota is used up or `stop` says so. `rate`: records per second.
    pub(super) async fn run(mut self, quota: Arc<Quota>, rate: Option<f64>, mut stop: watch::Receiver<bool>) {
        let began = Instant::now();
        let (mut written, mut backoff) = (0, Backoff::default());
        loop {
            if *stop.borrow() {
                break;
            }
            let wanted = self.random.u64(1..=BATCH_RECORDS_MAX);
            let count = quota.take(wanted);
            if count == 0 {
                break;
            }
            match self.round(count).await {
                Ok(()) => backoff.succeeded(),
                Err(error) => {
                    tracing::debug!(%error, topic = self.topic, "the demo's producer begins anew");
                    self.connections.clear();
                    self.session = None;
                    tokio::time::sleep(backoff.failed()).await;
                }
            }
            written += count;
            if let Some(rate) = rate {
                let due = began + Duration::from_secs_f64(written as f64 / rate);
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    // Ended with the demo.
                    _ = stop.changed() => {}
                }
            }
        }
        // What a fault left open is aborted now, not at its timeout.
        for _ in 0..20 {
            self.session = None;
            if self.session().await.is_ok() {
                break;
            }
            self.connections.clear();
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    async fn round(&mut self, count: u64) -> Result<(), ClusterError> {
        if self.random.u8(..100) >= TRANSACTIONS {
            let (partition, batch) = self.batch(count);
            let Some(batch) = batch else { return Ok(()) };
            return self.produce(partition, batch.bytes().clone(), None).await;
        }
        self.session().await?;
        if self.random.u8(..100) < ABORTED_TRANSACTIONS {
            let extra = self.random.u64(1..=BATCH_RECORDS_MAX / 4);
            self.transaction(extra, false).await?;
        }
        self.transaction(count, true).await
    }

    async fn transaction(&mut self, count: u64, commit: bool) -> Result<(), ClusterError> {
        let batches = self.random.usize(1..=TRANSACTION_BATCHES_MAX).min(usize::try_from(count).unwrap_or(1)) as u64;
        for number in 0..batches {
            let share = count / batches + u64::from(number < count % batches);
            let (partition, batch) = self.batch(share);
            let (Some(batch), Some(session)) = (batch, &mut self.session) else { return Ok(()) };
            let sequence = session.sequences.entry(partition).or_insert(0);
            let stamped = stamp(&batch, session.identity, *sequence).to_bytes();
            *sequence += batch.header().record_count;
            let id = self.transactional_id();
            self.enlist(&id, partition).await?;
            self.produce(partition, stamped, Some(id)).await?;
        }
        self.end(commit).await
    }

    fn transactional_id(&self) -> String {
        format!("demo-{}", self.topic)
    }

    fn batch(&mut self, count: u64) -> (i32, Option<RawBatch>) {
        let partition = self.random.usize(..self.numbers.len());
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since_1970.as_millis()).unwrap_or(0);
        let mut builder = BatchBuilder::new(self.compression);
        for _ in 0..count {
            let Some(number) = self.numbers.get_mut(partition) else { continue };
            let made = event(self.topic, *number, now_ms, &mut self.random);
            *number += 1;
            push(&mut builder, &made);
        }
        // It can only be too long, and a few hundred events are not.
        (i32::try_from(partition).unwrap_or(0), builder.build().ok())
    }

    async fn connection(&mut self, node: NodeId) -> Result<Connection, ClusterError> {
        if let Some(connection) = self.connections.get(&node).filter(|it| !it.is_dead()) {
            return Ok(connection.clone());
        }
        let connection = self.cluster.dial(node, Use::Produce(0)).await?;
        self.connections.insert(node, connection.clone());
        Ok(connection)
    }

    async fn coordinator(&mut self) -> Result<Connection, ClusterError> {
        let node = self.cluster.coordinator(CoordinatorKind::Transaction, &self.transactional_id()).await?;
        self.connection(node).await
    }

    fn answered(&self, api: &'static str, code: i16) -> Result<(), ClusterError> {
        if code == 0 { Ok(()) } else { Err(ClusterError::Answered { end: self.cluster.end(), api, code }) }
    }

    async fn session(&mut self) -> Result<(), ClusterError> {
        if self.session.is_some() {
            return Ok(());
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional(&self.transactional_id())))
            .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let connection = self.coordinator().await?;
        let answer = self.cluster.ask(&connection, INIT_PRODUCER_ID_VERSION_MAX, &request).await?;
        self.answered("InitProducerId", answer.error_code)?;
        let identity = ProducerIdentity { producer_id: answer.producer_id.0, producer_epoch: answer.producer_epoch };
        self.session = Some(Session { identity, sequences: BTreeMap::new() });
        Ok(())
    }

    async fn enlist(&mut self, id: &str, partition: i32) -> Result<(), ClusterError> {
        let Some(Session { identity, .. }) = self.session else { return Ok(()) };
        let topic = AddPartitionsToTxnTopic::default().with_name(self.topic_name()).with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional(id))
            .with_v3_and_below_producer_id(identity.producer_id.into())
            .with_v3_and_below_producer_epoch(identity.producer_epoch)
            .with_v3_and_below_topics(vec![topic]);
        self.patiently("AddPartitionsToTxn", ADD_PARTITIONS_VERSION_MAX, &request, |answer| {
            let topic = answer.results_by_topic_v3_and_below.first();
            topic.and_then(|it| it.results_by_partition.first()).map_or(-1, |it| it.partition_error_code)
        })
        .await
    }

    async fn end(&mut self, commit: bool) -> Result<(), ClusterError> {
        let Some(Session { identity, .. }) = self.session else { return Ok(()) };
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional(&self.transactional_id()))
            .with_producer_id(identity.producer_id.into())
            .with_producer_epoch(identity.producer_epoch)
            .with_committed(commit);
        self.patiently("EndTxn", END_TXN_VERSION_MAX, &request, |answer| answer.error_code).await
    }

    /// CONCURRENT_TRANSACTIONS passes when the markers of the transaction before are written.
    async fn patiently<R: kafka_protocol::protocol::Request>(
        &mut self,
        api: &'static str,
        version_max: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<(), ClusterError> {
        const CONCURRENT_TRANSACTIONS: i16 = 51;
        let mut attempts = 0;
        loop {
            let connection = self.coordinator().await?;
            let answer = self.cluster.ask(&connection, version_max, request).await?;
            match code(&answer) {
                CONCURRENT_TRANSACTIONS if attempts < 50 => tokio::time::sleep(Duration::from_millis(5)).await,
                code => return self.answered(api, code),
            }
            attempts += 1;
        }
    }

    async fn produce(&mut self, partition: i32, batch: Bytes, id: Option<String>) -> Result<(), ClusterError> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic = TopicProduceData::default().with_name(self.topic_name()).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(id.as_deref().map(transactional))
            .with_acks(ACKS_ALL)
            .with_timeout_ms(PRODUCE_TIMEOUT_MS)
            .with_topic_data(vec![topic]);
        let name = TopicPartition::new(self.topic, partition);
        let metadata = self.cluster.metadata(Some(std::slice::from_ref(&name.topic))).await?;
        let leader =
            metadata.leader(&name).ok_or(ClusterError::Answered { end: "source", api: "Metadata", code: 5 })?;
        let connection = self.connection(leader).await?;
        let answer = self.cluster.ask(&connection, PRODUCE_VERSION_MAX, &request).await?;
        let answered = answer.responses.first().and_then(|it| it.partition_responses.first());
        self.answered("Produce", answered.map_or(-1, |it| it.error_code))
    }

    fn topic_name(&self) -> TopicName {
        TopicName(StrBytes::from_static_str(self.topic))
    }
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

fn push(builder: &mut BatchBuilder, event: &Event) {
    let headers: Vec<_> = event.headers.iter().map(|(name, value)| (*name, value.as_deref())).collect();
    builder.push(event.timestamp_ms, event.key.as_deref(), event.value.as_deref(), &headers);
}
