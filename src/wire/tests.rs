//! The guard against its oracle, the generated decoders; and a connection against a hostile peer.

use super::shapes::{TABLES, table};
use super::{Connection, ConnectionSettings, Security, Tcp, WireError};
use crate::config::HostPort;
use crate::shape;
use crate::testing::golden;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn encoded<T: Encodable>(message: &T, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

/// Answers of every API with something in every array, encoded by the library.
fn samples(version_of: impl Fn(i16) -> Vec<i16>) -> Vec<(i16, i16, Bytes)> {
    let mut all = Vec::new();
    let mut add = |key: i16, encode: &dyn Fn(i16) -> Bytes| {
        for version in version_of(key) {
            all.push((key, version, encode(version)));
        }
    };
    add(0, &|v| {
        use produce_response::*;
        let mut partition = PartitionProduceResponse::default().with_index(3).with_base_offset(9);
        if v >= 8 {
            let error = BatchIndexAndErrorMessage::default()
                .with_batch_index(1)
                .with_batch_index_error_message(Some(text("x")));
            partition = partition.with_record_errors(vec![error]).with_error_message(Some(text("message")));
        }
        let mut response = ProduceResponse::default();
        if v >= 10 {
            partition = partition
                .with_current_leader(LeaderIdAndEpoch::default().with_leader_epoch(4).with_leader_id(1.into()));
            response = response.with_node_endpoints(vec![NodeEndpoint::default().with_host(text("h")).with_port(1)]);
        }
        let topic =
            TopicProduceResponse::default().with_name(text("t").into()).with_partition_responses(vec![partition]);
        encoded(&response.with_responses(vec![topic]), v)
    });
    add(1, &|v| {
        use fetch_response::*;
        let aborted = AbortedTransaction::default().with_producer_id(5.into()).with_first_offset(6);
        let mut partition = PartitionData::default()
            .with_partition_index(2)
            .with_aborted_transactions(Some(vec![aborted]))
            .with_records(Some(Bytes::from_static(b"records")));
        let mut topic = FetchableTopicResponse::default();
        if v >= 12 {
            partition = partition
                .with_diverging_epoch(EpochEndOffset::default().with_epoch(3).with_end_offset(8))
                .with_current_leader(LeaderIdAndEpoch::default().with_leader_epoch(4));
        }
        topic =
            if v >= 13 { topic.with_topic_id(uuid::Uuid::from_u128(7)) } else { topic.with_topic(text("t").into()) };
        let mut response = FetchResponse::default().with_responses(vec![topic.with_partitions(vec![partition])]);
        if v >= 16 {
            response = response.with_node_endpoints(vec![NodeEndpoint::default().with_host(text("h")).with_port(1)]);
        }
        encoded(&response, v)
    });
    add(2, &|v| {
        use list_offsets_response::*;
        let mut partition = ListOffsetsPartitionResponse::default().with_partition_index(2).with_offset(3);
        if v >= 4 {
            partition = partition.with_leader_epoch(5);
        }
        let topic = ListOffsetsTopicResponse::default().with_name(text("t").into()).with_partitions(vec![partition]);
        encoded(&ListOffsetsResponse::default().with_topics(vec![topic]), v)
    });
    add(3, &|v| {
        use metadata_response::*;
        let broker = MetadataResponseBroker::default().with_host(text("host")).with_port(9);
        let partition = MetadataResponsePartition::default()
            .with_replica_nodes(vec![1.into(), 2.into()])
            .with_isr_nodes(vec![1.into()]);
        let topic = MetadataResponseTopic::default().with_name(Some(text("t").into())).with_partitions(vec![partition]);
        let mut response = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
        if v >= 2 {
            response = response.with_cluster_id(Some(text("id")));
        }
        encoded(&response, v)
    });
    add(9, &|v| {
        use offset_fetch_response::*;
        let partition = OffsetFetchResponsePartition::default().with_committed_offset(4).with_metadata(Some(text("m")));
        let topic = OffsetFetchResponseTopic::default().with_name(text("t").into()).with_partitions(vec![partition]);
        encoded(&OffsetFetchResponse::default().with_topics(vec![topic]), v)
    });
    add(10, &|v| {
        let response = FindCoordinatorResponse::default().with_host(text("h")).with_port(3).with_node_id(1.into());
        encoded(&if v >= 1 { response.with_error_message(Some(text("m"))) } else { response }, v)
    });
    add(11, &|v| {
        use join_group_response::*;
        let mut member = JoinGroupResponseMember::default().with_member_id(text("m")).with_metadata(Bytes::from("x"));
        if v >= 5 {
            member = member.with_group_instance_id(Some(text("i")));
        }
        let response = JoinGroupResponse::default().with_member_id(text("m")).with_protocol_name(Some(text("p")));
        let response = if v >= 7 { response.with_protocol_type(Some(text("consumer"))) } else { response };
        encoded(&response.with_members(vec![member]), v)
    });
    add(13, &|v| {
        use leave_group_response::*;
        let member = MemberResponse::default().with_member_id(text("m"));
        let response = LeaveGroupResponse::default();
        encoded(&if v >= 3 { response.with_members(vec![member]) } else { response }, v)
    });
    add(14, &|v| encoded(&SyncGroupResponse::default().with_assignment(Bytes::from("x")), v));
    add(12, &|v| encoded(&HeartbeatResponse::default(), v));
    add(18, &|v| {
        use api_versions_response::*;
        let api = ApiVersion::default().with_api_key(3).with_max_version(4);
        let mut response = ApiVersionsResponse::default().with_api_keys(vec![api]);
        if v >= 3 {
            let feature =
                FinalizedFeatureKey::default().with_name(text("transaction.version")).with_max_version_level(2);
            let supported = SupportedFeatureKey::default().with_name(text("metadata.version")).with_max_version(7);
            response = response
                .with_finalized_features(vec![feature])
                .with_supported_features(vec![supported])
                .with_finalized_features_epoch(12)
                .with_zk_migration_ready(true);
        }
        encoded(&response, v)
    });
    add(19, &|v| {
        use create_topics_response::*;
        let mut topic = CreatableTopicResult::default().with_name(text("t").into()).with_error_message(Some(text("m")));
        if v >= 5 {
            let config = CreatableTopicConfigs::default().with_name(text("k")).with_value(Some(text("v")));
            topic = topic.with_configs(Some(vec![config])).with_topic_config_error_code(3);
        }
        encoded(&CreateTopicsResponse::default().with_topics(vec![topic]), v)
    });
    add(22, &|v| encoded(&InitProducerIdResponse::default(), v));
    add(23, &|v| {
        use offset_for_leader_epoch_response::*;
        let partition = EpochEndOffset::default().with_end_offset(4).with_leader_epoch(3);
        let topic = OffsetForLeaderTopicResult::default().with_topic(text("t").into()).with_partitions(vec![partition]);
        encoded(&OffsetForLeaderEpochResponse::default().with_topics(vec![topic]), v)
    });
    add(24, &|v| {
        use add_partitions_to_txn_response::*;
        let partition = AddPartitionsToTxnPartitionResult::default().with_partition_error_code(3);
        let topic = AddPartitionsToTxnTopicResult::default()
            .with_name(text("t").into())
            .with_results_by_partition(vec![partition]);
        encoded(&AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(vec![topic]), v)
    });
    add(25, &|v| encoded(&AddOffsetsToTxnResponse::default(), v));
    add(26, &|v| encoded(&EndTxnResponse::default(), v));
    add(28, &|v| {
        use txn_offset_commit_response::*;
        let partition = TxnOffsetCommitResponsePartition::default().with_error_code(3);
        let topic =
            TxnOffsetCommitResponseTopic::default().with_name(text("t").into()).with_partitions(vec![partition]);
        encoded(&TxnOffsetCommitResponse::default().with_topics(vec![topic]), v)
    });
    add(32, &|v| {
        use describe_configs_response::*;
        let mut config = DescribeConfigsResourceResult::default().with_name(text("k")).with_value(Some(text("v")));
        if v >= 1 {
            let synonym = DescribeConfigsSynonym::default().with_name(text("s")).with_value(Some(text("w")));
            config = config.with_synonyms(vec![synonym]);
        }
        if v >= 3 {
            config = config.with_documentation(Some(text("d")));
        }
        let result = DescribeConfigsResult::default().with_resource_name(text("t")).with_configs(vec![config]);
        encoded(&DescribeConfigsResponse::default().with_results(vec![result]), v)
    });
    add(37, &|v| {
        use create_partitions_response::*;
        let result =
            CreatePartitionsTopicResult::default().with_name(text("t").into()).with_error_message(Some(text("m")));
        encoded(&CreatePartitionsResponse::default().with_results(vec![result]), v)
    });
    add(8, &|v| {
        use offset_commit_response::*;
        let topic = OffsetCommitResponseTopic::default()
            .with_name(text("t").into())
            .with_partitions(vec![OffsetCommitResponsePartition::default().with_partition_index(1)]);
        encoded(&OffsetCommitResponse::default().with_topics(vec![topic]), v)
    });
    add(15, &|v| {
        use describe_groups_response::*;
        let mut member = DescribedGroupMember::default()
            .with_member_id(text("m"))
            .with_client_id(text("c"))
            .with_client_host(text("/h"))
            .with_member_metadata(Bytes::from_static(b"s"));
        if v >= 4 {
            member = member.with_group_instance_id(Some(text("i")));
        }
        let group = DescribedGroup::default().with_group_id(text("g").into()).with_members(vec![member]);
        encoded(&DescribeGroupsResponse::default().with_groups(vec![group]), v)
    });
    add(16, &|v| {
        use list_groups_response::*;
        let mut group = ListedGroup::default().with_group_id(text("g").into()).with_protocol_type(text("consumer"));
        if v >= 4 {
            group = group.with_group_state(text("Stable"));
        }
        if v >= 5 {
            group = group.with_group_type(text("classic"));
        }
        encoded(&ListGroupsResponse::default().with_groups(vec![group]), v)
    });
    add(69, &|v| {
        use consumer_group_describe_response::*;
        let topic = TopicPartitions::default().with_topic_name(text("t").into()).with_partitions(vec![1, 2]);
        let assignment = Assignment::default().with_topic_partitions(vec![topic]);
        let member = Member::default()
            .with_member_id(text("m"))
            .with_subscribed_topic_names(vec![text("t").into()])
            .with_assignment(assignment.clone())
            .with_target_assignment(assignment);
        let group = DescribedGroup::default().with_group_id(text("g").into()).with_members(vec![member]);
        encoded(&ConsumerGroupDescribeResponse::default().with_groups(vec![group]), v)
    });
    add(65, &|v| {
        use describe_transactions_response::*;
        let topic = TopicData::default().with_topic(text("t").into()).with_partitions(vec![1, 2]);
        let state = TransactionState::default()
            .with_transactional_id(text("i").into())
            .with_transaction_state(text("CompleteCommit"))
            .with_topics(vec![topic]);
        encoded(&DescribeTransactionsResponse::default().with_transaction_states(vec![state]), v)
    });
    add(44, &|v| {
        use incremental_alter_configs_response::*;
        let result =
            AlterConfigsResourceResponse::default().with_resource_name(text("t")).with_error_message(Some(text("m")));
        encoded(&IncrementalAlterConfigsResponse::default().with_responses(vec![result]), v)
    });
    all
}

fn all_samples() -> Vec<(i16, i16, Bytes)> {
    samples(|key| table(key).map_or_else(Vec::new, |table| (table.first..=table.last).collect()))
}

/// Decoding alone, by API key: what must not be reached with a hostile count.
fn decodes(key: i16, version: i16, mut bytes: Bytes) -> bool {
    macro_rules! decode {
        ($($key:literal => $type:ty),+) => {
            match key { $($key => <$type>::decode(&mut bytes, version).is_ok(),)+ _ => panic!("no decoder for {key}") }
        };
    }
    decode!(0 => ProduceResponse, 1 => FetchResponse, 2 => ListOffsetsResponse, 3 => MetadataResponse,
        8 => OffsetCommitResponse, 9 => OffsetFetchResponse, 10 => FindCoordinatorResponse, 11 => JoinGroupResponse,
        12 => HeartbeatResponse, 13 => LeaveGroupResponse, 14 => SyncGroupResponse, 15 => DescribeGroupsResponse, 16 => ListGroupsResponse,
        18 => ApiVersionsResponse, 19 => CreateTopicsResponse,
        22 => InitProducerIdResponse, 23 => OffsetForLeaderEpochResponse, 24 => AddPartitionsToTxnResponse,
        25 => AddOffsetsToTxnResponse, 26 => EndTxnResponse, 28 => TxnOffsetCommitResponse, 32 => DescribeConfigsResponse,
        37 => CreatePartitionsResponse, 44 => IncrementalAlterConfigsResponse, 65 => DescribeTransactionsResponse,
        69 => ConsumerGroupDescribeResponse)
}

#[test]
fn every_table_fits_the_library_in_every_version() {
    let samples = all_samples();
    for table in TABLES {
        assert!(samples.iter().any(|(key, ..)| *key == table.key), "no sample for {}", table.key);
    }
    for (key, version, bytes) in samples {
        let table = table(key).unwrap();
        assert_eq!(shape::check(table, version, &bytes), Ok(()), "{key} v{version}");
        for length in 0..bytes.len() {
            let cut = bytes.slice(..length);
            assert!(shape::check(table, version, &cut).is_err(), "{key} v{version} cut to {length} of {}", bytes.len());
        }
    }
}

/// Tables and library could be wrong together; Java is not. Unknown tagged fields are among what it wrote.
#[test]
fn every_table_fits_what_java_wrote_in_every_version() {
    let mut missing: BTreeSet<_> =
        TABLES.iter().flat_map(|table| (table.first..=table.last).map(|version| (table.key, version))).collect();
    for golden in golden().into_iter().filter(|it| !it.is_request) {
        let (key, version) = (golden.key, golden.version);
        let Some(table) = table(key).filter(|table| (table.first..=table.last).contains(&version)) else { continue };
        // ApiVersions alone keeps the old header.
        let header_version = i16::from(version >= table.flexible && key != 18);
        let header = shape::header_length(header_version, &golden.frame).unwrap();
        let body = golden.frame.slice(header..);
        assert_eq!(shape::check_within(table, version, &body, 1_000), Ok(body.len()), "{key} v{version}");
        for length in 0..body.len() {
            assert!(shape::check(table, version, &body[..length]).is_err(), "{key} v{version} cut to {length}");
        }
        assert!(decodes(key, version, body), "{key} v{version}");
        missing.remove(&(key, version));
    }
    assert_eq!(missing, BTreeSet::new(), "nothing is recorded of these");
}

proptest! {
    #[test]
    fn what_passes_the_guard_can_be_decoded_without_harm(
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let samples = all_samples();
        let (key, version, bytes) = &samples[pick.index(samples.len())];
        let mut bytes = bytes.to_vec();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if shape::check(table(*key).unwrap(), *version, &bytes).is_ok() {
            // A hostile count that got through would abort the test's process here.
            decodes(*key, *version, Bytes::from(bytes));
        }
    }
}

async fn listen() -> (TcpListener, HostPort) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, HostPort { host: "127.0.0.1".to_owned(), port })
}

