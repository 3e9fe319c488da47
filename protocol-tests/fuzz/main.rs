//! Fuzzing by hand: `cargo run --release -p protocol-tests --bin fuzz -- --target batch --seconds 600`.
//!
//! An input is a failure when it panics, breaks what the target promises, takes too much memory or too long, or ends the
//! process. It is made as short as it gets and written to `protocol-tests/regressions/fuzz/<target>`, where a trial runs it
//! from then on.

mod avro;
mod batches;
mod certificates;
mod frames;
mod mutate;
mod run;
mod targets;
mod values;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

#[derive(Parser, Clone, Debug)]
struct Arguments {
    /// One of them, or all without it.
    #[arg(long)]
    target: Option<String>,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many inputs at most, for each target.
    #[arg(long, default_value_t = u64::MAX)]
    inputs: u64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Runs this file alone.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Fails on what is no failure, to show that failures are seen: `panic`, `verdict`, `memory` or `death`.
    #[arg(long, hide = true)]
    planted: Option<String>,
    /// In a process of its own, from this input on.
    #[arg(long, hide = true)]
    worker: Option<u64>,
    /// Says the number of each input before it runs.
    #[arg(long, hide = true)]
    trace: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let chosen = match &arguments.target {
        Some(name) => vec![targets::find(name).with_context(|| format!("there is no target {name}"))?],
        None => targets::TARGETS.to_vec(),
    };
    let mut code = ExitCode::SUCCESS;
    for target in chosen {
        let holds = match (&arguments.input, arguments.worker) {
            (Some(file), _) => run::file(&target, &arguments, file)?,
            (None, Some(from)) => run::work(&target, &arguments, from)?,
            (None, None) => run::supervise(&target, &arguments)?,
        };
        if !holds {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
