//! Lag where offsets are missing: holes of compaction, and an end that is no record at all. Held against what the trial itself
//! knows.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::{Fault, Loss, Rule, Settings};
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::proxy::Direction;
use protocol_tests::raw::{Codec, Isolation, NewRecord, RawClient};
use protocol_tests::workload::compacted;

use super::{Console, LIMIT, Metrics, POLL};
use crate::{real, trial};

const COMPACTED: &str = "compacted";
const IDLE: &str = "idle";
const EMPTY: &str = "empty";
const IDLE_RECORDS: i64 = 5;
/// Longer than a request of the bridge waits for its answer.
const HELD: Duration = Duration::from_secs(12);
/// Between two looks of the bridge at the source's end.
const LOOK_SECONDS: f64 = 2.0;
/// Offsets without a record are passed within two seconds, and a look finds it two seconds later; the rest is the machine's.
const PASSED: Duration = Duration::from_secs(7);
/// A record that is so much younger begins a segment of its own.
const SEGMENT: Duration = Duration::from_millis(700);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("monitor", "lag_is_right_where_offsets_are_missing", embedded),
        real("monitor", "kafka_4_4_0_lag_is_right_where_offsets_are_missing", &["4.4.0"], on_kafka),
    ]
}

struct Stage<'a> {
    source: RawClient,
    target: RawClient,
    folder: &'a Path,
    config: Config,
    /// Nothing that the bridge asks of the target is answered any more, or all is again.
    hold: &'a dyn Fn(bool),
    /// Calls the source's cleaner, where it does not come by itself.
    clean: &'a dyn Fn(),
}

fn embedded() -> Result<()> {
    let source = EmbeddedCluster::start(Settings { upkeep_interval_ms: None, ..Settings::nodes(1) })?;
    let target = EmbeddedCluster::start(Settings::nodes(1))?;
    let folder = tempfile::tempdir()?;
    let silence = || Rule::any(Fault::LoseRequest(Loss::Silence)).client_id("kafka-bridge").times(u64::MAX);
    let rule = std::cell::Cell::new(None);
    let hold = |is_held: bool| {
        target.with(|cluster, _| match rule.take() {
            Some(rule) => cluster.end_rule(rule),
            None if is_held => rule.set(Some(cluster.add_rule(silence()))),
            None => {}
        });
    };
    let mut config = Config::new("holes", source.end(), target.end(), &[COMPACTED, IDLE, EMPTY]);
    config.delivery = "accept_weak = [\"target_min_insync_replicas\"]\n".to_owned();
    holes(Stage {
        source: source.client(),
        target: target.client(),
        folder: folder.path(),
        config,
        hold: &hold,
        clean: &|| source.with(|cluster, now_ms| cluster.run_upkeep(now_ms)),
    })
}

fn on_kafka() -> Result<()> {
    let pair = Pair::start_behind_proxies(Spec::kraft("4.4.0"), Spec::kraft("4.4.0"))?;
    let proxy = &pair.target_proxies[0];
    holes(Stage {
        source: pair.source.client(),
        target: pair.target.client(),
        folder: pair.folder(),
        config: pair.config("holes", &[COMPACTED, IDLE, EMPTY]),
        hold: &|is_held| if is_held { proxy.stall(Direction::Both) } else { proxy.resume(Direction::Both) },
        clean: &|| (),
    })
}