fn settings() -> ConnectionSettings {
    ConnectionSettings {
        client_id: "test".to_owned(),
        connect_timeout: Duration::from_secs(5),
        fetch_answer_bytes_max: 1 << 20,
        read_buffer_bytes: 4 << 10,
        network: Arc::new(Tcp),
    }
}

/// Reads one request and gives its correlation id.
async fn request(stream: &mut TcpStream) -> i32 {
    let length = stream.read_i32().await.unwrap();
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await.unwrap();
    i32::from_be_bytes(frame[4..8].try_into().unwrap())
}

async fn answer(stream: &mut TcpStream, correlation_id: i32, body: &[u8]) {
    let mut frame = Vec::new();
    frame.extend(i32::try_from(body.len() + 4).unwrap().to_be_bytes());
    frame.extend(correlation_id.to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame).await.unwrap();
}

fn versions(version: i16) -> Bytes {
    let api = |key, last| {
        api_versions_response::ApiVersion::default().with_api_key(key).with_min_version(0).with_max_version(last)
    };
    let response = ApiVersionsResponse::default().with_api_keys(vec![api(18, 2), api(22, 1), api(1, 11)]);
    encoded(&response, version)
}

#[tokio::test]
async fn an_old_broker_is_asked_again_in_its_own_version() {
    let (listener, address) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let id = request(&mut stream).await;
        let api = api_versions_response::ApiVersion::default().with_api_key(18).with_max_version(2);
        let refusal = ApiVersionsResponse::default().with_error_code(35).with_api_keys(vec![api]);
        answer(&mut stream, id, &encoded(&refusal, 0)).await;
        let id = request(&mut stream).await;
        answer(&mut stream, id, &versions(2)).await;
        stream
    });
    let connection = Connection::open(&address, &Security::Plaintext, &settings()).await.unwrap();
    assert_eq!(connection.version::<InitProducerIdRequest>(5), Ok(1));
    let missing = connection.version::<MetadataRequest>(12).unwrap_err();
    assert!(missing.to_string().contains("Metadata not at all"), "{missing}");
    broker.await.unwrap();
}

