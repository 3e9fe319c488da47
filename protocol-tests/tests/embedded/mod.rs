//! The shipping bridge between embedded clusters: the whole product without Java.

mod copy;

use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    copy::trials()
}
