//! `kafka-bridge verify`

use super::exit::Exit;
use super::logging;
use super::output::answer;
use super::progress::lines;
use crate::config::Config;
use crate::verify::{self, Counts, Difference, From, Kind, Options, PartitionReport, Progress, Report};
use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

pub(super) const HELP: &str = "Reads both ends with read_committed, up to a cut that it takes at the start; a bridge may run meanwhile. A record that did \
not pass its topic's check has to be in the dead letters once, as it is at the source, and is counted apart. \
Exits with 1 where anything differs or could not be compared to the end, else with 0. Nothing is written but the proof, with --record.\n\n\
Examples:\n  kafka-bridge verify --config bridge.toml\n  kafka-bridge verify --config bridge.toml --topic orders --from 2026-01-01T00:00:00Z\n  \
kafka-bridge verify --config bridge.toml --since-last --record\n  kafka-bridge verify --config bridge.toml --json | jq .total";

/// Of one partition, in the text; `--json` has more.
const SHOWN_MAX: usize = 20;

#[derive(Args)]
pub(super) struct VerifyArguments {
    /// The link's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// This topic of the source alone; may be given several times.
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// Where to begin: earliest, an RFC 3339 time, or an offset of the source.
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = from, conflicts_with = "since_last")]
    from: From,
    /// Compare only a part of each partition, chosen at random.
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with_all = ["since_last", "record", "state"])]
    sample: Option<f64>,
    /// Begin where the last recorded proof has ended.
    #[arg(long)]
    since_last: bool,
    /// Write the proof of each partition without a difference into the ledger.
    #[arg(long)]
    record: bool,
    /// Ctrl-C and a broken connection leave in it how far it was; the next run with it goes on from there.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// For scripts: the whole report as JSON.
    #[arg(long)]
    json: bool,
}

fn from(text: &str) -> Result<From, String> {
    if text == "earliest" {
        return Ok(From::Earliest);
    }
    if let Ok(offset) = text.parse::<i64>() {
        return if offset >= 0 { Ok(From::Offset(offset)) } else { Err("an offset is not negative".to_owned()) };
    }
    let time = humantime::parse_rfc3339(text);
    time.map(From::Time).map_err(|_| "neither earliest, nor an offset, nor a time as 2026-01-31T12:00:00Z".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let wrong = || "a number above 0 and up to 100, as 10 or 2.5%".to_owned();
    let percent: f64 = text.trim_end_matches('%').parse().map_err(|_| wrong())?;
    if percent > 0.0 && percent <= 100.0 { Ok(percent) } else { Err(wrong()) }
}

pub(super) fn verify(arguments: &VerifyArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config)?;
    logging::warnings();
    let options = Options {
        topics: arguments.topic.clone(),
        from: arguments.from.clone(),
        sample: arguments.sample,
        since_last: arguments.since_last,
        record: arguments.record,
        state: arguments.state.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (progress, began) = (Arc::new(Progress::default()), Instant::now());
    let report = runtime.block_on(async {
        let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        let report =
            lines(|seconds| line(&progress, seconds), verify::verify(&config, &options, &progress, stop)).await;
        anyhow::Ok(report?)
    });
    runtime.shutdown_background();
    let report = report?;
    answer(&report, arguments.json, |it| render(it, began.elapsed(), progress.bytes.load(Ordering::Relaxed)))?;
    Ok(if report.is_clean() { Exit::Done } else { Exit::Failed })
}

fn line(progress: &Progress, seconds: f64) -> String {
    let of = |it: &std::sync::atomic::AtomicU64| it.load(Ordering::Relaxed);
    let (records, megabytes) = (of(&progress.records), of(&progress.bytes) as f64 / 1e6);
    format!(
        "{} of {} partitions, {records} records, {:.0}/s, {:.1} MB/s",
        of(&progress.partitions_done),
        of(&progress.partitions),
        records as f64 / seconds,
        megabytes / seconds
    )
}

fn render(report: &Report, elapsed: Duration, bytes: u64) -> String {
    let mut text = format!("link       {}\ncut        {}\n\n", report.link, report.time);
    for partition in &report.partitions {
        of_partition(&mut text, partition);
    }
    let Counts { records, unknown, accepted, superseded, dead_lettered, replayed, .. } = report.total;
    let seconds = elapsed.as_secs_f64().max(0.001);
    let _ = writeln!(
        text,
        "\ncompared   {records} records of {} partitions in {seconds:.1} s, {:.1} MB/s of the target's data",
        report.partitions.len(),
        bytes as f64 / 1e6 / seconds
    );
    for (count, what) in [
        (dead_lettered, "records are in the dead letters instead, once and as they are at the source"),
        (replayed, "records were replayed from there, and are at the target once, as they were written"),
        (unknown, "records cannot be compared: one end has them no more"),
        (accepted, "records were left out by decision, see `kafka-bridge incidents`"),
        (superseded, "records are at one end alone, whose later version both have: log compaction"),
        (report.not_begun as u64, "partitions are not begun yet"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "           {count} {what}");
        }
    }
    if let Some(recorded) = report.recorded {
        let _ = writeln!(text, "recorded   the proofs of {recorded} partitions are in the ledger");
    }
    let _ = writeln!(text, "verdict    {}", verdict(report));
    text
}

