//! Bugs that were planted, and a schedule for each in which the checks must find it. Beside each the same schedule without
//! the bug, which must be clean: otherwise the schedule would prove nothing.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial as Registered;
use protocol_tests::bridge::{binary, planted_binary};
use protocol_tests::compare::Kind;
use protocol_tests::kafka::Spec;
use protocol_tests::planted::SWITCH;

use super::single::{END_TXN, Single, finish, pair};
use super::stage::LIMIT;
use crate::{real, trial};

type Schedule = fn(&mut Single<'_>) -> Result<()>;

/// `no_bump` has its own trial: the delayed EndTxn.
const MUTANTS: [(&str, Schedule, Kind); 4] = [
    ("position_outside_transaction", killed_before_the_verdict, Kind::Missing),
    ("position_off_by_one", restarted, Kind::Missing),
    ("aborted_kept", aborted, Kind::Phantom),
    ("no_fence", two_at_once, Kind::Doubled),
];

pub(super) fn trials() -> Vec<Registered> {
    vec![
        trial("faults", "no_bug_can_be_planted_into_the_shipped_binary", || {
            let has_switch = |binary: std::path::PathBuf| {
                let bytes = std::fs::read(&binary).with_context(|| binary.display().to_string())?;
                anyhow::Ok(bytes.windows(SWITCH.len()).any(|window| window == SWITCH.as_bytes()))
            };
            ensure!(has_switch(planted_binary()?)?, "the switch is not found where it must be");
            ensure!(!has_switch(binary()?)?, "the shipped binary has the switch");
            // And in a release there is nothing to switch on, as long as its profile leaves debug assertions off.
            let profiles = include_str!("../../../Cargo.toml");
            ensure!(!profiles.contains("debug-assertions"), "a profile says something of debug assertions");
            Ok(())
        }),
        real("faults", "kafka_4_4_0_mutants_are_caught", &["4.4.0"], || mutants(Spec::kraft("4.4.0"))),
        real("faults", "kafka_3_9_2_mutants_are_caught_on_v1", &["3.9.2"], || mutants(Spec::kraft("3.9.2"))),
    ]
}

fn mutants(spec: Spec) -> Result<()> {
    let pair = pair(spec.clone(), spec)?;
    for (bug, schedule, kind) in MUTANTS {
        let name = bug.replace('_', "-");
        let mut control = Single::new(&pair, &format!("{name}-control"), None, "")?;
        schedule(&mut control).with_context(|| format!("{bug}: the control"))?;
        control.judge(kind).with_context(|| format!("{bug}: the control is not clean"))?;
        let mut mutant = Single::new(&pair, &name, Some(bug), "")?;
        schedule(&mut mutant).with_context(|| bug.to_owned())?;
        mutant.judge(kind).context(bug)?;
    }
    Ok(())
}

/// Data and position are written, EndTxn is on its way, and the bridge dies. Whoever comes next aborts.
fn killed_before_the_verdict(link: &mut Single<'_>) -> Result<()> {
    link.write()?;
    let mut bridge = link.bridge()?;
    link.until_equal()?;
    let end_txn = link.hold(END_TXN, "")?;
    link.write()?;
    link.until_held(end_txn)?;
    bridge.kill();
    let mut bridge = link.bridge()?;
    bridge.process().wait_for_log("all lanes are taken", LIMIT)?;
    link.write()?;
    link.until_copied()?;
    // Too late: its epoch is gone.
    link.proxy().release(end_txn)?;
    finish(bridge)
}

/// An orderly end, and a start that goes by the position.
fn restarted(link: &mut Single<'_>) -> Result<()> {
    link.write()?;
    let bridge = link.bridge()?;
    link.until_copied()?;
    finish(bridge)?;
    link.write()?;
    let bridge = link.bridge()?;
    link.until_copied()?;
    finish(bridge)
}

/// Records of an aborted transaction between others.
fn aborted(link: &mut Single<'_>) -> Result<()> {
    link.write()?;
    link.write_aborted()?;
    link.write()?;
    let bridge = link.bridge()?;
    link.until_copied()?;
    finish(bridge)
}

/// A second bridge starts beside the first, and both are given work.
fn two_at_once(link: &mut Single<'_>) -> Result<()> {
    link.write()?;
    let mut first = link.bridge()?;
    link.until_equal()?;
    let mut second = link.bridge()?;
    second.process().wait_for_log("all lanes are taken", LIMIT)?;
    link.write()?;
    link.until_copied()?;
    link.write()?;
    link.until_copied()?;
    if link.has_bug() {
        // What one has copied makes the other abort, three times at most: killed before, it would have doubled nothing.
        link.judge(Kind::Doubled)?;
        first.kill();
    } else {
        ensure!(first.wait(LIMIT)? == 1, "the first goes on:\n{}", first.log());
    }
    finish(second)
}