async fn opened() -> (TcpStream, Connection) {
    let (listener, address) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let id = request(&mut stream).await;
        answer(&mut stream, id, &versions(4)).await;
        stream
    });
    let connection = Connection::open(&address, &Security::Plaintext, &settings()).await.unwrap();
    (broker.await.unwrap(), connection)
}

const WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn answers_find_their_requests_and_late_ones_are_thrown_away() {
    let (mut stream, connection) = opened().await;
    let ask = |timeout| connection.send(1, &InitProducerIdRequest::default(), timeout);
    let (first, second) = (ask(Duration::from_millis(20)), ask(WITHIN));
    assert!(first.await.unwrap_err().is_timeout());
    for producer_id in [1, 2] {
        let id = request(&mut stream).await;
        let body = InitProducerIdResponse::default().with_producer_id(producer_id.into());
        answer(&mut stream, id, &encoded(&body, 1)).await;
    }
    assert_eq!(second.await.unwrap().producer_id.0, 2);
    assert!(!connection.is_dead());
}

#[tokio::test]
async fn a_dead_connection_fails_every_waiter_and_every_later_request() {
    let (stream, connection) = opened().await;
    let ask = || connection.send(1, &InitProducerIdRequest::default(), WITHIN);
    let (first, second) = (ask(), ask());
    drop(stream);
    assert!(matches!(first.await, Err(WireError::Closed { .. })));
    assert!(matches!(second.await, Err(WireError::Closed { .. })));
    assert!(connection.is_dead());
    assert!(matches!(ask().await, Err(WireError::Closed { .. })));
}

