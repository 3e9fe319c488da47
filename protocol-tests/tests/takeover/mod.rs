//! The short form of `protocol-tests/src/bin/takeover.rs`: that each fault is survived, on any machine. How fast is for the
//! long form to say, on one that has nothing else to do.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::takeover::{Fault, measure};

use crate::real;

const RUNS: usize = 1;

pub(super) fn trials() -> Vec<Trial> {
    vec![real("takeover", "kafka_4_4_0_short", &["4.4.0"], || short("4.4.0"))]
}

/// Each run proves its fault, and verifies the copy; at the end the whole of it is audited.
fn short(version: &str) -> Result<()> {
    let (all, audited) = measure(version, &Fault::ALL, RUNS, &mut |line| println!("{line}"))?;
    ensure!(all.len() == Fault::ALL.len() && all.iter().all(|it| it.times.len() == RUNS), "{all:?}");
    ensure!(audited.transactions > 0 && all.iter().all(|it| it.records > 0), "{audited:?}, {all:?}");
    Ok(())
}
