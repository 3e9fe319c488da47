//! The whole machine through its frames.

use super::cluster::Action;
use super::faults::{Fault, Loss, Rule};
use super::settings::Settings;
use super::testing::{Bench, batch, produce, produced, text, topic};
use super::{apis, nodes::Coordinator};
use crate::types::{ProducerIdentity, TopicPartition};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::*;

const ID: &str = "id";

fn fetch(partition: i32, offset: i64, read_committed: bool, wait_ms: i32) -> FetchRequest {
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_min_bytes(1)
        .with_max_wait_ms(wait_ms)
        .with_session_epoch(-1)
        .with_isolation_level(i8::from(read_committed))
        .with_topics(vec![FetchTopic::default().with_topic(topic("t")).with_partitions(vec![asked])])
}

fn fetched(response: &FetchResponse) -> &PartitionData {
    &response.responses[0].partitions[0]
}

/// The last stable offset and the high watermark.
fn ends(bench: &mut Bench) -> (i64, i64) {
    let mut end = |isolation| {
        let asked = ListOffsetsPartition::default().with_timestamp(-1).with_current_leader_epoch(-1);
        let asked = ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_isolation_level(isolation).with_topics(vec![asked]);
        let node = bench.cluster.leader("t", 0).unwrap_or(0);
        bench.ask_at(node, 6, &request).topics[0].partitions[0].offset
    };
    (end(1), end(0))
}

fn with_topic(mut bench: Bench) -> Bench {
    bench.cluster.create_topic("t", 2, 1, &[]).unwrap();
    // The first one creates the internal topics.
    for kind in [0, 1] {
        let request = FindCoordinatorRequest::default().with_key(text(ID)).with_key_type(kind);
        assert_eq!(bench.ask(3, &request).error_code, 15);
        assert_eq!(bench.ask(3, &request).error_code, 0);
    }
    bench
}

fn init(bench: &mut Bench) -> ProducerIdentity {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(ID))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let answer = bench.ask(4, &request);
    assert_eq!(answer.error_code, 0);
    ProducerIdentity { producer_id: answer.producer_id.0, producer_epoch: answer.producer_epoch }
}

fn add(bench: &mut Bench, who: ProducerIdentity) -> i16 {
    let topics = vec![AddPartitionsToTxnTopic::default().with_name(topic("t")).with_partitions(vec![0])];
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(TransactionalId(text(ID)))
        .with_v3_and_below_producer_id(who.producer_id.into())
        .with_v3_and_below_producer_epoch(who.producer_epoch)
        .with_v3_and_below_topics(topics);
    bench.ask(3, &request).results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
}

fn end_request(who: ProducerIdentity, commit: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text(ID)))
        .with_producer_id(who.producer_id.into())
        .with_producer_epoch(who.producer_epoch)
        .with_committed(commit)
}

fn send(bench: &mut Bench, version: i16, who: ProducerIdentity, sequence: i32) -> (i16, i64) {
    let records = batch(3, Some((who, sequence, true)));
    produced(&bench.ask(version, &produce("t", 0, records, Some(ID))))
}

