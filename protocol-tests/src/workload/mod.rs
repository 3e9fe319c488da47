//! The data set of the fidelity trials: everything that a Kafka log can hold and a copy can lose.

pub mod compacted;
pub mod coverage;

use anyhow::Result;

use crate::raw::{Codec, NewRecord, Producer, RawClient};

/// A value just below the default `max.message.bytes` (1,048,588) with its batch around it.
const LARGE_VALUE_BYTES: usize = 1_000_000;
const LARGE_RECORDS: usize = 2;
/// A batch of ordinary records that is large on the wire too, whatever the codec.
const WIDE_RECORDS: usize = 50;
const WIDE_VALUE_BYTES: usize = 1_000;
/// One transaction in five is aborted.
const ABORT_SHARE: f64 = 0.2;
/// In 2001: older than any default retention, which the topics therefore switch off.
const OLD_TIMESTAMP: i64 = 1_000_000_000_000;
const RECENT_TIMESTAMP: i64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
pub struct Workload {
    pub seed: u64,
    pub prefix: String,
    pub partitions: i32,
    pub batches_per_partition: usize,
    pub replication_factor: i16,
    /// Adds a compacted topic, in which its cleaner will make holes. Before a copy is compared record by record it must be
    /// held still (`compacted::freeze`).
    pub compacted: bool,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub topics: Vec<String>,
    /// Records that a read_committed reader must see in topics that are not compacted.
    pub visible_records: usize,
    pub aborted_records: usize,
    pub aborted_transactions: usize,
}

impl Workload {
    pub fn new(seed: u64, prefix: &str) -> Workload {
        Workload {
            seed,
            prefix: prefix.to_owned(),
            partitions: 2,
            batches_per_partition: 15,
            replication_factor: 1,
            compacted: true,
        }
    }

    /// Creates the topics and writes them, the same for the same seed.
    pub fn write(&self, client: &mut RawClient) -> Result<Written> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut written = Written::default();
        for codec in Codec::ALL {
            let topic = format!("{}-{}", self.prefix, codec.name());
            client.create_topic(&topic, self.partitions, self.replication_factor, &[("retention.ms", "-1")])?;
            self.fill(client, &topic, codec, &mut random, &mut written)?;
            written.topics.push(topic);
        }
        let topic = format!("{}-log-append-time", self.prefix);
        let configs = [("retention.ms", "-1"), ("message.timestamp.type", "LogAppendTime")];
        client.create_topic(&topic, self.partitions, self.replication_factor, &configs)?;
        self.fill(client, &topic, Codec::Lz4, &mut random, &mut written)?;
        written.topics.push(topic);
        if self.compacted {
            let topic = format!("{}-compacted", self.prefix);
            compacted::create(client, &topic, self.partitions, self.replication_factor)?;
            for partition in 0..self.partitions {
                compacted::append(client, &topic, partition, 0)?;
            }
            written.topics.push(topic);
        }
        Ok(written)
    }

    fn fill(
        &self,
        client: &mut RawClient,
        topic: &str,
        codec: Codec,
        random: &mut fastrand::Rng,
        written: &mut Written,
    ) -> Result<()> {
        let mut idempotent = client.producer(None)?;
        let mut transactional = client.producer(Some(&format!("workload-{topic}")))?;
        for partition in 0..self.partitions {
            let mut writer = Writer { topic, partition, next: 0 };
            let place = (topic, partition, codec);
            for _ in 0..self.batches_per_partition {
                match random.u32(..3) {
                    0 => {
                        let records = writer.records(random);
                        written.visible_records += records.len();
                        client.write(topic, partition, codec, records)?;
                    }
                    1 => {
                        let records = writer.records(random);
                        written.visible_records += records.len();
                        idempotent.send(client, topic, partition, codec, records)?;
                    }
                    _ => write_transaction(client, &mut transactional, place, &mut writer, random, written)?,
                }
            }
            // Whatever the seed: at least one aborted transaction in each partition, and one record near the limit.
            let records = writer.records(random);
            written.aborted_records += records.len();
            written.aborted_transactions += 1;
            transactional.send(client, topic, partition, codec, records)?;
            transactional.abort(client)?;
            let records: Vec<_> = (0..WIDE_RECORDS).map(|_| writer.random(WIDE_VALUE_BYTES, random)).collect();
            written.visible_records += records.len();
            idempotent.send(client, topic, partition, codec, records)?;
            for _ in 0..LARGE_RECORDS {
                let record = writer.random(LARGE_VALUE_BYTES, random);
                written.visible_records += 1;
                client.write(topic, partition, codec, vec![record])?;
            }
        }
        Ok(())
    }
}

