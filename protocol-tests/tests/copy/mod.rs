//! The bridge between two real clusters: what comes out is what went in.

mod fidelity;

use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    fidelity::trials()
}
