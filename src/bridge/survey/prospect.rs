//! The target's topics as a run will find or make them. Nothing is changed for it.

use crate::bridge::age::{Oldest, oldest};
use crate::bridge::ends::Ends;
use crate::cluster::{ClusterError, Metadata, TopicConfigs, WouldBe};
use crate::topics::plan::{Plan, PlanEntry};
use crate::topics::{Step, TopicSync};
use crate::types::TopicName;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One topic of the plan.
#[derive(Clone, Debug)]
pub struct Prospect {
    pub entry: PlanEntry,
    /// None: the source does not tell (DESCRIBE_CONFIGS is missing).
    pub source: Option<TopicConfigs>,
    /// What is to be done at the target first.
    pub step: Option<Step>,
    /// The target's settings, of a topic that is still to be created too; empty where they are not told.
    pub configs: TopicConfigs,
    /// None: not told.
    pub replication_factor: Option<i16>,
    pub oldest: Oldest,
    /// The target would not create it.
    pub refused: Option<ClusterError>,
}

pub(super) async fn foresee(
    ends: &Ends,
    sync: &TopicSync,
    plan: &Plan,
    source: &Metadata,
    target: &Metadata,
) -> Result<Vec<Prospect>, ClusterError> {
    let entries: Vec<_> = plan.entries.values().cloned().collect();
    let mut ages = oldest(ends, source, target, &entries).await;
    let names: Vec<_> = entries.iter().map(|it| Arc::clone(&it.source)).collect();
    let mut configs_there = told(ends.source.topics_configs(&names).await?);
    let partitions = |entry: &PlanEntry| target.topics.get(&entry.target).map_or(0, |it| it.partitions.len());
    let existing: Vec<_> = entries.iter().filter(|it| partitions(it) > 0).map(|it| Arc::clone(&it.target)).collect();
    let mut configs_here = told(ends.target.topics_configs(&existing).await?);
    let mut prospects: Vec<_> = entries
        .into_iter()
        .map(|entry| {
            let replicas = target.topics.get(&entry.target).and_then(|it| it.partitions.values().next());
            let found = i32::try_from(partitions(&entry)).unwrap_or(i32::MAX);
            let grows = found > 0 && found < entry.partitions;
            let grow = || Step::Grow { topic: Arc::clone(&entry.target), from: found, to: entry.partitions };
            Prospect {
                source: configs_there.remove(&entry.source),
                step: grows.then(grow),
                configs: configs_here.remove(&entry.target).unwrap_or_default(),
                replication_factor: replicas.and_then(|it| i16::try_from(it.replicas).ok()),
                oldest: ages.remove(&entry.source).unwrap_or(Oldest::Unknown),
                refused: None,
                entry,
            }
        })
        .collect();
    let mut wanted = Vec::new();
    for prospect in prospects.iter_mut().filter(|it| partitions(&it.entry) == 0) {
        match sync.missing(&prospect.entry, target).await {
            Ok(step) => {
                if let Some(Step::Create(topic)) = &step {
                    wanted.push(topic.clone());
                }
                prospect.step = step;
            }
            Err(error @ ClusterError::Refused { .. }) => prospect.refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    // As it is to be created: what comes out of these settings and the target's own.
    let mut would_be = ends.target.create_topics(&wanted, true).await?;
    for prospect in &mut prospects {
        match would_be.remove(&prospect.entry.target) {
            Some(Ok(WouldBe { configs, replication_factor })) => {
                prospect.configs = configs.unwrap_or_default();
                prospect.replication_factor = replication_factor.or(sync.replication_factor);
            }
            Some(Err(error)) => prospect.refused = Some(error),
            None => {}
        }
    }
    Ok(prospects)
}

/// Settings are worth less than the data: where they cannot be read, there are none.
fn told(found: BTreeMap<TopicName, Result<TopicConfigs, ClusterError>>) -> BTreeMap<TopicName, TopicConfigs> {
    found.into_iter().filter_map(|(topic, configs)| Some((topic, configs.ok()?))).collect()
}
