//! Follows the source's topics: makes the plan, brings the target's topics about, and gives every lane its partitions.

use super::ends::Ends;
use super::error::RunError;
use super::lane::Route;
use super::weakness::{Finding, findings};
use super::worker::Routes;
use crate::cluster::{ClusterError, Keeper, Metadata};
use crate::config::{Config, Start, Weakness};
use crate::source::StartAt;
use crate::topics::TopicSync;
use crate::topics::plan::{self, Plan, PlanEntry, TopicRules};
use crate::types::{TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::watch;

/// New topics are to be copied within five seconds: this, and the creation of the topic.
pub(super) const DISCOVERY_INTERVAL: Duration = Duration::from_secs(2);
/// The target's settings of topics that are copied already are looked at again so often.
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(60);

pub struct Planner {
    rules: TopicRules,
    sync: TopicSync,
    lanes: NonZeroU32,
    accepted: BTreeSet<Weakness>,
    ledger_topic: TopicName,
    plan: Plan,
    /// Partitions of each topic when the link began: what comes later is copied from its first record.
    initial: Option<BTreeMap<TopicName, i32>>,
    max_message_bytes: BTreeMap<TopicName, usize>,
    /// Told once, not every two seconds.
    told: BTreeSet<String>,
}

/// What of the target's topics is weak and not accepted, and which topics could not be looked at.
#[derive(Default)]
struct Examined {
    weak: Vec<Finding>,
    failed: Vec<(TopicName, ClusterError)>,
}

/// Name and number of partitions of every topic that can be read.
pub fn topics_of(metadata: &Metadata) -> BTreeMap<TopicName, i32> {
    let usable = metadata.topics.iter().filter(|(_, topic)| !topic.partitions.is_empty() && !topic.is_internal);
    usable.map(|(name, topic)| (Arc::clone(name), i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))).collect()
}

