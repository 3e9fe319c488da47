//! The dead letters' topic at the target.

use crate::cluster::{NewTopic, TopicConfigs};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A record that its own topic takes must find room here, with what is written about it.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Until somebody has looked at them: a dead letter that expires is a lost record.
const RETENTION_MS: &str = "-1";
/// From three replicas on, a record must not hang on one of them.
const MIN_INSYNC_REPLICAS: &str = "2";

/// Where a lane writes. The topic has a partition for each lane, unless somebody else has made it.
pub fn partition_of(lane: u32, partitions: i32) -> i32 {
    i32::try_from(lane).unwrap_or(i32::MAX) % partitions.max(1)
}

/// Why a topic that is there would not keep what is written to it, and the remedy.
pub fn fault(configs: &TopicConfigs) -> Option<&'static str> {
    let is = |name: &str, word: &str| configs.get(name).is_some_and(|it| it.contains(word));
    if is("cleanup.policy", "compact") {
        return Some(
            "it is compacted, and dead letters of one key would replace each other. Set cleanup.policy=delete on it",
        );
    }
    is("message.timestamp.type", "LogAppendTime")
        .then_some("it would write its own time over that of the records. Set message.timestamp.type=CreateTime on it")
}

/// A partition for each lane: what one lane writes keeps its order.
pub fn new_topic(name: &str, lanes: NonZeroU32, replication_factor: Option<i16>) -> NewTopic {
    let mut configs = BTreeMap::from([
        ("cleanup.policy".to_owned(), "delete".to_owned()),
        ("retention.ms".to_owned(), RETENTION_MS.to_owned()),
        ("max.message.bytes".to_owned(), MAX_MESSAGE_BYTES.to_string()),
        // Each keeps the time of its record; the topic's own would take its place.
        ("message.timestamp.type".to_owned(), "CreateTime".to_owned()),
    ]);
    if replication_factor.is_some_and(|it| it >= 3) {
        configs.insert("min.insync.replicas".to_owned(), MIN_INSYNC_REPLICAS.to_owned());
    }
    let partitions = i32::try_from(lanes.get()).unwrap_or(i32::MAX);
    NewTopic { name: Arc::from(name), partitions, replication_factor, configs }
}
