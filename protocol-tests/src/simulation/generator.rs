//! From a seed to a schedule.
//!
//! Each seed draws which kinds of trouble it has at all: a schedule with everything in it hides what needs two faults of the
//! same kind close together.

use kafka_bridge::broker::{Coordinator, Fault, Loss};
use kafka_protocol::ResponseError;

use super::harsh;
use super::network::{Direction, End};
use super::schedule::{At, Producer, Schedule, Setup, Sharing, Step, Verdict};
use crate::raw::Codec;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;
const INIT_PRODUCER_ID: i16 = 22;
const ADD_PARTITIONS: i16 = 24;
const ADD_OFFSETS: i16 = 25;
const END_TXN: i16 = 26;
const TXN_OFFSET_COMMIT: i16 = 28;

/// The kinds of trouble; a seed has about a third of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Process,
    Second,
    Zombie,
    Node,
    Leader,
    Coordinator,
    Lost,
    Late,
    Refused,
    HeldEnd,
    Stall,
    Refusal,
    Slow,
    Cut,
    Markers,
    Replication,
    Retention,
    Truncation,
    Compaction,
    Recreation,
    Growth,
    NewTopic,
    Group,
    Clock,
    Upgrade,
}

const KINDS: [(Kind, u32); 25] = [
    (Kind::Process, 8),
    (Kind::Second, 2),
    (Kind::Zombie, 3),
    (Kind::Node, 5),
    (Kind::Leader, 6),
    (Kind::Coordinator, 5),
    (Kind::Lost, 8),
    (Kind::Late, 5),
    (Kind::Refused, 4),
    (Kind::HeldEnd, 5),
    (Kind::Stall, 6),
    (Kind::Refusal, 2),
    (Kind::Slow, 3),
    (Kind::Cut, 6),
    (Kind::Markers, 2),
    (Kind::Replication, 2),
    (Kind::Retention, 1),
    (Kind::Truncation, 3),
    (Kind::Compaction, 2),
    (Kind::Recreation, 1),
    (Kind::Growth, 2),
    (Kind::NewTopic, 2),
    (Kind::Group, 2),
    (Kind::Clock, 2),
    (Kind::Upgrade, 1),
];

pub(super) fn schedule(seed: u64) -> Schedule {
    let random = &mut fastrand::Rng::with_seed(seed);
    let setup = setup(random);
    let kinds: Vec<_> = KINDS.iter().copied().filter(|_| random.u8(..3) == 0).collect();
    let mut steps = Vec::new();
    // Something is always there when the link begins.
    for _ in 0..random.usize(1..6) {
        steps.push((0, write(random)));
    }
    let writes = random.usize(10..60);
    steps.extend((0..writes).map(|_| (random.u64(..setup.duration_ms), write(random))));
    if !kinds.is_empty() {
        let total: u32 = kinds.iter().map(|it| it.1).sum();
        for _ in 0..random.usize(1..12) {
            let at = random.u64(..setup.duration_ms);
            let mut pick = random.u32(..total);
            let kind = kinds.iter().find(|(_, weight)| {
                let is_it = pick < *weight;
                pick = pick.wrapping_sub(*weight);
                is_it
            });
            if let Some((kind, _)) = kind {
                steps.extend(trouble(*kind, &setup, random).into_iter().map(|(later, step)| (at + later, step)));
            }
        }
    }
    steps.sort_by_key(|it| it.0);
    let mut schedule = Schedule { seed, setup, steps };
    harsh::add(&mut schedule);
    let upgrades = schedule.steps.iter().any(|it| it.1 == Step::FinalizeV2);
    schedule.setup.begins_with_v1 = schedule.setup.is_v2 && upgrades;
    schedule
}

fn setup(random: &mut fastrand::Rng) -> Setup {
    let request_timeout_ms = random.choice([300, 700, 1_500]).unwrap_or(700);
    Setup {
        source_nodes: random.i32(1..=3),
        target_nodes: random.i32(1..=3),
        is_v2: random.bool(),
        begins_with_v1: false,
        lanes: random.u32(1..=3),
        commit_interval_ms: random.choice([1, 10, 50]).unwrap_or(10),
        request_timeout_ms,
        transaction_timeout_ms: request_timeout_ms * random.u64(3..8) + 500,
        fetch_bytes_max: random.choice([2 << 10, 64 << 10, 1 << 20]).unwrap_or(1 << 20),
        marker_delay_ms: random.choice([0, 1, 5, 30]).unwrap_or(1),
        delay_ms_max: random.choice([0, 1, 3, 20]).unwrap_or(1),
        topics: (0..random.usize(1..=3)).map(|_| random.i32(1..=3)).collect(),
        duration_ms: random.u64(2_000..12_000),
        sharing: Sharing::Off,
        validation: None,
    }
}

