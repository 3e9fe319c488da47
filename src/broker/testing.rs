//! A client for the unit tests of this module: it speaks to the machine itself, without sockets and in its own time.

use super::cluster::{Action, Cluster, ConnectionId};
use super::request::Served;
use super::settings::{Millis, Settings};
use crate::batch::{BatchBuilder, Compression, Header};
use crate::types::{NodeId, ProducerIdentity};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use std::collections::BTreeMap;

pub(crate) const START: Millis = 1_700_000_000_000;

/// A cluster, its clock, and what its connections were told.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) now_ms: Millis,
    next_connection: u64,
    told: BTreeMap<ConnectionId, Vec<Action>>,
}

pub(crate) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

impl Bench {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut cluster = Cluster::new(settings, START);
        for node in cluster.settings.nodes.keys().copied().collect::<Vec<_>>() {
            cluster.advertise(node, 0, "localhost", 9_000 + node as u16);
        }
        Self { cluster, now_ms: START, next_connection: 0, told: BTreeMap::new() }
    }

    /// One node, markers written before the answer.
    pub(crate) fn simple() -> Self {
        Self::new(Settings { marker_delay_ms: 0, upkeep_interval_ms: None, ..Settings::nodes(1) })
    }

    pub(crate) fn connect(&mut self, node: NodeId) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        assert!(self.cluster.connect(connection, node, 0), "node {node} is dead");
        connection
    }

    pub(crate) fn frame<R: Served>(version: i16, request: &R) -> Bytes {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(77)
            .with_client_id(Some(text("test")));
        header.encode(&mut frame, R::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        frame.freeze()
    }

    fn drain(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            self.told.entry(output.connection).or_default().push(output.action);
        }
    }

    pub(crate) fn send<R: Served>(&mut self, connection: ConnectionId, version: i16, request: &R) {
        self.cluster.handle(self.now_ms, connection, &Self::frame(version, request));
        self.drain();
    }

    /// What the connection was told since it was last asked.
    pub(crate) fn told(&mut self, connection: ConnectionId) -> Vec<Action> {
        self.drain();
        self.told.remove(&connection).unwrap_or_default()
    }

    pub(crate) fn answer<R: Served>(&mut self, connection: ConnectionId, version: i16) -> Option<R::Response> {
        match self.told(connection).as_slice() {
            [] => None,
            [Action::Send(frame)] => Some(decode::<R>(frame, version)),
            other => panic!("not one answer: {other:?}"),
        }
    }

    /// Asks on a fresh connection and expects the answer at once.
    pub(crate) fn ask_at<R: Served>(&mut self, node: NodeId, version: i16, request: &R) -> R::Response {
        let connection = self.connect(node);
        self.send(connection, version, request);
        let answer = self.answer::<R>(connection, version).expect("an answer at once");
        self.cluster.disconnect(connection);
        answer
    }

    pub(crate) fn ask<R: Served>(&mut self, version: i16, request: &R) -> R::Response {
        self.ask_at(0, version, request)
    }

    pub(crate) fn advance(&mut self, ms: Millis) {
        self.now_ms += ms;
        self.cluster.handle_timeout(self.now_ms);
        self.drain();
    }
}

fn decode<R: Served>(frame: &Bytes, version: i16) -> R::Response {
    let mut frame = frame.clone();
    assert_eq!(frame.get_i32() as usize, frame.len());
    let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 77);
    let response = R::Response::decode(&mut frame, version).unwrap();
    assert!(frame.is_empty(), "bytes are left behind the answer");
    response
}

/// A batch of a producer; `None` is nobody.
pub(crate) fn batch(count: i64, who: Option<(ProducerIdentity, i32, bool)>) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for index in 0..count {
        builder.push(START + index, Some(format!("key {index}").as_bytes()), Some(b"value"), &[]);
    }
    let batch = builder.build().unwrap();
    let Some((identity, base_sequence, transactional)) = who else { return batch.bytes().clone() };
    let header = batch.header();
    let header = Header {
        producer_id: identity.producer_id,
        producer_epoch: identity.producer_epoch,
        base_sequence,
        attributes: if transactional { 0x10 } else { 0 },
        ..header
    };
    super::log::encode_for_tests(&header, batch.body())
}

pub(crate) fn produce(name: &str, partition: i32, records: Bytes, transactional_id: Option<&str>) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_transactional_id(transactional_id.map(|it| TransactionalId(text(it))))
        .with_topic_data(vec![data])
}

pub(crate) fn produced(response: &ProduceResponse) -> (i16, i64) {
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}
