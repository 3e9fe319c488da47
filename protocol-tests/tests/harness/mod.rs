//! The harness itself: a checker that cannot fail proves nothing, and neither does a fault that never happened.

mod audit;
mod bridge;
mod compare;
mod listener;
mod proxy;
mod real;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [audit::trials(), bridge::trials(), compare::trials(), listener::trials(), proxy::trials(), real::trials()]
        .into_iter()
        .flatten()
        .collect()
}
