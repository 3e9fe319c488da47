//! Writes batches to one topic, one after the other: without a producer id, idempotent (KIP-98), or in transactions.
//!
//! Protocol v1 of transactions, which every broker speaks. One batch is on its way at a time, so a repeated one is always the
//! last one that its partition has seen, and the broker knows it again.

use crate::batch::{RawBatch, stamp, stamp_idempotent};
use crate::clock;
use crate::cluster::{Backoff, Cluster, ClusterError, CoordinatorKind, Use};
use crate::types::{NodeId, ProducerIdentity, TopicName, TopicPartition};
use crate::wire::Connection;
use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest, TopicName as WireName,
    TransactionalId,
};
use kafka_protocol::protocol::{Request, StrBytes};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const PRODUCE_TIMEOUT_MS: i32 = 5_000;
const ACKS_ALL: i16 = -1;
const INIT_PRODUCER_ID_VERSION_MAX: i16 = 4;
const ADD_PARTITIONS_VERSION_MAX: i16 = 3;
const PRODUCE_VERSION_MAX: i16 = 9;
const END_TXN_VERSION_MAX: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
/// The broker has the batch already, and does not remember where.
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
const CONCURRENT_TRANSACTIONS: i16 = 51;
/// The markers of the transaction before are written within milliseconds.
const CONCURRENT_PAUSE: Duration = Duration::from_millis(5);
const CONCURRENT_MAX: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Without a producer id: what was sent twice can be there twice.
    Plain,
    Idempotent,
    Transactional {
        transactional_id: String,
        timeout_ms: i32,
    },
}

/// One producer of one topic.
pub struct Writer {
    cluster: Cluster,
    topic: TopicName,
    delivery: Delivery,
    /// How long a step is tried anew while what is wrong with it can pass; zero: not at all.
    patience: Duration,
    connections: BTreeMap<NodeId, Connection>,
    leaders: BTreeMap<i32, NodeId>,
    session: Option<Session>,
}

/// A producer epoch, with the sequences written in it.
struct Session {
    identity: ProducerIdentity,
    sequences: BTreeMap<i32, i32>,
    /// Partitions of the open transaction.
    enlisted: BTreeSet<i32>,
}

impl Writer {
    pub fn new(cluster: Cluster, topic: impl Into<TopicName>, delivery: Delivery, patience: Duration) -> Self {
        let (connections, leaders) = (BTreeMap::new(), BTreeMap::new());
        Self { cluster, topic: topic.into(), delivery, patience, connections, leaders, session: None }
    }

    /// Everything is asked for anew; what a transaction left open is aborted by the next `begin`.
    pub fn forget(&mut self) {
        self.connections.values().for_each(Connection::close);
        self.connections.clear();
        self.leaders.clear();
        self.session = None;
    }

    /// A producer id and epoch; fences earlier producers of the transactional id, and aborts what they left open. `write` does
    /// it where it was not done.
    pub async fn begin(&mut self) -> Result<(), ClusterError> {
        if self.session.is_some() || self.delivery == Delivery::Plain {
            return Ok(());
        }
        let (id, timeout_ms) = match &self.delivery {
            Delivery::Transactional { transactional_id, timeout_ms } => {
                (Some(transactional(transactional_id)), *timeout_ms)
            }
            // As Java's producer: it has no transaction that could time out.
            _ => (None, i32::MAX),
        };
        let request = InitProducerIdRequest::default()
            .with_transactional_id(id)
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let mut answer = None;
        self.ask_coordinator("InitProducerId", INIT_PRODUCER_ID_VERSION_MAX, &request, |it| {
            answer = Some((it.producer_id.0, it.producer_epoch));
            it.error_code
        })
        .await?;
        let (producer_id, producer_epoch) = answer.ok_or_else(|| self.answered("InitProducerId", -1))?;
        let identity = ProducerIdentity { producer_id, producer_epoch };
        self.session = Some(Session { identity, sequences: BTreeMap::new(), enlisted: BTreeSet::new() });
        Ok(())
    }

    /// One batch to one partition; in a transaction where the delivery says so.
    pub async fn write(&mut self, partition: i32, batch: &RawBatch) -> Result<(), ClusterError> {
        self.begin().await?;
        let id = match &self.delivery {
            Delivery::Transactional { transactional_id, .. } => Some(transactional_id.clone()),
            _ => None,
        };
        if let Some(id) = &id {
            self.enlist(id, partition).await?;
        }
        let bytes = match &self.session {
            None => batch.bytes().clone(),
            Some(session) => {
                let sequence = session.sequences.get(&partition).copied().unwrap_or(0);
                let stamped = if id.is_some() { stamp } else { stamp_idempotent };
                stamped(batch, session.identity, sequence).to_bytes()
            }
        };
        self.produce(partition, bytes, id.as_deref()).await?;
        if let Some(session) = &mut self.session {
            let sequence = session.sequences.entry(partition).or_insert(0);
            *sequence = after(*sequence, batch.header().record_count);
        }
        Ok(())
    }

