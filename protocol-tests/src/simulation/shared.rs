//! Worlds whose bridges share the lanes through a consumer group, and what goes wrong with the group.
//!
//! It has a generator of its own, so that the schedules without a group stay what they are.

use kafka_bridge::broker::{Coordinator, Fault, Loss};
use kafka_protocol::ResponseError;

use super::REGRESSIONS;
use super::network::{Direction, End};
use super::schedule::{Schedule, Sharing, Step};

const TXN_OFFSET_COMMIT: i16 = 28;
const JOIN_GROUP: i16 = 11;
const HEARTBEAT: i16 = 12;
const SYNC_GROUP: i16 = 14;
const SALT: u64 = 0x7368_6172_6564_0000;

/// Every fourth seed, but for those that stand for what they found without a group.
pub(super) fn share(schedule: &mut Schedule) {
    if schedule.seed % 4 != 1 || REGRESSIONS.iter().any(|(seed, _)| *seed == schedule.seed) {
        return;
    }
    let random = &mut fastrand::Rng::with_seed(schedule.seed ^ SALT);
    schedule.setup.sharing = if random.u8(..4) == 0 { Sharing::Twins } else { Sharing::Group };
    for _ in 0..random.usize(1..8) {
        let at_ms = random.u64(..schedule.setup.duration_ms);
        schedule.steps.push((at_ms, step(random)));
    }
    schedule.steps.sort_by_key(|it| it.0);
}

fn step(random: &mut fastrand::Rng) -> Step {
    match random.u8(..10) {
        0 | 1 => Step::Second,
        // Some outlast the session.
        2 => Step::Zombie { ms: random.u64(500..9_000) },
        3 => Step::Kill { down_ms: random.u64(..8_000) },
        4 => Step::Stop { down_ms: random.u64(..8_000) },
        5 => Step::MoveCoordinator { kind: Coordinator::Group, lane: 0, node: random.i32(0..3) },
        6 => {
            let (end, ms) = (Some(End::Target), random.u64(1_000..8_000));
            Step::Stall { end, node: None, direction: Direction::ToBridge, ms }
        }
        _ => strike(random),
    }
}

fn strike(random: &mut fastrand::Rng) -> Step {
    let api = random.choice([JOIN_GROUP, SYNC_GROUP, HEARTBEAT, TXN_OFFSET_COMMIT]).unwrap_or(HEARTBEAT);
    let error = random
        .choice([
            ResponseError::UnknownMemberId,
            ResponseError::IllegalGeneration,
            ResponseError::RebalanceInProgress,
            ResponseError::NotCoordinator,
            ResponseError::CoordinatorLoadInProgress,
        ])
        .unwrap_or(ResponseError::UnknownMemberId);
    let fault = match random.u8(..5) {
        0 => Fault::LoseRequest(Loss::Close),
        1 => Fault::LoseAnswer(if random.bool() { Loss::Close } else { Loss::Silence }),
        2 => Fault::DelayAnswer(random.i64(50..3_000)),
        3 => Fault::Misreport(error),
        _ => Fault::Refuse(error),
    };
    Step::Strike { end: End::Target, api, fault, skip: random.u64(..4), times: random.u64(1..4) }
}
