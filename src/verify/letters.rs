//! The dead letters of source partitions: which records went there instead of being copied.

use super::entry::Digest;
use crate::cluster::{At, Cluster, ClusterError, Metadata};
use crate::config::Config;
use crate::dead_letters::Letter;
use crate::ledger::{History, Position, PositionKey};
use crate::reader::{self, ReadError};
use crate::types::{TopicName, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Kept in memory at a time, about two hundred bytes each. A link with more has a fault that is to be mended first.
const LETTERS_MAX: usize = 1_000_000;

#[derive(Clone, Debug, thiserror::Error)]
pub enum LettersError {
    #[error(transparent)]
    Read(#[from] ReadError),
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
        let partitions = partitions(config, target);
        let starts = cluster.offsets_at(target, &partitions, At::Earliest).await?;
        let ends = cluster.stable_ends(target, &partitions, config.delivery.patience()).await?;
        let mut letters = Self::default();
        for (partition, end) in ends {
            let range = starts.get(&partition).copied().unwrap_or_default()..end;
            reader::each(cluster, &partition, range, |batch, record| {
                let Some((letter, original)) = Letter::read(record).zip(Letter::original(record)) else {
                    return Ok(());
                };
                let (topic, number) = (letter.source.topic, letter.source.partition);
                let key = PositionKey { cluster_id: letter.cluster_id, topic, partition: number };
                let Some(view) = original.view().filter(|_| is_wanted(&key, letter.offset)) else { return Ok(()) };
                if letters.count >= LETTERS_MAX {
                    return Err(LettersError::TooMany { topic: Arc::clone(&partition.topic) });
                }
                letters.count += 1;
                let digest = Digest::of(batch.timestamp(record), &view);
                let id = (partition.partition, batch.offset(record));
                let filed = Filed { id, digest, time_ms: letter.time_ms };
                letters.by_partition.entry(key).or_default().entry(letter.offset).or_default().push(filed);
                Ok(())
            })
            .await?;
        }
        Ok(letters)
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
