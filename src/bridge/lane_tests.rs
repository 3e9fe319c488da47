//! Where a lane begins, and when it must not: one lane against a source and a target that always answer.

use super::incident::IncidentKind;
use super::lane::{DeadLetterBox, Event, Input, Lane, LaneSettings, OFFSET_INTERVAL, Output, Route};
use super::screening::SchemaKey;
use crate::avro::{Framing, Schema, SchemaText, Validator};
use crate::batch::{BatchBuilder, Compression, LogAppendTimePolicy, PrepareError, split};
use crate::config::{OnInvalid, OnRegistryDown, OnUnknownSchema, SchemaIds};
use crate::dead_letters::Letter;
use crate::group::Membership;
use crate::ledger::{Change, LaneLedger, Owner, Position, PositionKey};
use crate::schemas::{Expected, PartCheck, SchemaVerdict, TopicCheck, Unfit};
use crate::source::{self, FetchedPartition, FetcherSettings, LeaderView, ListedOffset, SourceRequest, StartAt};
use crate::target::{self, TransactionProtocol, TransactorSettings, TxnRequest};
use crate::types::{ProducerIdentity, TopicPartition};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const NODE: i32 = 1;
const RECORDS: i64 = 5;
/// One of them is larger than the others.
const LARGE: i64 = 3;
const CLUSTER: &str = "source-cluster";

fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn ledger_partition() -> TopicPartition {
    TopicPartition::new("link.ledger", 0)
}

fn route() -> Route {
    Route {
        target: TopicPartition::new("copy", 0),
        topic_id: Uuid::from_u128(1),
        target_topic_id: Uuid::from_u128(2),
        start: StartAt::Earliest,
        max_message_bytes: 1 << 20,
        check: None,
    }
}

fn letters() -> TopicPartition {
    TopicPartition::new("link.dead-letters", 0)
}

/// The records' values are a zero byte, the schema's id 0, and three bytes.
fn checked(on_unknown_schema: OnUnknownSchema) -> BTreeMap<TopicPartition, Route> {
    let expected = Expected::Registry { subject: None, rules: Vec::new().into(), compatible_with: None };
    let check = TopicCheck {
        topic: "orders".into(),
        key: None,
        value: Some(PartCheck { framing: Framing::Confluent, expected }),
        on_invalid: OnInvalid::DeadLetter,
        on_unknown_schema,
        on_registry_down: OnRegistryDown::Wait,
        schema_ids: SchemaIds::Keep,
    };
    BTreeMap::from([(partition(), Route { check: Some(Arc::new(check)), ..route() })])
}

fn verdict(schema: &str) -> SchemaVerdict {
    let text = SchemaText { text: schema.to_owned(), references: Vec::new() };
    let validator = Validator::compile(&Schema::parse(&text).unwrap(), &[]).unwrap();
    SchemaVerdict::Check { validator: Arc::new(validator), target_id: None }
}

fn routes() -> BTreeMap<TopicPartition, Route> {
    BTreeMap::from([(partition(), route())])
}

/// A ledger that knows the partition, as one of `cluster`.
fn known(cluster: &str, next_offset: i64) -> LaneLedger {
    let mut ledger = LaneLedger::new(ledger_partition());
    let position = Position {
        next_offset,
        leader_epoch: -1,
        topic_id: Uuid::from_u128(1),
        from: 0,
        records: 0,
        target_topic: "copy".into(),
        target_partition: 0,
        target_topic_id: Uuid::from_u128(2),
        target_offset: None,
        transaction: 0,
        time_ms: 0,
        dead_letters: None,
        decision: None,
        anchor: None,
    };
    let key = PositionKey { cluster_id: cluster.into(), topic: "orders".into(), partition: 0 };
    let pending = ledger.begin(0, vec![Change { key, position }], 0).unwrap();
    ledger.committed(pending, &[]);
    ledger
}

/// What one transaction brought to the target.
#[derive(Clone, Debug, Default)]
struct Written {
    /// Source offsets of the records.
    offsets: Vec<i64>,
    /// Those of the dead letters.
    letters: Vec<i64>,
    /// The group's offset is committed with it.
    names_group: bool,
    /// The ledger's batch speaks of the partition.
    has_position: bool,
    /// Where the records begin at the target, and where the position says that they do.
    landed: Option<i64>,
    placed: Option<i64>,
}

