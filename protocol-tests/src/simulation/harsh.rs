//! Trouble that belongs together: what single faults, drawn one by one, hardly ever make of themselves.
//!
//! It has a generator of its own, so that the schedules without it stay what they are.

use kafka_bridge::broker::{Coordinator, Fault, Loss};
use kafka_protocol::ResponseError;

use super::network::{Direction, End};
use super::schedule::{At, Producer, Schedule, Setup, Step, Verdict};
use crate::raw::Codec;

const PRODUCE: i16 = 0;
const INIT_PRODUCER_ID: i16 = 22;
const ADD_PARTITIONS: i16 = 24;
const END_TXN: i16 = 26;
/// The target's reaper looks every half a second.
const REAPED_WITHIN_MS: u64 = 600;
const SALT: u64 = 0x6861_7273_6800_0000;

type Steps = Vec<(u64, Step)>;

/// Every other seed has some of it.
pub(super) fn add(schedule: &mut Schedule) {
    if schedule.seed.is_multiple_of(2) {
        return;
    }
    let random = &mut fastrand::Rng::with_seed(schedule.seed ^ SALT);
    for _ in 0..random.usize(1..=3) {
        // Late enough that the bridge is at work, early enough that it ends within the schedule.
        let at_ms = random.u64(300..schedule.setup.duration_ms.max(600) / 2);
        let steps = match random.u8(..4) {
            0 if schedule.setup.is_v2 => upgrade(random),
            1 => reaped(&schedule.setup, random),
            2 => lost_abort(random),
            _ => source_aborts(&schedule.setup, random),
        };
        schedule.steps.extend(steps.into_iter().map(|(later_ms, step)| (at_ms + later_ms, step)));
    }
    schedule.steps.sort_by_key(|it| it.0);
}

fn at(random: &mut fastrand::Rng) -> At {
    At { topic: random.usize(..4), partition: random.i32(0..6) }
}

fn codec(random: &mut fastrand::Rng) -> Codec {
    Codec::ALL[random.usize(..Codec::ALL.len())]
}

/// So many small writes within so many milliseconds: whatever goes wrong then goes wrong with data on its way.
fn writes(count: usize, within_ms: u64, random: &mut fastrand::Rng) -> Steps {
    let write = |random: &mut fastrand::Rng| Step::Write {
        at: at(random),
        producer: Producer::Idempotent,
        codec: codec(random),
        batches: random.usize(1..3),
        records: random.usize(1..6),
        bytes: random.usize(..200),
    };
    (0..count).map(|_| (random.u64(..within_ms), write(random))).collect()
}

fn strike(api: i16, fault: Fault, skip: u64, times: u64) -> Step {
    Step::Strike { end: End::Target, api, fault, skip, times }
}

fn loss(random: &mut fastrand::Rng) -> Loss {
    if random.bool() { Loss::Close } else { Loss::Silence }
}

/// The target finalizes protocol v2 with transactions of protocol v1 under way, some of whose answers are lost.
fn upgrade(random: &mut fastrand::Rng) -> Steps {
    let mut steps = writes(12, 1_500, random);
    steps.push((700, Step::FinalizeV2));
    for _ in 0..random.usize(0..4) {
        let api = random.choice([PRODUCE, ADD_PARTITIONS, END_TXN, END_TXN]).unwrap_or(END_TXN);
        let fault = if random.bool() { Fault::LoseAnswer(loss(random)) } else { Fault::LoseRequest(loss(random)) };
        steps.push((random.u64(500..900), strike(api, fault, random.u64(..2), random.u64(1..3))));
    }
    match random.u8(..5) {
        // Bridges learn of the upgrade when they connect anew.
        0 => steps.push((random.u64(500..1_000), Step::Kill { down_ms: random.u64(..200) })),
        1 => steps.push((random.u64(500..1_000), Step::Zombie { ms: random.u64(200..2_000) })),
        2 => {
            let (kind, lane, node) = (Coordinator::Transaction, random.u32(..3), random.i32(0..3));
            steps.push((random.u64(500..1_000), Step::MoveCoordinator { kind, lane, node }));
        }
        3 => {
            let cut = Step::Cut { end: End::Target, node: None, direction: Direction::Both, after_bytes: None };
            steps.push((random.u64(500..1_000), cut));
        }
        _ => {}
    }
    steps
}

