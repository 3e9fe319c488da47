//! `kafka-bridge dead-letters`

use super::exit::Exit;
use super::output::answer;
use super::positions::open;
use super::printable;
use super::replay::{self, place_of};
use crate::undelivered::{self, Filter, LetterRow, ListReport, PartShown, ShownLetter};
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

pub(super) const HELP: &str = "Examples:\n  kafka-bridge dead-letters list --config bridge.toml --reason utf8\n  \
kafka-bridge dead-letters show 3-1200 --config bridge.toml\n  \
kafka-bridge dead-letters replay --config bridge.toml --reason utf8 --dry-run";
const LIST_HELP: &str = "An id is <partition>-<offset> in the dead letters' topic at the target.\n\nExamples:\n  \
kafka-bridge dead-letters list --config bridge.toml\n  \
kafka-bridge dead-letters list --config bridge.toml --topic orders --since 2026-01-01T00:00:00Z --count 20\n  \
kafka-bridge dead-letters list --config bridge.toml --json | jq .by_reason";
const SHOW_HELP: &str = "Key and value are decoded by the schema that the topic's check holds them against, as far as that goes.\n\nExample:\n  \
kafka-bridge dead-letters show 3-1200 --config bridge.toml";
/// Twenty megabytes, where each has a long error.
const COUNT_MAX: u64 = 10_000;

#[derive(Args)]
pub(super) struct DeadLettersArguments {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Subcommand)]
enum DeadLettersCommand {
    /// List the newest, and count all by their reasons.
    #[command(after_help = LIST_HELP)]
    List(ListArguments),
    /// Show one: where it comes from, why it is there, and what is in it.
    #[command(after_help = SHOW_HELP)]
    Show(ShowArguments),
    /// Check letters once more, and write those that pass now to where they belong at the target.
    #[command(after_help = replay::HELP)]
    Replay(replay::ReplayArguments),
}

#[derive(Args)]
struct ListArguments {
    /// The link's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Of this topic of the source alone.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Of this partition of the source's topic alone.
    #[arg(long, value_name = "NUMBER")]
    partition: Option<i32>,
    /// With this reason alone, as utf8 or unknown_schema.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Taken out of the copy at this time or later, as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<SystemTime>,
    /// How many are listed.
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = clap::value_parser!(u64).range(0..=COUNT_MAX))]
    count: u64,
    /// For scripts: the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ShowArguments {
    /// As `kafka-bridge dead-letters list` names it.
    id: String,
    /// The link's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// For scripts: the letter as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn since(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(text).map_err(|_| "not a time as 2026-01-31T12:00:00Z".to_owned())
}

pub(super) fn dead_letters(arguments: &DeadLettersArguments) -> anyhow::Result<Exit> {
    match &arguments.command {
        DeadLettersCommand::List(arguments) => list(arguments),
        DeadLettersCommand::Show(arguments) => show(arguments),
        DeadLettersCommand::Replay(arguments) => replay::replay(arguments),
    }
}

fn list(arguments: &ListArguments) -> anyhow::Result<Exit> {
    let filter = Filter {
        topic: arguments.topic.clone(),
        partition: arguments.partition,
        reason: arguments.reason.clone(),
        since: arguments.since,
        count: usize::try_from(arguments.count).unwrap_or(usize::MAX),
    };
    let report = open(&arguments.config, async |link| Ok(undelivered::list(link, &filter).await?))?;
    answer(&report, arguments.json, render)?;
    Ok(Exit::Done)
}

fn show(arguments: &ShowArguments) -> anyhow::Result<Exit> {
    let letter = open(&arguments.config, async |link| Ok(undelivered::show(link, &arguments.id).await?))?;
    answer(&letter, arguments.json, render_one)?;
    Ok(Exit::Done)
}

fn render(report: &ListReport) -> String {
    let mut text = String::new();
    for LetterRow { id, time, topic, partition, offset, reason, part, path, replayed, .. } in &report.letters {
        let (reason, path) = (printable(reason), printable(path));
        let place = if path.is_empty() { (*part).to_owned() } else { format!("{part} {path}") };
        let replayed = if replayed.is_some() { "  replayed" } else { "" };
        let _ = writeln!(text, "{id}  {time}  {topic}-{partition}@{offset}  {reason}  {place}{replayed}");
    }
    let _ = writeln!(text, "total  {}, of them {} listed", report.total, report.letters.len());
    for (reason, count) in &report.by_reason {
        let _ = writeln!(text, "       {} {count}", printable(reason));
    }
    if report.replayed > 0 {
        let _ = writeln!(text, "       {} of them were replayed", report.replayed);
    }
    if report.others > 0 {
        let _ = writeln!(text, "       {} records of {} are no dead letters", report.others, report.dead_letter_topic);
    }
    text
}

fn render_one(shown: &ShownLetter) -> String {
    let LetterRow { id, time, topic, partition, offset, reason, part, path, error, .. } = &shown.letter;
    let (reason, path, error) = (printable(reason), printable(path), printable(error));
    let mut text = format!("id         {id}\nsource     {topic}-{partition}@{offset}\ntaken out  {time}\n");
    let place = if path.is_empty() { String::new() } else { format!(", {path}") };
    let _ = writeln!(text, "reason     {reason}: {part}{place}\nerror      {error}");
    if let Some(it) = &shown.letter.replayed {
        let corrected = if it.corrected { ", corrected" } else { "" };
        let _ = writeln!(text, "replayed   {}, at {}{corrected}", place_of(it), it.time);
    }
    let _ = writeln!(text, "timestamp  {} ms", shown.timestamp_ms);
    for header in &shown.headers {
        of_part(&mut text, &format!("header {}", printable(&header.name)), header.value.as_ref());
    }
    of_part(&mut text, "key", shown.key.as_ref());
    of_part(&mut text, "value", shown.value.as_ref());
    text
}

fn of_part(text: &mut String, name: &str, part: Option<&PartShown>) {
    let Some(part) = part else {
        let _ = writeln!(text, "{name}: null");
        return;
    };
    let schema = part.schema_id.map_or(String::new(), |id| format!(", schema id {id}"));
    let _ = writeln!(text, "{name}: {} bytes{schema}", part.bytes);
    if let Some(json) = &part.json {
        let _ = writeln!(text, "  {}", printable(&json.to_string()));
        return;
    }
    if let Some(fault) = &part.fault {
        let _ = writeln!(text, "  cannot be decoded: {}", printable(fault));
    }
    if let Some(plain) = &part.text {
        let _ = writeln!(text, "  text {}", printable(plain));
    }
    let more = if part.hex.len() < part.bytes * 2 { "…" } else { "" };
    let _ = writeln!(text, "  hex  {}{more}", part.hex);
}
