//! A minimal, slow, blocking Kafka client for plaintext listeners: the tests' second opinion.
//!
//! It shares nothing with the bridge but Kafka's generated messages; connections, batches and the filter of aborted
//! records are its own.

mod acl;
mod admin;
mod groups;
mod produce;
mod read;
pub mod records;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader,
    TopicName, metadata_request::MetadataRequestTopic,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use uuid::Uuid;

pub use acl::{Acl, Pattern, Resource};
pub use admin::{Hanging, Offsets};
pub use produce::Producer;
pub use read::{Isolation, Rec, outcomes};
pub use records::{Codec, NewBatch, NewRecord, ReadBatch};

/// No answer of a broker in a test is larger; a corrupt length must not take the machine's memory.
const FRAME_BYTES_MAX: usize = 128 << 20;
const IO_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an operation is repeated on errors that pass by themselves.
const RETRY_LIMIT: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Metadata and ApiVersions in versions that every release from 2.8 to 4.x speaks; 10 has topic ids.
const METADATA_VERSION: i16 = 10;
const API_VERSIONS_VERSION: i16 = 3;
/// Error codes that pass by themselves: unknown topic (just created), no leader, not leader, request timed out, broker not
/// available, replica not available, network, coordinator loading / not available / moved, not enough replicas (twice),
/// not controller, concurrent transactions, kafka storage, fenced leader epoch, offset not available (a new leader's high
/// watermark has not caught up), unknown topic id.
const RETRIABLE: [i16; 18] = [3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 74, 78, 100];

/// An error code of a broker.
#[derive(Debug)]
pub struct Code(pub i16);

impl std::fmt::Display for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Kafka error code {}", self.0)
    }
}

impl std::error::Error for Code {}

/// Turns a response's code into a result.
pub(crate) fn check(code: i16) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(anyhow!(Code(code))) }
}

/// A client of one cluster.
pub struct RawClient {
    bootstrap: Vec<String>,
    connections: BTreeMap<String, TcpStream>,
    brokers: BTreeMap<i32, String>,
    correlation_id: i32,
}

impl RawClient {
    pub fn new(bootstrap: Vec<String>) -> RawClient {
        RawClient { bootstrap, connections: BTreeMap::new(), brokers: BTreeMap::new(), correlation_id: 0 }
    }

