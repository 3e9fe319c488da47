//! What goes into the machine and what comes out.

use crate::batch::{BatchError, RawBatch};
use crate::source::errors::Api;
use crate::types::{NodeId, TopicPartition};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The next offset to read, and the leader epoch of the record before it (KIP-320). −1: no record before it was read, so
/// there is nothing to compare with the leader's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub offset: i64,
    pub leader_epoch: i32,
}

/// Where a partition without a position begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    Earliest,
    /// The last stable offset: a transaction that is open now is read from the next one on.
    Latest,
    /// The first record at or after this time (ms since 1970); `Latest` where there is none.
    Timestamp(i64),
}

#[derive(Clone, Debug)]
pub enum Input {
    /// Read from a position. A partition that is assigned already, stopped or not, starts anew there; what was requested
    /// before is ignored. A nil `topic_id` takes over the first one that metadata names.
    Assign {
        partition: TopicPartition,
        topic_id: Uuid,
        position: Position,
    },
    /// Find the position (`Output::Resolved`), then read from there.
    Resolve {
        partition: TopicPartition,
        topic_id: Uuid,
        start: StartAt,
    },
    Remove(TopicPartition),
    /// Partitions that are not in it stay as they are.
    Metadata(BTreeMap<TopicPartition, LeaderView>),
    BudgetGranted {
        node: NodeId,
        bytes: usize,
    },
    Answered {
        id: RequestId,
        answer: Result<Answer, Failure>,
    },
    Timeout,
}

/// Metadata's word on one partition. `leader_epoch` −1 and a nil `topic_id`: the broker is too old to know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderView {
    pub leader: Option<NodeId>,
    pub leader_epoch: i32,
    pub topic_id: Uuid,
}

#[derive(Clone, Debug)]
pub enum Output {
    WantBudget {
        node: NodeId,
        bytes: usize,
    },
    ReturnBudget {
        bytes: usize,
    },
    Send {
        id: RequestId,
        node: NodeId,
        request: SourceRequest,
    },
    RefreshMetadata,
    CloseConnection(NodeId),
    /// The position that `Input::Resolve` asked for. Write it down before anything else: asked again later, the answer
    /// may be another, and what lies between would be lost.
    Resolved {
        partition: TopicPartition,
        /// Whose position it is: the topic may have been made anew since it was asked for.
        topic_id: Uuid,
        offset: i64,
        leader_epoch: i32,
    },
    Deliver(Delivery),
    Incident(Incident),
}

/// The requests, without their encoding (`protocol` has it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRequest {
    Fetch(FetchRequest),
    ListOffsets { isolation: Isolation, partitions: Vec<ListOffsetsPartition> },
    OffsetForLeaderEpoch { partitions: Vec<OffsetForLeaderEpochPartition> },
}

impl SourceRequest {
    pub fn api(&self) -> Api {
        match self {
            SourceRequest::Fetch(_) => Api::Fetch,
            SourceRequest::ListOffsets { .. } => Api::ListOffsets,
            SourceRequest::OffsetForLeaderEpoch { .. } => Api::OffsetForLeaderEpoch,
        }
    }
}

/// Always without a session and read_committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    pub max_wait: Duration,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// In this order the broker fills the answer.
    pub partitions: Vec<FetchPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    pub partition: TopicPartition,
    pub topic_id: Uuid,
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    pub last_fetched_epoch: i32,
    pub partition_max_bytes: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// `timestamp` −1: latest, −2: earliest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsPartition {
    pub partition: TopicPartition,
    pub current_leader_epoch: i32,
    pub timestamp: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetForLeaderEpochPartition {
    pub partition: TopicPartition,
    pub current_leader_epoch: i32,
    pub leader_epoch: i32,
}

/// The answers, without their encoding. A top-level code goes to every partition.
#[derive(Clone, Debug)]
pub enum Answer {
    Fetch { partitions: Vec<(TopicPartition, FetchedPartition)> },
    ListOffsets { partitions: Vec<(TopicPartition, ListedOffset)> },
    OffsetForLeaderEpoch { partitions: Vec<(TopicPartition, EpochEnd)> },
}

