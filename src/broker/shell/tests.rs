//! The machine over real sockets, over memory, and over a kill.

use super::{Server, ServerSecurity, StoreError};
use crate::broker::settings::Settings;
use crate::broker::testing::{Bench, START, batch, produce, produced, text, topic};
use crate::broker::{Cluster, Fault, Rule};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, HeaderVersion};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

fn framed<R: crate::broker::request::Served>(version: i16, request: &R) -> Bytes {
    let frame = Bench::frame(version, request);
    let mut bytes = BytesMut::new();
    bytes.put_u32(frame.len() as u32);
    bytes.put_slice(&frame);
    bytes.freeze()
}

async fn read<R: crate::broker::request::Served>(stream: &mut (impl AsyncRead + Unpin), version: i16) -> R::Response {
    let mut frame = vec![0; stream.read_u32().await.unwrap() as usize];
    stream.read_exact(&mut frame).await.unwrap();
    let mut frame = Bytes::from(frame);
    ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
    R::Response::decode(&mut frame, version).unwrap()
}

async fn ask<R: crate::broker::request::Served>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    version: i16,
    request: &R,
) -> R::Response {
    stream.write_all(&framed(version, request)).await.unwrap();
    read::<R>(stream, version).await
}

fn create() -> CreateTopicsRequest {
    use create_topics_request::CreatableTopic;
    let new = CreatableTopic::default().with_name(topic("t")).with_num_partitions(1).with_replication_factor(1);
    CreateTopicsRequest::default().with_topics(vec![new])
}

async fn listening(server: &Server) -> TcpStream {
    let address = server.listen(0, 0, ("127.0.0.1", 0), "localhost", ServerSecurity::Plaintext).await.unwrap();
    TcpStream::connect(address).await.unwrap()
}

#[tokio::test]
async fn clients_find_the_port_that_was_free() {
    let server = Server::open(Settings::nodes(1), None).unwrap();
    let mut stream = listening(&server).await;
    let metadata = ask(&mut stream, 9, &MetadataRequest::default().with_topics(None)).await;
    assert_eq!(metadata.brokers[0].port, i32::from(stream.peer_addr().unwrap().port()));
    // Two requests at once are answered one after the other.
    let pipelined = [framed(5, &create()), framed(9, &produce("t", 0, batch(2, None), None))].concat();
    stream.write_all(&pipelined).await.unwrap();
    assert_eq!(read::<CreateTopicsRequest>(&mut stream, 5).await.topics[0].error_code, 0);
    assert_eq!(produced(&read::<ProduceRequest>(&mut stream, 9).await), (0, 0));
    server.shutdown().await;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "shutdown closes what is open");
}

#[tokio::test]
async fn hostile_lengths_and_bytes_end_the_connection_alone() {
    let server = Server::open(Settings::nodes(1), None).unwrap();
    let address = server.listen(0, 0, ("127.0.0.1", 0), "localhost", ServerSecurity::Plaintext).await.unwrap();
    for bytes in [
        &i32::MAX.to_be_bytes()[..],
        &(-1i32).to_be_bytes(),
        &[0, 0, 0, 0],
        &[0, 0, 0, 4, 1, 2, 3, 4],
        // Metadata v1 that claims two billion topics.
        &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{bytes:?}");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut stream, 5, &create()).await.topics[0].error_code, 0);
    server.shutdown().await;
}

/// A network in memory, and the clock of the test.
#[tokio::test(start_paused = true)]
async fn time_is_the_runtimes() {
    let mut cluster = Cluster::new(Settings::nodes(1), START);
    cluster.create_topic("t", 1, 1, &[]).unwrap();
    let rule = cluster.add_rule(Rule::new(0, Fault::DelayAnswer(3_600_000)));
    let server = Server::start(cluster, START);
    let (mut client, theirs) = tokio::io::duplex(1 << 16);
    server.attach(0, 0, theirs);
    let before = tokio::time::Instant::now();
    assert_eq!(produced(&ask(&mut client, 9, &produce("t", 0, batch(1, None), None)).await), (0, 0));
    assert_eq!(before.elapsed().as_secs(), 3_600);
    assert_eq!(server.with(|cluster, now_ms| (cluster.struck(rule), now_ms)), (1, START + 3_600_000));
    server.shutdown().await;
}

#[tokio::test]
async fn a_killed_cluster_goes_on_from_its_folder() {
    let folder = std::env::temp_dir().join(format!("kafka-bridge-store-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let settings = || Settings { marker_delay_ms: 0, ..Settings::nodes(1) };
    for run in 0..3 {
        let server = Server::open(settings(), Some(&folder)).unwrap();
        let mut stream = listening(&server).await;
        let created = ask(&mut stream, 5, &create()).await.topics[0].error_code;
        assert_eq!(created, if run == 0 { 0 } else { 36 });
        let find = FindCoordinatorRequest::default().with_key_type(1).with_key(text("id"));
        while ask(&mut stream, 3, &find).await.error_code != 0 {}
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text("id"))))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let mut who = ask(&mut stream, 4, &init).await;
        if run > 0 {
            // The transaction that was open when it was killed.
            assert_eq!(who.error_code, 51);
            who = ask(&mut stream, 4, &init).await;
        }
        assert_eq!((who.error_code, who.producer_id.0, who.producer_epoch), (0, 0, 2 * run));
        let who = crate::types::ProducerIdentity { producer_id: 0, producer_epoch: who.producer_epoch };
        let request = produce("t", 0, batch(1, Some((who, 0, true))), Some("id"));
        // Each run leaves one record, and the next one its marker before its own.
        assert_eq!(produced(&ask(&mut stream, 12, &request).await), (0, i64::from(2 * run)));
        assert!(matches!(Server::open(settings(), Some(&folder)), Err(StoreError::InUse { .. })));
        if run == 1 {
            // A write that the kill cut off.
            let last = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).max().unwrap();
            let mut file = std::fs::OpenOptions::new().append(true).open(last).unwrap();
            std::io::Write::write_all(&mut file, &[0, 0, 0, 99, 1]).unwrap();
        }
        server.shutdown().await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
