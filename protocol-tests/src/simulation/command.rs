//! The simulation by hand: `cargo run --release -p protocol-tests --bin simulate -- --seeds 100000`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use super::runner;
use crate::planted;

#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This one alone, with its log.
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// A planted bug, by its name; no release has any.
    #[arg(long)]
    bug: Option<String>,
    /// End with the first seed that fails.
    #[arg(long)]
    first: bool,
    /// Shorten what fails.
    #[arg(long)]
    shorten: bool,
}

pub fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return one(seed, arguments.bug.as_deref(), arguments.shorten);
    }
    let report = runner::Campaign {
        seeds: (arguments.from..arguments.from + arguments.seeds).collect(),
        threads: arguments.threads,
        stops_at_failure: arguments.first,
        bug: arguments.bug.clone(),
    }
    .run()?;
    for failure in &report.failures {
        println!("seed {}: {}", failure.schedule.seed, failure.violation);
    }
    println!(
        "{} seeds, {} failed, {:.1} s, {:.1} simulated hours per minute; {:?}",
        report.seeds,
        report.failures.len(),
        report.took.as_secs_f64(),
        report.simulated_hours_per_minute(),
        report.totals
    );
    if let Some(first) = report.failures.first().filter(|_| arguments.shorten) {
        return one(first.schedule.seed, arguments.bug.as_deref(), true);
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn one(seed: u64, bug: Option<&str>, shorten: bool) -> Result<ExitCode> {
    planted::in_thread(bug)?;
    let mut schedule = super::schedule(seed);
    let mut outcome = runner::checked(&schedule)?;
    if shorten && let Some(violation) = &outcome.violation {
        schedule = runner::shortened(&schedule, violation)?.0;
        outcome = runner::checked(&schedule)?;
    }
    println!("{schedule}");
    if outcome.violation.is_some() {
        // Once more, with its log.
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_timer(()).with_ansi(false).init();
        runner::checked(&schedule)?;
    }
    println!("{:?}", outcome.statistics);
    Ok(match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    })
}