#[derive(Clone, Debug)]
pub struct FetchedPartition {
    pub error_code: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// Where the log of the fetched epoch ends, if that is before the position.
    pub diverging_epoch: Option<EpochEnd>,
    pub aborted_transactions: Vec<AbortedTransaction>,
    pub records: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    pub error_code: i16,
    pub offset: i64,
    pub leader_epoch: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub error_code: i16,
    pub leader_epoch: i32,
    pub end_offset: i64,
}

/// A request that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Disconnected,
    TimedOut,
}

/// Committed records, in order. Deliveries of a partition are contiguous: each begins at the `next_position` before it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub partition: TopicPartition,
    pub topic_id: Uuid,
    /// What the delivery begins at; the first batch may begin before it.
    pub position: Position,
    /// Empty where only markers, aborted or compacted batches were passed.
    pub batches: Vec<RawBatch>,
    pub next_position: Position,
    pub charged_bytes: usize,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
}

/// A partition has stopped, until it is assigned anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    pub partition: TopicPartition,
    /// Where it stopped. Offset −1: it had no position yet.
    pub position: Position,
    pub kind: IncidentKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncidentKind {
    /// Retention, or DeleteRecords, was faster: these offsets were never read.
    Retention {
        first_lost: i64,
        last_lost: i64,
    },
    /// The source lost records that were already read (an unclean election): its log has other records, or none, from
    /// `end_offset` on. −1: it no longer knows the epoch of the position at all.
    Truncation {
        end_offset: i64,
        leader_epoch: i32,
    },
    /// The topic was deleted and created again: the position means nothing in the new one. `end_offset`: where the old one
    /// ended when it was last seen; −1: it was not seen.
    Recreated {
        old: Uuid,
        new: Uuid,
        end_offset: i64,
    },
    /// Still damaged after several fetches.
    Corrupt {
        offset: i64,
        problem: CorruptProblem,
    },
    /// One batch is larger than any answer may be.
    Oversized {
        offset: i64,
        bytes_max: i32,
    },
    Unauthorized {
        api: Api,
        code: i16,
    },
    /// A code that retrying does not help against.
    Refused {
        api: Api,
        code: i16,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorruptProblem {
    Batch(BatchError),
    /// The leader's own check failed (CORRUPT_MESSAGE).
    Leader,
    /// A batch that does not lie behind the one before it.
    Order {
        expected_from: i64,
        base_offset: i64,
    },
}

/// Why a partition is being retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    NoLeader,
    Answered {
        api: Api,
        code: i16,
    },
    NoAnswer {
        api: Api,
        failure: Failure,
    },
    /// The answer does not speak of the partition, or is that of another request.
    NotInAnswer {
        api: Api,
    },
    Corrupt,
}

/// Which timer is the earliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    PartitionRetry,
    NodeRetry,
}

fn write_code(f: &mut fmt::Formatter<'_>, api: Api, code: i16) -> fmt::Result {
    match kafka_protocol::ResponseError::try_from_code(code) {
        Some(name) => write!(f, "{api} answered {name:?} ({code})"),
        None => write!(f, "{api} answered code {code}"),
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NoLeader => write!(f, "no leader is known"),
            Trouble::Answered { api, code } => write_code(f, *api, *code),
            Trouble::NoAnswer { api, failure } => write!(f, "{api} got no answer ({failure:?})"),
            Trouble::NotInAnswer { api } => write!(f, "{api} was answered without a word on the partition"),
            Trouble::Corrupt => write!(f, "a batch is damaged"),
        }
    }
}

