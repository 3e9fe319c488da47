//! Where a link stands, and where at the target a reader of the source goes on.

mod destination;
mod groups;
mod show;
mod translate;

pub use destination::{Destination, Replayed, destination};
pub use groups::{GroupReport, GroupRow, Move, apply, group};
pub use show::{LaneRow, PositionRow, PositionsReport, show};
pub use translate::{Translation, translate};

use crate::bridge::{Ends, RunError};
use crate::cluster::{ClusterError, Metadata};
use crate::config::Config;
use crate::ledger::{History, Position, PositionKey};
use crate::reader::ReadError;
use crate::topics::plan::lane;
use crate::types::TopicPartition;
use crate::verify::LettersError;
use std::collections::BTreeMap;

#[derive(Debug, thiserror::Error)]
pub enum PositionsError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Letters(#[from] LettersError),
    #[error("{partition}: the ledger has no position for it: nothing of it was copied by this link")]
    Unknown { partition: TopicPartition },
    #[error(
        "{partition}: offset {offset} is not copied yet: the copy stands at {next_offset}. Wait for it, or drain the source first"
    )]
    NotCopied { partition: TopicPartition, offset: i64, next_offset: i64 },
    #[error(
        "{partition}: what lies before offset {offset} cannot be counted: the first point of the offset map from which both ends \
         still hold everything is source offset {first}"
    )]
    Gone { partition: TopicPartition, offset: i64, first: i64 },
    #[error("{partition}: the ledger has no point of the offset map for it yet; there is one after its next records")]
    NoAnchor { partition: TopicPartition },
    #[error("{partition}: {reason}")]
    Other { partition: TopicPartition, reason: String },
    #[error("group {group} has members at the target: stop its consumers, then apply again")]
    HasMembers { group: String },
}

impl PositionsError {
    /// Nothing about one partition: the others of a group must not move without it.
    fn is_of_all(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Read(_) | Self::Letters(_))
    }
}

impl From<ClusterError> for PositionsError {
    fn from(error: ClusterError) -> Self {
        Self::Run(RunError::Cluster(error))
    }
}

/// Both ends, and what the ledger says.
pub struct Link<'a> {
    config: &'a Config,
    ends: Ends,
    source: Metadata,
    target: Metadata,
    histories: BTreeMap<u32, History>,
}

impl<'a> Link<'a> {
    pub async fn open(config: &'a Config) -> Result<Self, PositionsError> {
        Self::within(config, Ends::new(config)?).await
    }

    /// Over connections that there are already.
    pub async fn within(config: &'a Config, ends: Ends) -> Result<Self, PositionsError> {
        let (source, target) = ends.connect().await?;
        let topic = config.link.ledger_topic();
        let histories = History::of_all_lanes(&ends.target, &target, &topic, config.delivery.lanes).await;
        let histories = histories.map_err(RunError::Ledger)?;
        Ok(Self { config, ends, source, target, histories })
    }

    pub fn config(&self) -> &'a Config {
        self.config
    }

    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    /// The source's and the target's.
    pub fn metadata(&self) -> (&Metadata, &Metadata) {
        (&self.source, &self.target)
    }

    /// What the ledger says, by lane.
    pub fn histories(&self) -> &BTreeMap<u32, History> {
        &self.histories
    }

    fn lane(&self, partition: &TopicPartition) -> u32 {
        lane(&partition.topic, partition.partition, self.config.delivery.lanes)
    }

    fn key(&self, partition: &TopicPartition) -> PositionKey {
        PositionKey {
            cluster_id: self.source.cluster_id.as_str().into(),
            topic: partition.topic.clone(),
            partition: partition.partition,
        }
    }

    fn position(&self, partition: &TopicPartition) -> Result<(&History, &Position), PositionsError> {
        let history = self.histories.get(&self.lane(partition));
        let found = history.and_then(|it| Some((it, it.positions.get(&self.key(partition))?)));
        found.ok_or_else(|| PositionsError::Unknown { partition: partition.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker that dies while the dead letters are read would else leave a group half moved.
    #[test]
    fn what_a_broker_does_not_answer_is_of_all_partitions() {
        let lost = || ClusterError::Answered { end: "target", api: "ListOffsets", code: -1 };
        let partition = TopicPartition::new("orders", 0);
        assert!(PositionsError::from(lost()).is_of_all());
        assert!(PositionsError::from(ReadError::from(lost())).is_of_all());
        assert!(PositionsError::from(LettersError::from(lost())).is_of_all());
        assert!(!PositionsError::Unknown { partition: partition.clone() }.is_of_all());
        assert!(!PositionsError::NoAnchor { partition }.is_of_all());
    }
}