struct Rig {
    lane: Lane,
    now: Instant,
    ledger: LaneLedger,
    target_end: i64,
    /// Where the target's logs end.
    ends: BTreeMap<TopicPartition, i64>,
    /// Somebody else writes three records before each batch of ours.
    is_busy: bool,
    aborted: usize,
    /// The answers to EndTxn wait here while `holds_end`.
    holds_end: bool,
    held: Vec<target::RequestId>,
    /// Fetches that found nothing: the broker answers after a while.
    waiting: Vec<source::RequestId>,
    transactions: Vec<Written>,
    open: Written,
    incidents: Vec<IncidentKind>,
    /// What is to be known of schemas.
    asked: Vec<SchemaKey>,
    /// Granted, and not given back.
    budget: usize,
}

impl Rig {
    fn start(ledger: LaneLedger, target_end: i64) -> Self {
        Self::start_with(ledger, target_end, routes())
    }

    fn start_with(ledger: LaneLedger, target_end: i64, routes: BTreeMap<TopicPartition, Route>) -> Self {
        let now = Instant::now();
        let instance = Uuid::from_u128(9);
        let owner = Owner { instance, host: "h".into(), pid: 1, started_ms: 0, version: "0".into() };
        let settings = LaneSettings {
            lane: 0,
            source_cluster_id: CLUSTER.into(),
            ledger_partition: ledger_partition(),
            owner,
            commit_interval: Duration::from_millis(10),
            transaction_bytes_max: 1 << 20,
            log_append_time: LogAppendTimePolicy::default(),
            dead_letters: Some(DeadLetterBox { partition: letters(), max_message_bytes: 1 << 20 }),
            transactor: TransactorSettings {
                transactional_id: "link.0".into(),
                group_id: "link".into(),
                ledger_partition: Some(ledger_partition()),
                transaction_timeout: Duration::from_secs(15),
                abort_margin: Duration::from_secs(5),
                max_in_flight: 5,
                harden_v1: true,
            },
            fetcher: FetcherSettings::default(),
            started: now,
            started_ms: 0,
        };
        let lane = Lane::new(settings, TransactionProtocol::V2, now);
        let mut rig = Self {
            lane,
            now,
            ledger,
            target_end,
            ends: BTreeMap::new(),
            is_busy: false,
            aborted: 0,
            holds_end: false,
            held: Vec::new(),
            waiting: Vec::new(),
            transactions: Vec::new(),
            open: Written::default(),
            incidents: Vec::new(),
            asked: Vec::new(),
            budget: 0,
        };
        rig.give(Input::Take);
        rig.give(Input::Leaders(leaders(1)));
        rig.give(Input::Routes(routes));
        rig
    }

    fn give(&mut self, input: Input) {
        self.lane.handle(self.now, input);
        while let Some(output) = self.lane.poll_output() {
            if let Some(answer) = self.answer(output) {
                self.lane.handle(self.now, answer);
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for id in std::mem::take(&mut self.waiting) {
            let answer = Ok(source::Answer::Fetch { partitions: vec![(partition(), fetched(Bytes::new()))] });
            self.give(Input::Source(source::Input::Answered { id, answer }));
        }
        while let Some(due) = self.lane.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.give(Input::Timeout);
        }
        self.now = end;
    }

    fn answer(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::ReadLedger => Some(Input::Ledger(self.ledger.clone())),
            Output::WhoOwns => Some(Input::Owner(self.ledger.owner().cloned())),
            Output::TargetEnd { partition, .. } => Some(Input::TargetEnd { partition, end_offset: self.target_end }),
            Output::Event(Event::Incident(incident)) => {
                self.incidents.push(incident.kind);
                None
            }
            Output::FindSchema(key, _) => {
                self.asked.push(key);
                None
            }
            Output::ReturnBudget { bytes } | Output::Source(source::Output::ReturnBudget { bytes }) => {
                self.budget -= bytes;
                None
            }
            Output::Source(source::Output::WantBudget { node, bytes }) => {
                self.budget += bytes;
                Some(Input::Source(source::Input::BudgetGranted { node, bytes }))
            }
            Output::Source(source::Output::Send { id, request, .. }) => {
                let answer = read(request);
                if answer.is_none() {
                    self.waiting.push(id);
                }
                answer.map(|answer| Input::Source(source::Input::Answered { id, answer: Ok(answer) }))
            }
            Output::Target(target::Output::Send { id, request, .. }) => self.delivered(id, request),
            _ => None,
        }
    }

