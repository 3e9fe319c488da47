//! A copy as somebody else would have left it: the target's topic is written anew with something wrong in it, and the ledger
//! is told that this is the topic it knows.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::ledger;
use crate::raw::{Codec, Isolation, NewRecord, RawClient, Rec};

/// Records of one batch: a difference is to lie in the middle of batches that are otherwise the same.
const BATCH: usize = 7;

pub fn new_record(record: &Rec) -> NewRecord {
    NewRecord {
        timestamp: record.timestamp,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.clone(),
    }
}

/// No bridge may run meanwhile. `edit` gets what the copy of each partition holds.
pub fn replant(
    target: &mut RawClient,
    link: &str,
    topic: &str,
    mut edit: impl FnMut(i32, &mut Vec<NewRecord>) -> Result<()>,
) -> Result<()> {
    let partitions = target.partition_count(topic)?;
    let mut copies = Vec::new();
    for partition in 0..partitions {
        let copy = target.read(topic, partition, Isolation::ReadCommitted)?;
        let mut records: Vec<_> = copy.iter().map(new_record).collect();
        edit(partition, &mut records)?;
        copies.push(records);
    }
    let replicas = i16::try_from(target.replica_count(topic)?)?;
    target.delete_topic(topic)?;
    target.create_topic(topic, partitions, replicas, &[("retention.ms", "-1")])?;
    for (partition, records) in (0..).zip(copies) {
        for records in records.chunks(BATCH) {
            target.write(topic, partition, Codec::Lz4, records.to_vec())?;
        }
    }
    retell(target, link, topic)
}

/// The ledger's positions are of the topic that is there now, and its only points of the map are its beginnings.
fn retell(target: &mut RawClient, link: &str, topic: &str) -> Result<()> {
    let id = target.topic_id(topic)?.map(|it| it.to_string());
    let mut told = 0;
    reword(target, link, topic, |key, mut value| {
        if key.get("kind").is_some() {
            return None;
        }
        told += 1;
        if let Some(id) = &id {
            value["target_topic_id"] = json!(id);
        }
        value["anchor"] = json!({ "records": 0, "source_offset": 0, "target_offset": 0 });
        Some(value)
    })?;
    ensure!(told == target.partition_count(topic)?, "the ledger knows {told} partitions of {topic}");
    Ok(())
}

/// Whatever the ledger holds of the topic, by key and value, as `edit` gives it; None takes it out.
pub fn reword(
    target: &mut RawClient,
    link: &str,
    topic: &str,
    mut edit: impl FnMut(&Value, Value) -> Option<Value>,
) -> Result<()> {
    let ledger = ledger::topic(link);
    for lane in 0..target.partition_count(&ledger)? {
        let mut last: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for record in target.read(&ledger, lane, Isolation::ReadCommitted)? {
            last.insert(record.key.context("no key")?, record.value);
        }
        let mut changed = Vec::new();
        for (key, value) in last {
            let (name, Some(value)) = (serde_json::from_slice::<Value>(&key)?, value) else { continue };
            if name["topic"] != topic {
                continue;
            }
            let value = edit(&name, serde_json::from_slice(&value)?);
            let value = value.map(|it| serde_json::to_vec(&it)).transpose()?;
            changed.push(NewRecord { timestamp: 1_700_000_000_000, key: Some(key), value, headers: vec![] });
        }
        if !changed.is_empty() {
            target.write(&ledger, lane, Codec::None, changed)?;
        }
    }
    Ok(())
}