fn at(random: &mut fastrand::Rng) -> At {
    At { topic: random.usize(..4), partition: random.i32(0..6) }
}

fn codec(random: &mut fastrand::Rng) -> Codec {
    Codec::ALL[random.usize(..Codec::ALL.len())]
}

fn end(random: &mut fastrand::Rng) -> End {
    if random.bool() { End::Source } else { End::Target }
}

fn maybe<T>(random: &mut fastrand::Rng, of: impl FnOnce(&mut fastrand::Rng) -> T) -> Option<T> {
    random.bool().then(|| of(random))
}

fn direction(random: &mut fastrand::Rng) -> Direction {
    random.choice([Direction::ToBroker, Direction::ToBridge, Direction::Both]).unwrap_or(Direction::Both)
}

fn write(random: &mut fastrand::Rng) -> Step {
    let codec = codec(random);
    match random.u8(..10) {
        0..6 => {
            let is_large = random.u8(..20) == 0;
            let producer = if random.bool() { Producer::Plain } else { Producer::Idempotent };
            let batches = random.usize(1..4);
            let (records, bytes) =
                if is_large { (random.usize(1..4), 40_000) } else { (random.usize(1..8), random.usize(..300)) };
            Step::Write { at: at(random), producer, codec, batches, records, bytes }
        }
        _ => {
            let verdict = match random.u8(..10) {
                0..6 => Verdict::Commit,
                6..9 => Verdict::Abort,
                _ => Verdict::Leave,
            };
            let places = (0..random.usize(1..4)).map(|_| at(random)).collect();
            Step::Transact { at: places, codec, records: random.usize(1..5), verdict, pause_ms: random.u64(..300) }
        }
    }
}

/// One trouble, as steps from its beginning on.
fn trouble(kind: Kind, setup: &Setup, random: &mut fastrand::Rng) -> Vec<(u64, Step)> {
    let node = random.i32(0..3);
    let lane = random.u32(..setup.lanes);
    let down_ms = random.u64(..800);
    let ms = random.u64(50..3_000);
    let end = end(random);
    let step = match kind {
        Kind::Process => match random.u8(..4) {
            0 | 1 => Step::Kill { down_ms },
            2 => Step::PowerOff { down_ms },
            _ => Step::Stop { down_ms },
        },
        Kind::Second => Step::Second,
        Kind::Zombie => Step::Zombie { ms },
        Kind::Node => Step::NodeDown { end, node, ms },
        Kind::Leader => match random.u8(..3) {
            0 => Step::MoveLedger { lane, node },
            _ => Step::Move { end, at: at(random), node },
        },
        Kind::Coordinator => {
            let kind = if random.bool() { Coordinator::Transaction } else { Coordinator::Group };
            Step::MoveCoordinator { kind, lane, node }
        }
        Kind::Lost => {
            let loss = if random.bool() { Loss::Close } else { Loss::Silence };
            let fault = match random.u8(..6) {
                0 => Fault::LoseRequest(loss),
                1 => Fault::CutAnswer(random.usize(..40)),
                2 => Fault::Duplicate,
                _ => Fault::LoseAnswer(loss),
            };
            strike(fault, random)
        }
        Kind::Late => {
            let late = random.i64(10..3_000);
            let fault = if random.bool() { Fault::DelayRequest(late) } else { Fault::DelayAnswer(late) };
            strike(fault, random)
        }
        Kind::Refused => refused(random),
        Kind::HeldEnd => return held_end(setup, random),
        Kind::Stall => {
            let end = maybe(random, |_| end);
            Step::Stall { end, node: maybe(random, |_| node), direction: direction(random), ms }
        }
        Kind::Refusal => Step::Refuse { end, node: maybe(random, |_| node), ms },
        Kind::Slow => Step::Slow { end: maybe(random, |_| end), delay_ms: random.u64(20..400), ms },
        Kind::Cut => {
            let after_bytes = maybe(random, |random| random.usize(1..2_000));
            Step::Cut { end, node: maybe(random, |_| node), direction: direction(random), after_bytes }
        }
        Kind::Markers => Step::HoldMarkers { end, ms },
        Kind::Replication => Step::HoldReplication { end, at: at(random), ms },
        Kind::Retention => Step::Retain { at: at(random), percent: random.i64(1..=100) },
        Kind::Truncation => Step::Truncate { at: at(random), batches: random.usize(1..5) },
        Kind::Compaction => Step::Compact,
        Kind::Recreation => Step::Recreate { topic: random.usize(..4) },
        Kind::Growth => Step::Grow { topic: random.usize(..4) },
        Kind::NewTopic => Step::NewTopic { partitions: random.i32(1..=2) },
        // Only a start reads them.
        Kind::Group => return vec![(0, Step::ForgetGroup), (random.u64(..50), Step::Kill { down_ms })],
        Kind::Clock => Step::Clock { ms: random.i64(-3_600_000..3_000_000) },
        Kind::Upgrade => Step::FinalizeV2,
    };
    vec![(0, step)]
}