    fn delivered(&mut self, id: target::RequestId, request: TxnRequest) -> Option<Input> {
        let identity = ProducerIdentity { producer_id: 7, producer_epoch: 0 };
        let answer = match request {
            TxnRequest::InitProducerId { .. } => target::Answer::InitProducerId { error_code: 0, identity },
            TxnRequest::Produce { partition, batch, .. } => {
                let batch = split(batch.to_bytes()).next().unwrap().unwrap();
                let decoded = batch.decode(1 << 20).unwrap();
                for record in decoded.records().map(Result::unwrap) {
                    if partition == letters() {
                        let letter = Letter::read(&record).unwrap();
                        assert_eq!(letter.source, self::partition());
                        self.open.letters.push(letter.offset);
                    } else if partition == ledger_partition() {
                        let key = String::from_utf8_lossy(record.key.unwrap()).into_owned();
                        let is_position = key.contains("orders");
                        self.open.has_position |= is_position;
                        if is_position && !key.contains("kind") {
                            let value: serde_json::Value = serde_json::from_slice(record.value.unwrap()).unwrap();
                            self.open.placed = value["target_offset"].as_i64();
                        }
                    } else {
                        self.open.offsets.push(i64::from_be_bytes(record.value.unwrap().try_into().unwrap()));
                    }
                }
                let end = self.ends.entry(partition.clone()).or_default();
                if partition == route().target {
                    *end += if self.is_busy { 3 } else { 0 };
                    self.open.landed.get_or_insert(*end);
                }
                let base_offset = *end;
                *end += i64::from(batch.header().record_count);
                target::Answer::Produce { error_code: 0, base_offset, log_append_time_ms: -1 }
            }
            TxnRequest::TxnOffsetCommit { .. } => {
                self.open.names_group = true;
                target::Answer::TxnOffsetCommit { error_code: 0 }
            }
            TxnRequest::EndTxn { commit, .. } => {
                assert!(commit || self.is_busy, "nothing gives a reason to abort");
                let written = std::mem::take(&mut self.open);
                if commit {
                    self.transactions.push(written);
                } else {
                    self.aborted += 1;
                }
                if self.holds_end {
                    self.held.push(id);
                    return None;
                }
                target::Answer::EndTxn { error_code: 0, identity: Some(identity) }
            }
            TxnRequest::DescribeTransactions { .. } => {
                target::Answer::DescribeTransactions { error_code: 0, state: target::LastTransaction::Other }
            }
            TxnRequest::ListOffsets { partitions, .. } => {
                let end = |it: TopicPartition| (it.clone(), 0, self.ends.get(&it).copied().unwrap_or_default());
                target::Answer::ListOffsets { offsets: partitions.into_iter().map(end).collect() }
            }
            other => panic!("not a request of protocol v2: {other:?}"),
        };
        Some(Input::Target(target::Input::Answered { id, answer: Ok(answer) }))
    }

    fn release(&mut self) {
        self.holds_end = false;
        for id in std::mem::take(&mut self.held) {
            let identity = Some(ProducerIdentity { producer_id: 7, producer_epoch: 0 });
            let answer = Ok(target::Answer::EndTxn { error_code: 0, identity });
            self.give(Input::Target(target::Input::Answered { id, answer }));
        }
    }

    /// The source has one more record.
    fn one_more(&mut self) {
        for id in std::mem::take(&mut self.waiting) {
            let records = batch(self.copied().last().map_or(0, |it| it + 1)).unwrap();
            let answer = Ok(source::Answer::Fetch { partitions: vec![(partition(), fetched(records))] });
            self.give(Input::Source(source::Input::Answered { id, answer }));
        }
        self.run(Duration::from_secs(1));
    }

    fn letters(&self) -> Vec<i64> {
        self.transactions.iter().flat_map(|it| it.letters.clone()).collect()
    }

