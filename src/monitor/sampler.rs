//! Looks at both ends of every partition that is worked here, again and again.

use super::state::{Both, EndOffsets, InUse, Monitor, Row, now_ms};
use crate::bridge::Ends;
use crate::cluster::{At, Cluster, Keeper, Metadata};
use crate::types::{TopicName, TopicPartition};
use crate::wire::Certificate;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior};

/// As precise as lag in seconds is. Six small requests to each leader.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// A topic's retention is changed seldom.
const RETENTION_INTERVAL: Duration = Duration::from_secs(300);

/// Ends with the server. Each end at its own pace: one that does not answer must not keep the age of what waits at the other from
/// being known.
pub(super) async fn run(monitor: Monitor, ends: Ends) {
    tokio::join!(at_source(&monitor, &ends.source), at_target(&monitor, &ends.target));
}

async fn at_source(monitor: &Monitor, source: &Cluster) {
    let mut ticks = ticks();
    let mut retention_due = Instant::now();
    loop {
        ticks.tick().await;
        let Some((metadata, partitions)) = asked(monitor, |it| &it.source, |partition, _| partition.clone()) else {
            continue;
        };
        if retention_due <= Instant::now() && !partitions.is_empty() {
            retention_due = Instant::now() + RETENTION_INTERVAL;
            retentions(monitor, source, &partitions).await;
        }
        let found = looked(source, &metadata, &partitions).await;
        let now_ms = now_ms();
        for (partition, row) in &mut monitor.state().partitions {
            if let Some(found) = found.get(partition) {
                row.looked_at(now_ms, *found);
            }
        }
        tell_certificates(monitor, source).await;
    }
}

async fn at_target(monitor: &Monitor, target: &Cluster) {
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        let Some((metadata, partitions)) = asked(monitor, |it| &it.target, |_, row| row.target.clone()) else {
            continue;
        };
        let found = looked(target, &metadata, &partitions).await;
        for row in monitor.state().partitions.values_mut() {
            row.at_target = found.get(&row.target).copied().or(row.at_target);
        }
        tell_certificates(monitor, target).await;
    }
}

fn ticks() -> Interval {
    let mut ticks = tokio::time::interval(INTERVAL);
    // A look that took long is not made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// None: the link has not begun.
fn asked(
    monitor: &Monitor,
    end: fn(&Both) -> &Keeper,
    partition: fn(&TopicPartition, &Row) -> TopicPartition,
) -> Option<(Arc<Metadata>, Vec<TopicPartition>)> {
    let state = monitor.state();
    let metadata = end(state.both.as_ref()?).current();
    Some((metadata, state.partitions.iter().map(|(source, row)| partition(source, row)).collect()))
}

/// Those that the cluster tells of; what it does not tell now it may tell next time.
async fn looked(
    cluster: &Cluster,
    metadata: &Metadata,
    partitions: &[TopicPartition],
) -> BTreeMap<TopicPartition, EndOffsets> {
    let at = |at: At| {
        let asked: Vec<_> = partitions.iter().map(|it| (it.clone(), at)).collect();
        async move { cluster.offsets(metadata, &asked).await }
    };
    let (starts, stables, ends) = tokio::join!(at(At::Earliest), at(At::LastStable), at(At::Latest));
    let found = partitions.iter().filter_map(|it| {
        let of = |found: &BTreeMap<TopicPartition, Result<crate::cluster::Listed, _>>| {
            found.get(it).and_then(|it| it.as_ref().ok()).map(|it| it.offset)
        };
        let (log_start, last_stable) = (of(&starts)?, of(&stables)?);
        // The two were asked for one after the other.
        let high_watermark = of(&ends)?.max(last_stable);
        Some((it.clone(), EndOffsets { log_start, last_stable, high_watermark }))
    });
    found.collect()
}

/// The bridge's own, and that of the broker that is asked for metadata.
async fn tell_certificates(monitor: &Monitor, cluster: &Cluster) {
    let of = |whose, it: Certificate| InUse { end: cluster.end(), whose, subject: it.subject, not_after: it.not_after };
    let own = cluster.security().certificate().map(|it| of("bridge", it));
    let connection = cluster.any().await.ok();
    let peer = connection.and_then(|it| it.session()?.peer.clone()).map(|it| of("broker", it));
    let mut state = monitor.state();
    state.certificates.retain(|it| it.end != cluster.end());
    state.certificates.extend(own.into_iter().chain(peer));
    // Whichever end was looked at last.
    state.certificates.sort_by_key(|it| (it.end, it.whose));
}

/// Without the right to read settings, headroom goes by offsets alone.
async fn retentions(monitor: &Monitor, source: &Cluster, partitions: &[TopicPartition]) {
    let topics: BTreeSet<TopicName> = partitions.iter().map(|it| it.topic.clone()).collect();
    let topics: Vec<_> = topics.into_iter().collect();
    let found = match source.topics_configs(&topics).await {
        Ok(found) => found,
        Err(error) => return tracing::debug!(%error, "the source's retention is not known"),
    };
    for (partition, row) in &mut monitor.state().partitions {
        let configs = found.get(&partition.topic).and_then(|it| it.as_ref().ok());
        let value = |name: &str| configs.and_then(|it| it.get(name)).map(String::as_str);
        let deletes = value("cleanup.policy").is_some_and(|it| it.contains("delete"));
        let ms = value("retention.ms").and_then(|it| it.parse::<f64>().ok());
        row.retention = ms.filter(|ms| deletes && *ms >= 0.0).map(|ms| ms / 1e3);
    }
}
