//! One partition from an offset to another, read ahead of whoever takes it.

use super::{ReadError, read_up_to};
use crate::batch::RawBatch;
use crate::clock;
use crate::cluster::{Backoff, Cluster, ClusterError, Use};
use crate::source::Position;
use crate::types::TopicPartition;
use crate::wire::Connection;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Large enough that a round trip does not show, small enough for several partitions at both ends.
const ANSWER_BYTES_MAX: i32 = 4 << 20;
/// One waits while one is on its way.
const ANSWERS_AHEAD: usize = 1;
/// A new leader is there within seconds; a broker that restarts, within a minute.
const PATIENCE: Duration = Duration::from_secs(60);
/// A cleaner may have taken the last records below the end: so many empty answers of a log that reaches beyond it say so.
const EMPTY_MAX: usize = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;

/// What one answer brought.
pub struct Part {
    pub batches: Vec<RawBatch>,
    pub aborted: Vec<RawBatch>,
    /// The offset behind everything in it.
    pub next: i64,
}

/// Dropping it ends the reading.
pub struct Stream {
    parts: mpsc::Receiver<Result<Part, ReadError>>,
    _task: JoinSet<()>,
}

impl Stream {
    /// Committed records from `from` on, up to `to`; the batches that hold these two are given whole.
    pub fn open(cluster: Cluster, partition: TopicPartition, from: i64, to: i64) -> Self {
        let (sender, parts) = mpsc::channel(ANSWERS_AHEAD);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut reading = Reading { cluster, partition, leader: None, from, to };
            while let Some(part) = reading.next().await {
                let is_last = part.is_err();
                if sender.send(part).await.is_err() || is_last {
                    return;
                }
            }
        });
        Self { parts, _task: task }
    }

    /// None: everything was given.
    pub async fn next(&mut self) -> Option<Result<Part, ReadError>> {
        self.parts.recv().await
    }
}

struct Reading {
    cluster: Cluster,
    partition: TopicPartition,
    leader: Option<Connection>,
    from: i64,
    to: i64,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(leader) = &self.leader {
            leader.close();
        }
    }
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Part, ReadError>> {
        let (began, mut backoff, mut empty) = (clock::now(), Backoff::default(), 0);
        while self.from < self.to {
            match self.fetch(began).await {
                Ok(Some(part)) => return Some(Ok(part)),
                Ok(None) if empty < EMPTY_MAX => empty += 1,
                Ok(None) => return None,
                Err(ReadError::Cluster(error)) if !error.is_permanent() && clock::now() - began < PATIENCE => {
                    tracing::debug!(%error, partition = %self.partition, "reading goes on at another connection");
                    if let Some(leader) = self.leader.take() {
                        leader.close();
                    }
                    tokio::time::sleep(backoff.failed()).await;
                }
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    /// None: there is nothing, though the log reaches beyond the end.
    async fn fetch(&mut self, began: Instant) -> Result<Option<Part>, ReadError> {
        let leader = match &self.leader {
            Some(leader) if !leader.is_dead() => leader.clone(),
            _ => {
                let leader = self.dial().await?;
                self.leader.insert(leader).clone()
            }
        };
        loop {
            let from = Position { offset: self.from, leader_epoch: -1 };
            let read = read_up_to(&self.cluster, &leader, &self.partition, from, ANSWER_BYTES_MAX).await?;
            if read.next.offset > self.from {
                self.from = read.next.offset;
                return Ok(Some(Part { batches: read.batches, aborted: read.aborted, next: self.from }));
            }
            if read.last_stable_offset >= self.to {
                return Ok(None);
            }
            // A log that an unclean election has cut below the end may never reach it again.
            if clock::now() - began >= PATIENCE {
                let (partition, offset, to) = (self.partition.clone(), self.from, self.to);
                return Err(ReadError::Stuck { partition, offset, to });
            }
        }
    }

    async fn dial(&self) -> Result<Connection, ClusterError> {
        let metadata = self.cluster.metadata(Some(std::slice::from_ref(&self.partition.topic))).await?;
        let Some(leader) = metadata.leader(&self.partition) else {
            let end = self.cluster.end();
            return Err(ClusterError::Answered { end, api: "Metadata", code: LEADER_NOT_AVAILABLE });
        };
        self.cluster.dial(leader, Use::Fetch(0)).await
    }
}