    fn copied(&self) -> Vec<i64> {
        self.transactions.iter().flat_map(|it| it.offsets.clone()).collect()
    }
}

fn leaders(topic_id: u128) -> BTreeMap<TopicPartition, LeaderView> {
    let view = LeaderView { leader: Some(NODE), leader_epoch: 0, topic_id: Uuid::from_u128(topic_id) };
    BTreeMap::from([(partition(), view)])
}

fn fetched(records: Bytes) -> FetchedPartition {
    FetchedPartition {
        error_code: 0,
        high_watermark: RECORDS,
        last_stable_offset: RECORDS,
        log_start_offset: 0,
        diverging_epoch: None,
        aborted_transactions: Vec::new(),
        records,
    }
}

/// One record a Fetch, its offset as its value. None: the broker waits for more.
fn read(request: SourceRequest) -> Option<source::Answer> {
    match request {
        SourceRequest::Fetch(request) => {
            let offset = request.partitions.first()?.fetch_offset;
            let records = batch(offset).filter(|_| offset < RECORDS)?;
            Some(source::Answer::Fetch { partitions: vec![(partition(), fetched(records))] })
        }
        SourceRequest::ListOffsets { partitions, .. } => {
            let offset = if partitions.first()?.timestamp == -1 { RECORDS } else { 0 };
            let listed = ListedOffset { error_code: 0, offset, leader_epoch: 0 };
            Some(source::Answer::ListOffsets { partitions: vec![(partition(), listed)] })
        }
        SourceRequest::OffsetForLeaderEpoch { .. } => None,
    }
}

fn batch(offset: i64) -> Option<Bytes> {
    let mut builder = BatchBuilder::new(Compression::None);
    let key = (offset == LARGE).then_some(&[0; 64][..]);
    builder.push(1, key, Some(&offset.to_be_bytes()), &[]);
    let mut bytes = builder.build().ok()?.bytes().to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&0i32.to_be_bytes());
    Some(bytes.into())
}