#[tokio::test]
async fn hostile_answers_end_the_connection_or_the_request() {
    for (length, says) in [(i32::MAX, "a frame of"), (-1, "a frame of"), (3, "a frame of"), (0x1503_0300, "by TLS")] {
        let (mut stream, connection) = opened().await;
        let asked = connection.send(1, &InitProducerIdRequest::default(), WITHIN);
        stream.write_i32(length).await.unwrap();
        let error = asked.await.unwrap_err();
        assert!(matches!(error, WireError::NotKafka { .. }) && error.to_string().contains(says), "{error}");
    }
    let (mut stream, connection) = opened().await;
    let asked = connection.send(4, &FetchRequest::default(), WITHIN);
    let id = request(&mut stream).await;
    // throttle_time_ms, then two billion topics.
    answer(&mut stream, id, &[0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]).await;
    let error = asked.await.unwrap_err();
    assert!(matches!(error, WireError::Malformed { .. }), "{error}");
    let asked = connection.send(4, &FetchRequest::default(), WITHIN);
    let id = request(&mut stream).await;
    answer(&mut stream, id.wrapping_add(1), &[0; 8]).await;
    assert!(asked.await.is_err());
    assert!(connection.is_dead());
}

#[tokio::test]
async fn nobody_there_is_said() {
    let (listener, address) = listen().await;
    drop(listener);
    let error = Connection::open(&address, &Security::Plaintext, &settings()).await.err().unwrap();
    assert!(matches!(error, WireError::Connect { .. }), "{error}");
}
