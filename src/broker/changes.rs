//! Changes of the cluster's state that several APIs and the operator make, each with what it means for the rest.

use super::cluster::Cluster;
use super::configs::Overrides;
use super::groups::GroupTimes;
use super::topics::{NewTopic, OFFSETS_TOPIC, partition_for};
use crate::types::NodeId;
use kafka_protocol::ResponseError;

/// Internal logs are read by nobody: what open transactions need, and a little for who looks.
const INTERNAL_BATCHES_KEPT: usize = 1_000;

impl Cluster {
    pub(crate) fn add_topic(&mut self, new: NewTopic) -> Result<(), (ResponseError, String)> {
        let alive = self.alive();
        let defaults = &self.settings.topic_defaults;
        self.topics.create(new.clone(), defaults, &alive).map_err(|it| (ResponseError::InvalidConfig, it.0))?;
        self.record_topic(&new);
        self.logs_changed = true;
        Ok(())
    }

    pub(crate) fn grow_topic(&mut self, name: &str, replicas: Vec<Vec<NodeId>>) {
        let alive = self.alive();
        self.record_growth(name, &replicas);
        self.topics.grow(name, replicas, &alive);
    }

    pub(crate) fn configure_topic(&mut self, name: &str, overrides: Overrides) {
        self.record_configs(name, &overrides);
        // Checked before: an override that is wrong never gets here.
        let _ = self.topics.configure(name, overrides, &self.settings.topic_defaults);
    }

    /// Offsets die with their topic, and a transaction needs no marker there any more.
    pub(crate) fn remove_topic(&mut self, name: &str) {
        self.topics.delete(name);
        for group in self.groups.values_mut() {
            group.offsets.topic_deleted(name);
        }
        self.record_deletion(name);
        self.logs_changed = true;
    }

    pub(crate) fn move_log_start(&mut self, topic: &str, partition: i32, to: i64) -> Result<(), ResponseError> {
        let (found, _) = self.topics.partition_mut(topic, partition)?;
        found.log.move_start(to)?;
        self.record_log_start(topic, partition, to);
        self.logs_changed = true;
        Ok(())
    }

    /// Offsets of a transaction become visible, or are dropped, with the marker in their partition.
    pub(crate) fn end_pending_offsets(&mut self, partition: i32, producer_id: i64, commit: bool) {
        let count = self.topics.get(OFFSETS_TOPIC).map_or(0, |it| it.partitions.len());
        let ids: Vec<String> = self
            .groups
            .iter()
            .filter(|(id, group)| {
                partition_for(id, count) == partition && group.offsets.pending.contains_key(&producer_id)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                group.offsets.end(producer_id, commit);
            }
            self.record_offsets(&id);
        }
    }

    pub(crate) fn run_groups(&mut self) {
        let times =
            GroupTimes { now_ms: self.now_ms, initial_delay_ms: self.settings.group_initial_rebalance_delay_ms };
        let mut replies = Vec::new();
        for group in self.groups.values_mut().filter(|it| it.next_due().is_some_and(|due| due <= times.now_ms)) {
            replies.extend(group.run(times));
        }
        self.reply(replies);
    }

    /// Retention, compaction, expiration.
    pub(crate) fn upkeep(&mut self) {
        let now_ms = self.now_ms;
        let producers_expire = self.next_expiration_ms <= now_ms;
        if producers_expire {
            self.next_expiration_ms = now_ms + self.settings.producer_expiration_check_ms;
        }
        let mut starts = Vec::new();
        let mut compacted = Vec::new();
        for (name, topic) in self.topics.iter_mut() {
            for (index, partition) in (0..).zip(&mut topic.partitions) {
                if producers_expire {
                    partition.log.producers.expire(now_ms, self.settings.producer_expiration_ms);
                }
                if topic.is_internal {
                    partition.log.trim(INTERNAL_BATCHES_KEPT);
                    continue;
                }
                if partition.log.retain(now_ms, &topic.config) {
                    starts.push((name.to_owned(), index, partition.log.start()));
                }
                if partition.log.compact(now_ms, &topic.config) > 0 {
                    compacted.push((name.to_owned(), index));
                }
            }
        }
        for (name, index, start) in starts {
            self.record_log_start(&name, index, start);
        }
        for (name, index) in compacted {
            self.record_rewritten(&name, index);
        }
        let retention_ms = self.settings.offsets_retention_ms;
        let mut expired = Vec::new();
        for (id, group) in &mut self.groups {
            let before = group.offsets.committed.len();
            group.expire_offsets(now_ms, retention_ms);
            if group.offsets.committed.len() < before {
                expired.push(id.clone());
            }
        }
        self.groups.retain(|_, group| !group.is_forgotten());
        for id in expired {
            self.record_offsets(&id);
        }
        self.logs_changed = true;
    }
}
