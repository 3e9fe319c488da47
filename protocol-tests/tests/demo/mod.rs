//! The first commands of a newcomer.

mod in_process;
mod two_clusters;

use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = in_process::trials();
    trials.extend(two_clusters::trials());
    trials
}