fn holes(mut stage: Stage<'_>) -> Result<()> {
    let source = &mut stage.source;
    compacted::create(source, COMPACTED, 1, 1)?;
    for topic in [IDLE, EMPTY] {
        source.create_topic(topic, 1, 1, &[("retention.ms", "-1")])?;
    }
    source.write(IDLE, 0, Codec::None, (0..IDLE_RECORDS).map(record).collect())?;
    compacted::append(source, COMPACTED, 0, 0)?;
    let aborted = abort_two(source, 0)?;
    until_cleaned(source, stage.clean, aborted, 0)?;
    compacted::freeze(source, COMPACTED)?;
    let (end, left) = (source.offsets(COMPACTED, 0)?.last_stable, committed(source)?);
    let last = left.last().map_or(0, |it| it.0);
    ensure!(last < aborted && aborted + 1 < end, "the end is a record: {last}, {aborted} of {end}");

    let console = Console::new()?;
    stage.config.tables = console.table();
    let mut bridge = Bridge::run(&stage.config.write(stage.folder, "bridge")?)?;
    let copied = left.len() as f64 + IDLE_RECORDS as f64;
    console.until("all is copied", |it| it.sum("records_written_total", "") == copied)?;
    at_rest(&console, "though offsets are missing")?;

    (stage.hold)(true);
    stage.source.alter_topic(COMPACTED, &[("min.compaction.lag.ms", "0")])?;
    let before = Instant::now();
    let written = compacted::append(&mut stage.source, COMPACTED, 0, 1)?;
    let after = Instant::now();
    // Its first record has a key of its own, so it is the oldest that is not copied however much is taken.
    let first = written.first().context("nothing was written")?.offset;
    let mut is_cleaned = false;
    while before.elapsed() < HELD || !is_cleaned {
        (stage.clean)();
        let now = committed(&mut stage.source)?;
        ensure!(now.iter().any(|it| it.0 == first), "the oldest record was taken");
        is_cleaned = now.iter().filter(|it| it.0 >= first).count() < written.len();
        ensure!(before.elapsed() < LIMIT, "what waits was never compacted");
        held_up(&console, before, after)?;
        thread::sleep(POLL);
    }
    let seen = console.metrics()?;
    let behind = stage.source.offsets(COMPACTED, 0)?.last_stable - end;
    let (lag, truth) = (seen.max("lag_seconds", "").unwrap_or_default(), before.elapsed().as_secs_f64());
    ensure!(seen.max("lag_records", &of(COMPACTED)) == Some(behind as f64), "{behind} behind:\n{}", seen.0);
    ensure!(seen.sum("records_written_total", "") == copied, "the target was not held up:\n{}", seen.0);
    println!("lag {lag:.1} s of at most {truth:.1} s, {behind} offsets behind");

    (stage.hold)(false);
    at_rest(&console, "after it was held up").with_context(|| bridge.log())?;
    let at_target: Vec<_> = stage.target.read(COMPACTED, 0, Isolation::ReadCommitted)?;
    for (offset, value) in committed(&mut stage.source)? {
        ensure!(at_target.iter().any(|it| it.value == value), "{offset} is not at the target, and lag is 0");
    }
    // An end that is no record comes while the bridge looks on.
    abort_two(&mut stage.source, 1)?;
    let end = stage.source.offsets(COMPACTED, 0)?.last_stable as f64;
    let started = Instant::now();
    console.until("what holds no record is passed", |it| it.max("position", &of(COMPACTED)) == Some(end))?;
    at_rest(&console, "though the end is no record")?;
    ensure!(started.elapsed() < PASSED, "nothing waits, and there was lag for {:?}", started.elapsed());
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    Ok(())
}

fn of(topic: &str) -> String {
    format!("topic=\"{topic}\"")
}

fn record(number: i64) -> NewRecord {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let key = Some(format!("aborted-{number}").into_bytes());
    NewRecord { timestamp, key, value: Some(b"x".to_vec()), ..NewRecord::default() }
}

/// Offsets and values of what a reader gets.
fn committed(source: &mut RawClient) -> Result<Vec<(i64, Option<Vec<u8>>)>> {
    let records = source.read(COMPACTED, 0, Isolation::ReadCommitted)?;
    Ok(records.into_iter().map(|it| (it.offset, it.value)).collect())
}

/// Each in a segment of its own: the cleaner takes the first one's record, which this gives, and leaves the active segment.
fn abort_two(source: &mut RawClient, round: i64) -> Result<i64> {
    let mut first = None;
    for number in 0..2 {
        thread::sleep(SEGMENT);
        let mut producer = source.producer(Some(&format!("undecided-{round}-{number}")))?;
        let offset = producer.send(source, COMPACTED, 0, Codec::None, vec![record(number)])?;
        producer.abort(source)?;
        first.get_or_insert(offset);
    }
    thread::sleep(SEGMENT);
    first.context("nothing was sent")
}

/// Until the record at this offset is gone, and others from an offset on.
fn until_cleaned(source: &mut RawClient, clean: &dyn Fn(), offset: i64, from: i64) -> Result<()> {
    let start = Instant::now();
    loop {
        clean();
        let batches = source.read_batches(COMPACTED, 0)?;
        let is_gone = batches.iter().filter(|it| !it.control).flat_map(|it| &it.records).all(|it| it.offset != offset);
        if is_gone && batches.iter().any(|it| it.base_offset >= from && it.has_holes()) {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "the cleaner never came");
        thread::sleep(POLL);
    }
}

/// Of three partitions nothing is left to copy; and so it stays.
fn at_rest(console: &Console, when: &str) -> Result<()> {
    let rests = |it: &Metrics| {
        let of = |name: &str| it.values(&format!("kafka_bridge_{name}"), "").collect::<Vec<_>>();
        of("lag_records") == [0.0; 3] && of("lag_seconds") == [0.0; 3]
    };
    console.until(&format!("no lag {when}"), rests)?;
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < 1.5 * LOOK_SECONDS {
        let seen = console.metrics()?;
        ensure!(rests(&seen), "lag {when}, and nothing was written:\n{}", seen.0);
        thread::sleep(POLL);
    }
    Ok(())
}

/// The oldest record that waits came between the two.
fn held_up(console: &Console, before: Instant, after: Instant) -> Result<()> {
    let least = after.elapsed().as_secs_f64() - 2.0 * LOOK_SECONDS;
    let seen = console.metrics()?;
    let most = before.elapsed().as_secs_f64() + LOOK_SECONDS;
    let lag = seen.max("lag_seconds", &of(COMPACTED)).context("no lag")?;
    ensure!((least..=most).contains(&lag), "a lag of {lag} s, which is between {least} and {most}");
    for topic in [IDLE, EMPTY] {
        ensure!(seen.max("lag_seconds", &of(topic)) == Some(0.0), "{topic} has a lag:\n{}", seen.0);
    }
    Ok(())
}
