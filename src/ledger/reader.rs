//! Reads a lane's ledger partition from the target.

use super::error::LedgerError;
use super::replay::Replay;
use super::state::LaneLedger;
use crate::cluster::{Cluster, ClusterError, CoordinatorKind, Use};
use crate::planted::{Bug, planted};
use crate::reader::{ReadError, read_committed};
use crate::source::{Answer, Isolation, ListOffsetsPartition, Position, protocol};
use crate::types::TopicPartition;
use crate::wire::Connection;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{ListOffsetsRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use std::time::Duration;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The last version that asks for one group.
const OFFSET_FETCH_VERSION_MAX: i16 = 7;
/// Between two looks at something that a broker is about to finish.
const POLL: Duration = Duration::from_millis(10);

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// All that was ever written: for the owner, after InitProducerId has ended every older transaction.
    End,
    /// What is committed now: for an onlooker, whom an open transaction must not hold up.
    Stable,
}

pub struct LedgerReader {
    pub cluster: Cluster,
    pub partition: TopicPartition,
    pub group_id: String,
}

impl LedgerReader {
    /// Replays from the offset that the group holds for this partition; the whole partition where it holds none.
    pub async fn read(&self, until: Until) -> Result<LaneLedger, LedgerError> {
        let leader = self.leader().await?;
        // Before the log's end: the other way round, a transaction that a newer bridge commits in between would be missed, or
        // its offset lie behind that end.
        let committed = self.group_offset().await?;
        let end = match until {
            Until::End => self.offset(&leader, LATEST, Isolation::ReadUncommitted).await?,
            Until::Stable => self.offset(&leader, LATEST, Isolation::ReadCommitted).await?,
        };
        // Markers of the transaction that InitProducerId ended may still be on their way.
        while self.offset(&leader, LATEST, Isolation::ReadCommitted).await? < end {
            tokio::time::sleep(POLL).await;
        }
        let log_start = self.offset(&leader, EARLIEST, Isolation::ReadUncommitted).await?;
        let from = match committed {
            None => log_start,
            Some(offset) if (log_start..=end).contains(&offset) => offset,
            // The marker of the group's partition may be written before that of the ledger's.
            Some(offset) if until == Until::Stable && offset > end => end,
            Some(offset) => {
                let (partition, group) = (self.partition.clone(), self.group_id.clone());
                return Err(LedgerError::OutOfRange { partition, group, offset, log_start, end });
            }
        };
        let from = if planted(Bug::ReplayOffset) { from.midpoint(end) } else { from };
        let mut replay = Replay::new(self.partition.clone());
        let mut position = Position { offset: from, leader_epoch: -1 };
        while position.offset < end {
            position = self.fetch(&leader, position, &mut replay).await?;
        }
        leader.close();
        Ok(replay.finish())
    }

    /// The partition's last stable offset: it moves when somebody commits.
    pub async fn stable_end(&self) -> Result<i64, LedgerError> {
        let leader = self.leader().await?;
        self.offset(&leader, LATEST, Isolation::ReadCommitted).await
    }

    async fn leader(&self) -> Result<Connection, LedgerError> {
        let metadata = self.cluster.metadata(Some(std::slice::from_ref(&self.partition.topic))).await?;
        let Some(leader) = metadata.leader(&self.partition) else {
            // LEADER_NOT_AVAILABLE
            return Err(self.answered("Metadata", 5));
        };
        // Of this lane's records, which may be many.
        Ok(self.cluster.dial(leader, Use::Fetch(0)).await?)
    }

    fn answered(&self, api: &'static str, code: i16) -> LedgerError {
        ClusterError::Answered { end: self.cluster.end(), api, code }.into()
    }

    async fn offset(&self, leader: &Connection, timestamp: i64, isolation: Isolation) -> Result<i64, LedgerError> {
        let partition = self.partition.clone();
        let asked = [ListOffsetsPartition { partition, current_leader_epoch: -1, timestamp }];
        let wire = |error| ClusterError::Wire { end: self.cluster.end(), error };
        let version = leader.version::<ListOffsetsRequest>(*protocol::LIST_OFFSETS_VERSIONS.end()).map_err(wire)?;
        let request = protocol::list_offsets_request(isolation, &asked, version);
        let answer = leader.send(version, &request, self.cluster.request_timeout()).await.map_err(wire)?;
        let listed = match protocol::list_offsets_answer(answer) {
            Answer::ListOffsets { partitions } => partitions.into_iter().next().map(|it| it.1),
            _ => None,
        };
        match listed {
            Some(listed) if listed.error_code == 0 => Ok(listed.offset),
            other => Err(self.answered("ListOffsets", other.map_or(-1, |listed| listed.error_code))),
        }
    }

    /// The older one while a transaction that moves it is open: from there more is replayed, and nothing is missed. One whose
    /// marker never came would be waited for until the next transaction.
    async fn group_offset(&self) -> Result<Option<i64>, LedgerError> {
        let node = self.cluster.coordinator(CoordinatorKind::Group, &self.group_id).await?;
        let coordinator = self.cluster.dial(node, Use::Control).await?;
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let topic = OffsetFetchRequestTopic::default()
            .with_name(text(&self.partition.topic).into())
            .with_partition_indexes(vec![self.partition.partition]);
        let request =
            OffsetFetchRequest::default().with_group_id(text(&self.group_id).into()).with_topics(Some(vec![topic]));
        let answer = self.cluster.ask(&coordinator, OFFSET_FETCH_VERSION_MAX, &request).await?;
        let partition = answer.topics.first().and_then(|it| it.partitions.first());
        match (answer.error_code, partition) {
            (0, Some(it)) if it.error_code == 0 => Ok(Some(it.committed_offset).filter(|offset| *offset >= 0)),
            (0, Some(it)) => Err(self.answered("OffsetFetch", it.error_code)),
            (0, None) => Ok(None),
            (code, _) => Err(self.answered("OffsetFetch", code)),
        }
    }

    async fn fetch(&self, leader: &Connection, from: Position, replay: &mut Replay) -> Result<Position, LedgerError> {
        let read = read_committed(&self.cluster, leader, &self.partition, from).await.map_err(|error| match error {
            ReadError::Cluster(error) => LedgerError::Cluster(error),
            ReadError::Damaged { partition, offset, problem } => {
                LedgerError::Damaged { partition, offset, reason: format!("{problem:?}") }
            }
            ReadError::Batch { partition, offset, error } => {
                LedgerError::Damaged { partition, offset, reason: error.to_string() }
            }
            ReadError::Gone { partition, offset } | ReadError::Stuck { partition, offset, .. } => {
                LedgerError::Damaged { partition, offset, reason: "the log was cut while it was read".to_owned() }
            }
        })?;
        for batch in &read.batches {
            replay.feed(batch)?;
        }
        Ok(read.next)
    }
}
