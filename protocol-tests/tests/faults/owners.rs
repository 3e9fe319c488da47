//! Two processes of one link: whoever is newer works, and the other one says so and ends.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial as Registered;
use protocol_tests::bridge::Bridge;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;

use super::stage::{LIMIT, TRANSACTION_TIMEOUT, Trial, rounds, target};
use crate::real;

const PAUSES: usize = 3;
const RACES: usize = 5;
const ATTEMPTS: usize = 50;

pub(super) fn trials() -> Vec<Registered> {
    vec![
        real("faults", "kafka_4_4_0_owners", &["4.4.0"], || owners(2)),
        real("faults", "kafka_4_4_0_owners_on_v1", &["4.4.0"], || owners(1)),
    ]
}

/// At a target that has finalized this `transaction.version`.
fn owners(transaction_version: u8) -> Result<()> {
    let to = Spec::kraft("4.4.0").transaction_version(transaction_version);
    let mut trial = Trial::new(Pair::start(Spec::kraft("4.4.0"), target(to))?, "owners", "")?;
    let mut bridge = trial.bridge()?;
    bridge.process().wait_for_log(&format!("transaction protocol v{transaction_version}"), LIMIT)?;
    for round in 0..rounds(PAUSES) {
        bridge = paused(&mut trial, bridge).with_context(|| format!("paused, round {round}"))?;
    }
    for round in 0..rounds(RACES) {
        bridge = raced(&mut trial, bridge).with_context(|| format!("two at once, round {round}"))?;
    }
    trial.finish(bridge)
}

/// The first stops in the midst of a transaction for longer than its timeout, another takes over, the first wakes up.
fn paused(trial: &mut Trial, mut first: Bridge) -> Result<Bridge> {
    let load = trial.load()?;
    let before = trial.committed()?;
    trial.until_committed(before + 1)?;
    pause_at_work(trial, &first)?;
    let mut second = trial.bridge()?;
    second.process().wait_for_log("all lanes are taken", LIMIT)?;
    let before = trial.committed()?;
    thread::sleep(TRANSACTION_TIMEOUT + Duration::from_millis(500));
    ensure!(first.process().exit_code()?.is_none(), "a stopped process ended");
    trial.until_committed(before + 1).context("the second does not copy")?;
    first.resume()?;
    expect_taken_over(&mut first, &second)?;
    trial.audit("paused", load).with_context(|| second.process().log_tail(40))?;
    ensure!(second.process().exit_code()?.is_none(), "the second ended too:\n{}", second.log());
    Ok(second)
}

/// Stops it while one of its transactions is open: its data is written, its verdict is not.
fn pause_at_work(trial: &Trial, bridge: &Bridge) -> Result<()> {
    let mut client = trial.pair.target.client();
    for _ in 0..ATTEMPTS {
        bridge.pause()?;
        thread::sleep(Duration::from_millis(50));
        if !client.hanging_transactions(&[])?.is_empty() {
            return Ok(());
        }
        bridge.resume()?;
        thread::sleep(Duration::from_millis(20));
    }
    bail!("no transaction was open in {ATTEMPTS} moments")
}

/// The running one is ended, and two start at the same moment.
fn raced(trial: &mut Trial, mut former: Bridge) -> Result<Bridge> {
    former.kill();
    let load = trial.load()?;
    let mut one = trial.bridge()?;
    let gap = Duration::from_millis(trial.random.u64(..150));
    thread::sleep(gap);
    let mut other = trial.bridge()?;
    let start = Instant::now();
    let (mut winner, mut loser) = loop {
        match (one.process().exit_code()?, other.process().exit_code()?) {
            (None, None) => {}
            (Some(_), None) => break (other, one),
            (None, Some(_)) => break (one, other),
            (Some(_), Some(_)) => {
                bail!("both ended, started {gap:?} apart:\n{}\nand\n{}", one.log(), other.log())
            }
        }
        ensure!(start.elapsed() < LIMIT, "both run, started {gap:?} apart:\n{}\nand\n{}", one.log(), other.log());
        thread::sleep(Duration::from_millis(20));
    };
    expect_taken_over(&mut loser, &winner)?;
    let before = trial.committed()?;
    trial.until_committed(before + 1).with_context(|| winner.log())?;
    trial.audit("two at once", load).with_context(|| winner.process().log_tail(40))?;
    ensure!(winner.process().exit_code()?.is_none(), "the winner ended too:\n{}", winner.log());
    Ok(winner)
}

/// Exit code 1, and the log names the other's host and process.
fn expect_taken_over(loser: &mut Bridge, winner: &Bridge) -> Result<()> {
    let code = loser.wait(LIMIT)?;
    let log = loser.log();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let named = format!("host {}, pid {}", host.trim(), winner.id());
    ensure!(
        code == 1 && log.contains("was taken over") && log.contains(&named),
        "exit code {code}, no {named:?}:\n{log}"
    );
    Ok(())
}
