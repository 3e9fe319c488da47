//! Writes a lane's letters to the target: the records, and where they landed to the ledger, in one transaction.
//!
//! The id that does it is the lane's, beside that of the bridge: of two that replay, the second fences the first, and reads in
//! the ledger what was replayed. The records are written first, and the ledger's record when they have landed: it names their
//! offsets, by which `verify` knows them, and a transaction that the target has left open is known by the first of them.

use super::UndeliveredError;
use crate::batch::{BatchBuilder, Compression, Payload, RawBatch};
use crate::bridge::{Ended, Producer, RunError, Surroundings};
use crate::cluster::Backoff;
use crate::dead_letters::Letter;
use crate::ledger::{self, Delivered, History, LedgerRecord, LetterKey};
use crate::positions::Link;
use crate::target::AbortClass;
use crate::types::TopicPartition;
use crate::verify::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Half of what a broker takes as one batch unless told otherwise. A record that is larger goes alone.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// A leader that moves makes one or two fail.
const ATTEMPTS_MAX: u32 = 8;
/// The broker has the batch already, and does not remember where.
const OFFSET_UNKNOWN: i64 = -1;

/// A letter that passed.
pub(super) struct Ready {
    pub(super) key: LetterKey,
    pub(super) letter: Letter,
    pub(super) target: TopicPartition,
    pub(super) target_topic_id: Uuid,
    pub(super) timestamp: i64,
    pub(super) payload: Payload,
    pub(super) corrected: bool,
}

impl Ready {
    /// As a batch of its own.
    pub(super) fn bytes(&self) -> usize {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push_payload(self.timestamp, &self.payload);
        builder.uncompressed_bytes()
    }
}

/// A lane whose letters this process replays.
pub(super) struct LaneReplay {
    producer: Producer,
    ledger_partition: TopicPartition,
    delivered: BTreeMap<LetterKey, Delivered>,
    transaction: u64,
    settled: BTreeSet<TopicPartition>,
}

impl LaneReplay {
    pub(super) async fn take(link: &Link<'_>, lane: u32) -> Result<Self, UndeliveredError> {
        let config = link.config();
        let number = i32::try_from(lane).unwrap_or(i32::MAX);
        let ledger_partition = TopicPartition::new(config.link.ledger_topic().as_str(), number);
        let id = config.link.replay_id(lane);
        let producer = Producer::new(config, link.ends(), id, ledger_partition.clone(), lane).await?;
        let (delivered, settled) = (BTreeMap::new(), BTreeSet::new());
        let mut it = Self { producer, ledger_partition, delivered, transaction: 0, settled };
        it.retake(link).await?;
        Ok(it)
    }

    /// What is true is what the ledger says now.
    async fn retake(&mut self, link: &Link<'_>) -> Result<(), UndeliveredError> {
        self.producer.take().await?;
        let target = &link.ends().target;
        let metadata = target.metadata(None).await?;
        let history = History::of_lane(target, &metadata, &self.ledger_partition).await.map_err(RunError::Ledger)?;
        self.delivered = history.delivered;
        self.transaction = self.delivered.values().map(|it| it.transaction).max().unwrap_or(0);
        let mut last: BTreeMap<TopicPartition, (u64, i64)> = BTreeMap::new();
        for it in self.delivered.values() {
            let partition = TopicPartition::new(it.target_topic.clone(), it.target_partition);
            let is_same = metadata.topics.get(&it.target_topic).is_some_and(|of| of.topic_id == it.target_topic_id);
            if is_same {
                let place = last.entry(partition).or_default();
                *place = (*place).max((it.transaction, it.from));
            }
        }
        self.settled = last.keys().cloned().collect();
        self.producer.settle(last.into_iter().map(|(partition, it)| (partition, Some(it.1))).collect()).await?;
        Ok(())
    }

    pub(super) fn delivered(&self, key: &LetterKey) -> Option<&Delivered> {
        self.delivered.get(key)
    }

