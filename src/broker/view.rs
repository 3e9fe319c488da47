//! What a test or a simulation sees of a partition or a group without being its client: all of it, and at no cost of time.

use super::cluster::Cluster;
use bytes::Bytes;
use uuid::Uuid;

#[derive(Clone, Debug)]
pub struct LogView {
    pub topic_id: Uuid,
    pub start: i64,
    pub end: i64,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    /// Whole batches, from the one that holds the offset that was asked for up to the high watermark.
    pub batches: Bytes,
}

impl Cluster {
    pub fn log(&self, topic: &str, partition: i32, from: i64) -> Option<LogView> {
        let topic_id = self.topics.get(topic)?.id;
        let log = &self.topics.partition(topic, partition).ok()?.log;
        Some(LogView {
            topic_id,
            start: log.start(),
            end: log.end(),
            high_watermark: log.high_watermark(),
            last_stable_offset: log.last_stable_offset(),
            batches: log.read(from.max(log.start()), log.high_watermark(), usize::MAX, true).0,
        })
    }

    /// None: there is no such topic.
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        i32::try_from(self.topics.get(topic)?.partitions.len()).ok()
    }

    /// None: there is no such group.
    pub fn generation(&self, group: &str) -> Option<i32> {
        self.groups.get(group).map(|it| it.generation)
    }
}
