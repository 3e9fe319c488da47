//! `kafka-bridge consume`

use super::end::{End, EndArguments};
use super::exit::Exit;
use super::output::{all_written, json};
use super::progress::Live;
use super::{logging, printable, schema};
use crate::avro::Framing;
use crate::consume::{self, From, Job, Report, Schemas, Shown};
use clap::{Args, ValueEnum};
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

pub(super) const HELP: &str = "Reads with read_committed, joins no group and changes nothing. Events go to standard output, the summary behind them to \
standard error; with --quiet the summary goes to standard output. Exits with 1 where an event does not keep to its schema, or by the headers \
of `kafka-bridge produce` one was lost, doubled or moved.\n\n\
Examples:\n  kafka-bridge consume --config bridge.toml --topic orders\n  kafka-bridge consume --config bridge.toml --topic orders --follow --format table\n  \
kafka-bridge consume --config bridge.toml --topic orders --quiet --json | jq .lost\n  \
kafka-bridge consume --bootstrap localhost:9092 --topic orders --schema avro/order.avsc --framing raw --from latest --follow";

/// Of a value, in a table on a terminal.
const SHOWN_CHARACTERS_MAX: usize = 120;
/// Of problems, in the text; `--json` has more.
const PROBLEMS_MAX: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Table,
}

#[derive(Args)]
pub(super) struct ConsumeArguments {
    #[command(flatten)]
    end: EndArguments,
    /// The topic.
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// The events' schema (.avsc), where no registry has it.
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// A schema that it refers to; several times, dependencies first.
    #[arg(long, value_name = "FILE", requires = "schema")]
    reference: Vec<PathBuf>,
    /// confluent, single-object or raw; confluent where the end has a registry, else raw.
    #[arg(long, value_name = "NAME", value_parser = schema::framing)]
    framing: Option<Framing>,
    /// Where to begin: earliest, latest, an RFC 3339 time, or an offset.
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = from)]
    from: From,
    /// Go on with what comes, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// Ends after so many records.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Anything but so many records is a mistake.
    #[arg(long, value_name = "N")]
    expect: Option<u64>,
    /// How events are shown.
    #[arg(long, value_enum, default_value = "json", conflicts_with = "quiet")]
    format: Format,
    /// Check alone: show no events.
    #[arg(long)]
    quiet: bool,
    /// For scripts: the summary as JSON.
    #[arg(long)]
    json: bool,
}

fn from(text: &str) -> Result<From, String> {
    match text {
        "earliest" => return Ok(From::Earliest),
        "latest" => return Ok(From::Latest),
        _ => {}
    }
    if let Ok(offset) = text.parse::<i64>() {
        return if offset >= 0 { Ok(From::Offset(offset)) } else { Err("an offset is not negative".to_owned()) };
    }
    let time = humantime::parse_rfc3339(text);
    time.map(From::Time)
        .map_err(|_| "neither earliest nor latest, an offset, nor a time as 2026-01-31T12:00:00Z".to_owned())
}

pub(super) fn consume(arguments: &ConsumeArguments) -> anyhow::Result<Exit> {
    let end = arguments.end.choose(End::Target)?;
    let file = match &arguments.schema {
        Some(file) => Some(schema::load(file, &arguments.reference)?.1),
        None => None,
    };
    let registry = end.registry()?;
    logging::warnings();
    let framing = arguments.framing.unwrap_or(if registry.is_some() { Framing::Confluent } else { Framing::Raw });
    let job = Job {
        topic: arguments.topic.as_str().into(),
        schemas: Schemas { framing, file, registry },
        from: arguments.from.clone(),
        is_followed: arguments.follow,
        count: arguments.count,
        expected: arguments.expect,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut output = BufWriter::new(io::stdout().lock());
    let mut live = Live::new(!arguments.quiet && io::stdout().is_terminal());
    let (mut shown, mut written) = (0_u64, Ok(()));
    let consumed = runtime.block_on(async {
        let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        let cluster = end.connect().await?;
        let show = |event: &Shown| {
            shown += 1;
            live.tell(|| format!("{shown} records"));
            if arguments.quiet {
                return true;
            }
            let line = match arguments.format {
                Format::Json => serde_json::to_string(event).unwrap_or_default(),
                Format::Table => row(event),
            };
            written = writeln!(output, "{line}");
            if written.is_ok() && arguments.follow {
                written = output.flush();
            }
            written.is_ok()
        };
        anyhow::Ok(consume::consume(&cluster, &job, show, stop).await)
    });
    runtime.shutdown_background();
    live.clear();
    let (report, done) = consumed?;
    let text = if arguments.json { json(&report)? } else { render(&report) };
    if arguments.quiet {
        written = output.write_all(text.as_bytes());
    } else {
        // The terminal may be gone.
        let _ = io::stderr().write_all(text.as_bytes());
    }
    let flushed = output.flush();
    done?;
    all_written(written.and(flushed))?;
    Ok(if report.is_clean { Exit::Done } else { Exit::Failed })
}

fn row(event: &Shown) -> String {
    let time = Duration::from_millis(u64::try_from(event.timestamp).unwrap_or(0));
    let time = humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + time.min(Duration::from_secs(253_402_300_799)));
    let value = match (&event.value, event.problems.is_empty()) {
        (Some(value), _) => value.to_string(),
        (None, true) => "(tombstone)".to_owned(),
        (None, false) => String::new(),
    };
    let value = match value.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value,
    };
    let key = event.key.as_deref().unwrap_or("-");
    let mut line = format!("{:>3} {:>10}  {time}  {key:<36}  {value}", event.partition, event.offset);
    event.problems.iter().for_each(|it| {
        let _ = write!(line, "  ! {it}");
    });
    printable(&line)
}

fn render(report: &Report) -> String {
    let mut text = format!("topic      {} at the {}\n", report.topic, report.end);
    let _ = writeln!(text, "read       {} records of {} partitions", report.events, report.partitions.len());
    if report.tombstones > 0 {
        let _ = writeln!(text, "           {} tombstones", report.tombstones);
    }
    if report.unnumbered > 0 {
        let _ = writeln!(
            text,
            "           {} without a sequence: nothing can be said about their order",
            report.unnumbered
        );
    }
    let _ = writeln!(text, "           {} producers", report.producers);
    for (kind, count) in &report.invalid {
        let _ = writeln!(text, "invalid    {count} {kind}");
    }
    for problem in report.problems.iter().take(PROBLEMS_MAX) {
        let consume::Problem { partition, offset, kind, what } = problem;
        let _ = writeln!(text, "{}-{partition} offset {offset}  {kind}: {}", report.topic, printable(what));
    }
    let more = report.problems.len().saturating_sub(PROBLEMS_MAX);
    if more > 0 {
        let _ = writeln!(text, "and {more} more: see --json");
    }
    if let Some(expected) = report.expected.filter(|it| *it != report.events) {
        let _ = writeln!(text, "expected   {expected} records");
    }
    let Report { lost, doubled, reordered, .. } = report;
    let invalid: u64 = report.invalid.values().sum();
    let _ = match report.is_clean {
        true => writeln!(text, "verdict    clean"),
        false => {
            writeln!(text, "verdict    WRONG: invalid {invalid}, lost {lost}, doubled {doubled}, reordered {reordered}")
        }
    };
    text
}
