//! Reads all partitions of a topic at once, and hands what comes to the check, one record after the other.

use super::check::{At as Place, Check};
use super::decode::{Decoder, Schemas};
use super::report::{Report, Shown};
use crate::batch::UNCOMPRESSED_BYTES_MAX;
use crate::cluster::{At, Backoff, Cluster, ClusterError, Listed, Metadata};
use crate::reader::{Part, ReadError, Stream};
use crate::registry::RegistryError;
use crate::types::{TopicName, TopicPartition};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

/// Each holds a connection, and an answer of some megabytes.
const PARTITIONS_AT_ONCE: usize = 16;
/// Answers that wait for the check, of all partitions.
const PARTS_AHEAD: usize = 4;
/// How often a partition that is followed is looked at for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// So many times in a row it is looked at in vain before the reading ends.
const FOLLOW_FAILURES_MAX: usize = 60;

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    Earliest,
    /// What is committed now is left out.
    Latest,
    /// In every partition.
    Offset(i64),
    Time(SystemTime),
}

#[derive(Clone, Debug)]
pub struct Job {
    pub topic: TopicName,
    pub schemas: Schemas,
    pub from: From,
    /// Goes on with what comes, until it is stopped or has `count`; else up to what is committed at the start.
    pub is_followed: bool,
    /// Ends after so many records.
    pub count: Option<u64>,
    /// Anything but so many records is a mistake.
    pub expected: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("{end}: there is no topic {topic}")]
    NoTopic { end: &'static str, topic: TopicName },
    #[error("{partition}: the batch at offset {offset} cannot be unpacked: {reason}")]
    Batch { partition: TopicPartition, offset: i64, reason: String },
}

type Arrived = (TopicPartition, Result<Part, ReadError>);

/// `show` is told of each record, and says whether there is to be another one.
pub async fn consume(
    cluster: &Cluster,
    job: &Job,
    mut show: impl FnMut(&Shown) -> bool,
    stop: impl Future<Output = ()>,
) -> (Report, Result<(), ConsumeError>) {
    let report =
        Report { end: cluster.end(), topic: job.topic.to_string(), expected: job.expected, ..Report::default() };
    let mut check = Check::new(report);
    let done = tokio::select! {
        biased;
        () = stop => Ok(()),
        done = read(cluster, job, &mut check, &mut show) => done,
    };
    (check.finish(), done)
}

