//! Worlds whose topics are checked against schemas of a registry, and what goes wrong with the registry.
//!
//! It has a generator of its own, so that the schedules without checks stay what they are.

use super::network::{Direction, End};
use super::schedule::{RegistryFault, Schedule, Step, Validation};

const SALT: u64 = 0x7661_6c69_6400_0000;

/// Every fifth seed: none of those that stand for what they found before anything was checked.
pub(super) fn validate(schedule: &mut Schedule) {
    if schedule.seed % 5 != 3 {
        return;
    }
    let random = &mut fastrand::Rng::with_seed(schedule.seed ^ SALT);
    let count = schedule.setup.topics.len();
    let mut topics: Vec<usize> = (0..count).filter(|_| random.bool()).collect();
    if topics.is_empty() {
        topics.push(random.usize(..count));
    }
    let validation = Validation {
        topics,
        stops: random.u8(..4) == 0,
        maps_ids: random.u8(..3) == 0,
        waits_for_schema: random.u8(..3) == 0,
    };
    let duration_ms = schedule.setup.duration_ms;
    schedule.steps.push((random.u64(..duration_ms), Step::Evolve));
    for _ in 0..random.usize(1..5) {
        // Often before the first bridge starts, and else often just before another one does: whoever has asked knows.
        let at_ms = if random.u8(..3) == 0 { 0 } else { random.u64(..duration_ms) };
        let end = if validation.maps_ids && random.bool() { End::Target } else { End::Source };
        schedule.steps.push((at_ms, Step::Registry { end, fault: fault(random), ms: random.u64(100..5_000) }));
        if at_ms > 0 && random.bool() {
            schedule.steps.push((at_ms + random.u64(1..100), Step::Kill { down_ms: random.u64(..300) }));
        }
    }
    schedule.setup.validation = Some(validation);
    schedule.steps.sort_by_key(|it| it.0);
}

fn fault(random: &mut fastrand::Rng) -> RegistryFault {
    match random.u8(..9) {
        0 => RegistryFault::Refused,
        1 => {
            RegistryFault::Stalled(random.choice([Direction::ToBroker, Direction::ToBridge]).unwrap_or(Direction::Both))
        }
        2 | 3 => RegistryFault::BreaksOff { after_bytes: random.usize(1..300) },
        4 => RegistryFault::Closes,
        5 => RegistryFault::Slow { late_ms: random.u64(100..2_000) },
        6 => RegistryFault::Garbage,
        _ => RegistryFault::Status(random.choice([429, 500, 503]).unwrap_or(500)),
    }
}
