//! Compacted topics: written so that the cleaner leaves holes, and held still when they are there.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::raw::{Codec, Isolation, NewRecord, RawClient, Rec};

/// The cleaner looks every half second; a loaded machine needs several times that.
const HOLES_LIMIT: Duration = Duration::from_secs(60);
/// Three rounds of the cleaner: what it had begun has ended by then.
const STILL: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(200);
/// So young that the cleaner leaves it alone is everything that is younger than a thousand days.
const LAG_MS: &str = "86400000000";
const BATCHES: i64 = 20;
/// Of each batch; half of them have keys of their own, the others are superseded by the next batch.
const RECORDS: i64 = 10;

/// Small segments, for a busy cleaner.
pub fn create(client: &mut RawClient, topic: &str, partitions: i32, replication_factor: i16) -> Result<()> {
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "0"),
    ];
    client.create_topic(topic, partitions, replication_factor, &configs)
}

/// Writes few keys often, so that the cleaner leaves batches with holes; a later round has the same keys again. Gives the
/// records, which the cleaner may take at once.
pub fn append(client: &mut RawClient, topic: &str, partition: i32, round: i64) -> Result<Vec<Rec>> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    // Two seconds between batches: each begins a segment of its own, and all but the last can be cleaned.
    let first = i64::try_from(now)? - BATCHES * 2000;
    let mut written = vec![];
    for batch in 0..BATCHES {
        let records: Vec<_> = (0..RECORDS)
            .map(|index| {
                let number = (round * BATCHES + batch) * RECORDS + index;
                let key = if index % 2 == 0 { format!("key-{number}") } else { format!("key-{index}") };
                NewRecord {
                    timestamp: first + batch * 2000 + index,
                    key: Some(key.into_bytes()),
                    value: Some(format!("id={topic}/{partition}/{number}\n").into_bytes()),
                    headers: vec![],
                }
            })
            .collect();
        let base = client.write(topic, partition, Codec::Zstd, records.clone())?;
        written.extend((base..).zip(records).map(|(offset, record)| Rec {
            offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
            producer_id: -1,
            epoch: -1,
            transactional: false,
            codec: Codec::Zstd,
            body_hash: 0,
        }));
    }
    Ok(written)
}

/// How many batches of a partition have holes.
pub fn holes(client: &mut RawClient, topic: &str, partition: i32) -> Result<usize> {
    Ok(client.read_batches(topic, partition)?.iter().filter(|batch| batch.has_holes()).count())
}

/// Waits until every partition has batches with holes, then tells the cleaner to leave the topic as it is. Compared while
/// the cleaner works, a copy differs from its original by what it has taken on one side alone.
pub fn freeze(client: &mut RawClient, topic: &str) -> Result<()> {
    let start = Instant::now();
    for partition in 0..client.partition_count(topic)? {
        while holes(client, topic, partition)? == 0 {
            ensure!(start.elapsed() < HOLES_LIMIT, "{topic}-{partition} was never compacted");
            std::thread::sleep(POLL);
        }
    }
    client.alter_topic(topic, &[("min.compaction.lag.ms", LAG_MS)])?;
    let partitions = client.partition_count(topic)?;
    let read = |client: &mut RawClient| -> Result<Vec<Vec<Rec>>> {
        (0..partitions).map(|partition| client.read(topic, partition, Isolation::ReadCommitted)).collect()
    };
    let mut before = read(client)?;
    loop {
        std::thread::sleep(STILL);
        let now = read(client)?;
        if now == before {
            return Ok(());
        }
        ensure!(start.elapsed() < HOLES_LIMIT, "{topic} is compacted all the time");
        before = now;
    }
}
