//! Topics at the target: made as they are at the source, followed, renamed, left out.

mod followed;
mod made;

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use libtest_mimic::Trial;
use protocol_tests::raw::{Codec, NewRecord, RawClient};

pub(super) fn trials() -> Vec<Trial> {
    [followed::trials(), made::trials()].into_iter().flatten().collect()
}

/// Records with a name of their own, numbered from `first`, one batch, an hour old.
fn write(client: &mut RawClient, topic: &str, partition: i32, first: i64, count: i64) -> Result<i64> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    write_at(client, topic, partition, first..first + count, now - 3_600_000)
}

/// A second between records; the record of number 0 has the time `time_ms`.
fn write_at(client: &mut RawClient, topic: &str, partition: i32, numbers: Range<i64>, time_ms: i64) -> Result<i64> {
    let records = numbers.map(|number| NewRecord {
        timestamp: time_ms + number * 1000,
        key: Some(format!("key-{number}").into_bytes()),
        value: Some(format!("id={topic}/{partition}/{number}\n").into_bytes()),
        headers: vec![],
    });
    client.write(topic, partition, Codec::Lz4, records.collect())
}