fn verdict(report: &Report) -> String {
    let total = &report.total;
    let stopped = report.partitions.iter().filter(|it| it.stopped.is_some()).count();
    let mut parts = Vec::new();
    if total.differences() > 0 {
        let Counts { missing, doubled, reordered, altered, phantom, .. } = total;
        parts.push(format!(
            "DIFFERENT: missing {missing}, doubled {doubled}, reordered {reordered}, altered {altered}, phantom {phantom}"
        ));
    }
    if stopped > 0 {
        parts.push(format!("{stopped} partitions could not be compared to the end"));
    }
    let miscounted = report.partitions.iter().filter(|it| it.miscounted.is_some()).count();
    if miscounted > 0 {
        parts.push(format!("{miscounted} partitions are counted otherwise by the ledger"));
    }
    if report.is_interrupted {
        parts.push("interrupted".to_owned());
    }
    if parts.is_empty() {
        return match total.dead_lettered {
            0 => "clean: each record exactly once, in order, unaltered".to_owned(),
            _ => {
                "clean: each record exactly once, in order, unaltered, at the target or in the dead letters".to_owned()
            }
        };
    }
    parts.join("; ")
}

fn of_partition(text: &mut String, partition: &PartitionReport) {
    let PartitionReport { topic, partition: number, target_topic, target_partition, counts, .. } = partition;
    let to = if topic == target_topic { String::new() } else { format!(" -> {target_topic}-{target_partition}") };
    let state = if partition.is_clean() { "clean" } else { "DIFFERENT" };
    let letters = match counts.dead_lettered {
        0 => String::new(),
        count => format!(", {count} in the dead letters"),
    };
    let _ = writeln!(
        text,
        "{topic}-{number}{to}  {state}  {} records{letters}  source {} to {}  target {} to {}",
        counts.records, partition.source_from, partition.source_to, partition.target_from, partition.target_to
    );
    for difference in partition.differences.iter().take(SHOWN_MAX) {
        let _ = writeln!(text, "  {}", shown(difference));
    }
    let more = counts.differences().saturating_sub(partition.differences.len().min(SHOWN_MAX) as u64);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more differences");
    }
    for note in partition.stopped.iter().chain(&partition.miscounted).chain(&partition.notes) {
        let _ = writeln!(text, "  {note}");
    }
}

fn shown(difference: &Difference) -> String {
    let offset = |it: Option<i64>| it.map_or("unknown".to_owned(), |it| it.to_string());
    let (source, target) = (offset(difference.source_offset), offset(difference.target_offset));
    let place = match (difference.kind, &difference.dead_letter, difference.target_offset) {
        (_, Some(id), None) => format!("dead letter {id}"),
        (Kind::Missing, ..) => format!("before target offset {target}"),
        (Kind::Doubled, ..) => format!("again at target offset {target}"),
        (Kind::Altered, ..) => format!("target offset {target}"),
        (Kind::Reordered | Kind::Phantom, ..) => format!("at target offset {target}"),
    };
    let text = format!("{:<10} source offset {source}, {place}", difference.kind.name());
    if difference.what.is_empty() { text } else { format!("{text}: {}", difference.what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_with_its_places() {
        let shown = |kind, source_offset, target_offset, dead_letter: Option<&str>, what: &str| {
            let dead_letter = dead_letter.map(str::to_owned);
            shown(&Difference { kind, source_offset, target_offset, dead_letter, what: what.to_owned() })
        };
        let text = shown(Kind::Missing, Some(5), Some(4), None, "");
        assert_eq!(text, "missing    source offset 5, before target offset 4");
        let text = shown(Kind::Reordered, Some(5), Some(4), None, "");
        assert_eq!(text, "reordered  source offset 5, at target offset 4");
        let text = shown(Kind::Altered, Some(5), Some(4), None, "key, value");
        assert_eq!(text, "altered    source offset 5, target offset 4: key, value");
        let text = shown(Kind::Phantom, None, Some(4), None, "the source has no such record");
        assert_eq!(text, "phantom    source offset unknown, at target offset 4: the source has no such record");
        let text = shown(Kind::Doubled, Some(5), Some(4), Some("2-7"), "in the dead letters, and copied too");
        assert_eq!(text, "doubled    source offset 5, again at target offset 4: in the dead letters, and copied too");
        let text = shown(Kind::Doubled, Some(5), None, Some("2-7"), "there twice");
        assert_eq!(text, "doubled    source offset 5, dead letter 2-7: there twice");
    }
}
