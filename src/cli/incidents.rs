//! `kafka-bridge incidents`

use super::exit::Exit;
use super::output::answer;
use super::positions::open;
use super::printable;
use crate::incidents::{self, Accepted, DecisionRow, IncidentRow, IncidentsReport};
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::path::PathBuf;

pub(super) const HELP: &str = "Exits with 1 where something stands still.\n\nExamples:\n  kafka-bridge incidents --config bridge.toml\n  \
kafka-bridge incidents accept retention:orders-3:1200 --reason \"known, ticket 4711\" --config bridge.toml";
const ACCEPT_HELP: &str = "The decision stands in the ledger from then on. A bridge that runs takes it up within seconds; it may also be down.\n\n\
Example:\n  kafka-bridge incidents accept retention:orders-3:1200 --reason \"known, ticket 4711\" --config bridge.toml";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct IncidentsArguments {
    #[command(subcommand)]
    command: Option<IncidentsCommand>,
    /// The link's configuration.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// For scripts: the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum IncidentsCommand {
    /// Let a partition go on past what it stands at, and write down why.
    #[command(after_help = ACCEPT_HELP)]
    Accept(AcceptArguments),
}

#[derive(Args)]
struct AcceptArguments {
    /// As `kafka-bridge incidents` names it.
    id: String,
    /// Kept in the ledger.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The source offset to go on from, where it cannot be known, or is to be another.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    next_offset: Option<i64>,
    /// The link's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// For scripts: what was done as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn incidents(arguments: &IncidentsArguments) -> anyhow::Result<Exit> {
    if let Some(IncidentsCommand::Accept(arguments)) = &arguments.command {
        return accept(arguments);
    }
    let Some(config) = &arguments.config else { return Ok(Exit::Usage) };
    let report = open(config, async |link| Ok(incidents::incidents(link).await?))?;
    answer(&report, arguments.json, render)?;
    Ok(if report.incidents.is_empty() { Exit::Done } else { Exit::Failed })
}

fn accept(arguments: &AcceptArguments) -> anyhow::Result<Exit> {
    let AcceptArguments { id, reason, next_offset, config, .. } = arguments;
    let accepted = open(config, async |link| Ok(incidents::accept(link, id, reason, *next_offset).await?))?;
    answer(&accepted, arguments.json, |Accepted { topic, partition, from_offset, next_offset, .. }| {
        format!("{topic}-{partition} goes on at source offset {next_offset}; it stood at {from_offset}\n")
    })?;
    Ok(Exit::Done)
}

fn render(report: &IncidentsReport) -> String {
    let mut text = String::new();
    for IncidentRow { id, text: what, resume_at, .. } in &report.incidents {
        let _ = writeln!(text, "{id}\n  {}", printable(what));
        if let Some(next) = resume_at {
            let _ = writeln!(text, "  accepted, it goes on at source offset {next}");
        }
    }
    if report.incidents.is_empty() {
        let _ = writeln!(text, "nothing stands still");
    }
    for DecisionRow { topic, partition, kind, reason, from_offset, next_offset, host, time } in &report.decisions {
        let (reason, host) = (printable(reason), printable(host));
        let _ = writeln!(
            text,
            "accepted {time} on {host}: {kind} of {topic}-{partition}, from {from_offset} on at {next_offset}: {reason}"
        );
    }
    text
}
