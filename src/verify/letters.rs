//! The dead letters of source partitions: which records went there instead of being copied.

use super::entry::Digest;
use crate::batch::{BatchError, UNCOMPRESSED_BYTES_MAX};
use crate::cluster::{At, Cluster, ClusterError, Metadata};
use crate::config::Config;
use crate::dead_letters::Letter;
use crate::ledger::{History, Position, PositionKey};
use crate::reader::{ReadError, Stream};
use crate::types::{TopicName, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Kept in memory at a time, about two hundred bytes each. A link with more has a fault that is to be mended first.
const LETTERS_MAX: usize = 1_000_000;
/// Between two looks at a transaction that is about to end.
const POLL: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, thiserror::Error)]
pub enum LettersError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{partition}: the batch of dead letters at offset {offset} cannot be read: {error}")]
    Batch { partition: TopicPartition, offset: i64, error: BatchError },
    #[error(
        "{topic}: it holds more than {LETTERS_MAX} dead letters of what is asked for, which is as many as are kept at a time: ask \
         for less at once, `verify` with --topic, `positions translate` for one partition instead of a group"
    )]
    TooMany { topic: TopicName },
}

impl From<ClusterError> for LettersError {
    fn from(error: ClusterError) -> Self {
        Self::Read(error.into())
    }
}

/// One dead letter. What it says itself is held against the source by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filed {
    /// Where it stands, as `kafka-bridge dead-letters` names it: `<partition>-<offset>`.
    pub(crate) id: (i32, i64),
    /// Of the original record, with its timestamp.
    pub(crate) digest: Digest,
    pub(crate) time_ms: u64,
}

impl Filed {
    pub(crate) fn id(&self) -> String {
        format!("{}-{}", self.id.0, self.id.1)
    }
}

/// Of one source partition, by source offset; more than one at an offset is a double.
pub(crate) type OfPartition = BTreeMap<i64, Vec<Filed>>;

/// Of the source partitions that were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Letters {
    by_partition: BTreeMap<PositionKey, OfPartition>,
    count: usize,
}

pub(crate) const GONE: &str = "the dead letters' topic is gone, or hidden: grant DESCRIBE and READ on it";

/// Records of the partition went to the dead letters, and there is no such topic.
pub(crate) fn are_gone(config: &Config, target: &Metadata, position: &Position) -> bool {
    let topic = target.topics.get(config.dead_letter_topic().as_str());
    position.dead_letters.is_some() && topic.is_none_or(|it| it.partitions.is_empty())
}

/// Wherever dead letters may be: which partition a lane writes to is another one after the topic has grown. None: there is no
/// such topic, and so nothing in it.
fn partitions(config: &Config, target: &Metadata) -> Vec<TopicPartition> {
    let name = config.dead_letter_topic();
    let found = target.topics.get(name.as_str()).into_iter().flat_map(|it| it.partitions.keys());
    found.map(|number| TopicPartition::new(name.as_str(), *number)).collect()
}

impl Letters {
    /// Reads all that are committed at the target, and keeps those of a source partition and offset that are wanted.
    pub(crate) async fn read(
        config: &Config,
        (cluster, target): (&Cluster, &Metadata),
        is_wanted: impl Fn(&PositionKey, i64) -> bool,
    ) -> Result<Self, LettersError> {
        let mut letters = Self::default();
        for partition in partitions(config, target) {
            letters.read_partition((cluster, target), &partition, config.delivery.patience(), &is_wanted).await?;
        }
        Ok(letters)
    }

    /// `patience`: markers of transactions that the ledger already tells of may still be on their way; one that is open longer
    /// is not the link's.
    async fn read_partition(
        &mut self,
        (cluster, target): (&Cluster, &Metadata),
        partition: &TopicPartition,
        patience: Duration,
        is_wanted: &impl Fn(&PositionKey, i64) -> bool,
    ) -> Result<(), LettersError> {
        let at = async |at| -> Result<i64, ClusterError> {
            let unanswered = || Err(ClusterError::Answered { end: cluster.end(), api: "ListOffsets", code: -1 });
            let mut found = cluster.offsets(target, &[(partition.clone(), at)]).await;
            Ok(found.remove(partition).unwrap_or_else(unanswered)?.offset)
        };
        let (start, latest, began) = (at(At::Earliest).await?, at(At::Latest).await?, crate::clock::now());
        let end = loop {
            let stable = at(At::LastStable).await?;
            if stable >= latest || crate::clock::now() - began > patience {
                break stable;
            }
            tokio::time::sleep(POLL).await;
        };
        let mut stream = Stream::open(cluster.clone(), partition.clone(), start, end);
        while let Some(part) = stream.next().await {
            for batch in part?.batches {
                let offset = batch.header().base_offset;
                let damaged = |error| LettersError::Batch { partition: partition.clone(), offset, error };
                let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(damaged)?;
                for record in decoded.records() {
                    let record = record.map_err(damaged)?;
                    let Some((letter, original)) = Letter::read(&record).zip(Letter::original(&record)) else {
                        continue;
                    };
                    let key = PositionKey {
                        cluster_id: letter.cluster_id,
                        topic: letter.source.topic,
                        partition: letter.source.partition,
                    };
                    let Some(view) = original.view().filter(|_| is_wanted(&key, letter.offset)) else { continue };
                    if self.count >= LETTERS_MAX {
                        return Err(LettersError::TooMany { topic: Arc::clone(&partition.topic) });
                    }
                    self.count += 1;
                    let digest = Digest::of(decoded.timestamp(&record), &view);
                    let id = (partition.partition, decoded.offset(&record));
                    let filed = Filed { id, digest, time_ms: letter.time_ms };
                    self.by_partition.entry(key).or_default().entry(letter.offset).or_default().push(filed);
                }
            }
        }
        Ok(())
    }

    /// Of the topic that the position is of: an offset of one that was deleted, or of what was truncated, is another record's.
    pub(crate) fn of(&self, key: &PositionKey, position: &Position, history: &History) -> OfPartition {
        let mut found = self.by_partition.get(key).cloned().unwrap_or_default();
        let decisions: Vec<_> = history.decisions.iter().filter(|it| it.0.0 == *key).collect();
        let is_former = |offset: i64, filed: &Filed| {
            decisions.iter().any(|((_, from), it)| {
                let went_back = it.next_offset < *from && offset >= it.next_offset;
                filed.time_ms < it.time_ms && (it.topic_id != position.topic_id || went_back)
            })
        };
        found.retain(|offset, all| {
            all.retain(|it| !is_former(*offset, it));
            !all.is_empty()
        });
        found
    }
}
