//! The ledger's topic: made once, checked at every start.

use super::error::LedgerError;
use crate::cluster::{Cluster, NewTopic, TopicConfigs};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The tail of a compacted partition is its active segment: small ones keep a full replay short.
const SEGMENT_BYTES: &str = "16777216";
/// The chain of positions stays readable for a day, for whoever wants to know what happened.
const MIN_COMPACTION_LAG_MS: &str = "86400000";
/// From three replicas on, a position must not hang on one of them.
const MIN_INSYNC_REPLICAS: &str = "2";

/// Creates the topic where it is missing; refuses one that would not keep what is written to it.
pub async fn ensure(
    cluster: &Cluster,
    topic: &str,
    lanes: NonZeroU32,
    replication_factor: Option<i16>,
) -> Result<(), LedgerError> {
    let found = cluster.ensure_topic(&new_topic(topic, lanes, replication_factor)).await?;
    let configs = cluster.topic_configs(topic).await?;
    fault(topic, lanes, usize::try_from(found).unwrap_or(usize::MAX), &configs).map_or(Ok(()), Err)
}

/// What a topic that exists is wrong with.
pub fn fault(topic: &str, lanes: NonZeroU32, partitions: usize, configs: &TopicConfigs) -> Option<LedgerError> {
    let lanes = i32::try_from(lanes.get()).unwrap_or(i32::MAX);
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    let policy = configs.get("cleanup.policy").map(String::as_str);
    let (problem, remedy) = problem(lanes, partitions, policy)?;
    Some(LedgerError::Topic { topic: topic.to_owned(), problem, remedy })
}

/// The topic as it is created.
pub fn new_topic(name: &str, lanes: NonZeroU32, replication_factor: Option<i16>) -> NewTopic {
    let mut configs = BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("min.compaction.lag.ms".to_owned(), MIN_COMPACTION_LAG_MS.to_owned()),
        ("segment.bytes".to_owned(), SEGMENT_BYTES.to_owned()),
    ]);
    if replication_factor.is_some_and(|it| it >= 3) {
        configs.insert("min.insync.replicas".to_owned(), MIN_INSYNC_REPLICAS.to_owned());
    }
    let partitions = i32::try_from(lanes.get()).unwrap_or(i32::MAX);
    NewTopic { name: Arc::from(name), partitions, replication_factor, configs }
}

/// What is wrong, and the remedy.
fn problem(lanes: i32, found: i32, policy: Option<&str>) -> Option<(String, String)> {
    if found != lanes {
        let problem = format!("it has {found} partitions, the config says {lanes} lanes");
        return Some((problem, format!("Lanes are fixed when the ledger is created: set delivery.lanes = {found}")));
    }
    // "compact,delete" too loses positions by age.
    match policy {
        Some("compact") => None,
        policy => {
            let problem = format!("its cleanup.policy is {}, which loses positions", policy.unwrap_or("not told"));
            Some((problem, "Set cleanup.policy=compact on it".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_compacted_topic_with_a_partition_for_each_lane_will_do() {
        assert_eq!(problem(4, 4, Some("compact")), None);
        assert!(problem(4, 8, Some("compact")).unwrap().1.contains("delivery.lanes = 8"));
        for policy in [Some("delete"), Some("compact,delete"), None] {
            assert!(problem(4, 4, policy).unwrap().1.contains("compact"), "{policy:?}");
        }
    }
}