impl Incident {
    /// The first and the last offset that the source no longer has; None where nobody can know it.
    pub fn lost(&self) -> (Option<i64>, Option<i64>) {
        let before = self.position.offset - 1;
        match self.kind {
            IncidentKind::Retention { first_lost, last_lost } => (Some(first_lost), Some(last_lost)),
            // A log that reaches beyond the position, of another epoch: where it begins to differ is not known.
            IncidentKind::Truncation { end_offset, .. } => {
                (Some(end_offset).filter(|it| (0..=before).contains(it)), Some(before))
            }
            IncidentKind::Recreated { end_offset, .. } => {
                (Some(self.position.offset), Some(end_offset - 1).filter(|it| *it > before))
            }
            _ => (None, None),
        }
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, position, kind } = self;
        write!(f, "{partition} stopped at offset {}: ", position.offset)?;
        match kind {
            IncidentKind::Retention { first_lost, last_lost } => write!(
                f,
                "the source deleted offsets {first_lost} to {last_lost} before they were read; \
                 decide where to go on, and give the topic a longer retention"
            ),
            IncidentKind::Truncation { end_offset, leader_epoch } => {
                match self.lost() {
                    (Some(first), Some(last)) => write!(f, "the source lost offsets {first} to {last}")?,
                    _ => write!(f, "the source lost records up to offset {}", position.offset - 1)?,
                }
                write!(f, ", which were read already (leader epoch {}): ", position.leader_epoch)?;
                match *end_offset {
                    ..0 => write!(f, "it no longer knows that epoch")?,
                    _ => write!(f, "its log differs from offset {end_offset}, leader epoch {leader_epoch}, on")?,
                }
                write!(f, "; look for an unclean leader election and decide where to go on")
            }
            IncidentKind::Recreated { old, new, .. } => {
                write!(f, "the topic was deleted and created again (its id was {old} and is {new}); ")?;
                match self.lost() {
                    (Some(first), Some(last)) => write!(f, "of the old one offsets {first} to {last} were not read")?,
                    _ => write!(f, "what the old one held from offset {} on was not read", position.offset)?,
                }
                write!(f, "; decide where to go on in the new one")
            }
            IncidentKind::Corrupt { offset, problem } => {
                match problem {
                    CorruptProblem::Batch(problem) => write!(f, "{problem}")?,
                    CorruptProblem::Leader => write!(f, "the leader finds the batch at offset {offset} damaged")?,
                    CorruptProblem::Order { expected_from, base_offset } => {
                        write!(f, "a batch at offset {base_offset} came where {expected_from} or more was due")?;
                    }
                }
                write!(f, "; repair the source's log, or decide where to go on")
            }
            IncidentKind::Oversized { offset, bytes_max } => {
                write!(f, "the batch at offset {offset} is larger than {bytes_max} bytes; decide to go on behind it")
            }
            IncidentKind::Unauthorized { api, code } => {
                write_code(f, *api, *code)?;
                write!(f, "; grant DESCRIBE and READ on the topic at the source")
            }
            IncidentKind::Refused { api, code } => {
                write_code(f, *api, *code)?;
                write!(f, "; the source does not support what the bridge asks for")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64, kind: IncidentKind) -> (Option<i64>, Option<i64>) {
        let position = Position { offset, leader_epoch: 3 };
        Incident { partition: TopicPartition::new("t", 0), position, kind }.lost()
    }

    #[test]
    fn what_is_lost_is_named_as_far_as_it_is_known() {
        let truncated = |end_offset, leader_epoch| IncidentKind::Truncation { end_offset, leader_epoch };
        let recreated = |end_offset| IncidentKind::Recreated { old: Uuid::nil(), new: Uuid::nil(), end_offset };
        assert_eq!(at(5, IncidentKind::Retention { first_lost: 5, last_lost: 8 }), (Some(5), Some(8)));
        assert_eq!(at(5, truncated(3, 3)), (Some(3), Some(4)));
        assert_eq!(at(5, truncated(9, 2)), (None, Some(4)), "longer, and of another epoch");
        assert_eq!(at(5, truncated(-1, -1)), (None, Some(4)), "the epoch is not known any more");
        assert_eq!(at(5, recreated(8)), (Some(5), Some(7)));
        assert_eq!(at(5, recreated(5)), (Some(5), None), "all that was seen is copied; more may have come");
        assert_eq!(at(5, recreated(-1)), (Some(5), None));
        assert_eq!(at(5, IncidentKind::Oversized { offset: 5, bytes_max: 1 }), (None, None), "nothing is lost yet");
    }
}
