//! The machine against the model: promises under random changes and faults, and the mutants that break them.

use crate::source::fetcher::Mutant;
use crate::source::world::{Faults, QUIET, World};
use crate::testing::config;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn run(mutant: Option<Mutant>, compares_epochs: bool, choices: Vec<u8>) -> (Result<(), String>, Faults) {
    let mut world = World::new(mutant, compares_epochs, choices);
    world.drive_bounded();
    world.judge();
    world.close();
    (world.broken.map_or(Ok(()), Err), world.faults)
}

/// Byte strings of which a third choose a change or a fault.
fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![2 => 1..QUIET, 3 => QUIET.., 1 => Just(0)], 0..900)
}

fn seeded(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..900).map(|_| if random.u8(..3) == 0 { random.u8(1..QUIET) } else { random.u8(QUIET..) }).collect()
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn keeps_its_promises(choices in choices()) {
        prop_assert_eq!(run(None, true, choices).0, Ok(()));
    }

    #[test]
    fn keeps_its_promises_before_leaders_that_compare_no_epochs(choices in choices()) {
        prop_assert_eq!(run(None, false, choices).0, Ok(()));
    }
}

/// One of many seeds breaks this promise.
fn caught(mutant: Mutant, compares_epochs: bool, by: &str) {
    let mut broken = BTreeSet::new();
    for seed in 0..400 {
        if let Err(verdict) = run(Some(mutant), compares_epochs, seeded(seed)).0 {
            broken.insert(verdict.split(':').next().unwrap_or_default().to_owned());
        }
        if broken.contains(by) {
            return;
        }
    }
    panic!("{mutant:?} broke {broken:?}");
}

#[test]
fn leaked_budget_is_caught() {
    caught(Mutant::LeakBudget, true, "ProgressAfterHeal");
}

#[test]
fn kept_aborted_records_are_caught() {
    caught(Mutant::KeepAborted, true, "AbortedInvisible");
}

#[test]
fn an_ignored_gap_is_caught() {
    caught(Mutant::IgnoreGap, true, "NoLoss");
}

#[test]
fn an_ignored_revision_is_caught() {
    caught(Mutant::IgnoreRevision, true, "IncidentIsTrue");
}

#[test]
fn an_ignored_epoch_is_caught() {
    caught(Mutant::IgnoreEpoch, false, "NoLoss");
}

#[test]
fn going_on_after_an_incident_is_caught() {
    caught(Mutant::GoOnAfterIncident, true, "GoesOnAfterIncident");
}

/// The control of the mutants above, and the proof that the faults are not only planned.
#[test]
fn without_a_mutant_every_fault_occurs_and_no_promise_is_broken() {
    let mut counts = BTreeMap::new();
    for seed in 0..200 {
        let (verdict, faults) = run(None, seed % 2 == 0, seeded(seed));
        assert_eq!(verdict, Ok(()), "seed {seed}");
        for (name, count) in faults.0 {
            *counts.entry(name).or_insert(0) += count;
        }
    }
    println!("{counts:?}");
    assert!(Faults::NAMES.iter().all(|name| counts.contains_key(name)), "{counts:?}");
}