    /// All of them, those aside that were replayed before; how many transactions it took.
    pub(super) async fn deliver(&mut self, link: &Link<'_>, letters: &[&Ready]) -> Result<u64, UndeliveredError> {
        let (mut backoff, mut transactions, mut attempts) = (Backoff::default(), 0, 0);
        loop {
            let new: Vec<&Ready> = letters.iter().copied().filter(|it| !self.delivered.contains_key(&it.key)).collect();
            if new.is_empty() {
                self.producer.ready().await?;
                return Ok(transactions);
            }
            let first_time: BTreeSet<_> =
                new.iter().map(|it| &it.target).filter(|it| !self.settled.contains(*it)).cloned().collect();
            self.settled.extend(first_time.iter().cloned());
            self.producer.settle(first_time.into_iter().map(|it| (it, None)).collect()).await?;
            match self.attempt(&new).await? {
                Ended::Committed => {
                    transactions += 1;
                    continue;
                }
                Ended::Aborted(cause) if cause.class == AbortClass::Plain && attempts < ATTEMPTS_MAX => {
                    tracing::debug!(%cause, "the letters are written again");
                }
                Ended::Aborted(cause) => return Err(UndeliveredError::Refused { cause }),
                // The ledger says which of them are there.
                Ended::Unknown(cause) if attempts < ATTEMPTS_MAX => {
                    tracing::debug!(%cause, "the ledger is asked whether the letters are written");
                    self.retake(link).await?;
                }
                Ended::Unknown(cause) => return Err(UndeliveredError::Refused { cause }),
            }
            attempts += 1;
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    async fn attempt(&mut self, letters: &[&Ready]) -> Result<Ended, UndeliveredError> {
        let by_partition = by_partition(letters);
        let mut batches = Vec::new();
        for (partition, letters) in &by_partition {
            for batch in pack(letters)? {
                batches.push((partition.clone(), batch));
            }
        }
        let counts: Vec<_> = batches.iter().map(|it| (it.0.clone(), i64::from(it.1.header().record_count))).collect();
        let landed = match self.producer.write(batches).await? {
            Ok(landed) => landed,
            Err(ended) => return Ok(ended),
        };
        let Some(places) = places(&counts, &landed) else {
            return Ok(self.producer.abort().await?);
        };
        let transaction = self.transaction.saturating_add(1);
        let (host, time_ms) = (Surroundings::default().host, now_ms());
        let mut delivered = Vec::new();
        for (partition, letters) in &by_partition {
            let offsets = places.get(partition).map_or(&[][..], Vec::as_slice);
            for (it, target_offset) in letters.iter().zip(offsets) {
                let digest = it.payload.view().map(|view| Digest::of(it.timestamp, &view).to_string());
                let record = Delivered {
                    target_topic: partition.topic.clone(),
                    target_partition: partition.partition,
                    target_topic_id: it.target_topic_id,
                    target_offset: *target_offset,
                    from: offsets.first().copied().unwrap_or(*target_offset),
                    sha256: digest.unwrap_or_default(),
                    corrected: it.corrected,
                    transaction,
                    host: host.clone(),
                    time_ms,
                };
                delivered.push((it.key.clone(), record));
            }
        }
        let records: Vec<_> =
            delivered.iter().map(|(key, it)| LedgerRecord::Delivered(key.clone(), Some(it.clone()))).collect();
        let batch = ledger::batch(&self.ledger_partition, &records, time_ms).map_err(RunError::Ledger)?;
        let ended = self.producer.commit(batch).await?;
        if ended == Ended::Committed {
            self.transaction = transaction;
            self.delivered.extend(delivered);
        }
        Ok(ended)
    }
}

/// Those of a partition in the order that they were given in.
fn by_partition<'a>(letters: &[&'a Ready]) -> BTreeMap<TopicPartition, Vec<&'a Ready>> {
    let mut found: BTreeMap<TopicPartition, Vec<&Ready>> = BTreeMap::new();
    letters.iter().for_each(|it| found.entry(it.target.clone()).or_default().push(it));
    found
}

fn pack(letters: &[&Ready]) -> Result<Vec<RawBatch>, UndeliveredError> {
    let (mut batches, mut builder) = (Vec::new(), BatchBuilder::new(Compression::None));
    for it in letters {
        if !builder.is_empty() && builder.uncompressed_bytes() + it.bytes() > BATCH_BYTES_MAX {
            batches.push(std::mem::replace(&mut builder, BatchBuilder::new(Compression::None)).build()?);
        }
        builder.push_payload(it.timestamp, &it.payload);
    }
    batches.push(builder.build()?);
    Ok(batches)
}

/// The offset of each record, by partition. `counts`: of the batches, as they were appended. None: a broker does not say.
fn places(
    counts: &[(TopicPartition, i64)],
    landed: &[(TopicPartition, i64)],
) -> Option<BTreeMap<TopicPartition, Vec<i64>>> {
    let mut bases: BTreeMap<&TopicPartition, std::collections::VecDeque<i64>> = BTreeMap::new();
    landed.iter().for_each(|(partition, base)| bases.entry(partition).or_default().push_back(*base));
    let mut places: BTreeMap<TopicPartition, Vec<i64>> = BTreeMap::new();
    for (partition, count) in counts {
        let base = bases.get_mut(partition)?.pop_front().filter(|it| *it != OFFSET_UNKNOWN)?;
        places.entry(partition.clone()).or_default().extend(base..base + count);
    }
    Some(places)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    #[test]
    fn each_record_has_the_offset_that_it_landed_at() {
        let counts = [(partition(0), 2), (partition(0), 1), (partition(1), 1)];
        let landed = [(partition(1), 7), (partition(0), 10), (partition(0), 20)];
        let found = places(&counts, &landed).unwrap();
        assert_eq!((&found[&partition(0)][..], &found[&partition(1)][..]), (&[10, 11, 20][..], &[7][..]));
        // Guessed, they would be another's.
        assert_eq!(places(&counts, &[(partition(1), 7), (partition(0), 10), (partition(0), -1)]), None);
        assert_eq!(places(&counts, &landed[..2]), None);
    }
}
