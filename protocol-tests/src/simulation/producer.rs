//! What is written to the source.

use std::sync::Arc;
use std::time::Duration;

use kafka_bridge::broker::Server;

use super::client::{Client, Identity, Refused};
use super::datums::{Datums, EXPECTED};
use super::schedule::{Producer, Verdict};
use crate::ledger::Place;
use crate::raw::{Codec, NewBatch, NewRecord};

/// The source's coordinator ends what nobody ends after this.
const TRANSACTION_TIMEOUT_MS: i32 = 1_500;
/// Few, so that compaction finds what to take.
const KEYS: usize = 4;

/// The records of one step: the same, whatever other steps there are.
pub(super) struct Records {
    pub(super) step: usize,
    pub(super) random: fastrand::Rng,
    pub(super) now_ms: i64,
    pub(super) next: usize,
    /// None: nothing is checked.
    pub(super) datums: Option<Datums>,
}

impl Records {
    fn batch(&mut self, topic: &str, count: usize, bytes: usize) -> Vec<NewRecord> {
        (0..count.max(1)).map(|_| self.record(topic, bytes)).collect()
    }

    fn record(&mut self, topic: &str, bytes: usize) -> NewRecord {
        let Records { step, random, now_ms, next, datums } = self;
        *next += 1;
        let name = format!("{step}/{next}").into_bytes();
        let filler: Vec<u8> = (0..bytes).map(|_| random.alphanumeric() as u8).collect();
        let mut headers = vec![(b"id".to_vec(), Some(name.clone()))];
        if random.u8(..4) == 0 {
            // Twice the same, one without value, one that is not UTF-8.
            headers.extend([(b"h".to_vec(), None), (b"h".to_vec(), Some(vec![])), (vec![0xff], Some(vec![0]))]);
        }
        let is_tombstone = random.u8(..10) == 0;
        let timestamp = *now_ms - random.i64(0..1_000);
        let key = Some(format!("k{}", random.usize(..KEYS)).into_bytes());
        let value = match datums.as_ref().filter(|it| it.topics.contains(topic)) {
            _ if is_tombstone => None,
            None => Some([&name[..], b" ", &filler].concat()),
            Some(datums) => {
                let (value, fault) = datums.value(&name, &filler, random);
                headers.extend(fault.map(|it| (EXPECTED.to_vec(), Some(it.as_bytes().to_vec()))));
                Some(value)
            }
        };
        NewRecord { timestamp, key, value, headers }
    }
}

pub(super) struct Writing {
    pub(super) place: Place,
    pub(super) producer: Producer,
    pub(super) codec: Codec,
    pub(super) batches: usize,
    pub(super) records: usize,
    pub(super) bytes: usize,
}

fn encoded(batch: &NewBatch) -> Vec<u8> {
    // A batch that is refused is not in the log, and the reference is the log.
    batch.encode().unwrap_or_default()
}

/// An error: it gave up, and what it wrote may be there or not.
pub(super) async fn write(server: Arc<Server>, nodes: i32, what: Writing, mut records: Records) -> Result<(), Refused> {
    let mut client = Client::new(server);
    let nobody = Identity { id: -1, epoch: -1 };
    let who = match what.producer {
        Producer::Plain => nobody,
        Producer::Idempotent => client.init(None, TRANSACTION_TIMEOUT_MS, nodes).await?,
    };
    let mut sequence = 0;
    for _ in 0..what.batches {
        let records = records.batch(&what.place.0, what.records, what.bytes);
        let count = records.len() as i32;
        let batch = NewBatch {
            codec: what.codec,
            producer_id: who.id,
            producer_epoch: who.epoch,
            base_sequence: if who.id < 0 { -1 } else { sequence },
            transactional: false,
            records,
        };
        sequence += count;
        client.produce(&what.place.0, what.place.1, encoded(&batch), None).await?;
    }
    Ok(())
}

pub(super) struct Transacting {
    pub(super) places: Vec<Place>,
    pub(super) codec: Codec,
    pub(super) records: usize,
    pub(super) verdict: Verdict,
    pub(super) pause: Duration,
}

pub(super) async fn transact(
    server: Arc<Server>,
    nodes: i32,
    what: Transacting,
    mut records: Records,
) -> Result<(), Refused> {
    let mut client = Client::new(server);
    let id = format!("producer-{}", records.step);
    let who = client.init(Some(&id), TRANSACTION_TIMEOUT_MS, nodes).await?;
    let mut sequences = std::collections::BTreeMap::new();
    for place in &what.places {
        let (topic, partition) = place;
        if !sequences.contains_key(place) {
            client.add_partition(&id, who, topic, *partition).await?;
        }
        let sequence: &mut i32 = sequences.entry(place.clone()).or_default();
        let records = records.batch(topic, what.records, 50);
        let batch = NewBatch {
            codec: what.codec,
            producer_id: who.id,
            producer_epoch: who.epoch,
            base_sequence: *sequence,
            transactional: true,
            records,
        };
        *sequence += batch.records.len() as i32;
        client.produce(topic, *partition, encoded(&batch), Some(&id)).await?;
        tokio::time::sleep(what.pause).await;
    }
    match what.verdict {
        Verdict::Commit => client.end(&id, who, true).await,
        Verdict::Abort => client.end(&id, who, false).await,
        Verdict::Leave => Ok(()),
    }
}