fn strike(fault: Fault, random: &mut fastrand::Rng) -> Step {
    let (end, api) = match random.u8(..14) {
        0 => (End::Source, FETCH),
        1 => (End::Source, LIST_OFFSETS),
        2 => (End::Source, METADATA),
        3..6 => (End::Target, PRODUCE),
        6 => (End::Target, ADD_PARTITIONS),
        7 => (End::Target, ADD_OFFSETS),
        8 => (End::Target, TXN_OFFSET_COMMIT),
        9..11 => (End::Target, END_TXN),
        11 => (End::Target, INIT_PRODUCER_ID),
        12 => (End::Target, OFFSET_FETCH),
        _ => (End::Target, FIND_COORDINATOR),
    };
    let skip = if random.bool() { 0 } else { random.u64(..6) };
    Step::Strike { end, api, fault, skip, times: random.u64(1..4) }
}

/// Errors that brokers answer in passing.
fn refused(random: &mut fastrand::Rng) -> Step {
    use ResponseError::{
        ConcurrentTransactions, CoordinatorLoadInProgress, CoordinatorNotAvailable, LeaderNotAvailable, NotCoordinator,
        NotEnoughReplicas, NotLeaderOrFollower, RequestTimedOut, UnknownTopicOrPartition,
    };
    let cases = [
        (End::Source, FETCH, NotLeaderOrFollower),
        (End::Source, FETCH, UnknownTopicOrPartition),
        (End::Source, LIST_OFFSETS, LeaderNotAvailable),
        (End::Target, PRODUCE, NotLeaderOrFollower),
        (End::Target, PRODUCE, NotEnoughReplicas),
        (End::Target, PRODUCE, RequestTimedOut),
        (End::Target, END_TXN, NotCoordinator),
        (End::Target, END_TXN, CoordinatorNotAvailable),
        (End::Target, END_TXN, ConcurrentTransactions),
        (End::Target, ADD_PARTITIONS, ConcurrentTransactions),
        (End::Target, TXN_OFFSET_COMMIT, CoordinatorLoadInProgress),
        (End::Target, INIT_PRODUCER_ID, ConcurrentTransactions),
        (End::Target, FIND_COORDINATOR, CoordinatorNotAvailable),
    ];
    let (end, api, error) = cases[random.usize(..cases.len())];
    let is_told_late = api == PRODUCE && error == RequestTimedOut || api == END_TXN && error == CoordinatorNotAvailable;
    let fault = if is_told_late && random.bool() { Fault::Misreport(error) } else { Fault::Refuse(error) };
    Step::Strike { end, api, fault, skip: random.u64(..4), times: random.u64(1..4) }
}

/// KAFKA-17754: an EndTxn is held while its transaction is ended by another, and arrives in the middle of the next one,
/// which late answers stretch.
fn held_end(setup: &Setup, random: &mut fastrand::Rng) -> Vec<(u64, Step)> {
    let ms = setup.request_timeout_ms + random.u64(1..800);
    let late = random.i64(20..200);
    let fault = Fault::DelayAnswer(late);
    let mut steps = vec![
        (0, Step::Hold { end: End::Target, api: END_TXN, skip: random.u64(..3), ms }),
        (setup.request_timeout_ms, Step::Strike { end: End::Target, api: PRODUCE, fault, skip: 0, times: 20 }),
    ];
    steps.extend((0..12).map(|_| (random.u64(..ms + 200), write(random))));
    steps
}