/// With both in one transaction, a crash in it would leave records, and no position that explains them.
#[test]
fn the_first_position_is_committed_before_the_first_record() {
    let mut rig = Rig::start(LaneLedger::new(ledger_partition()), 0);
    rig.run(Duration::from_secs(1));
    let first = rig.transactions.iter().find(|it| it.has_position).unwrap();
    assert_eq!(first.offsets, [0; 0]);
    assert_eq!(rig.copied(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_known_position_is_gone_on_from() {
    let mut rig = Rig::start(known(CLUSTER, 3), 3);
    rig.run(Duration::from_secs(1));
    assert_eq!(rig.copied(), [3, 4]);
}

/// It stands still between two snapshots of the ledger. A broker forgets one that is not repeated.
#[test]
fn the_groups_offset_is_committed_when_it_moves_and_once_an_hour() {
    let mut rig = Rig::start(known(CLUSTER, 0), 0);
    rig.run(Duration::from_secs(1));
    let named: Vec<_> = rig.transactions.iter().map(|it| it.names_group).collect();
    assert!(named.len() > 1 && named[0] && named[1..].iter().all(|it| !it), "{named:?}");
    for (wait, names_group) in [(OFFSET_INTERVAL - Duration::from_secs(60), false), (Duration::from_secs(60), true)] {
        rig.run(wait);
        let count = rig.transactions.len();
        rig.one_more();
        assert_eq!(rig.transactions[count..].iter().map(|it| it.names_group).collect::<Vec<_>>(), [names_group]);
    }
}

/// It carries the group's fence.
#[test]
fn where_lanes_are_shared_the_groups_offset_is_committed_each_time() {
    let mut rig = Rig::start(known(CLUSTER, 0), 0);
    let membership = Membership { generation_id: 3, member_id: "m".into(), instance_id: None };
    rig.give(Input::Membership(membership));
    rig.run(Duration::from_secs(1));
    rig.one_more();
    rig.one_more();
    assert!(rig.transactions.len() > 2 && rig.transactions.iter().all(|it| it.names_group), "{:?}", rig.transactions);
}

/// All are read before the first transaction with records begins.
#[test]
fn what_stands_before_a_record_that_is_too_large_is_copied() {
    let mut rig = Rig::start(known(CLUSTER, 0), 0);
    let small = Route { max_message_bytes: 100, ..route() };
    rig.give(Input::Routes(BTreeMap::from([(partition(), small)])));
    rig.run(Duration::from_secs(1));
    assert_eq!(rig.copied(), [0, 1, 2]);
    let expected = PrepareError::RecordTooLarge { offset: LARGE, bytes: 142, max_message_bytes: 100 };
    assert!(matches!(&rig.incidents[..], [IncidentKind::Batch(error)] if *error == expected), "{:?}", rig.incidents);
}

/// A broker that has just started answers Metadata before it knows the topics.
#[test]
fn a_partition_that_is_away_for_a_moment_is_not_copied_twice() {
    let mut rig = Rig::start(known(CLUSTER, 0), 0);
    rig.holds_end = true;
    rig.run(Duration::from_secs(1));
    assert_eq!((rig.held.len(), rig.copied().len()), (1, 5), "the transaction is open, and the ledger behind it");
    rig.give(Input::Routes(BTreeMap::new()));
    rig.give(Input::Routes(routes()));
    rig.run(Duration::from_millis(100));
    rig.release();
    rig.run(Duration::from_secs(1));
    assert_eq!(rig.copied(), [0, 1, 2, 3, 4]);
    assert!(rig.incidents.is_empty(), "{:?}", rig.incidents);
}

#[test]
fn a_recreated_topic_is_told_after_its_absence_too() {
    let mut rig = Rig::start(known(CLUSTER, 0), 0);
    rig.run(Duration::from_secs(1));
    rig.give(Input::Routes(BTreeMap::new()));
    rig.give(Input::Leaders(leaders(11)));
    rig.give(Input::Routes(BTreeMap::from([(partition(), Route { topic_id: Uuid::from_u128(11), ..route() })])));
    rig.run(Duration::from_secs(1));
    assert_eq!(rig.copied(), [0, 1, 2, 3, 4]);
    assert!(matches!(&rig.incidents[..], [IncidentKind::Source(it)] if it.lost() == (Some(5), None)));
}

/// Told before, the operator would take for copied what may have to be read again, and may be another then.
#[test]
fn an_incident_is_told_when_what_lies_before_it_is_copied() {
    let mut rig = Rig::start(known(CLUSTER, 0), 0);
    rig.holds_end = true;
    rig.run(Duration::from_secs(1));
    rig.give(Input::Leaders(leaders(11)));
    rig.run(Duration::from_millis(100));
    assert_eq!((rig.held.len(), rig.incidents.len()), (1, 0), "the transaction is open");
    rig.release();
    rig.run(Duration::from_millis(100));
    assert_eq!(rig.copied(), [0, 1, 2, 3, 4]);
    assert!(matches!(&rig.incidents[..], [IncidentKind::Source(it)] if it.lost() == (Some(5), None)));
}

#[test]
fn records_at_the_target_without_a_position_stop_the_partition() {
    let mut rig = Rig::start(LaneLedger::new(ledger_partition()), 1);
    rig.run(Duration::from_secs(1));
    assert_eq!(rig.copied(), [0; 0]);
    assert!(matches!(rig.incidents[..], [IncidentKind::NoPosition { end_offset: 1 }]), "{:?}", rig.incidents);
}

#[test]
fn a_ledger_of_another_source_stops_the_partition_even_if_its_target_is_empty() {
    let mut rig = Rig::start(known("another", 3), 0);
    rig.run(Duration::from_secs(1));
    assert_eq!(rig.copied(), [0; 0]);
    assert!(matches!(&rig.incidents[..], [IncidentKind::OtherSource { cluster_id }] if &**cluster_id == "another"));
}

#[test]
fn a_target_that_was_made_anew_stops_the_partition() {
    let other = || BTreeMap::from([(partition(), Route { target_topic_id: Uuid::from_u128(22), ..route() })]);
    let expected = IncidentKind::TargetRecreated { old: Uuid::from_u128(2), new: Uuid::from_u128(22) };
    let mut rig = Rig::start(known(CLUSTER, 0), 0);
    rig.run(Duration::from_secs(1));
    rig.give(Input::Routes(other()));
    assert_eq!(format!("{:?}", rig.incidents), format!("[{expected:?}]"), "while the link runs");

    let mut rig = Rig::start(known(CLUSTER, 3), 3);
    rig.give(Input::Routes(other()));
    rig.run(Duration::from_secs(1));
    assert_eq!(format!("{:?}", rig.incidents), format!("[{expected:?}]"), "at its start");
}

const THREE_BYTES: &str = r#"{"type": "fixed", "name": "F", "size": 3}"#;

/// While a registry is down, the lane's other partitions need the memory.
#[test]
fn a_partition_that_waits_for_a_schema_asks_once_holds_nothing_and_goes_on() {
    let mut rig = Rig::start_with(LaneLedger::new(ledger_partition()), 0, checked(OnUnknownSchema::DeadLetter));
    rig.run(Duration::from_secs(30));
    // What was under way is answered by now.
    rig.run(Duration::from_secs(30));
    assert_eq!(rig.asked.iter().map(|it| it.id).collect::<Vec<_>>(), [0]);
    assert_eq!((rig.copied(), rig.budget), (Vec::new(), 0));
    let key = rig.asked[0].clone();
    rig.give(Input::Schema(key, verdict(THREE_BYTES)));
    rig.run(Duration::from_secs(1));
    assert_eq!(rig.copied(), [0, 1, 2, 3, 4]);
    assert_eq!((rig.letters(), rig.asked.len()), (Vec::new(), 1));
}

#[test]
fn records_that_do_not_pass_are_in_the_dead_letters_in_the_transaction_of_their_position() {
    let unfit = SchemaVerdict::Unfit(Unfit { reason: "other_subject", error: "no".to_owned() });
    for verdict in [verdict(r#"{"type": "fixed", "name": "F", "size": 2}"#), unfit] {
        let mut rig = Rig::start_with(LaneLedger::new(ledger_partition()), 0, checked(OnUnknownSchema::DeadLetter));
        rig.run(Duration::from_secs(1));
        let key = rig.asked[0].clone();
        rig.give(Input::Schema(key, verdict));
        rig.run(Duration::from_secs(1));
        assert_eq!((rig.copied(), rig.letters()), (Vec::new(), vec![0, 1, 2, 3, 4]));
        assert!(rig.transactions.iter().all(|it| it.letters.is_empty() || it.has_position));
    }
}

#[test]
fn a_schema_that_nobody_knows_stops_the_partition_where_the_config_says_so() {
    let mut rig = Rig::start_with(LaneLedger::new(ledger_partition()), 0, checked(OnUnknownSchema::Stop));
    rig.run(Duration::from_secs(1));
    let unknown = Unfit { reason: "unknown_schema", error: "no".to_owned() };
    let key = rig.asked[0].clone();
    rig.give(Input::Schema(key, SchemaVerdict::Unknown(unknown)));
    rig.run(Duration::from_secs(1));
    assert!(matches!(&rig.incidents[..], [IncidentKind::Invalid(it)] if it.offset == 0), "{:?}", rig.incidents);
    assert_eq!((rig.copied(), rig.letters()), (Vec::new(), Vec::new()));
}

#[test]
fn a_lane_that_waits_for_a_schema_drains() {
    let mut rig = Rig::start_with(LaneLedger::new(ledger_partition()), 0, checked(OnUnknownSchema::Wait));
    rig.run(Duration::from_secs(1));
    rig.give(Input::Drain);
    rig.run(Duration::from_secs(1));
    assert_eq!((rig.lane.phase, rig.budget), (super::lane::Phase::Ended, 0));
}

/// By its place a transaction is known whose marker the target has left out.
#[test]
fn where_somebody_else_writes_all_the_time_positions_say_where_the_records_are() {
    let mut rig = Rig::start(LaneLedger::new(ledger_partition()), 0);
    rig.is_busy = true;
    rig.run(Duration::from_secs(1));
    assert_eq!((rig.copied(), rig.aborted), (vec![0, 1, 2, 3, 4], 1));
    assert!(rig.lane.size.bytes() < rig.lane.settings.transaction_bytes_max, "one was aborted");
    let with_records: Vec<_> = rig.transactions.iter().filter(|it| !it.offsets.is_empty()).collect();
    assert!(!with_records.is_empty() && with_records.iter().all(|it| it.placed.is_some() && it.placed == it.landed));
}
