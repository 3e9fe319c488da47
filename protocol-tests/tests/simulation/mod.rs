//! The whole link from seeds: thousands of schedules of faults, in virtual time.

use std::env;
use std::fmt::Write;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial as Registered;
use protocol_tests::bridge::program;
use protocol_tests::simulation::runner::{Campaign, Report, checked, shortened};
use protocol_tests::simulation::{REGRESSIONS, schedule};

use crate::trial;

/// How many seeds.
const SEEDS: &str = "KAFKA_BRIDGE_SEEDS";
/// This one alone.
const SEED: &str = "KAFKA_BRIDGE_SEED";
const SEEDS_DEFAULT: u64 = 2_000;
const THREADS: usize = 2;
/// A bug that so many seeds do not show is not caught.
const MUTANT_SEEDS: u64 = 2_000;

pub(super) fn trials() -> Vec<Registered> {
    let mut trials = vec![
        trial("simulation", "every_seed_holds", every_seed),
        trial("simulation", "seeds_that_once_failed_hold", regressions),
        trial("simulation", "a_seed_replays_to_the_byte", replays),
    ];
    trials.extend(MUTANTS.map(|bug| trial("simulation", &format!("mutant_{bug}_is_caught"), move || mutant(bug))));
    trials
}

fn number(name: &str) -> Result<Option<u64>> {
    let Some(value) = env::var(name).ok() else { return Ok(None) };
    value.parse().map(Some).with_context(|| format!("{name} is {value:?}, and not a number"))
}

fn campaign(seeds: Vec<u64>) -> Campaign {
    Campaign { seeds, threads: THREADS, stops_at_failure: false, bug: None }
}

fn every_seed() -> Result<()> {
    let seeds: Vec<_> = match number(SEED)? {
        Some(seed) => vec![seed],
        None => (0..number(SEEDS)?.unwrap_or(SEEDS_DEFAULT)).collect(),
    };
    let is_alone = seeds.len() == 1;
    let report = campaign(seeds).run()?;
    println!(
        "{} seeds in {:.1} s: {:.1} simulated hours per minute",
        report.seeds,
        report.took.as_secs_f64(),
        report.simulated_hours_per_minute()
    );
    judge(&report)?;
    // A schedule without trouble proves nothing.
    let totals = &report.totals;
    let all = [
        totals.records,
        totals.struck,
        totals.aborted,
        totals.upgrades,
        totals.source_aborted,
        totals.generations,
        totals.superseded,
        totals.filed,
        totals.objections,
    ];
    ensure!(is_alone || all.iter().all(|it| *it > 0), "something never happened: {totals:?}");
    Ok(())
}

fn regressions() -> Result<()> {
    let seeds: Vec<u64> = REGRESSIONS.iter().map(|(seed, _)| *seed).collect();
    judge(&campaign(seeds).run()?)
}

/// The first failure, as short as it gets.
fn judge(report: &Report) -> Result<()> {
    let Some(first) = report.failures.first() else { return Ok(()) };
    let (short, why) = shortened(&first.schedule, &first.violation)?;
    let mut told = String::new();
    for failure in &report.failures {
        writeln!(told, "seed {}: {}", failure.schedule.seed, failure.violation)?;
    }
    bail!("{told}the first one shortened: {why}\n{short}again by {SEED}={}", first.schedule.seed)
}

fn replays() -> Result<()> {
    let mut hashes = std::collections::BTreeSet::new();
    // Behind the first few: registries that are down for so long that several lanes wait for one answer.
    let seeds: Vec<u64> = (0..12).chain([78, 128, 198, 233]).collect();
    for seed in seeds.iter().copied() {
        let schedule = schedule(seed);
        let (first, second) = (checked(&schedule)?, checked(&schedule)?);
        ensure!(first == second, "seed {seed}: {first:?}, and the second time {second:?}");
        ensure!(first.statistics.trace.chunks > 0, "seed {seed}: nothing was sent");
        hashes.insert(first.statistics.trace.hash);
    }
    ensure!(hashes.len() == seeds.len(), "different seeds give the same run");
    Ok(())
}

/// As in `kafka_bridge::planted`. One of those, `markers_trusted`, shows itself only to the trial that makes its fault on purpose.
const MUTANTS: [&str; 15] = [
    "position_outside_transaction",
    "position_off_by_one",
    "aborted_kept",
    "no_fence",
    "no_bump",
    "sequence_reset",
    "epoch_kept",
    "marker_as_data",
    "position_from_dropped",
    "snapshot_incomplete",
    "replay_offset",
    "stale_epoch_ignored",
    "letter_outside_transaction",
    "letter_dropped",
    "unchecked_while_down",
];

/// The control is `every_seed_holds`, on the same seeds.
fn mutant(bug: &str) -> Result<()> {
    // In a process of its own: a bug may make a loop without end, which ends that process.
    let mut simulate = Command::new(program("simulate")?);
    simulate.args(["--first", "--bug", bug, "--seeds", &MUTANT_SEEDS.to_string()]);
    let output = simulate.output().context("cannot run the simulation")?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.code() == Some(1) && told.starts_with("seed "),
        "{bug} is not caught: {told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
