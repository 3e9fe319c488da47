//! Frames: what a broker answers to the bridge, and what a client asks of the embedded cluster.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_bridge::broker::{Action, Cluster, ConnectionId, Settings};
use kafka_bridge::config::HostPort;
use kafka_bridge::wire::{Connecting, Connection, ConnectionSettings, Network, Security, Stream, WireError};
use kafka_protocol::messages::*;
use protocol_tests::golden;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::targets::{Taken, Verdict, ensure};

const DUPLEX_BYTES: usize = 256 << 10;
const ANSWER_BYTES_MAX: usize = 1 << 20;
const START_MS: i64 = 1_700_000_000_000;
/// In one input.
const FRAMES_MAX: usize = 20;
/// A frame of the mutated kind is sent as it is; any other gets a length and the correlation id that is due.
const RAW: u8 = 0x80;

/// Version, API, and an answer that Java wrote, without its correlation id.
pub(crate) fn answers_corpus() -> Vec<Vec<u8>> {
    let mut corpus = Vec::new();
    for (_, recorded) in golden::messages().unwrap_or_default() {
        let key = recorded.first().and_then(|it| it.bytes.get(1).copied()).unwrap_or(0);
        for response in recorded.iter().filter(|it| it.title.starts_with("response")) {
            let version = response.title.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0u8);
            corpus.push([&[version, key], response.bytes.get(4..).unwrap_or_default()].concat());
        }
    }
    corpus
}

