//! A group's offsets: committed ones, and those that wait for their transaction (OffsetMetadataManager).

use super::{Group, GroupState};
use crate::broker::settings::Millis;
use crate::types::TopicPartition;
use kafka_protocol::ResponseError;
use std::collections::BTreeMap;

/// `offset.metadata.max.bytes`.
pub(crate) const METADATA_BYTES_MAX: usize = 4_096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) commit_ms: Millis,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    pub(crate) committed: BTreeMap<TopicPartition, Committed>,
    /// Producer id → what its open transaction will commit.
    pub(crate) pending: BTreeMap<i64, BTreeMap<TopicPartition, Committed>>,
}

impl Offsets {
    pub(crate) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    /// KIP-447: a reader that wants stable offsets must wait for the transaction.
    pub(crate) fn is_unstable(&self, partition: &TopicPartition) -> bool {
        self.pending.values().any(|it| it.contains_key(partition))
    }

    /// The marker of a transaction has come. Returns whether anything became visible.
    pub(crate) fn end(&mut self, producer_id: i64, commit: bool) -> bool {
        let Some(pending) = self.pending.remove(&producer_id) else { return false };
        if commit {
            self.committed.extend(pending);
        }
        commit
    }

    pub(crate) fn topic_deleted(&mut self, topic: &str) {
        self.committed.retain(|partition, _| partition.topic.as_ref() != topic);
        for pending in self.pending.values_mut() {
            pending.retain(|partition, _| partition.topic.as_ref() != topic);
        }
    }

    pub(crate) fn expire(&mut self, is_over: impl Fn(&Committed) -> bool) {
        let pending = &self.pending;
        let waits = |partition: &TopicPartition| pending.values().any(|it| it.contains_key(partition));
        self.committed.retain(|partition, committed| waits(partition) || !is_over(committed));
    }
}

impl Group {
    /// Whether this caller may commit. In a transaction the group's state does not matter, and a caller that names neither
    /// generation nor member passes even a Stable group: so old the first version of that request is.
    pub(crate) fn validate_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        is_transactional: bool,
    ) -> Result<(), ResponseError> {
        let is_empty = self.state == GroupState::Empty;
        if generation < 0 && is_empty {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.validate_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(ResponseError::IllegalGeneration);
            }
        } else if !is_transactional && !is_empty {
            return Err(ResponseError::UnknownMemberId);
        }
        if !is_transactional && self.state == GroupState::CompletingRebalance {
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }
}
