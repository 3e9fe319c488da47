//! Follows the source's topics: makes the plan, brings the target's topics about, and gives every lane its partitions.

use super::age::{self, Oldest};
use super::ends::Ends;
use super::error::RunError;
use super::lane::Route;
use super::weakness::findings;
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

    pub fn sync(&self) -> &TopicSync {
        &self.sync
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
        // Whether they are weak, the survey has judged.
        for entry in self.plan.entries.values() {
            let target = self.sync.describe(&entry.target).await?;
            self.max_message_bytes.insert(Arc::clone(&entry.target), target.max_message_bytes);
        }
        Ok(())
    }

    /// What of the target topic is weak and not accepted.
    async fn examine(&mut self, entry: &PlanEntry) -> Result<Vec<super::weakness::Finding>, ClusterError> {
        let oldest = match self.max_message_bytes.contains_key(&entry.target) {
            true => Oldest::Nothing,
            false => self.oldest(entry).await?,
        };
        let target = self.sync.describe(&entry.target).await?;
        self.max_message_bytes.insert(Arc::clone(&entry.target), target.max_message_bytes);
        let source = match self.sync.source.topic_configs(&entry.source).await {
            Ok(configs) => Some(configs),
            Err(error) if error.is_authorization() => None,
            Err(error) => return Err(error),
        };
        let found = findings(&entry.target, &target.configs, source.as_ref(), &oldest);
        Ok(found.into_iter().filter(|it| !self.accepted.contains(&it.weakness)).collect())
    }

    async fn oldest(&self, entry: &PlanEntry) -> Result<Oldest, ClusterError> {
        let source = self.sync.source.metadata(Some(std::slice::from_ref(&entry.source))).await?;
        let target = self.sync.target.metadata(Some(std::slice::from_ref(&entry.target))).await?;
        let ends = Ends { source: self.sync.source.clone(), target: self.sync.target.clone() };
        let found = age::oldest(&ends, &source, &target, std::slice::from_ref(entry)).await;
        Ok(found.into_values().next().unwrap_or(Oldest::Unknown))
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
        for entry in self.plan.entries.values().cloned().collect::<Vec<_>>() {
            if !all && self.max_message_bytes.contains_key(&entry.target) {
                continue;
            }
            let is_known = self.max_message_bytes.contains_key(&entry.target);
            let weak = self.examine(&entry).await?;
            for finding in &weak {
                self.tell(format!("{finding}: accept it in delivery.accept_weak, or mend the target"));
            }
            // What is copied already is not stopped for it: the data is there, and the operator was told.
            if !weak.is_empty() && !is_known {
                self.max_message_bytes.remove(&entry.target);
            }
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