fn write_transaction(
    client: &mut RawClient,
    producer: &mut Producer,
    (topic, partition, codec): (&str, i32, Codec),
    writer: &mut Writer<'_>,
    random: &mut fastrand::Rng,
    written: &mut Written,
) -> Result<()> {
    let mut count = 0;
    for _ in 0..random.usize(1..4) {
        let records = writer.records(random);
        count += records.len();
        producer.send(client, topic, partition, codec, records)?;
        // Another producer's records amid the transaction: an abort must not take them along.
        if random.bool() {
            let records = writer.records(random);
            written.visible_records += records.len();
            client.write(topic, partition, codec, records)?;
        }
    }
    if random.f64() < ABORT_SHARE {
        written.aborted_records += count;
        written.aborted_transactions += 1;
        producer.abort(client)
    } else {
        written.visible_records += count;
        producer.commit(client)
    }
}

/// Numbers the records of one partition.
struct Writer<'a> {
    topic: &'a str,
    partition: i32,
    next: u64,
}

impl Writer<'_> {
    fn name(&mut self) -> Vec<u8> {
        self.next += 1;
        format!("id={}/{}/{}\n", self.topic, self.partition, self.next).into_bytes()
    }

    /// The records of one batch: one to three in a tiny one, up to forty else.
    fn records(&mut self, random: &mut fastrand::Rng) -> Vec<NewRecord> {
        let count = if random.bool() { random.usize(1..=3) } else { random.usize(4..=40) };
        (0..count).map(|_| self.record(random)).collect()
    }

    fn record(&mut self, random: &mut fastrand::Rng) -> NewRecord {
        let name = self.name();
        let base = if random.u8(..10) == 0 { OLD_TIMESTAMP } else { RECENT_TIMESTAMP };
        let timestamp = base + random.i64(0..1_000_000);
        let key = random.bool().then(|| (0..random.usize(..20)).map(|_| random.u8(..)).collect());
        let mut record = NewRecord { timestamp, key, value: None, headers: vec![] };
        match random.u8(..10) {
            // A null or empty value: the name goes to the key, or to a header beside a null key.
            0 => record.key = Some(name),
            1 => (record.key, record.headers) = (None, vec![(b"id".to_vec(), Some(name))]),
            2 => (record.key, record.value) = (Some(name), Some(vec![])),
            3 => (record.key, record.value) = (Some(vec![]), Some(name)),
            _ => {
                let padding = random.usize(..400);
                let letter = random.alphanumeric() as u8;
                record.value = Some([name, vec![letter; padding]].concat());
            }
        }
        if random.u8(..4) == 0 {
            record.headers.extend([
                (b"repeated".to_vec(), Some(b"one".to_vec())),
                (b"repeated".to_vec(), Some(b"two".to_vec())),
                (b"repeated".to_vec(), None),
                (vec![0xff, 0xfe, 0x00], Some(vec![0x80, 0x81])),
                (vec![], Some(vec![])),
            ]);
        }
        record
    }

    /// Random bytes: no codec makes them small.
    fn random(&mut self, bytes: usize, random: &mut fastrand::Rng) -> NewRecord {
        let mut value = self.name();
        value.resize_with(bytes, || random.u8(..));
        NewRecord { timestamp: RECENT_TIMESTAMP, key: None, value: Some(value), headers: vec![] }
    }
}
