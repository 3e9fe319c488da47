//! Reading a partition completely, with a filter of aborted records that does not trust the broker's index of them.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};

use super::records::{Codec, Header, ReadBatch, ReadRecord, decode};
use super::{RETRY_LIMIT, RawClient, check, topic_name};

const FETCH_BYTES: i32 = 8 << 20;
const FETCH_WAIT_MS: i32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted = 0,
    ReadCommitted = 1,
}

/// A record of a partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rec {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    pub producer_id: i64,
    pub epoch: i16,
    pub transactional: bool,
    pub codec: Codec,
    /// Of the compressed body of its batch.
    pub body_hash: u64,
}

impl RawClient {
    /// All batches from the log start to the high watermark, control batches included.
    pub fn read_batches(&mut self, topic: &str, partition: i32) -> Result<Vec<ReadBatch>> {
        let offsets = self.offsets(topic, partition)?;
        let mut batches: Vec<ReadBatch> = vec![];
        let mut position = offsets.log_start;
        let mut progress = Instant::now();
        while position < offsets.high_watermark {
            for batch in self.fetch(topic, partition, position)? {
                // A fetch answers with the whole batch that holds the position.
                if batch.last_offset >= position {
                    position = batch.last_offset + 1;
                    progress = Instant::now();
                    batches.push(batch);
                }
            }
            ensure!(
                progress.elapsed() < RETRY_LIMIT,
                "{topic}-{partition} gives nothing at offset {position}, below its high watermark {}",
                offsets.high_watermark
            );
        }
        for batch in &mut batches {
            // Records before the log start are deleted, though their batch may still carry them.
            batch.records.retain(|record| record.offset >= offsets.log_start);
        }
        Ok(batches)
    }

    /// All records that a reader of that isolation level sees.
    pub fn read(&mut self, topic: &str, partition: i32, isolation: Isolation) -> Result<Vec<Rec>> {
        let last_stable = match isolation {
            Isolation::ReadUncommitted => i64::MAX,
            Isolation::ReadCommitted => self.offsets(topic, partition)?.last_stable,
        };
        let batches = self.read_batches(topic, partition)?;
        Ok(records(&visible(&batches, isolation, last_stable), |record| record.timestamp))
    }

    /// As `read` with read_committed, with the producers' timestamps, which readers of a LogAppendTime topic do not see.
    pub fn read_create_times(&mut self, topic: &str, partition: i32) -> Result<Vec<Rec>> {
        Ok(records(&self.committed_batches(topic, partition)?, |record| record.create_time))
    }

    /// The batches that a read_committed reader gets records from.
    pub fn committed_batches(&mut self, topic: &str, partition: i32) -> Result<Vec<ReadBatch>> {
        let last_stable = self.offsets(topic, partition)?.last_stable;
        let batches = self.read_batches(topic, partition)?;
        Ok(visible(&batches, Isolation::ReadCommitted, last_stable).into_iter().cloned().collect())
    }

    fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Result<Vec<ReadBatch>> {
        let partitions = vec![
            FetchPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(offset)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(FETCH_BYTES),
        ];
        let topics = vec![FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions)];
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(FETCH_WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES)
            // Uncommitted, so that the broker's own list of aborted transactions decides nothing.
            .with_isolation_level(Isolation::ReadUncommitted as i8)
            .with_session_epoch(-1)
            .with_topics(topics);
        self.retry(|client| {
            let leader = client.leader(topic, partition)?;
            let answer = client.send(leader, 12, &request)?;
            check(answer.error_code)?;
            let data = answer.responses.first().and_then(|topic| topic.partitions.first()).context("no partition")?;
            check(data.error_code)?;
            decode(data.records.as_deref().unwrap_or_default())
        })
    }
}

/// The data batches that a reader of that isolation level gets.
fn visible(batches: &[ReadBatch], isolation: Isolation, last_stable: i64) -> Vec<&ReadBatch> {
    let of_level = |(batch, committed): &(&ReadBatch, Option<bool>)| match isolation {
        Isolation::ReadUncommitted => true,
        // Data below the last stable offset without a marker was committed: compaction drops the records of an aborted
        // transaction before its marker, never after.
        Isolation::ReadCommitted => batch.base_offset < last_stable && *committed != Some(false),
    };
    let all = batches.iter().zip(outcomes(batches)).filter(of_level);
    all.map(|(batch, _)| batch).filter(|batch| !batch.control).collect()
}

fn records<B: std::borrow::Borrow<ReadBatch>>(batches: &[B], time: impl Fn(&ReadRecord) -> i64) -> Vec<Rec> {
    let mut records = vec![];
    for batch in batches.iter().map(std::borrow::Borrow::borrow) {
        records.extend(batch.records.iter().map(|record| Rec {
            offset: record.offset,
            timestamp: time(record),
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.clone(),
            producer_id: batch.producer_id,
            epoch: batch.producer_epoch,
            transactional: batch.transactional,
            codec: batch.codec,
            body_hash: batch.body_hash,
        }));
    }
    records
}

/// For each batch: whether its transaction committed; None without a transaction or without a marker behind it.
pub fn outcomes(batches: &[ReadBatch]) -> Vec<Option<bool>> {
    let mut outcomes = vec![None; batches.len()];
    let mut next_marker: BTreeMap<i64, bool> = BTreeMap::new();
    for (index, batch) in batches.iter().enumerate().rev() {
        match batch.commits() {
            Some(commit) => {
                next_marker.insert(batch.producer_id, commit);
            }
            None if batch.transactional => outcomes[index] = next_marker.get(&batch.producer_id).copied(),
            None => {}
        }
    }
    outcomes
}
