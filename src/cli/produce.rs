//! `kafka-bridge produce`

use super::end::{End, EndArguments};
use super::exit::{Exit, Usage};
use super::output::answer;
use super::progress::lines;
use super::{logging, schema};
use crate::avro::{Framing, Marker};
use crate::batch::Compression;
use crate::produce::{self, Delivery, Input, Job, Progress, Report};
use clap::Args;
use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use tokio::fs::File;
use tokio::io::BufReader;
use tokio::signal::unix::{SignalKind, signal};

pub(super) const HELP: &str = "Reads events from standard input, one JSON value a line; with --generate it makes them up. Each is checked against the \
schema before it is sent: at the first that is wrong it ends with 1, and names its line and field. Events carry the headers `sequence` and \
`producer`, by which `kafka-bridge consume` proves that none was lost, doubled or moved. Ctrl-C sends what was read.\n\n\
Examples:\n  kafka-bridge produce --config bridge.toml --topic orders --schema avro/order.avsc --key id < orders.jsonl\n  \
kafka-bridge produce --config bridge.toml --topic orders --schema avro/order.avsc --generate --rate 500 --transactional --abort-ratio 0.1\n  \
kafka-bridge produce --bootstrap localhost:9092 --topic orders --schema avro/order.avsc --generate --count 1000 --json";

/// A transaction that a killed producer left open holds readers back no longer.
const TRANSACTION_TIMEOUT_MS: i32 = 10_000;

/// Events per second: one a day. The pause before an event that comes later still is more than a clock can count.
const RATE_MIN: f64 = 1.0 / 86_400.0;

#[derive(Args)]
pub(super) struct ProduceArguments {
    #[command(flatten)]
    end: EndArguments,
    /// It must be there.
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// The events' schema (.avsc).
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// A schema that it refers to; several times, dependencies first.
    #[arg(long, value_name = "FILE")]
    reference: Vec<PathBuf>,
    /// Make events up instead of reading them.
    #[arg(long)]
    generate: bool,
    /// Events per second; else as many as go.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Ends after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Write in transactions; else each event is written idempotently.
    #[arg(long)]
    transactional: bool,
    /// The part of transactions that is aborted, and written once more: 0 to 1.
    #[arg(long, value_name = "RATIO", value_parser = ratio, default_value = "0", requires = "transactional")]
    abort_ratio: f64,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, value_name = "NAME", value_parser = codec, default_value = "lz4")]
    codec: Compression,
    /// The field that is the record's key, as id or customer.number.
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// confluent, single-object or raw; confluent where the end has a registry, else raw.
    #[arg(long, value_name = "NAME", value_parser = schema::framing)]
    framing: Option<Framing>,
    /// Where the schema is registered, with the framing confluent; <topic>-value unless told otherwise.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// The part of events that is made invalid, to see what becomes of them: 0 to 1.
    #[arg(long, value_name = "RATIO", value_parser = ratio, default_value = "0")]
    poison: f64,
    /// Repeats what is made up.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// For scripts: the report as JSON.
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let wrong = || "a number of events per second, one a day (0.0000116) or more".to_owned();
    let rate: f64 = text.parse().map_err(|_| wrong())?;
    if rate >= RATE_MIN && rate.is_finite() { Ok(rate) } else { Err(wrong()) }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err("a number from 0 to 1".to_owned()) }
}

fn codec(text: &str) -> Result<Compression, String> {
    match text {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "snappy" => Ok(Compression::Snappy),
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::Zstd),
        _ => Err("one of none, gzip, snappy, lz4 and zstd".to_owned()),
    }
}