/// The bridge, or its way to the target, stands still for longer than its transaction may last: the coordinator aborts it, and
/// what the bridge sends when it goes on belongs to a transaction that is no more.
fn reaped(setup: &Setup, random: &mut fastrand::Rng) -> Steps {
    let ms = setup.transaction_timeout_ms + REAPED_WITHIN_MS + random.u64(..1_500);
    let begins_ms = 200;
    let mut steps = writes(8, begins_ms + 50, random);
    // Late answers keep the transaction open until the stall begins.
    steps.push((0, strike(PRODUCE, Fault::DelayAnswer(random.i64(50..250)), 0, 20)));
    let direction =
        random.choice([Direction::Both, Direction::ToBroker, Direction::ToBridge]).unwrap_or(Direction::Both);
    let end = if random.bool() { Some(End::Target) } else { None };
    steps.push((begins_ms, Step::Stall { end, node: None, direction, ms }));
    if random.bool() {
        // What it says first when it goes on is lost once more.
        steps.push((begins_ms + ms - 50, strike(END_TXN, Fault::LoseAnswer(loss(random)), 0, 1)));
    }
    steps.extend(writes(4, ms + 500, random));
    steps
}

/// The bridge aborts, and does not learn whether the coordinator did.
fn lost_abort(random: &mut fastrand::Rng) -> Steps {
    let error = random
        .choice([
            ResponseError::InvalidTxnState,
            ResponseError::UnknownServerError,
            ResponseError::InvalidProducerEpoch,
        ])
        .unwrap_or(ResponseError::InvalidTxnState);
    let mut steps = writes(10, 800, random);
    for _ in 0..random.usize(1..4) {
        let at_ms = random.u64(..700);
        let fault = if random.bool() { Fault::Refuse(error) } else { Fault::Misreport(error) };
        steps.push((at_ms, strike(PRODUCE, fault, random.u64(..2), 1)));
        let lost = if random.u8(..4) == 0 { Fault::LoseRequest(loss(random)) } else { Fault::LoseAnswer(loss(random)) };
        steps.push((at_ms, strike(END_TXN, lost, 0, random.u64(1..4))));
        if random.u8(..3) == 0 {
            steps.push((at_ms, strike(INIT_PRODUCER_ID, Fault::LoseAnswer(loss(random)), 0, 1)));
        }
    }
    steps
}

/// Transactions over several partitions and many batches that abort, with leaders that move in their midst, among others
/// that commit in the same places.
fn source_aborts(setup: &Setup, random: &mut fastrand::Rng) -> Steps {
    let mut steps = Steps::new();
    let places: Vec<At> = (0..random.usize(1..4)).map(|_| at(random)).collect();
    for _ in 0..random.usize(2..6) {
        let batches = random.usize(4..16);
        let of = (0..batches).map(|_| places[random.usize(..places.len())]).collect();
        let verdict = match random.u8(..6) {
            0 => Verdict::Commit,
            1 => Verdict::Leave,
            _ => Verdict::Abort,
        };
        let (codec, records, pause_ms) = (codec(random), random.usize(1..6), random.u64(..80));
        steps.push((random.u64(..800), Step::Transact { at: of, codec, records, verdict, pause_ms }));
    }
    for _ in 0..random.usize(1..6) {
        let at = places[random.usize(..places.len())];
        let step = match random.u8(..5) {
            0 => Step::NodeDown { end: End::Source, node: random.i32(0..3), ms: random.u64(50..600) },
            1 => Step::Kill { down_ms: random.u64(..300) },
            _ => Step::Move { end: End::Source, at, node: random.i32(0..setup.source_nodes) },
        };
        steps.push((random.u64(..1_500), step));
    }
    steps
}
