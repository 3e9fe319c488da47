//! Reads both ends as consumers do, over the network and read_committed, the dead letters among them, and lets a checker compare
//! what comes.

use super::checker::{Checker, Counts, Seen};
use super::events::{NUMBER, known_reason, reason};
use crate::batch::{DecodedBatch, RawBatch, RecordView, UNCOMPRESSED_BYTES_MAX};
use crate::cluster::{At, Cluster, ClusterError, Use};
use crate::dead_letters::Letter;
use crate::produce::POISON;
use crate::reader::{ReadError, read_committed};
use crate::source::Position;
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

const RETRY: Duration = Duration::from_millis(100);
/// The source is not read further ahead of the target: what waits for its copy is kept in memory.
const BEHIND_MAX: usize = 50_000;
/// A record without a number, or a batch that does not unpack, is one that nobody wrote: it counts as a phantom.
const UNKNOWN: Seen = Seen { number: u64::MAX - 1, digest: 0, reason: None };

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Target,
    DeadLetters,
}

/// Of each partition of the source.
struct Checkers(BTreeMap<TopicPartition, Mutex<Checker>>);

impl Checkers {
    /// What names no partition of the source is a phantom wherever it is counted.
    fn of(&self, partition: &TopicPartition) -> Option<MutexGuard<'_, Checker>> {
        let found = self.0.get(partition).or_else(|| self.0.values().next());
        found.map(|it| it.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn all(&self) -> impl Iterator<Item = (&TopicPartition, MutexGuard<'_, Checker>)> {
        self.0.iter().map(|(name, it)| (name, it.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// A partition that is read as it grows.
struct Tail {
    end: End,
    name: TopicPartition,
    position: AtomicI64,
    checkers: Arc<Checkers>,
}

/// Dropping it ends the reading.
pub(super) struct Watch {
    source: Cluster,
    target: Cluster,
    tails: Vec<Arc<Tail>>,
    checkers: Arc<Checkers>,
    _readers: JoinSet<()>,
}

impl Watch {
    /// `dead_letters`: partitions of their topic, which need not be there yet.
    pub(super) fn start(
        source: &Cluster,
        target: &Cluster,
        partitions: Vec<TopicPartition>,
        dead_letters: Vec<TopicPartition>,
    ) -> Self {
        let checkers = partitions.iter().map(|name| (name.clone(), Mutex::default()));
        let checkers = Arc::new(Checkers(checkers.collect()));
        let ends = [(End::Source, &partitions), (End::Target, &partitions), (End::DeadLetters, &dead_letters)];
        let (mut tails, mut readers) = (Vec::new(), JoinSet::new());
        for (end, name) in ends.into_iter().flat_map(|(end, names)| names.iter().map(move |name| (end, name))) {
            let cluster = if end == End::Source { source } else { target };
            let (position, checkers) = (AtomicI64::new(0), Arc::clone(&checkers));
            let tail = Arc::new(Tail { end, name: name.clone(), position, checkers });
            readers.spawn(follow(cluster.clone(), Arc::clone(&tail)));
            tails.push(tail);
        }
        Self { source: source.clone(), target: target.clone(), tails, checkers, _readers: readers }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.checkers.all().for_each(|(_, it)| sum.add(it.counts()));
        sum
    }

    pub(super) fn behind(&self) -> usize {
        self.checkers.all().map(|(_, it)| it.behind()).sum()
    }

    /// The source was read to its end, and all of it was seen at the target.
    pub(super) async fn is_complete(&self) -> Result<bool, ClusterError> {
        Ok(self.is_read(&self.source, End::Source).await? && self.behind() == 0)
    }

    pub(super) async fn is_target_read(&self) -> Result<bool, ClusterError> {
        Ok(self.is_read(&self.target, End::Target).await? && self.is_read(&self.target, End::DeadLetters).await?)
    }

    /// Of each partition of the source.
    pub(super) fn finish(self) -> BTreeMap<TopicPartition, Counts> {
        self.checkers.all().map(|(name, mut it)| (name.clone(), std::mem::take(&mut *it).finish())).collect()
    }

    async fn is_read(&self, cluster: &Cluster, end: End) -> Result<bool, ClusterError> {
        let metadata = cluster.metadata(None).await?;
        let tails: Vec<_> = self.tails.iter().filter(|it| it.end == end).collect();
        let names: Vec<_> = tails.iter().map(|it| it.name.clone()).collect();
        let stable = cluster.offsets_at(&metadata, &names, At::LastStable).await?;
        let latest = cluster.offsets_at(&metadata, &names, At::Latest).await?;
        // An open transaction will still show what it holds, or not.
        Ok(stable == latest
            && tails
                .iter()
                .all(|it| stable.get(&it.name).is_some_and(|stable| it.position.load(Ordering::Relaxed) >= *stable)))
    }
}

async fn follow(cluster: Cluster, tail: Arc<Tail>) {
    loop {
        if let Err(error) = read(&cluster, &tail).await {
            tracing::debug!(%error, partition = %tail.name, "the demo's reader begins anew");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn read(cluster: &Cluster, tail: &Tail) -> Result<(), ReadError> {
    let metadata = cluster.metadata(Some(std::slice::from_ref(&tail.name.topic))).await?;
    let Some(leader) = metadata.leader(&tail.name) else { return Ok(()) };
    let leader = cluster.dial(leader, Use::Fetch(0)).await?;
    loop {
        if tail.end == End::Source && tail.checkers.of(&tail.name).is_some_and(|it| it.behind() > BEHIND_MAX) {
            tokio::time::sleep(RETRY).await;
            continue;
        }
        let from = Position { offset: tail.position.load(Ordering::Relaxed), leader_epoch: -1 };
        let read = read_committed(cluster, &leader, &tail.name, from).await?;
        read.batches.iter().for_each(|it| tail.take(it));
        tail.position.store(read.next.offset, Ordering::Relaxed);
    }
}

impl Tail {
    fn take(&self, batch: &RawBatch) {
        let Ok(decoded) = batch.decode(UNCOMPRESSED_BYTES_MAX) else { return self.tell(&self.name, UNKNOWN) };
        for record in decoded.records() {
            let Ok(record) = record else { return self.tell(&self.name, UNKNOWN) };
            match self.end {
                End::Source => {
                    let planted = record.headers().find(|(name, _)| *name == POISON);
                    let reason = planted.map(|(_, kind)| reason(kind.unwrap_or_default()));
                    self.tell(&self.name, seen(&decoded, &record, &record, reason));
                }
                End::Target => self.tell(&self.name, seen(&decoded, &record, &record, None)),
                End::DeadLetters => self.letter(&decoded, &record),
            }
        }
    }

    fn letter(&self, batch: &DecodedBatch, record: &RecordView<'_>) {
        let Some((letter, original)) = Letter::read(record).zip(Letter::original(record)) else {
            return self.tell(&self.name, UNKNOWN);
        };
        let told = known_reason(&letter.why.reason);
        let seen = original.view().map_or(UNKNOWN, |it| seen(batch, record, &it, Some(told)));
        self.tell(&letter.source, seen);
    }

    fn tell(&self, partition: &TopicPartition, seen: Seen) {
        let Some(mut checker) = self.checkers.of(partition) else { return };
        match self.end {
            End::Source => checker.at_source(seen),
            End::Target => checker.at_target(seen),
            End::DeadLetters => checker.in_dead_letters(seen),
        }
    }
}

/// `record`: whose time it is, `original`: what it holds.
fn seen(
    batch: &DecodedBatch,
    record: &RecordView<'_>,
    original: &RecordView<'_>,
    reason: Option<&'static str>,
) -> Seen {
    let number = original.headers().find_map(|(name, value)| {
        (name == NUMBER).then(|| value.and_then(|it| it.try_into().ok()).map(u64::from_be_bytes)).flatten()
    });
    let mut hasher = DefaultHasher::new();
    (original.key, original.value, original.raw_headers, batch.timestamp(record)).hash(&mut hasher);
    number.map_or(UNKNOWN, |number| Seen { number, digest: hasher.finish(), reason })
}