pub(super) fn produce(arguments: &ProduceArguments) -> anyhow::Result<Exit> {
    let end = arguments.end.choose(End::Source)?;
    let (text, schema) = schema::load(&arguments.schema, &arguments.reference)?;
    let registry = end.registry()?;
    logging::warnings();
    let framing = arguments.framing.unwrap_or(if registry.is_some() { Framing::Confluent } else { Framing::Raw });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let progress = Progress::default();
    let produced = runtime.block_on(async {
        let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        let subject = arguments.subject.clone().unwrap_or_else(|| format!("{}-value", arguments.topic));
        let marker = match (framing, &registry) {
            (Framing::Confluent, Some(registry)) => Marker::Id(produce::register(registry, &subject, &text).await?),
            (Framing::Confluent, None) => {
                return Err(Usage("--framing confluent needs a registry: add [source.registry] to the config").into());
            }
            (Framing::SingleObject, _) => Marker::Fingerprint(schema.fingerprint()),
            (Framing::Raw, _) => Marker::None,
        };
        let cluster = end.connect().await?;
        let producer = format!("{:012x}", fastrand::u64(..1 << 48));
        let delivery = if arguments.transactional {
            let transactional_id = format!("kafka-bridge-produce-{producer}");
            Delivery::Transactional { transactional_id, timeout_ms: TRANSACTION_TIMEOUT_MS }
        } else {
            Delivery::Idempotent
        };
        let job = Job {
            topic: arguments.topic.as_str().into(),
            schema,
            framing,
            marker,
            key: arguments.key.clone(),
            codec: arguments.codec,
            delivery,
            abort_ratio: arguments.abort_ratio,
            poison_ratio: arguments.poison,
            rate: arguments.rate,
            count: arguments.count,
            seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..)),
            producer,
        };
        let input = if arguments.generate { Input::Made } else { Input::Lines(BufReader::new(standard_input()?)) };
        let shown = lines(|seconds| line(&progress, seconds), produce::produce(&cluster, &job, input, &progress, stop));
        anyhow::Ok(shown.await)
    });
    // A read of standard input cannot be given up.
    runtime.shutdown_background();
    let (report, done) = produced?;
    let told = answer(&report, arguments.json, render);
    done?;
    told?;
    Ok(Exit::Done)
}

/// As a file, whose reads wait on threads of their own; nothing else reads standard input.
pub(super) fn standard_input() -> io::Result<File> {
    let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(File::from_std(std::fs::File::from(descriptor)))
}

fn line(progress: &Progress, seconds: f64) -> String {
    let events = progress.events.load(Ordering::Relaxed);
    let megabytes = progress.bytes.load(Ordering::Relaxed) as f64 / 1e6;
    let transactions = progress.transactions.load(Ordering::Relaxed);
    let text = format!("{events} events, {:.0}/s, {:.1} MB/s", events as f64 / seconds, megabytes / seconds);
    if transactions == 0 { text } else { format!("{text}, {transactions} transactions") }
}

fn render(report: &Report) -> String {
    let mut text = format!("topic      {} at the {}\nproducer   {}\n", report.topic, report.end, report.producer);
    let id = report.schema_id.map(|it| format!(", schema id {it}")).unwrap_or_default();
    let _ = writeln!(text, "framing    {}{id}", report.framing);
    let rate = report.events as f64 / report.seconds.max(0.001);
    let _ = writeln!(text, "written    {} events in {:.1} s, {rate:.0}/s", report.events, report.seconds);
    if report.transactions > 0 {
        let _ = writeln!(text, "           {} transactions, {} aborted besides", report.transactions, report.aborted);
    }
    for (kind, count) in &report.poison {
        let _ = writeln!(text, "invalid    {count} {kind}");
    }
    for it in &report.partitions {
        let _ =
            writeln!(text, "partition  {}: {} events, up to sequence {}", it.partition, it.events, it.next_sequence);
    }
    if report.is_stopped {
        let _ = writeln!(text, "stopped    by a signal; everything that was read is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_one_that_a_clock_can_wait_for() {
        for good in ["0.0000116", "0.5", "1", "1e6"] {
            assert!(rate(good).is_ok(), "{good}");
        }
        for bad in ["1e-20", "1e-300", "0.0000115", "0", "-1", "-0.0", "inf", "NaN", "1e999", "x", ""] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
