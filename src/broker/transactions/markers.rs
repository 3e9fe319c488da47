//! What coordinators do by themselves: markers (TransactionMarkerChannelManager) and the timeout of transactions.

use super::{State, Transaction};
use crate::broker::cluster::Cluster;
use crate::broker::log::Marker;
use crate::broker::nodes::Coordinator;
use crate::broker::topics::OFFSETS_TOPIC;
use crate::types::TopicPartition;
use std::collections::BTreeSet;

/// Until 3.9 a partition without a leader gets its marker when it has one.
const MARKER_RETRY_MS: i64 = 100;

impl Cluster {
    /// A transaction has been prepared: its markers come now, or after the delay.
    pub(crate) fn schedule_markers(&mut self, id: &str) {
        let due_ms = self.now_ms + self.settings.marker_delay_ms;
        if let Some(transaction) = self.transactions.by_id.get_mut(id) {
            transaction.markers_due_ms = Some(due_ms);
        }
        self.record_transaction(id);
        if self.settings.marker_delay_ms == 0 && !self.transactions.markers_held {
            self.write_markers(id);
        }
    }

    pub(crate) fn run_transactions(&mut self) {
        let now_ms = self.now_ms;
        if !self.transactions.markers_held {
            let is_due = |it: &Transaction| it.markers_due_ms.is_some_and(|due| due <= now_ms);
            for id in self.ids(is_due) {
                self.write_markers(&id);
            }
        }
        if self.transactions.next_reap_ms <= now_ms {
            let interval_ms = self.settings.reap_interval_ms.max(1);
            // As a fixed schedule: how long nothing was open must not matter.
            let missed = (now_ms - self.transactions.next_reap_ms) / interval_ms + 1;
            self.transactions.next_reap_ms += missed * interval_ms;
            self.reap();
        }
    }

    fn ids(&self, wanted: impl Fn(&Transaction) -> bool) -> Vec<String> {
        self.transactions.by_id.iter().filter(|(_, it)| wanted(it)).map(|(id, _)| id.clone()).collect()
    }

    fn reap(&mut self) {
        let (now_ms, server_bumps) = (self.now_ms, self.settings.transaction_version >= 2);
        for id in self.ids(|it| it.has_timed_out(now_ms)) {
            // Without a living coordinator nobody looks.
            if self.coordinator(Coordinator::Transaction, &id).is_none() {
                continue;
            }
            let fenced = self.transactions.by_id.get_mut(&id).map(|it| it.fence(server_bumps));
            if matches!(fenced, Some(Ok(()))) {
                self.schedule_markers(&id);
            }
        }
    }

    fn write_markers(&mut self, id: &str) {
        let epoch = self.coordinating_partition(Coordinator::Transaction, id).and_then(|index| {
            let partition = self.topics.partition(Coordinator::Transaction.topic(), index).ok()?;
            partition.leader.map(|_| partition.leader_epoch)
        });
        let Some(transaction) = self.transactions.by_id.get(id).filter(|it| it.is_pending()) else { return };
        let identity = transaction.identity;
        let commit = transaction.state == State::PrepareCommit;
        let mut left: BTreeSet<TopicPartition> = transaction.partitions.clone();
        let mut retry = epoch.is_none();
        if let Some(coordinator_epoch) = epoch {
            let marker = Marker {
                producer_id: identity.producer_id,
                producer_epoch: identity.producer_epoch,
                coordinator_epoch,
                commit,
            };
            left.retain(|partition| {
                let held = self.transactions.held_partitions.contains(partition);
                let written = !held && self.write_marker(partition, marker);
                retry |= !held && !written;
                !written
            });
        }
        let due_ms = retry.then_some(self.now_ms + MARKER_RETRY_MS);
        if let Some(transaction) = self.transactions.by_id.get_mut(id) {
            if left.is_empty() && epoch.is_some() {
                transaction.complete();
            } else {
                transaction.partitions = left;
                transaction.markers_due_ms = due_ms;
            }
        }
        self.record_transaction(id);
        self.logs_changed = true;
    }

    /// False: the partition has no leader yet. A deleted partition needs no marker, and one that was fenced by a newer epoch has
    /// had a better one.
    fn write_marker(&mut self, place: &TopicPartition, marker: Marker) -> bool {
        let (now_ms, skipped) = (self.now_ms, self.settings.leaderless_markers_skipped);
        let Ok((partition, config)) = self.topics.partition_mut(&place.topic, place.partition) else { return true };
        if partition.leader.is_none() {
            return skipped;
        }
        let written = partition.log.append_marker(marker, partition.leader_epoch, now_ms, config);
        partition.replicate();
        if let Ok(batch) = written {
            self.record_batch(&place.topic, place.partition, &batch);
            if place.topic.as_ref() == OFFSETS_TOPIC {
                self.end_pending_offsets(place.partition, marker.producer_id, marker.commit);
            }
        }
        true
    }

    /// A partition gets no markers until it is let go.
    pub fn hold_markers_of(&mut self, now_ms: i64, partition: &TopicPartition, held: bool) {
        self.handle_timeout(now_ms);
        if held {
            self.transactions.held_partitions.insert(partition.clone());
        } else {
            self.transactions.held_partitions.remove(partition);
            for transaction in self.transactions.by_id.values_mut() {
                if transaction.is_pending() && transaction.partitions.contains(partition) {
                    transaction.markers_due_ms = Some(now_ms);
                }
            }
            self.handle_timeout(now_ms);
        }
    }
}
