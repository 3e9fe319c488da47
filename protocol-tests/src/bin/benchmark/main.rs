//! `cargo run --release -p protocol-tests --bin benchmark`: what a copy costs the bridge, on real Kafka over mutual TLS.
//!
//! CPU time is the figure that a busy machine disturbs least; wall time includes both brokers on the same cores.

mod checked;
mod measured;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use measured::{LIMIT, POLL, copied, copy, until, usage};
use protocol_tests::bridge::Bridge;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Codec, NewBatch, NewRecord};

const TOPIC: &str = "load";
/// Different enough that no cache favours one, few enough to be made at once.
const DISTINCT_BATCHES: usize = 16;

/// Measures a copy between two real clusters.
#[derive(Parser)]
struct Arguments {
    /// Uncompressed megabytes to copy.
    #[arg(long, default_value_t = 2000)]
    megabytes: usize,
    #[arg(long, default_value_t = 100)]
    partitions: i32,
    /// Records of a batch; each is about 1 KB, half of it incompressible.
    #[arg(long, default_value_t = 180)]
    records: usize,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "lz4")]
    codec: String,
    #[arg(long, default_value = "4.4.0")]
    kafka: String,
    /// Starts with a position that are measured.
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// Copies with a check and without, in turn; the cheapest of each is compared.
    #[arg(long, default_value_t = 3)]
    checked_rounds: usize,
    /// Uncompressed megabytes of each of these.
    #[arg(long, default_value_t = 400)]
    checked_megabytes: usize,
    /// These alone.
    #[arg(long)]
    checked_alone: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let codec = Codec::ALL.into_iter().find(|it| it.name() == arguments.codec).context("no such codec")?;
    let pair = Pair::start(Spec::kraft(&arguments.kafka).with_tls(), Spec::kraft(&arguments.kafka).with_tls())?;
    if !arguments.checked_alone {
        unchecked(&arguments, codec, &pair)?;
    }
    checked::measure(&pair, arguments.checked_megabytes, arguments.checked_rounds)
}

fn unchecked(arguments: &Arguments, codec: Codec, pair: &Pair) -> Result<()> {
    let (mut source, mut target) = (pair.source.client(), pair.target.client());
    let batches = batches(codec, arguments.records)?;
    let (wire, plain) = (batches[0].0.len(), batches[0].1);
    println!("batches of {} KB on the wire, {} KB uncompressed, {}", wire / 1000, plain / 1000, codec.name());

    source.create_topic(TOPIC, arguments.partitions, 1, &[("retention.ms", "-1")])?;
    let count = (arguments.megabytes * 1_000_000).div_ceil(plain);
    for number in 0..count {
        let (batch, _) = &batches[number % batches.len()];
        let partition = i32::try_from(number)? % arguments.partitions;
        source.produce(TOPIC, partition, batch.clone(), None)?;
    }
    let expected = (count * arguments.records) as i64;

    let config = pair.config("benchmark", &[TOPIC]);
    let measured::Copy { log, first, wall, used } =
        copy(pair, &config, "fresh", (TOPIC, arguments.partitions), expected)?;
    let (megabytes, wire_megabytes) = ((count * plain) as f64 / 1e6, (count * wire) as f64 / 1e6);
    let summary = log.lines().find(|line| line.contains("copied ")).context("the bridge gave no summary")?;
    println!("{summary}");
    println!(
        "copied {megabytes:.0} MB uncompressed ({wire_megabytes:.0} MB on the wire) over {} partitions in {wall:.1} s, brokers on \
         the same cores",
        arguments.partitions
    );
    println!(
        "bridge: {:.2} CPU-s = {:.0} MB uncompressed ({:.0} MB on the wire) per CPU-s, peak memory {:.0} MiB",
        used.cpu_seconds,
        megabytes / used.cpu_seconds,
        wire_megabytes / used.cpu_seconds,
        used.peak_mebibytes
    );
    println!("fresh start to the first committed record: {} ms", first.as_millis());

    let file = config.write(pair.folder(), "verify")?;
    let start = Instant::now();
    let mut verify = Bridge::command("verify", &file, &[])?;
    let mut used = usage(&mut verify)?;
    let code = loop {
        if let Some(code) = verify.process().exit_code()? {
            break code;
        }
        // What the kernel has counted is gone with the process; the last look is a moment old.
        used = usage(&mut verify).unwrap_or(used);
        std::thread::sleep(POLL);
    };
    let wall = start.elapsed().as_secs_f64();
    ensure!(code == 0 && verify.log().contains(&format!("compared   {expected} records")), "{}", verify.log());
    println!(
        "verify: {wall:.1} s, {:.2} CPU-s = {:.0} MB uncompressed ({:.0} MB on the wire of each end) per CPU-s, peak memory {:.0} MiB",
        used.cpu_seconds,
        megabytes / used.cpu_seconds,
        wire_megabytes / used.cpu_seconds,
        used.peak_mebibytes
    );

    let mut times = Vec::new();
    for number in 0..arguments.starts {
        let before = copied(&mut target, TOPIC, arguments.partitions)?;
        source.produce(TOPIC, 0, batches[0].0.clone(), None)?;
        let start = Instant::now();
        let mut bridge = pair.run(&config, &format!("start-{number}"))?;
        let first = until(start, &mut bridge, || Ok(copied(&mut target, TOPIC, arguments.partitions)? > before))?;
        times.push(first.as_millis());
        ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    }
    times.sort_unstable();
    if let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) {
        println!("start with a position to the first committed record: median {median} ms, worst {worst} ms");
    }
    Ok(())
}

/// Bytes and uncompressed length of some batches of JSON-like records.
fn batches(codec: Codec, records: usize) -> Result<Vec<(Vec<u8>, usize)>> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut made = Vec::new();
    for _ in 0..DISTINCT_BATCHES {
        let record = |index: usize| {
            let noise: String = (0..450).map(|_| random.alphanumeric()).collect();
            let value =
                format!("{{\"order\":{index:010},\"state\":\"{}\",\"payload\":\"{noise}\"}}", "accepted ".repeat(55));
            NewRecord {
                timestamp: 1_700_000_000_000 + index as i64,
                key: Some(format!("{index:010}").into_bytes()),
                value: Some(value.into_bytes()),
                headers: vec![],
            }
        };
        let new: Vec<_> = (0..records).map(record).collect();
        let plain = NewBatch::plain(Codec::None, new.clone()).encode()?.len();
        made.push((NewBatch::plain(codec, new).encode()?, plain));
    }
    Ok(made)
}
