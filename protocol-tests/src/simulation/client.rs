//! A client of one cluster in the simulation's own time, with connections on which nothing goes wrong by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_bridge::broker::{Coordinator, Server};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest,
    ProducerId, RequestHeader, ResponseHeader, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::raw::topic_name;

const DUPLEX_BYTES: usize = 1 << 16;
const ANSWER_BYTES_MAX: u32 = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(2);
const RETRIES_MAX: usize = 40;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const TRANSACTION_COORDINATOR: i8 = 1;

/// Why something was not done. As plain as can be: there are thousands of them, and an `anyhow` would carry a backtrace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused;

type Result<T> = std::result::Result<T, Refused>;

fn check(code: i16) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Refused) }
}

pub(super) struct Client {
    server: Arc<Server>,
    connections: BTreeMap<i32, DuplexStream>,
    correlation_id: i32,
}

/// Nothing that a broker says is final: the reference reads the log.
#[derive(Default)]
struct Retries(usize);

impl Retries {
    async fn again(&mut self, error: Refused) -> Result<()> {
        self.0 += 1;
        if self.0 > RETRIES_MAX {
            return Err(error);
        }
        tokio::time::sleep(RETRY_PAUSE).await;
        Ok(())
    }
}

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

impl Client {
    pub(super) fn new(server: Arc<Server>) -> Client {
        Client { server, connections: BTreeMap::new(), correlation_id: 0 }
    }

    pub(super) async fn ask<R: Request>(&mut self, node: i32, version: i16, request: &R) -> Result<R::Response> {
        let asked = tokio::time::timeout(TIMEOUT, self.exchange(node, version, request)).await;
        let answer = asked.ok().flatten();
        if answer.is_none() {
            // A late answer must not be taken for the next one's.
            self.connections.remove(&node);
        }
        answer.ok_or(Refused)
    }

    async fn exchange<R: Request>(&mut self, node: i32, version: i16, request: &R) -> Option<R::Response> {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("producer")));
        let mut frame = BytesMut::from(&[0u8; 4][..]);
        header.encode(&mut frame, R::header_version(version)).ok()?;
        request.encode(&mut frame, version).ok()?;
        let length = u32::try_from(frame.len() - 4).ok()?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let server = Arc::clone(&self.server);
        let stream = self.connections.entry(node).or_insert_with(|| {
            let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
            server.attach(node, 0, theirs);
            ours
        });
        stream.write_all(&frame).await.ok()?;
        let length = stream.read_u32().await.ok().filter(|it| *it <= ANSWER_BYTES_MAX)?;
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body).await.ok()?;
        let mut body = Bytes::from(body);
        let header = ResponseHeader::decode(&mut body, R::Response::header_version(version)).ok()?;
        (header.correlation_id == self.correlation_id).then(|| R::Response::decode(&mut body, version).ok())?
    }

    /// Any node that lives; a client that cannot reach one fails.
    pub(super) fn any(&self, nodes: i32) -> Result<i32> {
        let alive = |node: &i32| self.server.with(|cluster, _| cluster.is_node_alive(*node));
        (0..nodes).find(alive).ok_or(Refused)
    }

    fn leader(&self, topic: &str, partition: i32) -> Result<i32> {
        self.server.with(|cluster, _| cluster.leader(topic, partition)).ok_or(Refused)
    }

    fn coordinator(&self, id: &str) -> Result<i32> {
        self.server.with(|cluster, _| cluster.coordinator(Coordinator::Transaction, id)).ok_or(Refused)
    }

    async fn find_coordinator(&mut self, id: &str, nodes: i32) -> Result<i32> {
        let request = FindCoordinatorRequest::default()
            .with_key(StrBytes::from_string(id.to_owned()))
            .with_key_type(TRANSACTION_COORDINATOR);
        let any = self.any(nodes)?;
        check(self.ask(any, 3, &request).await?.error_code)?;
        self.coordinator(id)
    }

    /// A producer's id: transactional with a name.
    pub(super) async fn init(&mut self, id: Option<&str>, timeout_ms: i32, nodes: i32) -> Result<Identity> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(id.map(transactional))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let mut retries = Retries::default();
        loop {
            let node = match id {
                Some(id) => self.find_coordinator(id, nodes).await,
                None => self.any(nodes),
            };
            let asked = match node {
                Ok(node) => self.ask(node, 4, &request).await,
                Err(error) => Err(error),
            };
            match asked.and_then(|answer| check(answer.error_code).map(|()| answer)) {
                Ok(answer) => return Ok(Identity { id: answer.producer_id.0, epoch: answer.producer_epoch }),
                Err(error) => retries.again(error).await?,
            }
        }
    }

    /// Writes one batch. What is not acknowledged after many tries may be there or not.
    pub(super) async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Vec<u8>,
        id: Option<&str>,
    ) -> Result<()> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(Bytes::from(batch)));
        let topics = vec![TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data])];
        let request = ProduceRequest::default()
            .with_transactional_id(id.map(transactional))
            .with_acks(-1)
            .with_timeout_ms(1_000)
            .with_topic_data(topics);
        let mut retries = Retries::default();
        loop {
            let asked = match self.leader(topic, partition) {
                Ok(leader) => self.ask(leader, 9, &request).await,
                Err(error) => Err(error),
            };
            let code = asked.and_then(|answer| {
                let partition = answer.responses.first().and_then(|it| it.partition_responses.first());
                check(partition.map_or(-1, |it| it.error_code))
            });
            match code {
                Ok(()) => return Ok(()),
                Err(error) => retries.again(error).await?,
            }
        }
    }

    pub(super) async fn add_partition(&mut self, id: &str, of: Identity, topic: &str, partition: i32) -> Result<()> {
        let topics =
            vec![AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition])];
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional(id))
            .with_v3_and_below_producer_id(ProducerId(of.id))
            .with_v3_and_below_producer_epoch(of.epoch)
            .with_v3_and_below_topics(topics);
        let mut retries = Retries::default();
        loop {
            let asked = match self.coordinator(id) {
                Ok(node) => self.ask(node, 3, &request).await,
                Err(error) => Err(error),
            };
            let code = asked.and_then(|answer| {
                let topic = answer.results_by_topic_v3_and_below.first();
                let partition = topic.and_then(|it| it.results_by_partition.first());
                check(partition.map_or(-1, |it| it.partition_error_code))
            });
            match code {
                Ok(()) => return Ok(()),
                Err(error) => retries.again(error).await?,
            }
        }
    }

    pub(super) async fn end(&mut self, id: &str, of: Identity, commit: bool) -> Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional(id))
            .with_producer_id(ProducerId(of.id))
            .with_producer_epoch(of.epoch)
            .with_committed(commit);
        let mut retries = Retries::default();
        loop {
            let asked = match self.coordinator(id) {
                Ok(node) => self.ask(node, 3, &request).await,
                Err(error) => Err(error),
            };
            match asked.and_then(|answer| check(answer.error_code)) {
                Ok(()) => return Ok(()),
                Err(error) => retries.again(error).await?,
            }
        }
    }
}
