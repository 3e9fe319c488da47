//! What is really in the data: a trial that copies null keys proves nothing if there were none.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{LARGE_VALUE_BYTES, OLD_TIMESTAMP, RECENT_TIMESTAMP};
use crate::raw::{Isolation, RawClient};

/// Of one topic, all its partitions together.
pub const EXPECTED: [&str; 17] = [
    "aborted record",
    "batch of several records",
    "empty header key",
    "empty key",
    "empty value",
    "header key that is not UTF-8",
    "idempotent producer",
    "key that is not UTF-8",
    "null header value",
    "null key",
    "null value",
    "old timestamp",
    "plain producer",
    "record of 1 MB",
    "repeated header",
    "tiny batch",
    "transactional producer",
];
const TINY_RECORDS_MAX: usize = 3;

/// What of it is there.
pub fn of(client: &mut RawClient, topic: &str) -> Result<BTreeSet<&'static str>> {
    let mut found = BTreeSet::new();
    for partition in 0..client.partition_count(topic)? {
        let all = client.read(topic, partition, Isolation::ReadUncommitted)?.len();
        let mut visible = 0;
        for batch in client.committed_batches(topic, partition)? {
            visible += batch.records.len();
            found.insert(match (batch.producer_id, batch.transactional) {
                (-1, _) => "plain producer",
                (_, false) => "idempotent producer",
                (_, true) => "transactional producer",
            });
            let is_tiny = batch.records.len() <= TINY_RECORDS_MAX && batch.bytes < LARGE_VALUE_BYTES;
            found.insert(if is_tiny { "tiny batch" } else { "batch of several records" });
            for record in &batch.records {
                let mut has = |what, is_there| {
                    if is_there {
                        found.insert(what);
                    }
                };
                let is_empty = |field: &Option<Vec<u8>>| field.as_ref().is_some_and(Vec::is_empty);
                let is_binary = |field: &[u8]| std::str::from_utf8(field).is_err();
                has("null key", record.key.is_none());
                has("empty key", is_empty(&record.key));
                has("key that is not UTF-8", record.key.as_deref().is_some_and(is_binary));
                has("null value", record.value.is_none());
                has("empty value", is_empty(&record.value));
                has("record of 1 MB", record.value.as_ref().is_some_and(|value| value.len() >= LARGE_VALUE_BYTES));
                has("old timestamp", (OLD_TIMESTAMP..RECENT_TIMESTAMP).contains(&record.create_time));
                let keys: BTreeSet<_> = record.headers.iter().map(|header| &header.0).collect();
                has("repeated header", keys.len() < record.headers.len());
                has("empty header key", keys.iter().any(|key| key.is_empty()));
                has("header key that is not UTF-8", keys.iter().any(|key| is_binary(key)));
                has("null header value", record.headers.iter().any(|header| header.1.is_none()));
            }
        }
        if visible < all {
            found.insert("aborted record");
        }
    }
    Ok(found)
}
