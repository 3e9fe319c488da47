//! Looks at both ends of every partition that is worked here, again and again.

use super::state::{EndOffsets, InUse, Monitor, now_ms};
use crate::bridge::Ends;
use crate::cluster::{At, Cluster, Metadata};
use crate::types::{TopicName, TopicPartition};
use crate::wire::Certificate;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// As precise as lag in seconds is. Six small requests to each leader.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// A topic's retention is changed seldom.
const RETENTION_INTERVAL: Duration = Duration::from_secs(300);

/// Ends with the server.
pub(super) async fn run(monitor: Monitor, ends: Ends) {
    let mut ticks = tokio::time::interval(INTERVAL);
    // A look that took long is not made up for.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut retention_due = Instant::now();
    loop {
        ticks.tick().await;
        let Some((source, target, partitions)) = asked(&monitor) else { continue };
        if retention_due <= Instant::now() && !partitions.is_empty() {
            retention_due = Instant::now() + RETENTION_INTERVAL;
            retentions(&monitor, &ends.source, &partitions).await;
        }
        let (at_source, at_target): (Vec<_>, Vec<_>) = partitions.into_iter().unzip();
        let (sources, targets) =
            tokio::join!(looked(&ends.source, &source, &at_source), looked(&ends.target, &target, &at_target));
        let (mut certificates, at_target) = tokio::join!(in_use(&ends.source), in_use(&ends.target));
        certificates.extend(at_target);
        let now_ms = now_ms();
        let mut state = monitor.state();
        state.certificates = certificates;
        for (partition, row) in &mut state.partitions {
            if let Some(found) = sources.get(partition) {
                row.looked_at(now_ms, *found);
            }
            row.at_target = targets.get(&row.target).copied().or(row.at_target);
        }
    }
}

type Asked = (std::sync::Arc<Metadata>, std::sync::Arc<Metadata>, Vec<(TopicPartition, TopicPartition)>);

/// None: the link has not begun.
fn asked(monitor: &Monitor) -> Option<Asked> {
    let state = monitor.state();
    let both = state.both.as_ref()?;
    let partitions = state.partitions.iter().map(|(source, row)| (source.clone(), row.target.clone())).collect();
    Some((both.source.current(), both.target.current(), partitions))
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
async fn in_use(cluster: &Cluster) -> Vec<InUse> {
    let of = |whose, it: Certificate| InUse { end: cluster.end(), whose, subject: it.subject, not_after: it.not_after };
    let own = cluster.security().certificate().map(|it| of("bridge", it));
    let connection = cluster.any().await.ok();
    let peer = connection.and_then(|it| it.session()?.peer.clone()).map(|it| of("broker", it));
    own.into_iter().chain(peer).collect()
}

/// Without the right to read settings, headroom goes by offsets alone.
async fn retentions(monitor: &Monitor, source: &Cluster, partitions: &[(TopicPartition, TopicPartition)]) {
    let topics: BTreeSet<TopicName> = partitions.iter().map(|it| it.0.topic.clone()).collect();
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
