//! `kafka-bridge positions`

use super::exit::Exit;
use super::logging;
use super::output::answer;
use crate::config::Config;
use crate::positions::{
    self, GroupReport, GroupRow, LaneRow, Link, Move, PositionRow, PositionsError, PositionsReport, Translation,
};
use crate::types::TopicPartition;
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const HELP: &str = "Examples:\n  kafka-bridge positions --config bridge.toml\n  \
kafka-bridge positions translate --config bridge.toml --topic orders --partition 0 --offset 1200\n  \
kafka-bridge positions translate --config bridge.toml --group billing --apply";
const TRANSLATE_HELP: &str = "The target's offset is that of the copy of the next record, from which a reader goes on without a gap and without \
reading a record twice. Exits with 1 where an offset has no translation, or --apply would go back.\n\nExamples:\n  \
kafka-bridge positions translate --config bridge.toml --topic orders --partition 0 --offset 1200\n  \
kafka-bridge positions translate --config bridge.toml --group billing\n  \
kafka-bridge positions translate --config bridge.toml --group billing --apply";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct PositionsArguments {
    #[command(subcommand)]
    command: Option<PositionsCommand>,
    /// The link's configuration.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// This topic of the source alone; may be given several times.
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// For scripts: the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum PositionsCommand {
    /// Say where at the target a reader of the source goes on, for one offset or for a whole consumer group.
    #[command(after_help = TRANSLATE_HELP)]
    Translate(TranslateArguments),
}

#[derive(Args)]
struct TranslateArguments {
    /// The link's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Of the source.
    #[arg(long, value_name = "NAME", required_unless_present = "group", requires = "partition")]
    topic: Option<String>,
    #[arg(long, value_name = "NUMBER", requires = "offset")]
    partition: Option<i32>,
    /// The next one that would be read at the source.
    #[arg(long, value_name = "OFFSET", requires = "topic")]
    offset: Option<i64>,
    /// A consumer group of the source: all that it has committed.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["topic", "partition", "offset"])]
    group: Option<String>,
    /// Commit the translation for the group at the target.
    #[arg(long, requires = "group")]
    apply: bool,
    /// Even where the group is farther at the target.
    #[arg(long, requires = "apply")]
    allow_rewind: bool,
    /// For scripts: the report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn positions(arguments: &PositionsArguments) -> anyhow::Result<Exit> {
    match (&arguments.command, &arguments.config) {
        (Some(PositionsCommand::Translate(arguments)), _) => translate(arguments),
        (None, Some(config)) => show(config, &arguments.topic, arguments.json),
        (None, None) => Ok(Exit::Usage),
    }
}

fn ask<T>(file: &Path, question: impl AsyncFnOnce(&Link<'_>) -> Result<T, PositionsError>) -> anyhow::Result<T> {
    open(file, async |link| Ok(question(link).await?))
}

pub(super) fn open<T>(file: &Path, question: impl AsyncFnOnce(&Link<'_>) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let config = Config::load(file)?;
    logging::warnings();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let link = Link::open(&config).await?;
        question(&link).await
    });
    runtime.shutdown_background();
    answer
}

fn show(file: &Path, topics: &[String], is_json: bool) -> anyhow::Result<Exit> {
    let report = ask(file, async |link| Ok(positions::show(link, topics).await))?;
    answer(&report, is_json, render)?;
    Ok(Exit::Done)
}

fn render(report: &PositionsReport) -> String {
    let mut text = format!("link {}\n\n", report.link);
    for LaneRow { lane, host, pid, version, started } in &report.lanes {
        let _ = writeln!(text, "lane {lane}  {host}, pid {pid}, version {version}, started {started}");
    }
    text.push('\n');
    for row in &report.partitions {
        let PositionRow { topic, partition, lane, target_topic, target_partition, next_offset, records, .. } = row;
        let known = |it: Option<i64>| it.map_or("unknown".to_owned(), |it| it.to_string());
        let age = humantime::format_duration(Duration::from_secs(row.age_ms / 1_000));
        let _ = write!(
            text,
            "{topic}-{partition} -> {target_topic}-{target_partition}  lane {lane}  next {next_offset}  end {}  lag {}  \
             {records} records  {age} ago",
            known(row.end_offset),
            known(row.lag)
        );
        let decision = row.decision.as_ref().map(|it| format!("  by decision: {}", super::printable(it)));
        let _ = writeln!(text, "{}", decision.unwrap_or_default());
    }
    text
}

fn translate(arguments: &TranslateArguments) -> anyhow::Result<Exit> {
    if let Some(group) = &arguments.group {
        return translate_group(arguments, group);
    }
    let (Some(topic), Some(partition), Some(offset)) = (&arguments.topic, arguments.partition, arguments.offset) else {
        return Ok(Exit::Usage);
    };
    let partition = TopicPartition::new(topic.as_str(), partition);
    let translation = ask(&arguments.config, async |link| positions::translate(link, &partition, offset).await)?;
    answer(&translation, arguments.json, line)?;
    Ok(Exit::Done)
}

fn line(translation: &Translation) -> String {
    let Translation { topic, partition, offset, target_topic, target_partition, target_offset } = translation;
    format!("{topic}-{partition} offset {offset} -> {target_topic}-{target_partition} offset {target_offset}\n")
}

fn translate_group(arguments: &TranslateArguments, group: &str) -> anyhow::Result<Exit> {
    let report = ask(&arguments.config, async |link| {
        let mut report = positions::group(link, group).await?;
        if arguments.apply {
            positions::apply(link, &mut report, arguments.allow_rewind).await?;
        }
        Ok(report)
    })?;
    let is_left = |row: &GroupRow| match row.step {
        Move::Impossible => true,
        Move::Rewind => arguments.apply && !arguments.allow_rewind,
        Move::Forward | Move::None => false,
    };
    let is_well = !report.rows.iter().any(is_left);
    answer(&report, arguments.json, |it| render_group(it, arguments.allow_rewind))?;
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}

fn render_group(report: &GroupReport, allow_rewind: bool) -> String {
    let mut text = String::new();
    for row in &report.rows {
        let Some(translation) = &row.translation else {
            let problem = row.problem.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{}-{} offset {}: {problem}", row.topic, row.partition, row.offset);
            continue;
        };
        let what = match row.step {
            Move::Forward if report.is_applied => "committed",
            Move::Rewind if report.is_applied && allow_rewind => "committed, back",
            Move::Forward => "to be committed",
            Move::None => "is there already",
            Move::Rewind => "would go back, and is left: --allow-rewind",
            Move::Impossible => "",
        };
        let there = row.committed.map_or(String::new(), |it| format!(" (was {it})"));
        let _ = writeln!(text, "{}  {what}{there}", line(translation).trim_end());
    }
    if report.rows.is_empty() {
        let _ = writeln!(
            text,
            "group {} has committed nothing at the source, or DESCRIBE on it is missing there",
            report.group
        );
    }
    text
}
