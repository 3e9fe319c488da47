//! Several bridges share the lanes of a link.

mod embedded;
mod real;
mod stage;

use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    embedded::trials().into_iter().chain(real::trials()).collect()
}
