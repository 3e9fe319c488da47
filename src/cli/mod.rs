//! Arguments, exit codes, the terminal.

mod exit;
mod logging;
mod run;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Copies topics from one Kafka cluster to another, isolated one: each record exactly once, in order and byte for byte.
#[derive(Parser)]
#[command(name = "kafka-bridge", version, about, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done and all well; 1 failed, or taken over by a newer bridge; 2 wrong usage; \
69 a cluster cannot be reached; 77 a right is missing; 78 wrong config.";

#[derive(Subcommand)]
enum Command {
    /// Run the link until SIGTERM or Ctrl-C, then finish what is open.
    #[command(after_help = "Example:\n  kafka-bridge run --config bridge.toml")]
    Run {
        /// The link's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run { config } => run::run(&config),
    };
    match done {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("kafka-bridge: {error:#}");
            exit::code_of(&error).into()
        }
    }
}