    /// What the broker says about itself; `finalized_features` holds `transaction.version`.
    pub fn api_versions(&mut self) -> Result<ApiVersionsResponse> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("kafka-bridge-tests"))
            .with_client_software_version(StrBytes::from_static_str("1"));
        self.any(API_VERSIONS_VERSION, &request)
    }

    /// The finalized `transaction.version`; 0 where the feature is unknown.
    pub fn transaction_version(&mut self) -> Result<i16> {
        let answer = self.api_versions()?;
        let feature = answer.finalized_features.iter().find(|feature| feature.name.as_str() == "transaction.version");
        Ok(feature.map_or(0, |feature| feature.max_version_level))
    }

    /// The brokers that one attempt at ApiVersions and Metadata names.
    pub fn brokers_once(&mut self) -> Result<BTreeMap<i32, String>> {
        check(self.api_versions()?.error_code)?;
        self.metadata(Some(&[]))?;
        Ok(self.brokers.clone())
    }

    /// Metadata of some topics, or of all.
    pub fn metadata(&mut self, topics: Option<&[&str]>) -> Result<MetadataResponse> {
        let names = topics.map(|names| {
            names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect()
        });
        let request = MetadataRequest::default().with_topics(names).with_allow_auto_topic_creation(false);
        let answer: MetadataResponse = self.any(METADATA_VERSION, &request)?;
        self.brokers = answer
            .brokers
            .iter()
            .map(|broker| (broker.node_id.0, format!("{}:{}", broker.host.as_str(), broker.port)))
            .collect();
        Ok(answer)
    }

    /// The number of partitions of a topic.
    pub fn partition_count(&mut self, topic: &str) -> Result<i32> {
        self.retry(|client| {
            let answer = client.metadata(Some(&[topic]))?;
            let metadata = answer.topics.first().context("no topic in the answer")?;
            check(metadata.error_code)?;
            Ok(i32::try_from(metadata.partitions.len())?)
        })
    }

    /// None: there is no such topic.
    pub fn topic_id(&mut self, topic: &str) -> Result<Option<Uuid>> {
        let answer = self.metadata(Some(&[topic]))?;
        Ok(answer.topics.first().filter(|found| found.error_code == 0).map(|found| found.topic_id))
    }

    /// The node that leads a partition.
    pub fn leader_of(&mut self, topic: &str, partition: i32) -> Result<i32> {
        self.retry(|client| client.leader(topic, partition))
    }

    /// All topic names that are not Kafka's own.
    pub fn topic_names(&mut self) -> Result<Vec<String>> {
        let answer = self.retry(|client| client.metadata(None))?;
        let names = answer.topics.iter().filter(|topic| !topic.is_internal).filter_map(|topic| topic.name.as_ref());
        Ok(names.map(|name| name.0.as_str().to_owned()).collect())
    }

    /// Waits until every replica of every partition is in sync: only then may another node fall.
    pub fn until_replicated(&mut self) -> Result<()> {
        self.retry(|client| {
            let answer = client.metadata(None)?;
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let behind = partitions.any(|it| it.leader_id.0 < 0 || it.isr_nodes.len() < it.replica_nodes.len());
            // REPLICA_NOT_AVAILABLE
            if behind { check(9) } else { Ok(()) }
        })
    }

    pub fn leader(&mut self, topic: &str, partition: i32) -> Result<i32> {
        let answer = self.metadata(Some(&[topic]))?;
        let metadata = answer.topics.first().context("no topic in the answer")?;
        check(metadata.error_code)?;
        let found = metadata.partitions.iter().find(|metadata| metadata.partition_index == partition);
        let found = found.with_context(|| format!("topic {topic} has no partition {partition}"))?;
        ensure!(found.leader_id.0 >= 0, Code(5));
        Ok(found.leader_id.0)
    }

    /// The leader of a partition as one node knows it.
    pub fn leader_by(&mut self, node: i32, topic: &str, partition: i32) -> Result<i32> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        let answer = self.send(node, METADATA_VERSION, &request)?;
        let mut partitions = answer.topics.iter().flat_map(|it| &it.partitions);
        let found = partitions.find(|it| it.partition_index == partition);
        Ok(found.with_context(|| format!("node {node} knows no {topic}-{partition}"))?.leader_id.0)
    }

    /// Repeats an operation while its error is one that passes by itself: a broker that starts, moves or was killed.
    pub fn retry<T>(&mut self, mut operation: impl FnMut(&mut RawClient) -> Result<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            let error = match operation(self) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let code = error.downcast_ref::<Code>().map(|code| code.0);
            let passes = code.is_some_and(|code| RETRIABLE.contains(&code)) || error.is::<std::io::Error>();
            if !passes || start.elapsed() > RETRY_LIMIT {
                return Err(error);
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// Sends to any broker that can be reached.
    pub fn any<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response>
    where
        R::Response: HeaderVersion + Decodable,
    {
        let addresses: Vec<String> = self.bootstrap.iter().chain(self.brokers.values()).cloned().collect();
        let mut last = anyhow!("no bootstrap address");
        for address in addresses {
            match self.exchange(&address, version, request) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sends to one broker by its id.
    pub fn send<R: Request>(&mut self, node: i32, version: i16, request: &R) -> Result<R::Response>
    where
        R::Response: HeaderVersion + Decodable,
    {
        if !self.brokers.contains_key(&node) {
            self.metadata(Some(&[]))?;
        }
        let address = self.brokers.get(&node).cloned().ok_or(Code(8))?;
        self.exchange(&address, version, request)
    }

    /// Sends to the controller; a KRaft broker forwards, so any is right there, and only ZooKeeper's must be found.
    pub(crate) fn send_controller<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response>
    where
        R::Response: HeaderVersion + Decodable,
    {
        let controller = self.metadata(Some(&[]))?.controller_id.0;
        self.send(controller, version, request)
    }

    fn exchange<R: Request>(&mut self, address: &str, version: i16, request: &R) -> Result<R::Response>
    where
        R::Response: HeaderVersion + Decodable,
    {
        let result = self.exchange_once(address, version, request);
        if result.is_err() {
            // The connection's state is unknown: a late answer must never be taken for the next request's.
            self.connections.remove(address);
        }
        result
    }

    fn exchange_once<R: Request>(&mut self, address: &str, version: i16, request: &R) -> Result<R::Response>
    where
        R::Response: HeaderVersion + Decodable,
    {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let correlation_id = self.correlation_id;
        let mut frame = BytesMut::from(&[0u8; 4][..]);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("kafka-bridge-tests")));
        header.encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        let length = u32::try_from(frame.len() - 4)?;
        frame[..4].copy_from_slice(&length.to_be_bytes());

        let stream = match self.connections.get_mut(address) {
            Some(stream) => stream,
            None => self.connections.entry(address.to_owned()).or_insert(connect(address)?),
        };
        stream.write_all(&frame)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length <= FRAME_BYTES_MAX, "an answer of {length} bytes");
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let mut body = Bytes::from(body);
        let header = ResponseHeader::decode(&mut body, R::Response::header_version(version))?;
        ensure!(header.correlation_id == correlation_id, "an answer to another request");
        let answer = R::Response::decode(&mut body, version)?;
        ensure!(body.is_empty(), "{} unread bytes behind an answer to API {}", body.len(), R::KEY);
        Ok(answer)
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let mut last = None;
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, Duration::from_secs(5)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(IO_TIMEOUT))?;
                stream.set_write_timeout(Some(IO_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error.into()),
        None => bail!("{address} has no address"),
    }
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
