//! `kafka-bridge dead-letters replay`

use super::dead_letters::since;
use super::exit::{Exit, Usage};
use super::output::answer;
use super::positions::open;
use super::printable;
use super::produce::standard_input;
use super::progress::lines;
use crate::dead_letters::LetterId;
use crate::undelivered::{self, Corrections, Filter, Order, Outcome, Progress, ReplayReport, ReplayRow, ReplayedTo};
use anyhow::Context;
use clap::Args;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use tokio::fs::File;
use tokio::io::BufReader;
use tokio::signal::unix::{SignalKind, signal};

pub(super) const HELP: &str = "Each letter is held against the schemas and rules of the config as they are now. What passes is written, with its key, headers \
and timestamp, behind what the partition that it belongs to holds at the target; what does not, stays, and is told. A letter is written once: \
those that were replayed before are passed over, and a replay that was ended in the middle is run again. Exits with 0 where all that was asked \
for is at the target, with 1 where some is not.\n\n\
A correction is a line of JSON, {\"id\": \"3-1200\", \"value\": {…}}. It is encoded under the schema that the letter names.\n\n\
Examples:\n  \
kafka-bridge dead-letters replay --config bridge.toml --topic orders --reason rule_range --dry-run\n  \
kafka-bridge dead-letters replay 3-1200 3-1201 --config bridge.toml\n  \
kafka-bridge dead-letters replay --config bridge.toml --corrected mended.jsonl\n  \
kafka-bridge dead-letters replay --config bridge.toml --all --json | jq .by_reason";
/// Of one outcome, in the text; `--json` has more.
const SHOWN_MAX: usize = 20;

#[derive(Args)]
pub(super) struct ReplayArguments {
    /// As `kafka-bridge dead-letters list` names them.
    #[arg(value_name = "ID")]
    ids: Vec<LetterId>,
    /// The link's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// All of them, where nothing else says which.
    #[arg(long, conflicts_with_all = ["ids", "topic", "partition", "reason", "since", "corrected"])]
    all: bool,
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
    /// The letters that this file has corrected values of, with these; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    corrected: Option<PathBuf>,
    /// The source registry's id of the schema that corrected values are encoded under, instead of the one that each letter names.
    #[arg(long, value_name = "NUMBER", requires = "corrected", value_parser = clap::value_parser!(i32).range(0..))]
    schema_id: Option<i32>,
    /// Into compacted topics too, where a letter takes the place of newer records of its key.
    #[arg(long)]
    into_compacted: bool,
    /// Write nothing: say what would be written.
    #[arg(long)]
    dry_run: bool,
    /// For scripts: the report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn replay(arguments: &ReplayArguments) -> anyhow::Result<Exit> {
    let filter = Filter {
        topic: arguments.topic.clone(),
        partition: arguments.partition,
        reason: arguments.reason.clone(),
        since: arguments.since,
        count: 0,
    };
    let is_filtered = arguments.topic.is_some()
        || arguments.partition.is_some()
        || arguments.reason.is_some()
        || arguments.since.is_some();
    if !(arguments.all || is_filtered || arguments.corrected.is_some() || !arguments.ids.is_empty()) {
        return Err(
            Usage("which letters? Name ids, --topic, --partition, --reason, --since, --corrected, or --all").into()
        );
    }
    let progress = Arc::new(Progress::default());
    let report = open(&arguments.config, async |link| {
        let corrections = match &arguments.corrected {
            Some(file) => Some(corrections(file, arguments.schema_id).await?),
            None => None,
        };
        let ids = match &corrections {
            Some(it) => Some(it.ids().collect()),
            None => (!arguments.ids.is_empty()).then(|| arguments.ids.iter().copied().collect()),
        };
        let (into_compacted, is_dry) = (arguments.into_compacted, arguments.dry_run);
        let order = Order { filter, ids, corrections, into_compacted, is_dry };
        let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let told = Arc::clone(&progress);
        let listening = tokio::spawn(async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            told.stop.store(true, Ordering::Relaxed);
        });
        let report = lines(|seconds| line(&progress, seconds), undelivered::replay(link, &order, &progress)).await;
        listening.abort();
        Ok(report?)
    })?;
    answer(&report, arguments.json, render_replay)?;
    Ok(if report.is_done() { Exit::Done } else { Exit::Failed })
}

async fn corrections(file: &Path, schema_id: Option<i32>) -> anyhow::Result<Corrections> {
    if file == Path::new("-") {
        return Corrections::read(BufReader::new(standard_input()?), schema_id).await.context("standard input");
    }
    let name = file.display().to_string();
    let opened = File::open(file).await.with_context(|| name.clone())?;
    Corrections::read(BufReader::new(opened), schema_id).await.context(name)
}

fn line(progress: &Progress, seconds: f64) -> String {
    let of = |it: &AtomicU64| it.load(Ordering::Relaxed);
    let (looked_at, replayed, transactions) =
        (of(&progress.looked_at), of(&progress.replayed), of(&progress.transactions));
    let rate = looked_at as f64 / seconds;
    format!("{looked_at} letters, {rate:.0}/s, {replayed} replayed in {transactions} transactions")
}

