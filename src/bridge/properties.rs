//! Lanes against the models: promises under random changes and faults, and the mutants that break them.

use super::lane::Mutant;
use super::world::{Faults, QUIET, World};
use crate::target::TransactionProtocol;
use crate::testing::config;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn run(mutant: Option<Mutant>, protocol: TransactionProtocol, choices: Vec<u8>) -> (Result<(), String>, Faults) {
    let mut world = World::new(protocol, mutant, choices);
    world.drive_bounded();
    world.audit();
    world.drain();
    world.audit();
    (world.broken.map_or(Ok(()), Err), world.faults)
}

/// Byte strings of which a tenth choose a change or a fault.
fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![1 => 1..QUIET, 3 => QUIET.., 1 => Just(0)], 0..5_000)
}

fn seeded(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..5_000).map(|_| if random.u8(..5) == 0 { random.u8(1..QUIET) } else { random.u8(QUIET..) }).collect()
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn v1_keeps_its_promises(choices in choices()) {
        prop_assert_eq!(run(None, TransactionProtocol::V1, choices).0, Ok(()));
    }

    #[test]
    fn v2_keeps_its_promises(choices in choices()) {
        prop_assert_eq!(run(None, TransactionProtocol::V2, choices).0, Ok(()));
    }
}

/// One of many seeds breaks this promise.
fn caught(mutant: Mutant, by: &str) {
    let protocols = [TransactionProtocol::V1, TransactionProtocol::V2];
    let mut broken = BTreeSet::new();
    for seed in 0..100 {
        if let Err(verdict) = run(Some(mutant), protocols[seed as usize % 2], seeded(seed)).0 {
            broken.insert(verdict.split(':').next().unwrap_or_default().to_owned());
        }
        if broken.contains(by) {
            return;
        }
    }
    panic!("{mutant:?} broke {broken:?}");
}

#[test]
fn a_position_off_by_one_is_caught() {
    caught(Mutant::PositionOffByOne, "PositionMatchesData");
}

#[test]
fn a_position_outside_the_transaction_is_caught() {
    caught(Mutant::PositionOutsideTransaction, "PositionMatchesData");
}

#[test]
fn a_delivery_forgotten_in_a_rewind_is_caught() {
    caught(Mutant::ForgetOnRewind, "NoLoss");
}

#[test]
fn leaked_budget_is_caught() {
    caught(Mutant::LeakGivenBack, "BytesBounded");
}

#[test]
fn a_reversed_rewind_is_caught() {
    caught(Mutant::ReversePutBack, "IncidentIsTrue");
}

#[test]
fn a_drain_that_waits_for_nothing_is_caught() {
    caught(Mutant::DrainAtOnce, "DrainLeavesNothing");
}

/// The control of the mutants above, and the proof that the faults are not only planned.
#[test]
fn without_a_mutant_every_fault_occurs_and_no_promise_is_broken() {
    let mut counts = BTreeMap::new();
    for seed in 0..60 {
        let protocol = if seed % 2 == 0 { TransactionProtocol::V1 } else { TransactionProtocol::V2 };
        let (verdict, faults) = run(None, protocol, seeded(seed));
        assert_eq!(verdict, Ok(()), "seed {seed}");
        for (name, count) in faults.0 {
            *counts.entry(name).or_insert(0) += count;
        }
    }
    println!("{counts:?}");
    assert!(Faults::NAMES.iter().all(|name| counts.contains_key(name)), "{counts:?}");
}
