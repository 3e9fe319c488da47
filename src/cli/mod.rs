//! Arguments, exit codes, the terminal.

mod check;
mod consume;
mod dead_letters;
mod demo;
mod end;
mod exit;
mod incidents;
mod logging;
mod output;
mod pki;
mod positions;
mod produce;
mod progress;
mod ready;
mod replay;
mod run;
mod schema;
mod verify;

use clap::{Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Copies topics from one Kafka cluster to another, isolated one: each record exactly once, in order and byte for byte.
#[derive(Parser)]
#[command(name = "kafka-bridge", version, about, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done and all well; 1 failed, found a difference, or taken over by a newer bridge; 2 wrong usage; \
69 a cluster cannot be reached; 77 a right is missing; 78 wrong config.";

#[derive(Subcommand)]
enum Command {
    /// Run the link until SIGTERM or Ctrl-C, then finish what is open. SIGHUP reads certificates, keys and CA files again.
    #[command(after_help = "Example:\n  kafka-bridge run --config bridge.toml")]
    Run {
        /// The link's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Change nothing: test the config, both clusters, rights and settings, and say what a run would do.
    #[command(after_help = CHECK_HELP)]
    Check {
        /// The link's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// For scripts: the whole report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say whether the bridge that runs with this config works: for the health check of a container.
    #[command(after_help = ready::HELP)]
    Ready {
        /// The link's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Show lanes, owners and positions; translate offsets and consumer groups of the source to the target.
    #[command(after_help = positions::HELP)]
    Positions(positions::PositionsArguments),
    /// Show what stands still and why; let it go on past a gap.
    #[command(after_help = incidents::HELP)]
    Incidents(incidents::IncidentsArguments),
    /// Look into the records that did not pass their topic's check.
    #[command(after_help = dead_letters::HELP)]
    DeadLetters(dead_letters::DeadLettersArguments),
    /// Prove the copy: read both clusters, and compare them record by record.
    #[command(after_help = verify::HELP)]
    Verify(verify::VerifyArguments),
    /// Look into certificates, keys and CA files.
    #[command(after_help = pki::HELP)]
    Pki(pki::PkiArguments),
    /// Write Avro events to a topic: lines of JSON from standard input, or made-up ones.
    #[command(after_help = produce::HELP)]
    Produce(produce::ProduceArguments),
    /// Read a topic's Avro events, and check each against its schema and all against loss, doubles and order.
    #[command(after_help = consume::HELP)]
    Consume(consume::ConsumeArguments),
    /// See it work without any set-up: two in-process demo clusters, a producer, the bridge and a checking consumer.
    #[command(after_help = DEMO_HELP)]
    Demo(demo::DemoArguments),
}

const DEMO_HELP: &str = "Ends with a verdict, and with 1 where it is not clean.\n\nExamples:\n  kafka-bridge demo\n  \
kafka-bridge demo --records 200000 --chaos";

const CHECK_HELP: &str = "Exits with the code of a run that would not begin, with 69 where some broker cannot be reached, with 1 where a \
partition would stand still, else with 0.\n\nExamples:\n  kafka-bridge check --config bridge.toml\n  \
kafka-bridge check --config bridge.toml --json | jq .missing_rights";

pub fn main() -> ExitCode {
    // With them a copy holds a third more: each lone page of the allocator's becomes 2 MiB. A kernel that refuses costs memory alone.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run { config } => run::run(&config),
        Command::Check { config, json } => check::check(&config, json),
        Command::Ready { config } => ready::ready(&config),
        Command::Positions(arguments) => positions::positions(&arguments),
        Command::Incidents(arguments) => incidents::incidents(&arguments),
        Command::DeadLetters(arguments) => dead_letters::dead_letters(&arguments),
        Command::Verify(arguments) => verify::verify(&arguments),
        Command::Pki(arguments) => pki::pki(&arguments),
        Command::Produce(arguments) => produce::produce(&arguments),
        Command::Consume(arguments) => consume::consume(&arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
    };
    match done {
        Ok(code) => code.into(),
        Err(error) => {
            let begin = if std::io::stderr().is_terminal() { progress::CLEAR_LINE } else { "" };
            let text = format!("kafka-bridge: {error:#}");
            let text: String = text.lines().map(|line| printable(line) + "\n").collect();
            // Whoever reads it may be gone: the exit code is still the error's.
            let _ = write!(std::io::stderr(), "{begin}{text}");
            exit::code_of(&error).into()
        }
    }
}

/// What comes from a broker or a file may hold what a terminal takes for commands.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