fn render_replay(report: &ReplayReport) -> String {
    let mut text = String::new();
    let all = [Outcome::Replayed, Outcome::WouldBeReplayed, Outcome::AlreadyReplayed, Outcome::Invalid, Outcome::Held];
    for outcome in all {
        let count = match outcome {
            Outcome::Replayed => report.replayed,
            Outcome::WouldBeReplayed => report.would_be_replayed,
            Outcome::AlreadyReplayed => report.already_replayed,
            Outcome::Invalid => report.invalid,
            Outcome::Held => report.held,
        };
        for row in report.letters.iter().filter(|it| it.outcome == outcome).take(SHOWN_MAX) {
            let _ = writeln!(text, "{}", replay_row(row));
        }
        if count > SHOWN_MAX as u64 {
            let _ = writeln!(text, "and {} more of these; --json has more of them", count - SHOWN_MAX as u64);
        }
    }
    for id in report.missing.iter().take(SHOWN_MAX) {
        let _ = writeln!(text, "{id}  there is no such dead letter");
    }
    let ReplayReport { selected, replayed, would_be_replayed, already_replayed, invalid, held, .. } = report;
    let (count, word) = if report.dry_run { (would_be_replayed, "would be replayed") } else { (replayed, "replayed") };
    let corrected =
        if report.corrected > 0 { format!(", of them {} corrected", report.corrected) } else { String::new() };
    let _ = writeln!(text, "letters    {selected}");
    let _ = writeln!(text, "           {count} {word}{corrected}");
    for (count, what) in [
        (*already_replayed, "were replayed before"),
        (*invalid, "do not pass their check"),
        (*held, "cannot be written where they belong"),
        (report.missing.len() as u64, "are no dead letters"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "           {count} {what}");
        }
    }
    for (reason, count) in &report.by_reason {
        let _ = writeln!(text, "             {} {count}", printable(reason));
    }
    if report.is_interrupted {
        let _ = writeln!(text, "interrupted: run the same again, what was replayed is passed over");
    }
    text
}

fn replay_row(row: &ReplayRow) -> String {
    let ReplayRow { id, topic, partition, offset, outcome, path, error, .. } = row;
    let corrected = if row.corrected { ", corrected" } else { "" };
    let to = row.to.as_ref().map_or(String::new(), |it| format!(" {}", place_of(it)));
    let what = match outcome {
        Outcome::Replayed => format!("replayed{to}{corrected}"),
        Outcome::WouldBeReplayed => format!("would be replayed{corrected}"),
        Outcome::AlreadyReplayed => format!("was replayed before{to}{corrected}"),
        Outcome::Invalid | Outcome::Held => {
            let reason = printable(row.reason.as_deref().unwrap_or_default());
            let path = if path.is_empty() { String::new() } else { format!(" {}", printable(path)) };
            format!("{reason}{path}{corrected}: {}", printable(error))
        }
    };
    format!("{id}  {topic}-{partition}@{offset}  {what}")
}

/// Where its record is.
pub(super) fn place_of(to: &ReplayedTo) -> String {
    format!("to {}-{}@{}", to.target_topic, to.target_partition, to.target_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: Outcome, offset: i64) -> ReplayRow {
        let id = LetterId { partition: 3, offset };
        let (topic, reason, path, error) = ("orders".to_owned(), None, String::new(), String::new());
        ReplayRow { id, topic, partition: 1, offset: 7, outcome, corrected: false, to: None, reason, path, error }
    }

    #[test]
    fn a_replay_is_told_by_its_letters_and_their_number() {
        let to = ReplayedTo {
            target_topic: "copy".to_owned(),
            target_partition: 1,
            target_offset: 90,
            corrected: true,
            time: String::new(),
        };
        let replayed = ReplayRow { corrected: true, to: Some(to), ..row(Outcome::Replayed, 1_200) };
        let invalid = ReplayRow {
            reason: Some("utf8".to_owned()),
            path: "name".to_owned(),
            error: "not \u{1b}UTF-8".to_owned(),
            ..row(Outcome::Invalid, 1_201)
        };
        let report = ReplayReport {
            selected: 2,
            replayed: 1,
            corrected: 1,
            invalid: 1,
            by_reason: [("utf8".to_owned(), 1)].into(),
            missing: vec![LetterId { partition: 9, offset: 9 }],
            letters: vec![invalid, replayed],
            ..ReplayReport::default()
        };
        assert_eq!(
            render_replay(&report),
            "3-1200  orders-1@7  replayed to copy-1@90, corrected\n\
             3-1201  orders-1@7  utf8 name: not \u{fffd}UTF-8\n\
             9-9  there is no such dead letter\n\
             letters    2\n           1 replayed, of them 1 corrected\n           1 do not pass their check\n           \
             1 are no dead letters\n             utf8 1\n"
        );
    }
}