impl Planner {
    pub fn new(config: &Config, ends: &Ends) -> Self {
        Self {
            rules: TopicRules::compile(config),
            sync: TopicSync {
                source: ends.source.clone(),
                target: ends.target.clone(),
                replication_factor: config.target.replication_factor,
                log_append_time: config.delivery.log_append_time,
            },
            lanes: config.delivery.lanes,
            accepted: config.delivery.accept_weak.clone(),
            ledger_topic: config.link.ledger_topic().as_str().into(),
            plan: Plan::default(),
            initial: None,
            max_message_bytes: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Strict: whatever stands against the config as it is written ends the start.
    pub async fn begin(&mut self, source: &Metadata, target: &Metadata) -> Result<(), RunError> {
        let topics = topics_of(source);
        self.plan = Plan::build(&self.rules, &topics)?;
        if source.cluster_id == target.cluster_id && self.plan.entries.values().any(|it| it.source == it.target) {
            return Err(RunError::SameCluster(source.cluster_id.clone()));
        }
        for unmatched in &self.plan.unmatched {
            tracing::warn!(pattern = %unmatched.pattern, "no topic of the source matches yet");
        }
        self.initial = Some(topics);
        if let Some((_, error)) = self.sync.sync(&self.plan, target).await.into_iter().next() {
            return Err(error.into());
        }
        let all: Vec<_> = self.plan.entries.values().cloned().collect();
        let Examined { mut weak, failed } = self.examine(&all).await?;
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(error.into());
        }
        let ledger = self.sync.target.topic_configs(&self.ledger_topic).await?;
        let of_ledger = findings(&self.ledger_topic, &ledger, None);
        weak.extend(of_ledger.into_iter().filter(|it| !self.accepted.contains(&it.weakness)));
        if weak.is_empty() { Ok(()) } else { Err(RunError::Weak(weak)) }
    }

    /// Looks at the settings of both ends. A topic that cannot be described does not hold up the others.
    async fn examine(&mut self, entries: &[PlanEntry]) -> Result<Examined, ClusterError> {
        let names = |of: fn(&PlanEntry) -> &TopicName| entries.iter().map(|it| Arc::clone(of(it))).collect::<Vec<_>>();
        let mut target = self.sync.describe(&names(|it| &it.target)).await?;
        let mut source = self.sync.source.topics_configs(&names(|it| &it.source)).await?;
        let mut examined = Examined::default();
        for entry in entries {
            let of_source = match source.remove(&entry.source).transpose() {
                Ok(configs) => configs,
                Err(error) if error.is_authorization() => None,
                Err(error) => {
                    examined.failed.push((Arc::clone(&entry.source), error));
                    continue;
                }
            };
            match target.remove(&entry.target) {
                Some(Ok(found)) => {
                    self.max_message_bytes.insert(Arc::clone(&entry.target), found.max_message_bytes);
                    let found = findings(&entry.target, &found.configs, of_source.as_ref());
                    examined.weak.extend(found.into_iter().filter(|it| !self.accepted.contains(&it.weakness)));
                }
                Some(Err(error)) => examined.failed.push((Arc::clone(&entry.target), error)),
                None => {}
            }
        }
        Ok(examined)
    }

    /// What the target's keeper has to follow.
    pub(super) fn target_topics(&self) -> Vec<TopicName> {
        let copied = self.plan.entries.values().map(|it| Arc::clone(&it.target));
        copied.chain([Arc::clone(&self.ledger_topic)]).collect()
    }

    pub(super) fn routes(&self, source: &Metadata) -> Routes {
        let mut routes: Routes = (0..self.lanes.get()).map(|lane| (lane, BTreeMap::new())).collect();
        for entry in self.plan.entries.values() {
            // Refused for a weakness, or not described yet.
            let Some(max_message_bytes) = self.max_message_bytes.get(&entry.target) else { continue };
            let topic_id = source.topics.get(&entry.source).map(|it| it.topic_id).unwrap_or_default();
            let known = self.initial.as_ref().and_then(|it| it.get(&entry.source)).copied().unwrap_or(0);
            for partition in 0..entry.partitions {
                let start = if partition < known { start(entry.start) } else { StartAt::Earliest };
                let route = Route {
                    target: TopicPartition::new(Arc::clone(&entry.target), partition),
                    topic_id,
                    target_topic_id: uuid::Uuid::nil(),
                    start,
                    max_message_bytes: *max_message_bytes,
                };
                let lane = plan::lane(&entry.source, partition, self.lanes);
                let of_lane = routes.entry(lane).or_default();
                of_lane.insert(TopicPartition::new(Arc::clone(&entry.source), partition), route);
            }
        }
        routes
    }

    /// Follows the source until nobody takes routes any more.
    pub(super) async fn follow(mut self, source: Keeper, target: Keeper, publish: watch::Sender<Arc<Routes>>) {
        let mut changes = source.watch();
        let mut described = tokio::time::interval(DESCRIBE_INTERVAL);
        described.tick().await;
        loop {
            let is_due = tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => return,
                },
                _ = described.tick() => true,
                () = publish.closed() => return,
            };
            let metadata = changes.borrow_and_update().clone();
            let (plan, refused) = self.plan.follow(&self.rules, &topics_of(&metadata));
            for error in refused {
                self.tell(error.to_string());
            }
            let is_new = plan.entries != self.plan.entries;
            let is_unfinished = plan.entries.values().any(|it| !self.max_message_bytes.contains_key(&it.target));
            self.plan = plan;
            if !(is_new || is_due || is_unfinished) {
                continue;
            }
            if let Err(error) = self.bring_about(is_due).await {
                tracing::warn!(%error, "the target's topics are not as they should be yet");
            }
            target.follow(self.target_topics());
            let routes = Arc::new(self.routes(&metadata));
            publish.send_if_modified(|before| {
                let is_other = *before != routes;
                *before = routes;
                is_other
            });
        }
    }

    async fn bring_about(&mut self, all: bool) -> Result<(), ClusterError> {
        let names: Vec<_> = self.plan.entries.values().map(|it| Arc::clone(&it.target)).collect();
        let target = self.sync.target.metadata(Some(&names)).await?;
        for (topic, error) in self.sync.sync(&self.plan, &target).await {
            tracing::warn!(%topic, %error, "the target's topic cannot be made yet");
        }
        let is_known = |planner: &Self, topic: &TopicName| planner.max_message_bytes.contains_key(topic);
        let due: Vec<_> = self.plan.entries.values().filter(|it| all || !is_known(self, &it.target)).cloned().collect();
        let unknown: BTreeSet<_> =
            due.iter().map(|it| Arc::clone(&it.target)).filter(|it| !is_known(self, it)).collect();
        let examined = self.examine(&due).await?;
        for (topic, error) in examined.failed {
            tracing::warn!(%topic, %error, "its settings are not known yet");
        }
        for finding in examined.weak {
            // What is copied already is not stopped for it: the data is there, and the operator was told.
            if unknown.contains(&finding.topic) {
                self.max_message_bytes.remove(&finding.topic);
            }
            self.tell(format!("{finding}: accept it in delivery.accept_weak, or mend the target"));
        }
        Ok(())
    }

    fn tell(&mut self, problem: String) {
        if !self.told.contains(&problem) {
            tracing::error!("{problem}");
            self.told.insert(problem);
        }
    }
}

fn start(start: Start) -> StartAt {
    match start {
        Start::Earliest => StartAt::Earliest,
        Start::Latest => StartAt::Latest,
        Start::Time(time) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            StartAt::Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        }
    }
}
