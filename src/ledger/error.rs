//! Why a ledger cannot be trusted or reached.

use crate::cluster::{ClusterError, EnsureError};
use crate::types::TopicPartition;

#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(
        "{partition}: the record at offset {offset} is not one of a ledger: {reason}. Does something else write to this topic?"
    )]
    Malformed { partition: TopicPartition, offset: i64, reason: String },
    #[error(
        "{partition}: the record at offset {offset} has version {found}, this kafka-bridge reads up to {known}: run the newer version"
    )]
    Newer { partition: TopicPartition, offset: i64, found: u64, known: u64 },
    #[error(
        "{partition}: transaction {found} at offset {offset} stands behind transaction {before}: something else writes to \
         the ledger. Stop it, and compare the copy before going on"
    )]
    Disorder { partition: TopicPartition, offset: i64, before: u64, found: u64 },
    #[error(
        "{partition}: group {group} says that the ledger is to be read from offset {offset}, but it holds {log_start} to {end}: \
         the ledger was cut or recreated, or the group's offsets were reset. Restore the ledger, or delete the offsets of the \
         group to have the whole ledger read (`kafka-consumer-groups.sh --delete-offsets --group {group} --topic {}`)",
        partition.topic
    )]
    OutOfRange { partition: TopicPartition, group: String, offset: i64, log_start: i64, end: i64 },
    #[error(
        "{partition}: the lane's {records} positions need a batch of {bytes} bytes, and {bytes_max} is the limit: spread the \
         partitions over more lanes, which takes a new link"
    )]
    TooLarge { partition: TopicPartition, records: usize, bytes: usize, bytes_max: usize },
    #[error("{partition}: the ledger's batch at offset {offset} is damaged: {reason}")]
    Damaged { partition: TopicPartition, offset: i64, reason: String },
    #[error(transparent)]
    NotReady(EnsureError),
    #[error("{topic}: {problem}. {remedy}")]
    Topic { topic: String, problem: String, remedy: String },
}

impl LedgerError {
    /// Waiting may help: a broker is away, or the network.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Cluster(error) if !error.is_authorization())
    }
}

impl From<EnsureError> for LedgerError {
    fn from(error: EnsureError) -> Self {
        match error {
            EnsureError::Cluster(error) => Self::Cluster(error),
            error @ EnsureError::NotReady { .. } => Self::NotReady(error),
        }
    }
}
