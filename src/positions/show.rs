//! Lanes, their owners, and every partition's position.

use super::Link;
use crate::cluster::At;
use crate::types::TopicPartition;
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone, Debug, Default, Serialize)]
pub struct PositionsReport {
    pub link: String,
    pub lanes: Vec<LaneRow>,
    pub partitions: Vec<PositionRow>,
}

/// A lane that somebody has worked.
#[derive(Clone, Debug, Serialize)]
pub struct LaneRow {
    pub lane: u32,
    pub host: String,
    pub pid: u32,
    pub version: String,
    pub started: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct PositionRow {
    pub topic: String,
    pub partition: i32,
    pub lane: u32,
    pub target_topic: String,
    pub target_partition: i32,
    pub next_offset: i64,
    /// The source's last stable offset; None: the source does not tell.
    pub end_offset: Option<i64>,
    pub lag: Option<i64>,
    /// Copied since the link began.
    pub records: u64,
    /// Since the last transaction with records or markers of this partition.
    pub age_ms: u64,
    /// An operator's word, where the position was set by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
}

/// `topics`: of the source; empty for all.
pub async fn show(link: &Link<'_>, topics: &[String]) -> PositionsReport {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let all = || {
        let lanes = link.histories.iter();
        let positions = lanes.flat_map(|(lane, it)| it.positions.iter().map(|(key, position)| (*lane, key, position)));
        positions.filter(|(_, key, _)| {
            *key.cluster_id == *link.source.cluster_id
                && (topics.is_empty() || topics.iter().any(|topic| **topic == *key.topic))
        })
    };
    let asked: Vec<(TopicPartition, At)> = all().map(|(_, key, _)| (key.topic_partition(), At::LastStable)).collect();
    let ends = link.ends.source.offsets(&link.source, &asked).await;
    let mut partitions: Vec<_> = all()
        .map(|(lane, key, position)| {
            let end_offset = ends.get(&key.topic_partition()).and_then(|it| it.as_ref().ok()).map(|it| it.offset);
            PositionRow {
                topic: key.topic.to_string(),
                partition: key.partition,
                lane,
                target_topic: position.target_topic.to_string(),
                target_partition: position.target_partition,
                next_offset: position.next_offset,
                end_offset,
                lag: end_offset.map(|end| (end - position.next_offset).max(0)),
                records: position.records,
                age_ms: now_ms.saturating_sub(position.time_ms),
                decision: position.decision.clone(),
            }
        })
        .collect();
    partitions.sort_by(|one, other| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
    let lanes = link.histories.iter().filter_map(|(lane, history)| {
        let owner = history.owner.as_ref()?;
        // A ledger says what somebody wrote into it; the form has no room for more.
        let started = UNIX_EPOCH.checked_add(Duration::from_millis(owner.started_ms.min(now_ms)));
        Some(LaneRow {
            lane: *lane,
            host: owner.host.clone(),
            pid: owner.pid,
            version: owner.version.clone(),
            started: humantime::format_rfc3339_seconds(started.unwrap_or(UNIX_EPOCH)).to_string(),
        })
    });
    PositionsReport { link: link.config.link.as_str().to_owned(), lanes: lanes.collect(), partitions }
}
