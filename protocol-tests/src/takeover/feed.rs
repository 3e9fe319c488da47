//! Writes to every partition of the source at a steady rate: a partition without data has nothing to stand still with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};

use crate::raw::{Codec, NewBatch, NewRecord, RawClient, check, topic_name};

/// Of each partition: one transaction of its lane. A fifth of what counts as a standstill.
const INTERVAL: Duration = Duration::from_millis(50);
const RECORDS_MAX: usize = 3;
const PADDING_MAX: usize = 200;
const TIMESTAMP: i64 = 1_750_000_000_000;
const ACKS_ALL: i16 = -1;
const TIMEOUT_MS: i32 = 20_000;

/// Dropping it ends it.
pub(super) struct Feed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<usize>>>,
}

impl Feed {
    pub(super) fn start(client: RawClient, topic: &str, partitions: i32, seed: u64) -> Feed {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, topic) = (Arc::clone(&stop), topic.to_owned());
        let thread = thread::spawn(move || feed(client, &topic, partitions, seed, &stopped));
        Feed { stop, thread: Some(thread) }
    }

    pub(super) fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|it| !it.is_finished())
    }

    /// How many records it has written.
    pub(super) fn stop(mut self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the feed was stopped before")?;
        thread.join().map_err(|_| anyhow!("the feed panicked"))?
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn feed(mut client: RawClient, topic: &str, partitions: i32, seed: u64, stop: &AtomicBool) -> Result<usize> {
    let mut random = fastrand::Rng::with_seed(seed);
    let leader = client.leader_of(topic, 0)?;
    let (start, mut ticks, mut written) = (Instant::now(), 0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut data = vec![];
        for partition in 0..partitions {
            let count = random.usize(1..=RECORDS_MAX);
            let record = |_| {
                written += 1;
                let mut value = format!("id={topic}/{partition}/{written}\n").into_bytes();
                value.resize(value.len() + random.usize(..PADDING_MAX), random.alphanumeric() as u8);
                let timestamp = TIMESTAMP + i64::from(ticks);
                NewRecord { timestamp, key: Some(vec![random.u8(..); 5]), value: Some(value), headers: vec![] }
            };
            let batch = NewBatch::plain(Codec::None, (0..count).map(record).collect()).encode()?;
            data.push(PartitionProduceData::default().with_index(partition).with_records(Some(Bytes::from(batch))));
        }
        let topics = vec![TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(data)];
        let request = ProduceRequest::default().with_acks(ACKS_ALL).with_timeout_ms(TIMEOUT_MS).with_topic_data(topics);
        client.retry(|client| {
            let answer = client.send(leader, 9, &request)?;
            answer.responses.iter().flat_map(|it| &it.partition_responses).try_for_each(|it| check(it.error_code))
        })?;
        ticks += 1;
        thread::sleep((INTERVAL * ticks).saturating_sub(start.elapsed()));
    }
    Ok(written)
}
