//! Everything that can go wrong, on real brokers: each fault is shown to have happened, and afterwards nothing may be lost,
//! doubled, reordered, altered, torn or left hanging.
//!
//! A run prints its seed; `KAFKA_BRIDGE_SEED` repeats it, `KAFKA_BRIDGE_ROUNDS` multiplies what is done in rounds.

mod delayed;
mod killed;
mod lost;
mod markers;
mod mutants;
mod nodes;
mod outages;
mod owners;
mod single;
mod slow;
mod stage;

use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    let suites = [
        delayed::trials(),
        killed::trials(),
        lost::trials(),
        markers::trials(),
        mutants::trials(),
        nodes::trials(),
        outages::trials(),
        owners::trials(),
        slow::trials(),
    ];
    suites.into_iter().flatten().collect()
}