/// Every API, in every version that is offered, is answered in a form that its own version can read.
#[test]
fn every_version_of_every_api_answers() {
    let settings = Settings::nodes(1);
    for api in apis::all() {
        for version in api.first..=api.last(&settings) {
            let mut bench = with_topic(Bench::simple());
            let connection = bench.connect(0);
            // Nothing but zeros: empty lists, empty names.
            let mut frame = vec![0; 200];
            frame[..2].copy_from_slice(&api.key.to_be_bytes());
            frame[2..4].copy_from_slice(&version.to_be_bytes());
            if api.is_flexible(version) {
                // Compact strings and lists are empty at 1, and null at 0.
                frame[10..].fill(1);
                frame[10] = 0;
            }
            bench.cluster.handle(bench.now_ms, connection, &Bytes::from(frame));
            let told = bench.told(connection);
            assert!(
                matches!(told.as_slice(), [Action::Send(_) | Action::Next | Action::Close]),
                "API {} v{version}: {told:?}",
                api.key
            );
        }
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0_and_any_other_ends_the_connection() {
    let mut bench = Bench::simple();
    let connection = bench.connect(0);
    let mut frame = vec![0, 18, 0, 99, 0, 0, 0, 77, 0xff, 0xff];
    bench.cluster.handle(bench.now_ms, connection, &Bytes::from(frame.clone()));
    let answer = bench.answer::<ApiVersionsRequest>(connection, 0).unwrap();
    assert_eq!((answer.error_code, answer.api_keys.len()), (35, 1));
    frame[1] = 3;
    bench.cluster.handle(bench.now_ms, connection, &Bytes::from(frame));
    assert_eq!(bench.told(connection), [Action::Close]);
}

#[test]
fn features_and_caps_are_told() {
    let mut bench = Bench::simple();
    let request =
        ApiVersionsRequest::default().with_client_software_name(text("a")).with_client_software_version(text("1"));
    let answer = bench.ask(3, &request);
    assert_eq!(answer.finalized_features[0].max_version_level, 2);
    let mut old = Bench::new(Settings::nodes(1).like_3_9());
    let answer = old.ask(3, &request);
    assert!(answer.finalized_features.is_empty());
    let last = |key| answer.api_keys.iter().find(|it| it.api_key == key).unwrap().max_version;
    assert_eq!((last(0), last(26), last(28)), (11, 4, 4));
}

#[test]
fn v1_hides_what_is_open_and_aborts_are_listed() {
    let mut bench = with_topic(Bench::simple());
    let who = init(&mut bench);
    assert_eq!(send(&mut bench, 9, who, 0), (48, -1), "the partition was not added");
    assert_eq!(send(&mut bench, 11, who, 0), (120, -1));
    assert_eq!(add(&mut bench, who), 0);
    assert_eq!(send(&mut bench, 9, who, 0), (0, 0));
    assert_eq!(send(&mut bench, 9, who, 0), (0, 0), "a duplicate has its first offset");
    assert_eq!(send(&mut bench, 9, who, 4), (45, -1));
    assert_eq!(ends(&mut bench), (0, 3));
    assert_eq!(bench.ask(4, &end_request(who, false)).error_code, 0);
    assert_eq!(ends(&mut bench), (4, 4));
    let answer = bench.ask(12, &fetch(0, 0, true, 0));
    let data = fetched(&answer);
    assert_eq!(data.aborted_transactions.as_ref().unwrap()[0].first_offset, 0);
    assert_eq!(fetched(&bench.ask(12, &fetch(0, 0, false, 0))).aborted_transactions, None);
}

#[test]
fn v2_adds_partitions_by_itself_and_waits_for_the_markers_of_the_transaction_before() {
    let settings = Settings { marker_delay_ms: 30, upkeep_interval_ms: None, ..Settings::nodes(1) };
    let mut bench = with_topic(Bench::new(settings));
    let who = init(&mut bench);
    assert_eq!(send(&mut bench, 12, who, 0), (0, 0));
    let ended = bench.ask(5, &end_request(who, true));
    assert_eq!((ended.error_code, ended.producer_epoch), (0, who.producer_epoch + 1));
    let next = ProducerIdentity { producer_epoch: ended.producer_epoch, ..who };
    let connection = bench.connect(0);
    bench.send(connection, 12, &produce("t", 0, batch(1, Some((next, 0, true))), Some(ID)));
    assert_eq!(bench.told(connection), [], "it waits");
    bench.advance(50);
    let answer = bench.answer::<ProduceRequest>(connection, 12).unwrap();
    assert_eq!(produced(&answer), (0, 4), "behind the marker");

    // Markers that do not come: the wait has an end.
    bench.cluster.hold_markers(bench.now_ms, true);
    assert_eq!(bench.ask(5, &end_request(next, true)).error_code, 0);
    let next = ProducerIdentity { producer_epoch: next.producer_epoch + 1, ..who };
    bench.send(connection, 12, &produce("t", 0, batch(1, Some((next, 0, true))), Some(ID)));
    bench.advance(150);
    let answer = bench.answer::<ProduceRequest>(connection, 12).unwrap();
    assert_eq!(produced(&answer), (51, -1));
    assert_eq!(ends(&mut bench), (4, 5));
    bench.cluster.hold_markers(bench.now_ms, false);
    assert_eq!(ends(&mut bench), (6, 6));
}

#[test]
fn a_zombie_is_fenced_everywhere() {
    let mut bench = with_topic(Bench::simple());
    let old = init(&mut bench);
    assert_eq!(add(&mut bench, old), 0);
    assert_eq!(send(&mut bench, 9, old, 0), (0, 0));
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(ID))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    assert_eq!(bench.ask(4, &request).error_code, 51, "the old transaction is aborted first");
    let new = init(&mut bench);
    assert_eq!(new.producer_epoch, old.producer_epoch + 2);
    assert_eq!(ends(&mut bench), (4, 4));
    assert_eq!(send(&mut bench, 9, old, 3), (47, -1));
    assert_eq!(add(&mut bench, old), 90);
    assert_eq!(bench.ask(4, &end_request(old, true)).error_code, 90);
    assert_eq!(bench.ask(1, &end_request(old, true)).error_code, 47, "an old client knows no other word");
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let mut bench = with_topic(Bench::simple());
    let who = init(&mut bench);
    add(&mut bench, who);
    send(&mut bench, 9, who, 0);
    bench.advance(60_000);
    assert_eq!(ends(&mut bench), (0, 3));
    bench.advance(10_001);
    assert_eq!(ends(&mut bench), (4, 4));
    assert_eq!(bench.ask(4, &end_request(who, true)).error_code, 90);
}

#[test]
fn a_long_poll_ends_with_data_or_with_its_time() {
    let mut bench = with_topic(Bench::simple());
    let connection = bench.connect(0);
    bench.send(connection, 12, &fetch(0, 0, false, 500));
    bench.advance(499);
    assert_eq!(bench.told(connection), []);
    bench.advance(1);
    assert_eq!(fetched(&bench.answer::<FetchRequest>(connection, 12).unwrap()).records, Some(Bytes::new()));

    bench.send(connection, 12, &fetch(0, 0, false, 500));
    bench.ask(9, &produce("t", 1, batch(1, None), None));
    assert_eq!(bench.told(connection), [], "another partition");
    bench.ask(9, &produce("t", 0, batch(1, None), None));
    let answer = bench.answer::<FetchRequest>(connection, 12).unwrap();
    assert!(!fetched(&answer).records.as_ref().unwrap().is_empty());

    // Out of range is said at once.
    bench.send(connection, 12, &fetch(0, 9, false, 500));
    assert_eq!(fetched(&bench.answer::<FetchRequest>(connection, 12).unwrap()).error_code, 1);
}

#[test]
fn a_committed_reader_is_woken_by_the_marker() {
    let mut bench = with_topic(Bench::simple());
    let who = init(&mut bench);
    send(&mut bench, 12, who, 0);
    let connection = bench.connect(0);
    bench.send(connection, 12, &fetch(0, 0, true, 5_000));
    assert_eq!(bench.told(connection), []);
    bench.ask(5, &end_request(who, true));
    assert_eq!(fetched(&bench.answer::<FetchRequest>(connection, 12).unwrap()).last_stable_offset, 4);
}

#[test]
fn the_first_batch_comes_whole_and_the_next_is_cut() {
    let mut bench = with_topic(Bench::simple());
    let size = batch(3, None).len();
    for _ in 0..3 {
        bench.ask(9, &produce("t", 0, batch(3, None), None));
    }
    let mut bytes_of = |max| {
        let mut request = fetch(0, 4, false, 0);
        request.topics[0].partitions[0].partition_max_bytes = max;
        fetched(&bench.ask(12, &request)).records.as_ref().unwrap().len()
    };
    assert_eq!(bytes_of(1), size, "however small the limit");
    assert_eq!(bytes_of(size as i32 + 10), size + 10, "cut within a batch");
    assert_eq!(bytes_of(i32::MAX), 2 * size, "from the batch that holds the offset");
}

#[test]
fn acks_decide_who_is_answered() {
    let mut bench = with_topic(Bench::simple());
    let connection = bench.connect(0);
    bench.send(connection, 9, &produce("t", 0, batch(1, None), None).with_acks(0));
    assert_eq!(bench.told(connection), [Action::Next]);
    bench.send(connection, 9, &produce("t", 9, batch(1, None), None).with_acks(0));
    assert_eq!(bench.told(connection), [Action::Close]);
    assert_eq!(produced(&bench.ask(9, &produce("t", 0, batch(1, None), None).with_acks(2))), (21, -1));

    bench.cluster.hold_replication("t", 0, true).unwrap();
    let connection = bench.connect(0);
    bench.send(connection, 9, &produce("t", 0, batch(1, None), None));
    assert_eq!(bench.told(connection), []);
    assert_eq!(ends(&mut bench), (1, 1), "what is not replicated is not visible");
    bench.cluster.hold_replication("t", 0, false).unwrap();
    assert_eq!(produced(&bench.answer::<ProduceRequest>(connection, 9).unwrap()), (0, 1));

    bench.cluster.hold_replication("t", 0, true).unwrap();
    bench.send(connection, 9, &produce("t", 0, batch(1, None), None));
    bench.advance(10_000);
    assert_eq!(produced(&bench.answer::<ProduceRequest>(connection, 9).unwrap()).0, 7);
}

#[test]
fn a_killed_node_gives_its_partitions_away_and_a_sole_replica_keeps_them() {
    let mut bench = Bench::new(Settings { upkeep_interval_ms: None, ..Settings::nodes(3) });
    bench.cluster.create_topic("t", 1, 2, &[]).unwrap();
    bench.cluster.create_topic("alone", 1, 1, &[]).unwrap();
    let (leader, alone) = (bench.cluster.leader("t", 0).unwrap(), bench.cluster.leader("alone", 0).unwrap());
    assert_eq!(produced(&bench.ask_at(leader, 9, &produce("t", 0, batch(1, None), None))), (0, 0));
    let connection = bench.connect(leader);
    bench.cluster.kill_node(bench.now_ms, leader);
    assert_eq!(bench.told(connection), [Action::Close]);
    assert!(!bench.cluster.connect(connection, leader, 0));
    let next = bench.cluster.leader("t", 0).unwrap();
    assert_ne!(next, leader);
    assert_eq!(fetched(&bench.ask_at(next, 12, &fetch(0, 0, false, 0))).high_watermark, 1);
    let other = (0..3).find(|it| *it != next && *it != leader).unwrap();
    assert_eq!(produced(&bench.ask_at(other, 9, &produce("t", 0, batch(1, None), None))).0, 6);

    if alone != leader {
        bench.cluster.kill_node(bench.now_ms, alone);
    }
    assert_eq!(bench.cluster.leader("alone", 0), None);
    bench.cluster.restart_node(bench.now_ms, alone);
    assert_eq!(bench.cluster.leader("alone", 0), Some(alone));
}

#[test]
fn rules_strike_and_are_counted() {
    let mut bench = with_topic(Bench::simple());
    let request = produce("t", 0, batch(1, None), None);
    let strike = |bench: &mut Bench, fault| {
        let rule = bench.cluster.add_rule(Rule::new(0, fault).partition(TopicPartition::new("t", 0)));
        let connection = bench.connect(0);
        bench.send(connection, 9, &request);
        assert_eq!(bench.cluster.struck(rule), 1);
        (rule, connection, ends(bench).1)
    };
    let (_, lost, end) = strike(&mut bench, Fault::LoseRequest(Loss::Close));
    assert_eq!((bench.told(lost).as_slice(), end), (&[Action::Close][..], 0));
    let (_, lost, end) = strike(&mut bench, Fault::LoseAnswer(Loss::Silence));
    assert_eq!((bench.told(lost).as_slice(), end), (&[][..], 1));
    let (_, twice, end) = strike(&mut bench, Fault::Duplicate);
    assert_eq!((produced(&bench.answer::<ProduceRequest>(twice, 9).unwrap()), end), ((0, 2), 3));
    let (_, refused, end) = strike(&mut bench, Fault::Refuse(ResponseError::NotEnoughReplicas));
    assert_eq!((produced(&bench.answer::<ProduceRequest>(refused, 9).unwrap()), end), ((19, -1), 3));
    let (_, misled, end) = strike(&mut bench, Fault::Misreport(ResponseError::RequestTimedOut));
    assert_eq!((produced(&bench.answer::<ProduceRequest>(misled, 9).unwrap()), end), ((7, -1), 4));
    let (_, cut, _) = strike(&mut bench, Fault::CutAnswer(6));
    assert!(matches!(bench.told(cut).as_slice(), [Action::SendThenClose(bytes)] if bytes.len() == 6));
    let (_, late, end) = strike(&mut bench, Fault::DelayRequest(100));
    assert_eq!((bench.told(late).as_slice(), end), (&[][..], 5));
    bench.advance(100);
    assert_eq!(produced(&bench.answer::<ProduceRequest>(late, 9).unwrap()), (0, 5));
    let (_, late, end) = strike(&mut bench, Fault::DelayAnswer(100));
    assert_eq!((bench.told(late).as_slice(), end), (&[][..], 7));
    bench.advance(100);
    assert_eq!(produced(&bench.answer::<ProduceRequest>(late, 9).unwrap()), (0, 6));
    let (rule, held, end) = strike(&mut bench, Fault::HoldAnswer);
    assert_eq!((bench.told(held).as_slice(), end, bench.cluster.held(rule)), (&[][..], 8, 1));
    bench.cluster.release(bench.now_ms, rule);
    assert_eq!(produced(&bench.answer::<ProduceRequest>(held, 9).unwrap()), (0, 7));
}

/// KAFKA-17754: what was sent before the connection died arrives all the same.
#[test]
fn a_held_end_of_an_earlier_transaction_ends_the_next_one_on_v1() {
    let mut bench = with_topic(Bench::simple());
    let who = init(&mut bench);
    add(&mut bench, who);
    send(&mut bench, 9, who, 0);
    let rule = bench.cluster.add_rule(Rule::new(26, Fault::HoldRequest));
    let connection = bench.connect(0);
    bench.send(connection, 4, &end_request(who, true));
    bench.cluster.disconnect(connection);
    assert_eq!(bench.ask(4, &end_request(who, true)).error_code, 0, "the retry");
    add(&mut bench, who);
    send(&mut bench, 9, who, 3);
    assert_eq!(ends(&mut bench), (4, 7));
    bench.cluster.release(bench.now_ms, rule);
    assert_eq!(ends(&mut bench), (8, 8), "half a transaction is committed");
    assert_eq!(bench.ask(4, &end_request(who, false)).error_code, 48);
}

#[test]
fn coordinators_are_found_and_move() {
    let mut bench = Bench::new(Settings { upkeep_interval_ms: None, ..Settings::nodes(2) });
    let request = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text(ID)]);
    assert_eq!(bench.ask(4, &request).coordinators[0].error_code, 15);
    let node = bench.ask(4, &request).coordinators[0].node_id.0;
    assert_eq!(bench.cluster.coordinator(Coordinator::Transaction, ID), Some(node));
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(ID))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    assert_eq!(bench.ask_at(1 - node, 4, &init).error_code, 16);
    assert_eq!(bench.ask_at(node, 4, &init).error_code, 0);
    bench.cluster.move_coordinator(bench.now_ms, Coordinator::Transaction, ID, 1 - node).unwrap();
    assert_eq!(bench.ask_at(node, 4, &init).error_code, 16);
    assert_eq!(bench.ask_at(1 - node, 4, &init).producer_epoch, 1, "what it knew has moved with it");
}

