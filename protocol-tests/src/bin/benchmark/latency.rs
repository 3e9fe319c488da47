//! How long a record takes until a read_committed reader of the target sees it, and what light traffic and none cost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use kafka_bridge::batch::{UNCOMPRESSED_BYTES_MAX, split};
use kafka_bridge::source::{Answer, FetchPartition, FetchRequest, protocol};
use kafka_bridge::types::TopicPartition;
use protocol_tests::raw::{Codec, NewBatch, NewRecord, RawClient};

use crate::ceiling::send;
use crate::copier::Contender;
use crate::stage::{Stage, committed, create, median, until};
use crate::usage::cpu_seconds;

const TOPIC: &str = "latency";
const PARTITIONS: i32 = 4;
const RECORDS_PER_SECOND: u32 = 1_000;
const VALUE_BYTES: usize = 1_000;
/// What a Java producer gathers for by default since Kafka 4.0 (`linger.ms`); then all that it has goes into one request.
const LINGER: Duration = Duration::from_millis(5);
/// Until a JVM has compiled what it runs.
const WARM_UP: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

pub(crate) fn measure(stage: &mut Stage, contenders: &[Contender], rounds: usize) -> Result<()> {
    println!(
        "\nlatency: {RECORDS_PER_SECOND} records/s of 1 KB, {PARTITIONS} partitions, all that came in 5 ms in one request"
    );
    let mut source = stage.pair.source.client();
    create(&mut source, TOPIC, PARTITIONS)?;
    let all: Vec<_> = contenders.iter().filter(|it| it.copier.is_for_all()).collect();
    let mut measured: Vec<[Vec<f64>; 6]> = vec![Default::default(); all.len()];
    for _ in 0..rounds {
        for (contender, measured) in all.iter().zip(&mut measured) {
            for (of_all, of_this) in measured.iter_mut().zip(run(stage, contender)?) {
                of_all.push(of_this);
            }
        }
    }
    for (contender, measured) in all.into_iter().zip(measured) {
        let [p50, p99, max, cpu, of_source, of_target] = measured.map(median);
        println!(
            "  {contender} p50 {:.1} ms, p99 {:.1} ms, max {:.0} ms; CPU {:.1} % of a core, brokers {:.0} % + {:.0} %",
            p50?, p99?, max?, cpu?, of_source?, of_target?
        );
    }
    Ok(())
}

/// p50, p99, maximum in ms; CPU of copier, source and target in per cent of a core.
fn run(stage: &mut Stage, contender: &Contender) -> Result<[f64; 6]> {
    let copier = contender.copier;
    let name = stage.name_of_run(copier.name());
    let into = copier.into(&name, TOPIC);
    let stop = AtomicBool::new(false);
    let (mut source, mut target) = (stage.pair.source.client(), stage.pair.target.client());
    let mut reader = stage.pair.target.client();
    let mut working = contender.begin(stage, &name, TOPIC, None)?;
    thread::scope(|scope| {
        let ends = Ends(&stop);
        let producing = scope.spawn(|| produce(&mut source, &stop));
        until(POLL, || {
            working.is_alive()?;
            Ok(committed(&mut target, &into, PARTITIONS)? > 0)
        })?;
        thread::sleep(WARM_UP);
        let id = reader.topic_id(&into)?.context("the copy is gone")?;
        let before = (Instant::now(), cpu_seconds(working.id())?, stage.brokers()?);
        let mut latencies = observe(&mut reader, &into, id)?;
        let (elapsed, cpu, brokers) = (before.0.elapsed(), cpu_seconds(working.id())?, stage.brokers()?);
        drop(ends);
        producing.join().map_err(|_| anyhow!("the producer panicked"))??;
        working.end()?;
        latencies.sort_by(f64::total_cmp);
        let expected = MEASURED.as_secs_f64() * f64::from(RECORDS_PER_SECOND);
        ensure!(latencies.len() as f64 > expected * 0.9, "only {} of {expected} records were seen", latencies.len());
        let percentile = |of: usize| latencies[(latencies.len() - 1) * of / 100];
        let share = |after: f64, before: f64| (after - before) / elapsed.as_secs_f64() * 100.0;
        Ok([
            percentile(50),
            percentile(99),
            percentile(100),
            share(cpu, before.1),
            share(brokers[0], before.2[0]),
            share(brokers[1], before.2[1]),
        ])
    })
}

/// Stops the producer, also where the measurement failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn now_us() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}

