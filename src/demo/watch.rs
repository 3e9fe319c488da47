//! Reads both ends as consumers do, over the network and read_committed, and lets a checker compare what comes.

use super::checker::{Checker, Counts, Seen};
use super::events::NUMBER;
use crate::batch::{RawBatch, UNCOMPRESSED_BYTES_MAX};
use crate::cluster::{At, Cluster, ClusterError, Use};
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Target,
}

struct Partition {
    name: TopicPartition,
    checker: Mutex<Checker>,
    source_position: AtomicI64,
    target_position: AtomicI64,
}

impl Partition {
    fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn position(&self, end: End) -> &AtomicI64 {
        match end {
            End::Source => &self.source_position,
            End::Target => &self.target_position,
        }
    }
}

/// Dropping it ends the reading.
pub(super) struct Watch {
    source: Cluster,
    target: Cluster,
    partitions: Vec<Arc<Partition>>,
    _readers: JoinSet<()>,
}

impl Watch {
    pub(super) fn start(source: &Cluster, target: &Cluster, partitions: Vec<TopicPartition>) -> Self {
        let partition = |name| {
            let (checker, source_position, target_position) = (Mutex::default(), AtomicI64::new(0), AtomicI64::new(0));
            Arc::new(Partition { name, checker, source_position, target_position })
        };
        let partitions: Vec<_> = partitions.into_iter().map(partition).collect();
        let mut readers = JoinSet::new();
        for partition in &partitions {
            readers.spawn(follow(source.clone(), Arc::clone(partition), End::Source));
            readers.spawn(follow(target.clone(), Arc::clone(partition), End::Target));
        }
        Self { source: source.clone(), target: target.clone(), partitions, _readers: readers }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.partitions.iter().for_each(|it| sum.add(&it.checker().counts()));
        sum
    }

    pub(super) fn behind(&self) -> usize {
        self.partitions.iter().map(|it| it.checker().behind()).sum()
    }

    /// The source was read to its end, and all of it was seen at the target.
    pub(super) async fn is_complete(&self) -> Result<bool, ClusterError> {
        Ok(self.is_read(End::Source).await? && self.behind() == 0)
    }

    pub(super) async fn is_target_read(&self) -> Result<bool, ClusterError> {
        self.is_read(End::Target).await
    }

    pub(super) fn finish(self) -> Counts {
        let mut sum = Counts::default();
        self.partitions.iter().for_each(|it| sum.add(&std::mem::take(&mut *it.checker()).finish()));
        sum
    }

    async fn is_read(&self, end: End) -> Result<bool, ClusterError> {
        let cluster = if end == End::Source { &self.source } else { &self.target };
        let metadata = cluster.metadata(None).await?;
        let asked: Vec<_> = self
            .partitions
            .iter()
            .flat_map(|it| [At::LastStable, At::Latest].map(|at| (it.name.clone(), at)))
            .collect();
        // One question each: the answer is by partition.
        let (stable, latest): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(_, at)| *at == At::LastStable);
        let (stable, latest) = (cluster.offsets(&metadata, &stable).await, cluster.offsets(&metadata, &latest).await);
        for partition in &self.partitions {
            let of = |found: &BTreeMap<TopicPartition, Result<crate::cluster::Listed, ClusterError>>| {
                found.get(&partition.name).cloned().transpose().map(|it| it.map_or(-1, |it| it.offset))
            };
            let (stable, latest) = (of(&stable)?, of(&latest)?);
            // An open transaction will still show what it holds, or not.
            if stable != latest || partition.position(end).load(Ordering::Relaxed) < stable {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

async fn follow(cluster: Cluster, partition: Arc<Partition>, end: End) {
    loop {
        if let Err(error) = read(&cluster, &partition, end).await {
            tracing::debug!(%error, partition = %partition.name, "the demo's reader begins anew");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn read(cluster: &Cluster, partition: &Partition, end: End) -> Result<(), ReadError> {
    let metadata = cluster.metadata(Some(std::slice::from_ref(&partition.name.topic))).await?;
    let Some(leader) = metadata.leader(&partition.name) else { return Ok(()) };
    let leader = cluster.dial(leader, Use::Fetch(0)).await?;
    loop {
        if end == End::Source && partition.checker().behind() > BEHIND_MAX {
            tokio::time::sleep(RETRY).await;
            continue;
        }
        let from = Position { offset: partition.position(end).load(Ordering::Relaxed), leader_epoch: -1 };
        let read = read_committed(cluster, &leader, &partition.name, from).await?;
        let mut checker = partition.checker();
        for batch in &read.batches {
            for seen in records(batch) {
                match end {
                    End::Source => checker.at_source(seen),
                    End::Target => checker.at_target(seen),
                }
            }
        }
        drop(checker);
        partition.position(end).store(read.next.offset, Ordering::Relaxed);
    }
}

/// A record without a number, or a batch that does not unpack, is one that nobody wrote: it counts as a phantom.
fn records(batch: &RawBatch) -> Vec<Seen> {
    const UNKNOWN: Seen = Seen { number: u64::MAX - 1, digest: 0 };
    let Ok(decoded) = batch.decode(UNCOMPRESSED_BYTES_MAX) else { return vec![UNKNOWN] };
    let mut all = Vec::new();
    for record in decoded.records() {
        let Ok(record) = record else {
            all.push(UNKNOWN);
            break;
        };
        let number = record.headers().find_map(|(name, value)| {
            (name == NUMBER).then(|| value.and_then(|it| it.try_into().ok()).map(u64::from_be_bytes)).flatten()
        });
        let mut hasher = DefaultHasher::new();
        (record.key, record.value, record.raw_headers, decoded.timestamp(&record)).hash(&mut hasher);
        all.push(number.map_or(UNKNOWN, |number| Seen { number, digest: hasher.finish() }));
    }
    all
}