async fn read(
    cluster: &Cluster,
    job: &Job,
    check: &mut Check,
    show: &mut impl FnMut(&Shown) -> bool,
) -> Result<(), ConsumeError> {
    let ranges = ranges(cluster, job).await?;
    let mut decoder = Decoder::new(job.schemas.clone());
    let (sender, mut parts) = mpsc::channel(PARTS_AHEAD);
    let (places, mut readers) = (Arc::new(Semaphore::new(PARTITIONS_AT_ONCE)), JoinSet::new());
    for (partition, (from, to)) in &ranges {
        check.begin(partition.partition, *from);
        let reader = Reader { cluster: cluster.clone(), partition: partition.clone(), places: Arc::clone(&places) };
        readers.spawn(reader.run(*from, *to, job.is_followed, sender.clone()));
    }
    drop(sender);
    let mut left = job.count.unwrap_or(u64::MAX);
    while left > 0
        && let Some((partition, part)) = parts.recv().await
    {
        let (from, to) = ranges.get(&partition).copied().unwrap_or((0, i64::MAX));
        let to = if job.is_followed { i64::MAX } else { to };
        for batch in part?.batches {
            let fail = |reason: String| {
                let offset = batch.header().base_offset;
                ConsumeError::Batch { partition: partition.clone(), offset, reason }
            };
            let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(|error| fail(error.to_string()))?;
            for record in decoded.records() {
                let record = record.map_err(|problem| fail(format!("{problem:?}")))?;
                let offset = batch.header().base_offset + i64::from(record.offset_delta);
                // Batches are given whole.
                if offset < from || offset >= to {
                    continue;
                }
                let value = match record.value {
                    Some(value) => Some(decoder.decode(value).await?),
                    None => None,
                };
                let place = Place { partition: partition.partition, offset, timestamp: decoded.timestamp(&record) };
                let goes_on = show(&check.record(place, &record, value));
                left -= 1;
                if !goes_on || left == 0 {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// From and to of each partition.
async fn ranges(cluster: &Cluster, job: &Job) -> Result<BTreeMap<TopicPartition, (i64, i64)>, ConsumeError> {
    let metadata = cluster.metadata(Some(std::slice::from_ref(&job.topic))).await?;
    let topic = metadata.topics.get(&job.topic).filter(|it| it.error_code == 0);
    let missing = || ConsumeError::NoTopic { end: cluster.end(), topic: job.topic.clone() };
    let topic = topic.filter(|it| !it.partitions.is_empty()).ok_or_else(missing)?;
    let name = |it: &i32| TopicPartition { topic: job.topic.clone(), partition: *it };
    let all: Vec<TopicPartition> = topic.partitions.keys().map(name).collect();
    let list = async |at: At| {
        let asked: Vec<_> = all.iter().map(|it| (it.clone(), at)).collect();
        let found = cluster.offsets(&metadata, &asked).await;
        found
            .into_iter()
            .map(|(partition, it)| Ok((partition, it?.offset)))
            .collect::<Result<BTreeMap<_, _>, ClusterError>>()
    };
    let (earliest, stable) = (list(At::Earliest).await?, list(At::LastStable).await?);
    let begin = match &job.from {
        From::Earliest | From::Offset(_) => earliest.clone(),
        From::Latest => stable.clone(),
        From::Time(time) => {
            let ms = time.duration_since(UNIX_EPOCH).map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX));
            list(At::Time(ms)).await?
        }
    };
    let range = |partition: TopicPartition| {
        let of = |offsets: &BTreeMap<TopicPartition, i64>| offsets.get(&partition).copied().unwrap_or(0);
        let to = of(&stable);
        let from = match &job.from {
            From::Offset(offset) => (*offset).max(of(&earliest)),
            // Nothing is as late as that.
            _ if of(&begin) < 0 => to,
            _ => of(&begin),
        };
        (partition, (from, to))
    };
    Ok(all.iter().cloned().map(range).collect())
}

struct Reader {
    cluster: Cluster,
    partition: TopicPartition,
    places: Arc<Semaphore>,
}

impl Reader {
    async fn run(self, from: i64, to: i64, is_followed: bool, sender: mpsc::Sender<Arrived>) {
        let (mut from, mut to, mut metadata) = (from, to, None);
        loop {
            match self.span(from, to, &sender).await {
                Some(next) => from = next.max(to).max(from),
                None => return,
            }
            if !is_followed {
                return;
            }
            match self.more(from, &mut metadata).await {
                Ok(stable) => to = stable,
                Err(error) => {
                    // Nobody listens where the reading has ended.
                    let _ = sender.send((self.partition, Err(error.into()))).await;
                    return;
                }
            }
        }
    }

    /// Reads what is committed there; the offset behind it. None: it failed, or nobody listens.
    async fn span(&self, from: i64, to: i64, sender: &mpsc::Sender<Arrived>) -> Option<i64> {
        if from >= to {
            return Some(from);
        }
        // Never closed.
        let _place = self.places.acquire().await.ok();
        let mut stream = Stream::open(self.cluster.clone(), self.partition.clone(), from, to);
        let mut next = from;
        while let Some(part) = stream.next().await {
            let (is_last, behind) = part.as_ref().map_or((true, next), |it| (false, it.next));
            next = behind;
            if sender.send((self.partition.clone(), part)).await.is_err() || is_last {
                return None;
            }
        }
        Some(next)
    }

    /// Waits until something is committed behind `from`, and says up to where. `metadata` is kept for as long as its leader
    /// answers: five questions a second and partition are enough.
    async fn more(&self, from: i64, metadata: &mut Option<Metadata>) -> Result<i64, ClusterError> {
        let (mut backoff, mut failures) = (Backoff::default(), 0);
        loop {
            match self.stable(metadata).await {
                Ok(stable) if stable > from => return Ok(stable),
                Ok(_) => {
                    failures = 0;
                    tokio::time::sleep(FOLLOW_INTERVAL).await;
                }
                Err(error) if !error.is_permanent() && failures < FOLLOW_FAILURES_MAX => {
                    failures += 1;
                    tokio::time::sleep(backoff.failed()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn stable(&self, kept: &mut Option<Metadata>) -> Result<i64, ClusterError> {
        let metadata = match kept.take() {
            Some(metadata) => metadata,
            None => self.cluster.metadata(Some(std::slice::from_ref(&self.partition.topic))).await?,
        };
        let mut found = self.cluster.offsets(&metadata, &[(self.partition.clone(), At::LastStable)]).await;
        let listed = found.remove(&self.partition).unwrap_or(Ok(Listed { offset: -1, timestamp: -1 }))?;
        // Not after an error: the leader may be another by now.
        *kept = Some(metadata);
        Ok(listed.offset)
    }
}
