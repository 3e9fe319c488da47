//! Writes to the source without a pause while something else goes wrong: plain, idempotent and transactional batches, the
//! latter also aborted, over several topics, partitions and codecs, at a rate that leaves the machine to the brokers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::raw::{Codec, NewRecord, Producer, RawClient};

/// Enough that every moment has an open transaction at the target, little enough for two cores and two brokers.
const BATCHES_PER_SECOND: u32 = 60;
const RECORDS_MAX: usize = 12;
const PADDING_MAX: usize = 300;
/// One transaction in three is aborted.
const ABORT_SHARE: f64 = 0.33;
/// A batch far above the limit for merging, now and then: it passes through.
const LARGE_SHARE: f64 = 0.02;
const LARGE_BYTES: usize = 60_000;
const PARTITIONS: i32 = 2;
const RECENT_TIMESTAMP: i64 = 1_750_000_000_000;

/// One topic for each codec.
pub fn create_topics(client: &mut RawClient, prefix: &str, replication_factor: i16) -> Result<Vec<String>> {
    let mut topics = vec![];
    for codec in Codec::ALL {
        let topic = format!("{prefix}-{}", codec.name());
        client.create_topic(&topic, PARTITIONS, replication_factor, &[("retention.ms", "-1")])?;
        topics.push(topic);
    }
    Ok(topics)
}

/// What a load has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub records: usize,
    /// Of transactions that were meant to abort.
    pub aborted_records: usize,
    pub transactions: usize,
    /// Steps whose end is not known, because a broker was away for too long. The source's log says what became of them.
    pub unsure: usize,
}

/// A running load. Dropping it ends it.
pub struct Load {
    stop: Arc<AtomicBool>,
    records: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Result<Loaded>>>,
}

impl Load {
    /// `topics` as [`create_topics`] made them. The same seed writes the same, except for the time it takes.
    pub fn start(client: RawClient, topics: &[String], seed: u64) -> Load {
        let (stop, records) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let writer = Writer {
            client,
            topics: topics.to_vec(),
            random: fastrand::Rng::with_seed(seed),
            name: format!("load-{seed:x}"),
            next: 0,
            loaded: Loaded::default(),
        };
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&records));
        let thread = thread::spawn(move || writer.run(&stopped, &counter));
        Load { stop, records, thread: Some(thread) }
    }

    /// How many records were sent so far.
    pub fn records(&self) -> usize {
        self.records.load(Ordering::Relaxed)
    }

    /// Waits until so many more records were sent: the load is there while the fault is.
    pub fn until_more(&self, count: usize, limit: Duration) -> Result<()> {
        let (start, goal) = (Instant::now(), self.records() + count);
        while self.records() < goal {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            ensure!(!ended && start.elapsed() < limit, "the load stands still at {} records", self.records());
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it with one plain record in every partition, so that the last position of each is behind a record.
    pub fn stop(mut self) -> Result<Loaded> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the load was stopped before")?;
        thread.join().map_err(|_| anyhow!("the load panicked"))?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Writer {
    client: RawClient,
    topics: Vec<String>,
    random: fastrand::Rng,
    /// In every record's id and in the transactional id: two loads never meet.
    name: String,
    next: u64,
    loaded: Loaded,
}

impl Writer {
    fn run(mut self, stop: &AtomicBool, counter: &AtomicUsize) -> Result<Loaded> {
        let mut transactional = None;
        let mut idempotent = None;
        let start = Instant::now();
        let mut batches = 0;
        while !stop.load(Ordering::Relaxed) {
            // However short it is, one of its transactions is aborted: the first step.
            let step = if self.loaded.transactions == 0 { u8::MAX } else { self.random.u8(..4) };
            let done = match step {
                0 => self.plain(),
                1 => self.idempotent(&mut idempotent),
                _ => self.transaction(&mut transactional),
            };
            match done {
                Ok(count) => batches += count,
                Err(_) => {
                    self.loaded.unsure += 1;
                    // Another incarnation: it ends what the former one left open.
                    (transactional, idempotent) = (None, None);
                }
            }
            counter.store(self.loaded.records, Ordering::Relaxed);
            let due = Duration::from_secs(1) * batches / BATCHES_PER_SECOND;
            thread::sleep(due.saturating_sub(start.elapsed()).min(Duration::from_millis(100)));
        }
        // What an error left open must not hold the reader back behind the last records.
        if transactional.is_none() {
            self.client.producer(Some(&self.name))?;
        }
        for topic in self.topics.clone() {
            for partition in 0..PARTITIONS {
                let record = self.record(&topic, partition);
                self.loaded.records += 1;
                self.client.write(&topic, partition, Codec::None, vec![record])?;
            }
        }
        Ok(self.loaded)
    }

    fn plain(&mut self) -> Result<u32> {
        let (topic, partition, codec) = self.place();
        let records = self.records(&topic, partition);
        self.client.write(&topic, partition, codec, records)?;
        Ok(1)
    }

    fn idempotent(&mut self, producer: &mut Option<Producer>) -> Result<u32> {
        let (topic, partition, codec) = self.place();
        let records = self.records(&topic, partition);
        let mut own = match producer.take() {
            Some(own) => own,
            None => self.client.producer(None)?,
        };
        own.send(&mut self.client, &topic, partition, codec, records)?;
        *producer = Some(own);
        Ok(1)
    }

    fn transaction(&mut self, producer: &mut Option<Producer>) -> Result<u32> {
        let mut own = match producer.take() {
            Some(own) => own,
            None => self.client.producer(Some(&self.name))?,
        };
        let commit = self.loaded.transactions > 0 && self.random.f64() >= ABORT_SHARE;
        let batches = self.random.u32(1..=4);
        let before = self.loaded.records;
        for _ in 0..batches {
            let (topic, partition, codec) = self.place();
            let records = self.records(&topic, partition);
            own.send(&mut self.client, &topic, partition, codec, records)?;
        }
        self.loaded.transactions += 1;
        if commit {
            own.commit(&mut self.client)?;
        } else {
            self.loaded.aborted_records += self.loaded.records - before;
            own.abort(&mut self.client)?;
        }
        *producer = Some(own);
        Ok(batches)
    }

    fn place(&mut self) -> (String, i32, Codec) {
        let index = self.random.usize(..self.topics.len());
        let partition = self.random.i32(0..PARTITIONS);
        (self.topics[index].clone(), partition, Codec::ALL[index % Codec::ALL.len()])
    }

    fn records(&mut self, topic: &str, partition: i32) -> Vec<NewRecord> {
        let count = self.random.usize(1..=RECORDS_MAX);
        self.loaded.records += count;
        let mut records: Vec<_> = (0..count).map(|_| self.record(topic, partition)).collect();
        if self.random.f64() < LARGE_SHARE
            && let Some(value) = &mut records[0].value
        {
            let random = &mut self.random;
            value.resize_with(LARGE_BYTES, || random.u8(..));
        }
        records
    }

    fn record(&mut self, topic: &str, partition: i32) -> NewRecord {
        self.next += 1;
        let mut value = format!("id={}/{topic}/{partition}/{}\n", self.name, self.next).into_bytes();
        value.resize(value.len() + self.random.usize(..PADDING_MAX), self.random.alphanumeric() as u8);
        let key = self.random.bool().then(|| vec![self.random.u8(..); 5]);
        let headers = if self.random.u8(..5) == 0 { vec![(b"h".to_vec(), Some(vec![1, 2]))] } else { vec![] };
        NewRecord { timestamp: RECENT_TIMESTAMP + self.random.i64(0..1_000_000), key, value: Some(value), headers }
    }
}
