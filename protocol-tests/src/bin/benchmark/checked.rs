//! What checking costs: the same events copied with a check and without, in turn, each time by a bridge of its own.

use anyhow::{Result, ensure};
use protocol_tests::orders;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Codec, NewBatch, NewRecord};
use protocol_tests::registry::Registry;

use crate::measured::{Copy, copy};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 12;
/// Of about 85 KB, uncompressed.
const BATCH_RECORDS: usize = 400;
/// Different enough that no cache favours one, few enough to be made at once.
const DISTINCT_BATCHES: usize = 16;

pub(crate) fn measure(pair: &Pair, megabytes: usize, rounds: usize) -> Result<()> {
    let schemas = Registry::plaintext()?;
    let batches = batches(schemas.register(&format!("{TOPIC}-value"), orders::SCHEMA)?)?;
    let (wire, plain) = (batches[0].0.len(), batches[0].1);
    let count = (megabytes * 1_000_000).div_ceil(plain);
    let mut source = pair.source.client();
    source.create_topic(TOPIC, PARTITIONS, 1, &[("retention.ms", "-1")])?;
    for number in 0..count {
        let partition = i32::try_from(number)? % PARTITIONS;
        source.produce(TOPIC, partition, batches[number % batches.len()].0.clone(), None)?;
    }
    let records = count * BATCH_RECORDS;
    println!(
        "checked: {records} Avro events of {} bytes, lz4 batches of {} KB, {} KB uncompressed, over {PARTITIONS} partitions",
        plain / BATCH_RECORDS,
        wire / 1000,
        plain / 1000
    );
    let mut cheapest = [f64::MAX; 2];
    for round in 0..rounds {
        for (at, name) in ["plain", "checked"].into_iter().enumerate() {
            let link = format!("{name}-{round}");
            let mut config = pair.config(&link, &[TOPIC]);
            config.topics_extra = format!("rename = \"{link}.{{topic}}\"\n");
            if name == "checked" {
                config.topics_extra += "value_schema = \"registry:{topic}-value\"\n";
                config.tables += &schemas.table("source");
            }
            let into = format!("{link}.{TOPIC}");
            let Copy { log, wall, used, .. } = copy(pair, &config, &link, (&into, PARTITIONS), records as i64)?;
            ensure!(
                !log.contains("rewritten") && !log.contains("dead letters:"),
                "not everything passed as it came:\n{log}"
            );
            println!("  {name:<8} {:.2} CPU-s, {wall:.1} s", used.cpu_seconds);
            cheapest[at] = cheapest[at].min(used.cpu_seconds);
        }
    }
    if rounds > 0 {
        let [plain, checked] = cheapest;
        println!(
            "a checked copy costs {:.2} times the CPU of a plain one: {:.0} ns more for an event",
            checked / plain,
            (checked - plain) * 1e9 / records as f64
        );
    }
    Ok(())
}

/// Bytes and uncompressed length of some batches.
fn batches(id: i32) -> Result<Vec<(Vec<u8>, usize)>> {
    let datums = orders::datums(&orders::schema()?, DISTINCT_BATCHES * BATCH_RECORDS)?;
    let mut random = fastrand::Rng::with_seed(7);
    let mut made = Vec::new();
    for datums in datums.chunks(BATCH_RECORDS) {
        let mut record = |(index, datum): (usize, &Vec<u8>)| NewRecord {
            timestamp: 1_700_000_000_000 + index as i64,
            key: Some(format!("{:010}", random.u32(..)).into_bytes()),
            value: Some([&[0][..], &id.to_be_bytes(), datum].concat()),
            headers: vec![],
        };
        let new: Vec<_> = datums.iter().enumerate().map(&mut record).collect();
        let plain = NewBatch::plain(Codec::None, new.clone()).encode()?.len();
        made.push((NewBatch::plain(Codec::Lz4, new).encode()?, plain));
    }
    Ok(made)
}
