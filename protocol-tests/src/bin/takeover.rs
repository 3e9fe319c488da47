//! `cargo run --release -p protocol-tests --bin takeover -- --runs 30`: how long a take-over takes, on real Kafka.
//!
//! Exits with 1 when a limit is missed, a copy differs, or a fault did not happen.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use protocol_tests::takeover::{Fault, Series, json, markdown, measure};

/// Measures how long it takes until the last stable offset of every target partition moves again, after each of several
/// faults of one bridge of a link. After each run `kafka-bridge verify` compares what was copied since the run before, and at
/// the end a client of the harness' own compares everything.
#[derive(Parser)]
struct Arguments {
    /// Of each fault.
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// Of these alone; may be given several times. kill-one-of-two, kill-one-of-three, freeze, cut-from-target,
    /// cut-from-source, restart.
    #[arg(long, value_parser = fault)]
    fault: Vec<Fault>,
    #[arg(long, default_value = "4.4.0")]
    kafka: String,
    /// For scripts: every figure as JSON, the progress on stderr.
    #[arg(long)]
    json: bool,
}

fn fault(name: &str) -> Result<Fault, String> {
    Fault::ALL.into_iter().find(|it| it.name() == name).ok_or_else(|| "no such fault".to_owned())
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let faults = if arguments.fault.is_empty() { Fault::ALL.to_vec() } else { arguments.fault };
    let mut tell = |line: &str| eprintln!("{line}");
    let (all, _) = measure(&arguments.kafka, &faults, arguments.runs, &mut tell).context("not measured")?;
    if arguments.json {
        println!("{:#}", json(&arguments.kafka, &all));
    } else {
        print!("{}", markdown(&all));
    }
    let mut late = all.iter().filter(|it| !it.is_within()).peekable();
    let code = if late.peek().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    for Series { fault, .. } in late {
        eprintln!("{}: the limit is missed", fault.name());
    }
    Ok(code)
}