    /// Ends the transaction; nothing where none is open.
    pub async fn end(&mut self, commit: bool) -> Result<(), ClusterError> {
        let Delivery::Transactional { transactional_id, .. } = &self.delivery else { return Ok(()) };
        let Some(Session { identity, enlisted, .. }) = &self.session else { return Ok(()) };
        if enlisted.is_empty() {
            return Ok(());
        }
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional(transactional_id))
            .with_producer_id(identity.producer_id.into())
            .with_producer_epoch(identity.producer_epoch)
            .with_committed(commit);
        // Asked twice, the coordinator answers as it did once.
        self.ask_coordinator("EndTxn", END_TXN_VERSION_MAX, &request, |it| it.error_code).await?;
        if let Some(session) = &mut self.session {
            session.enlisted.clear();
        }
        Ok(())
    }

    async fn enlist(&mut self, id: &str, partition: i32) -> Result<(), ClusterError> {
        let Some(Session { identity, enlisted, .. }) = &self.session else { return Ok(()) };
        if enlisted.contains(&partition) {
            return Ok(());
        }
        let topic = AddPartitionsToTxnTopic::default().with_name(self.name()).with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional(id))
            .with_v3_and_below_producer_id(identity.producer_id.into())
            .with_v3_and_below_producer_epoch(identity.producer_epoch)
            .with_v3_and_below_topics(vec![topic]);
        self.ask_coordinator("AddPartitionsToTxn", ADD_PARTITIONS_VERSION_MAX, &request, |it| {
            let topic = it.results_by_topic_v3_and_below.first();
            topic.and_then(|it| it.results_by_partition.first()).map_or(-1, |it| it.partition_error_code)
        })
        .await?;
        if let Some(session) = &mut self.session {
            session.enlisted.insert(partition);
        }
        Ok(())
    }

    /// CONCURRENT_TRANSACTIONS passes by itself, whatever the patience.
    async fn ask_coordinator<R: Request>(
        &mut self,
        api: &'static str,
        version_max: i16,
        request: &R,
        mut code: impl FnMut(&R::Response) -> i16,
    ) -> Result<(), ClusterError> {
        let (began, mut backoff, mut concurrent) = (clock::now(), Backoff::default(), 0);
        loop {
            let asked = async {
                let connection = self.coordinator().await?;
                self.cluster.ask(&connection, version_max, request).await
            };
            let error = match asked.await.map(|answer| code(&answer)) {
                Ok(0) => return Ok(()),
                Ok(CONCURRENT_TRANSACTIONS) if concurrent < CONCURRENT_MAX => {
                    concurrent += 1;
                    tokio::time::sleep(CONCURRENT_PAUSE).await;
                    continue;
                }
                Ok(code) => self.answered(api, code),
                Err(error) => error,
            };
            self.again(error, began, &mut backoff).await?;
        }
    }

    async fn produce(&mut self, partition: i32, batch: Bytes, id: Option<&str>) -> Result<(), ClusterError> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic = TopicProduceData::default().with_name(self.name()).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(id.map(transactional))
            .with_acks(ACKS_ALL)
            .with_timeout_ms(PRODUCE_TIMEOUT_MS)
            .with_topic_data(vec![topic]);
        let (began, mut backoff) = (clock::now(), Backoff::default());
        loop {
            let asked = async {
                let connection = self.leader(partition).await?;
                self.cluster.ask(&connection, PRODUCE_VERSION_MAX, &request).await
            };
            let error = match asked.await {
                Err(error) => error,
                Ok(answer) => {
                    let answered = answer.responses.first().and_then(|it| it.partition_responses.first());
                    match answered.map_or(-1, |it| it.error_code) {
                        0 | DUPLICATE_SEQUENCE_NUMBER => return Ok(()),
                        code => {
                            let said = answered.and_then(|it| it.error_message.as_ref()).map(ToString::to_string);
                            let (end, what) = (self.cluster.end(), format!("{}-{partition}", self.topic));
                            let message = said.unwrap_or_default();
                            ClusterError::Refused { end, api: "Produce", what, code, message }
                        }
                    }
                }
            };
            self.again(error, began, &mut backoff).await?;
        }
    }

    /// Waits for another attempt, or gives the error back. Not without a producer id: the first attempt may have arrived.
    async fn again(&mut self, error: ClusterError, began: Instant, backoff: &mut Backoff) -> Result<(), ClusterError> {
        if error.is_permanent() || self.delivery == Delivery::Plain || clock::now() - began >= self.patience {
            return Err(error);
        }
        tracing::debug!(%error, topic = %self.topic, "the producer comes again");
        self.connections.values().for_each(Connection::close);
        self.connections.clear();
        self.leaders.clear();
        tokio::time::sleep(backoff.failed()).await;
        Ok(())
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
        match &self.delivery {
            Delivery::Transactional { transactional_id, .. } => {
                let node = self.cluster.coordinator(CoordinatorKind::Transaction, transactional_id).await?;
                self.connection(node).await
            }
            _ => self.cluster.any().await,
        }
    }

    async fn leader(&mut self, partition: i32) -> Result<Connection, ClusterError> {
        if let Some(node) = self.leaders.get(&partition) {
            return self.connection(*node).await;
        }
        let name = TopicPartition { topic: self.topic.clone(), partition };
        let metadata = self.cluster.metadata(Some(std::slice::from_ref(&name.topic))).await?;
        let leader = metadata.leader(&name).ok_or_else(|| self.answered("Metadata", LEADER_NOT_AVAILABLE))?;
        self.leaders.insert(partition, leader);
        self.connection(leader).await
    }

    fn answered(&self, api: &'static str, code: i16) -> ClusterError {
        ClusterError::Answered { end: self.cluster.end(), api, code }
    }

    fn name(&self) -> WireName {
        WireName(StrBytes::from_string(self.topic.to_string()))
    }
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

/// Sequences go on at 0 behind the largest (`DefaultRecordBatch.incrementSequence`).
fn after(sequence: i32, records: i32) -> i32 {
    sequence.checked_add(records).unwrap_or_else(|| records - (i32::MAX - sequence) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_around() {
        assert_eq!(after(0, 5), 5);
        assert_eq!(after(i32::MAX - 5, 5), i32::MAX);
        assert_eq!(after(i32::MAX, 1), 0);
        assert_eq!(after(i32::MAX - 1, 5), 3);
    }
}
