//! Topics whose records are checked on the way: what is valid is copied, what is not is in the dead letters, exactly once.

mod counted;
mod events;
mod grown;
mod interrupted;
mod judge;
mod looked_into;
mod named;
mod poison;
mod registries;
mod replayed;
mod verified;

use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    let suites = [
        poison::trials(),
        registries::trials(),
        verified::trials(),
        counted::trials(),
        grown::trials(),
        looked_into::trials(),
        named::trials(),
        replayed::trials(),
        interrupted::trials(),
    ];
    suites.into_iter().flatten().collect()
}