/// Each record begins with the time that it was sent at.
fn produce(source: &mut RawClient, stop: &AtomicBool) -> Result<()> {
    let records = RECORDS_PER_SECOND * u32::try_from(LINGER.as_millis())? / 1_000;
    let began = Instant::now();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep((began + LINGER * number).saturating_duration_since(Instant::now()));
        let now = now_us()?;
        let mut value = now.to_be_bytes().to_vec();
        value.resize(VALUE_BYTES, b'x');
        let record =
            NewRecord { timestamp: i64::try_from(now / 1000)?, key: None, value: Some(value), headers: vec![] };
        let mut of_partition: BTreeMap<i32, Vec<NewRecord>> = BTreeMap::new();
        for index in number * records..(number + 1) * records {
            of_partition.entry(i32::try_from(index)? % PARTITIONS).or_default().push(record.clone());
        }
        let batch = |(partition, records)| Ok((partition, NewBatch::plain(Codec::None, records).encode()?.into()));
        send(source, TOPIC, of_partition.into_iter().map(batch).collect::<Result<_>>()?)?;
    }
    Ok(())
}

/// In ms, of all records that become visible from now on.
fn observe(reader: &mut RawClient, topic: &str, topic_id: uuid::Uuid) -> Result<Vec<f64>> {
    let mut offsets = Vec::new();
    for partition in 0..PARTITIONS {
        offsets.push(reader.offsets(topic, partition)?.last_stable);
    }
    let (began, mut latencies) = (Instant::now(), Vec::new());
    while began.elapsed() < MEASURED {
        let asked = (0..PARTITIONS).zip(&offsets).map(|(partition, offset)| FetchPartition {
            partition: TopicPartition::new(topic, partition),
            topic_id,
            current_leader_epoch: -1,
            fetch_offset: *offset,
            last_fetched_epoch: -1,
            partition_max_bytes: 1 << 20,
        });
        let max_wait = Duration::from_millis(500);
        let request = FetchRequest { max_wait, min_bytes: 1, max_bytes: 8 << 20, partitions: asked.collect() };
        let version = protocol::fetch_version(&request, *protocol::FETCH_VERSIONS.end());
        let answer = reader.any(version, &protocol::fetch_request(&request, version))?;
        let seen = now_us()?;
        let Answer::Fetch { partitions } = protocol::fetch_answer(&request, answer, version) else { continue };
        for (partition, answered) in partitions {
            for batch in split(Bytes::clone(&answered.records)) {
                let batch = batch?;
                offsets[usize::try_from(partition.partition)?] = batch.header().next_offset();
                if batch.header().is_control() {
                    continue;
                }
                for record in batch.decode(UNCOMPRESSED_BYTES_MAX)?.records() {
                    let record = record?;
                    let sent = record.value.and_then(|it| it.first_chunk()).context("a record without a time")?;
                    latencies.push(seen.saturating_sub(u64::from_be_bytes(*sent)) as f64 / 1e3);
                }
            }
        }
    }
    Ok(latencies)
}

/// Everything is copied, and nothing comes.
pub(crate) fn idle(stage: &mut Stage, contenders: &[Contender]) -> Result<()> {
    println!("\nidle: everything is copied, and nothing comes");
    for contender in contenders.iter().filter(|it| it.copier.is_for_all()) {
        let copier = contender.copier;
        let name = stage.name_of_run(copier.name());
        let into = copier.into(&name, TOPIC);
        let mut target = stage.pair.target.client();
        let mut source = stage.pair.source.client();
        if !source.topic_names()?.iter().any(|it| it == TOPIC) {
            create(&mut source, TOPIC, PARTITIONS)?;
        }
        source.write(
            TOPIC,
            0,
            Codec::None,
            vec![NewRecord { timestamp: 0, key: None, value: Some(vec![0; 8]), headers: vec![] }],
        )?;
        let working = contender.begin(stage, &name, TOPIC, None)?;
        until(POLL, || Ok(committed(&mut target, &into, PARTITIONS)? > 0))?;
        thread::sleep(WARM_UP);
        let (began, before) = (Instant::now(), (cpu_seconds(working.id())?, stage.brokers()?));
        thread::sleep(MEASURED);
        let share = |after: f64, before: f64| (after - before) / began.elapsed().as_secs_f64() * 100.0;
        let brokers = stage.brokers()?;
        println!(
            "  {contender} CPU {:.2} % of a core, brokers {:.1} % + {:.1} %",
            share(cpu_seconds(working.id())?, before.0),
            share(brokers[0], before.1[0]),
            share(brokers[1], before.1[1])
        );
        working.end()?;
    }
    Ok(())
}
