//! A second run for trials on real Kafka that a starved machine made fail, and for nothing else.
//!
//! Brokers on two cores can miss any limit that a trial has for them. What is wrong at the target is no matter of time: it is
//! never repeated, so that a rare duplicate cannot pass by being rare.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::places::Places;

use crate::trial;

/// In one run of the trials. More than these are no bad luck.
const REPEATED_MAX: usize = 3;
/// How the checkers of a copy name what they found (`compare::Kind`, `audit`, and trials that count records themselves).
const VERDICTS: [&str; 10] = [
    "Doubled",
    "Reordered",
    "Altered",
    "Phantom",
    " twice",
    "torn transactions",
    "breaks in the ledger",
    "without a position",
    "without data",
    "transactions hang",
];

/// What is left of it.
pub(super) struct Repetitions(AtomicUsize);

impl Repetitions {
    pub(super) const fn new() -> Repetitions {
        Repetitions(AtomicUsize::new(REPEATED_MAX))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// One at a time: two that wait for all places would each hold one that the other needs.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a trial in one of the places; where it failed for time, once more, with all places to itself.
pub(super) fn once_more(
    name: &str,
    (places, repetitions): (&Places, &Repetitions),
    run: impl Fn() -> Result<()>,
) -> Result<()> {
    let first = {
        let _place = places.take();
        run()
    };
    let Err(error) = first else { return Ok(()) };
    if is_verdict(&error) || !repetitions.take() {
        return Err(error);
    }
    println!("REPEATED, alone: {name} failed with\n{error:?}");
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _places = places.take_all();
    run()
}

fn is_verdict(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    VERDICTS.iter().any(|it| text.contains(it))
}

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("harness", "what_is_wrong_at_the_target_is_never_repeated", || {
        let (places, repetitions, runs) = (Places::new(2), Repetitions::new(), AtomicUsize::new(0));
        let fails = |text: &'static str| {
            runs.store(0, Ordering::Relaxed);
            let result = once_more("one that is planted", (&places, &repetitions), || {
                runs.fetch_add(1, Ordering::Relaxed);
                anyhow::bail!(text)
            });
            (result.is_err(), runs.load(Ordering::Relaxed))
        };
        for verdict in ["1 differences: Doubled orders-0 offset 7", "a record is at the target twice"] {
            ensure!(fails(verdict) == (true, 1), "{verdict} was repeated");
        }
        for _ in 0..REPEATED_MAX {
            ensure!(fails("node 0 does not answer") == (true, 2), "one that failed for time was not repeated");
        }
        ensure!(fails("node 0 does not answer") == (true, 1), "more were repeated than are bad luck");
        Ok(())
    })]
}