#[test]
fn a_recreated_topic_is_another_one() {
    let mut bench = with_topic(Bench::simple());
    let id = |bench: &mut Bench| {
        bench
            .ask(12, &MetadataRequest::default().with_topics(None))
            .topics
            .iter()
            .find(|it| it.name == Some(topic("t")))
            .unwrap()
            .topic_id
    };
    let old = id(&mut bench);
    let mut request = fetch(0, 0, false, 0);
    request.topics[0].topic = topic("");
    request.topics[0].topic_id = old;
    assert_eq!(fetched(&bench.ask(13, &request)).error_code, 0);
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic("t")]);
    assert_eq!(bench.ask(4, &delete).responses[0].error_code, 0);
    bench.cluster.create_topic("t", 1, 1, &[]).unwrap();
    assert_ne!(id(&mut bench), old);
    assert_eq!(fetched(&bench.ask(13, &request)).error_code, 100);
}

/// The same seed and the same requests: the same answers, byte for byte.
#[test]
fn a_cluster_is_deterministic() {
    let run = || {
        let mut bench = with_topic(Bench::simple());
        let who = init(&mut bench);
        send(&mut bench, 12, who, 0);
        bench.ask(12, &MetadataRequest::default().with_topics(None))
    };
    assert_eq!(run(), run());
}