/// One connection, whose broker negotiates well and then answers with this.
pub(crate) fn answers(input: &[u8]) -> Verdict {
    let [first, key, bytes @ ..] = input else { return Ok(Taken::No) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(|it| it.to_string())?;
    runtime.block_on(async {
        let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
        let settings = ConnectionSettings {
            client_id: "fuzz".to_owned(),
            connect_timeout: Duration::from_secs(10),
            fetch_answer_bytes_max: ANSWER_BYTES_MAX,
            read_buffer_bytes: 4 << 10,
            network: Arc::new(Once(Mutex::new(Some(ours)))),
        };
        let broker = tokio::spawn(broker(theirs, first & RAW != 0, bytes.to_vec()));
        let address = HostPort { host: "fuzz".to_owned(), port: 1 };
        let opened = Connection::open(&address, &Security::Plaintext, &settings).await;
        let connection = opened.map_err(|error| format!("it does not open: {error}"))?;
        let answered = ask(&connection, i16::from(*key), i16::from(first & !RAW)).await;
        if let Err(error) = &answered {
            // The broker is gone after its answer: nothing may wait for more.
            ensure(!matches!(error, WireError::Timeout { .. }), || format!("{error}"))?;
        }
        connection.close();
        ensure(connection.is_dead(), || "it is closed, and not dead".to_owned())?;
        broker.abort();
        Ok(Taken::when(answered.is_ok()))
    })
}

#[derive(Debug)]
struct Once(Mutex<Option<DuplexStream>>);

impl Network for Once {
    fn connect<'a>(&'a self, _: &'a str, _: u16) -> Connecting<'a> {
        Box::pin(async move {
            let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream.map(|it| Box::new(it) as Box<dyn Stream>).ok_or_else(|| io::Error::other("only once"))
        })
    }
}

async fn broker(mut stream: DuplexStream, is_raw: bool, bytes: Vec<u8>) -> io::Result<()> {
    let id = correlation_id(&mut stream).await?;
    // Error 0, no APIs: the fuzzer asks without looking.
    frame(&mut stream, id, &[0, 0, 1, 0, 0, 0, 0, 0]).await?;
    let id = correlation_id(&mut stream).await?;
    if is_raw { stream.write_all(&bytes).await } else { frame(&mut stream, id, &bytes).await }
}

async fn correlation_id(stream: &mut DuplexStream) -> io::Result<i32> {
    let length = usize::try_from(stream.read_i32().await?).unwrap_or(0);
    let mut request = vec![0; length];
    stream.read_exact(&mut request).await?;
    Ok(request.get(4..8).and_then(|it| it.try_into().ok()).map_or(0, i32::from_be_bytes))
}

async fn frame(stream: &mut DuplexStream, correlation_id: i32, body: &[u8]) -> io::Result<()> {
    stream.write_i32((body.len() + 4) as i32).await?;
    stream.write_i32(correlation_id).await?;
    stream.write_all(body).await
}

async fn ask(connection: &Connection, key: i16, version: i16) -> Result<(), WireError> {
    let limit = Duration::from_secs(10);
    macro_rules! ask {
        ($($key:literal => $type:ty),+) => {
            match key {
                // Versions that the bridge would not negotiate are none of its answers.
                $($key => connection.send_encoded::<$type>(version.min(LAST), vec![Bytes::new()], limit).await.map(drop),)+
                _ => Ok(()),
            }
        };
    }
    const LAST: i16 = 16;
    ask!(0 => ProduceRequest, 1 => FetchRequest, 2 => ListOffsetsRequest, 3 => MetadataRequest,
        9 => OffsetFetchRequest, 10 => FindCoordinatorRequest, 12 => HeartbeatRequest, 18 => ApiVersionsRequest,
        19 => CreateTopicsRequest, 22 => InitProducerIdRequest, 23 => OffsetForLeaderEpochRequest,
        24 => AddPartitionsToTxnRequest, 25 => AddOffsetsToTxnRequest, 26 => EndTxnRequest, 28 => TxnOffsetCommitRequest,
        32 => DescribeConfigsRequest, 37 => CreatePartitionsRequest, 44 => IncrementalAlterConfigsRequest)
}

/// Frames with two bytes of length: what Java asks, and a session that leads somewhere.
pub(crate) fn requests_corpus() -> Vec<Vec<u8>> {
    let mut corpus = vec![session()];
    for (_, recorded) in golden::messages().unwrap_or_default() {
        for request in recorded.iter().filter(|it| it.title.starts_with("request")) {
            corpus.push([&(request.bytes.len() as u16).to_be_bytes(), request.bytes.as_ref()].concat());
        }
    }
    corpus
}

/// A topic is made, and written in a transaction, read, and the transaction ended.
fn session() -> Vec<u8> {
    use kafka_protocol::protocol::{Encodable, Request, StrBytes};
    fn add<R: Request>(session: &mut BytesMut, version: i16, request: &R) {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("fuzz")));
        let mut frame = BytesMut::new();
        if header.encode(&mut frame, R::header_version(version)).is_ok() && request.encode(&mut frame, version).is_ok()
        {
            session.put_u16(frame.len() as u16);
            session.extend_from_slice(&frame);
        }
    }
    let topic = || TopicName(StrBytes::from_static_str("t"));
    let id = || TransactionalId(StrBytes::from_static_str("x"));
    let mut session = BytesMut::new();
    let new = create_topics_request::CreatableTopic::default()
        .with_name(topic())
        .with_num_partitions(1)
        .with_replication_factor(1);
    add(&mut session, 5, &CreateTopicsRequest::default().with_topics(vec![new]).with_timeout_ms(100));
    let find = FindCoordinatorRequest::default().with_key(id().0).with_key_type(1);
    add(&mut session, 2, &find);
    add(
        &mut session,
        3,
        &InitProducerIdRequest::default().with_transactional_id(Some(id())).with_transaction_timeout_ms(900),
    );
    let partition =
        add_partitions_to_txn_request::AddPartitionsToTxnTopic::default().with_name(topic()).with_partitions(vec![0]);
    add(
        &mut session,
        3,
        &AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(id())
            .with_v3_and_below_topics(vec![partition]),
    );
    for recorded in golden::batches().unwrap_or_default().into_iter().filter(|it| it.title.starts_with("plain")) {
        let mut records = recorded.bytes.to_vec();
        records[..8].fill(0);
        let data = produce_request::PartitionProduceData::default().with_records(Some(records.into()));
        let data = produce_request::TopicProduceData::default().with_name(topic()).with_partition_data(vec![data]);
        add(&mut session, 9, &ProduceRequest::default().with_acks(-1).with_timeout_ms(9).with_topic_data(vec![data]));
    }
    let asked = fetch_request::FetchPartition::default().with_partition_max_bytes(9_999);
    let asked = fetch_request::FetchTopic::default().with_topic(topic()).with_partitions(vec![asked]);
    add(&mut session, 12, &FetchRequest::default().with_max_bytes(9_999).with_topics(vec![asked]));
    let asked = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1).with_current_leader_epoch(-1);
    let asked = list_offsets_request::ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![asked]);
    add(&mut session, 6, &ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]));
    add(&mut session, 3, &EndTxnRequest::default().with_transactional_id(id()).with_committed(true));
    session.to_vec()
}

/// Each frame gets one output at most, or waits; whatever comes, the cluster goes on.
pub(crate) fn requests(input: &[u8]) -> Verdict {
    let settings =
        Settings { log_bytes_max: 1 << 20, offsets_partitions: 1, transaction_partitions: 1, ..Settings::nodes(1) };
    let mut cluster = Cluster::new(settings, START_MS);
    cluster.advertise(0, 0, "localhost", 9092);
    let mut rest = input;
    let mut now_ms = START_MS;
    let mut answered = 0;
    for number in 0..FRAMES_MAX as u64 {
        let Some((length, behind)) = rest.split_first_chunk() else { break };
        let (frame, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)).min(behind.len()));
        rest = behind;
        let connection = ConnectionId(number);
        ensure(cluster.connect(connection, 0, 0), || "it takes no connection".to_owned())?;
        cluster.handle(now_ms, connection, &Bytes::copy_from_slice(frame));
        let mut outputs = 0;
        while let Some(output) = cluster.poll_output() {
            outputs += usize::from(output.connection == connection);
            answered += usize::from(matches!(output.action, Action::Send(_)));
        }
        ensure(outputs <= 1, || format!("{outputs} answers to one request"))?;
        now_ms += 100;
        cluster.handle_timeout(now_ms);
        while cluster.poll_output().is_some() {}
    }
    Ok(Taken::when(answered > 0))
}
