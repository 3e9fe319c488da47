//! kill -9 of the bridge, again and again, at random moments: while it starts, takes its lanes and copies.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial as Registered;
use protocol_tests::compare::Kind;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::proxy::Action;

use super::single::{self, END_TXN, Single};
use super::stage::{LIMIT, Trial, rounds, target};
use crate::real;

const KILLS: usize = 50;
/// From before the first connection to steady copying.
const MOMENTS_MS: std::ops::Range<f64> = 20.0..1_500.0;

pub(super) fn trials() -> Vec<Registered> {
    vec![
        real("faults", "kafka_3_9_2_to_4_4_0_bridge_killed_50_times", &["3.9.2", "4.4.0"], || {
            killed(Spec::zookeeper("3.9.2").with_tls(), target(Spec::kraft("4.4.0").with_tls()))
        }),
        real("faults", "kafka_3_9_2_to_3_9_2_bridge_killed_50_times", &["3.9.2"], || {
            killed(Spec::zookeeper("3.9.2").with_tls(), target(Spec::zookeeper("3.9.2").with_tls()))
        }),
        real("faults", "kafka_4_4_0_bridge_killed_in_its_first_transactions", &["4.4.0"], first_transactions),
    ]
}

fn killed(source: Spec, target: Spec) -> Result<()> {
    let mut trial = Trial::new(Pair::start(source, target)?, "killed", "")?;
    let load = trial.load()?;
    let (mut starting, mut copying) = (0, 0);
    for round in 0..rounds(KILLS) {
        let moment = Duration::from_secs_f64(moment_ms(&mut trial.random) / 1e3);
        let mut bridge = trial.bridge()?;
        thread::sleep(moment);
        let code = bridge.process().exit_code()?;
        ensure!(code.is_none(), "round {round}: ended by itself with {code:?} within {moment:?}:\n{}", bridge.log());
        bridge.kill();
        let log = bridge.log();
        ensure!(!log.contains("incident"), "round {round}: an incident:\n{log}");
        if log.contains("all lanes are taken") { copying += 1 } else { starting += 1 }
    }
    let mut bridge = trial.bridge()?;
    bridge.process().wait_for_log("all lanes are taken", LIMIT)?;
    let (_, audited) = trial.audit("killed", load)?;
    println!("killed {starting} times while it started, {copying} times while it copied");
    ensure!(starting > 0 && copying > 0, "killed {starting} times while it started, {copying} times while it copied");
    ensure!(audited.aborted_records > 0, "no kill met an open transaction: {audited:?}");
    trial.finish(bridge)
}

/// Before each of the first verdicts: a link without a position must not take what it left itself for somebody else's data.
fn first_transactions() -> Result<()> {
    let pair = single::pair(Spec::kraft("4.4.0"), Spec::kraft("4.4.0"))?;
    for (round, nth) in (0..rounds(1)).flat_map(|round| (1..=3).map(move |nth| (round, nth))) {
        let mut link = Single::new(&pair, &format!("first-{nth}-{round}"), None, "")?;
        link.write()?;
        let end_txn = link.proxy().take_request(END_TXN, nth, Action::Hold)?;
        let mut bridge = link.bridge()?;
        link.write()?;
        link.until_held(end_txn)?;
        bridge.kill();
        let bridge = link.bridge()?;
        link.write()?;
        link.judge(Kind::Missing).with_context(|| format!("killed before verdict {nth}:\n{}", bridge.log()))?;
        link.proxy().release(end_txn)?;
        single::finish(bridge)?;
    }
    Ok(())
}

/// Half of them evenly spread, half of them near the start.
fn moment_ms(random: &mut fastrand::Rng) -> f64 {
    let share = random.f64();
    if random.bool() {
        MOMENTS_MS.start + share * (MOMENTS_MS.end - MOMENTS_MS.start)
    } else {
        MOMENTS_MS.start * (MOMENTS_MS.end / MOMENTS_MS.start).powf(share)
    }
}
