//! `cargo test protocol-tests`: every trial is named `protocol-tests::<suite>::<case>`.
//!
//! An ordinary test harness would answer that filter with "0 passed" and success, because a Rust test's name cannot hold a hyphen.

mod again;
mod bad_input;
mod chaos;
mod check;
mod compose;
mod conformance;
mod console;
mod copy;
mod demo;
mod embedded;
mod events;
mod faults;
mod foreign;
mod fuzz;
mod gaps;
mod golden;
mod harness;
mod house;
mod logging;
mod monitor;
mod nginx;
mod pki;
mod positions;
mod registry;
mod sharing;
mod simulation;
mod takeover;
mod topics;
mod validation;
mod verify;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use protocol_tests::jars;
use protocol_tests::places::Places;

/// In CI a real-Kafka trial, or another that needs more than Rust, that cannot run is a failure, not an ignored line that nobody reads.
const REQUIRE_REAL: &str = "KAFKA_BRIDGE_REQUIRE_REAL";

/// Two on real Kafka, two that need none: both kinds wait most of their time.
const THREADS: usize = 4;

/// Trials that take longer say so.
const NOTED: Duration = Duration::from_secs(5);

/// Two real-Kafka trials at a time: more brokers starve each other of two cores, and fail for reasons that prove nothing.
static REAL: Places = Places::new(2);

static REPETITIONS: again::Repetitions = again::Repetitions::new();

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let mut trials = harness::trials();
    trials.extend(again::trials());
    trials.extend(bad_input::trials());
    trials.extend(chaos::trials());
    trials.extend(check::trials());
    trials.extend(compose::trials());
    trials.extend(conformance::trials());
    trials.extend(console::trials());
    trials.extend(copy::trials());
    trials.extend(demo::trials());
    trials.extend(embedded::trials());
    trials.extend(events::trials());
    trials.extend(faults::trials());
    trials.extend(foreign::trials());
    trials.extend(fuzz::trials());
    trials.extend(gaps::trials());
    trials.extend(golden::trials());
    trials.extend(sharing::trials());
    trials.extend(simulation::trials());
    trials.extend(takeover::trials());
    trials.extend(house::trials());
    trials.extend(topics::trials());
    trials.extend(logging::trials());
    trials.extend(monitor::trials());
    trials.extend(nginx::trials());
    trials.extend(validation::trials());
    trials.extend(verify::trials());
    trials.extend(pki::trials());
    trials.extend(positions::trials());
    trials.extend(registry::trials());
    let trials = in_turns(trials);
    let asked = arguments.filter.as_ref().is_some_and(|filter| filter.contains("protocol-tests"));
    if asked && !arguments.list && trials.iter().all(|trial| arguments.is_filtered_out(trial)) {
        eprintln!("no trial matches {:?}", arguments.filter);
        return ExitCode::FAILURE;
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Those on real Kafka spread among the others: side by side they would only wait for each other's places.
fn in_turns(mut trials: Vec<Trial>) -> Vec<Trial> {
    trials.sort_by(|left, right| left.name().cmp(right.name()));
    let (real, others): (Vec<_>, Vec<_>) = trials.into_iter().partition(|trial| trial.name().contains("::kafka_"));
    let (reals, total) = (real.len(), real.len() + others.len());
    let (mut real, mut others) = (real.into_iter(), others.into_iter());
    let is_real = |at: usize| (at + 1) * reals / total > at * reals / total;
    (0..total).filter_map(|at| if is_real(at) { real.next() } else { others.next() }).collect()
}

/// A trial that needs nothing but this process.
fn trial(suite: &str, case: &str, run: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    let named = name(suite, case);
    Trial::test(named.clone(), move || timed(&named, run).map_err(failed))
}

/// A trial on real brokers of these versions; ignored with the reason where Java or Maven is missing.
fn real(suite: &str, case: &str, versions: &[&str], run: impl Fn() -> anyhow::Result<()> + Send + 'static) -> Trial {
    let named = name(suite, case);
    beside(suite, case, versions, move || again::once_more(&named, (&REAL, &REPETITIONS), || timed(&named, &run)))
}

/// One that only waits: others run meanwhile.
fn beside(
    suite: &str,
    case: &str,
    versions: &[&str],
    run: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> Trial {
    match jars::available(versions) {
        Ok(()) => Trial::test(name(suite, case), move || run().map_err(failed)),
        Err(reason) if is_required() => Trial::test(name(suite, case), move || Err(Failed::from(reason))),
        Err(reason) => Trial::test(name(suite, case), || Ok(())).with_kind(reason).with_ignored_flag(true),
    }
}

/// Says how long it took where that is long: these are what a whole run takes its time for.
fn timed(name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let start = Instant::now();
    let done = run();
    if start.elapsed() > NOTED {
        println!("{name}: {:.0?}", start.elapsed());
    }
    done
}

fn is_required() -> bool {
    std::env::var_os(REQUIRE_REAL).is_some_and(|value| value == "1")
}

fn name(suite: &str, case: &str) -> String {
    format!("protocol-tests::{suite}::{case}")
}

fn failed(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:?}"))
}
