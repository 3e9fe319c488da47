//! Follows the source's topics: makes the plan, brings the target's topics about, and gives every lane its partitions.

use super::age::{self, Oldest};
use super::ends::Ends;
use super::error::RunError;
use super::lane::Route;
use super::weakness::{Finding, findings};
use super::worker::Routes;
use crate::cluster::{ClusterError, Keeper, Metadata};
use crate::config::{Config, Start, Weakness};
use crate::latest::Publisher;
use crate::ledger;
use crate::source::StartAt;
use crate::topics::TopicSync;
use crate::topics::plan::{self, Plan, PlanEntry, TopicRules};
use crate::types::{TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use uuid::Uuid;

/// New topics are to be copied within five seconds: this, and the creation of the topic.
pub(super) const DISCOVERY_INTERVAL: Duration = Duration::from_secs(2);
const _: () = assert!(2 * DISCOVERY_INTERVAL.as_millis() < 5_000);
/// The target's settings of topics that are copied already are looked at again so often.
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(60);
/// Then everything is told once more: what is wrong with topics that come and go must not fill the memory.
const TOLD_MAX: usize = 1_000;

pub struct Planner {
    rules: TopicRules,
    ends: Ends,
    sync: TopicSync,
    lanes: NonZeroU32,
    accepted: BTreeSet<Weakness>,
    ledger_topic: TopicName,
    /// None: no topic is checked.
    dead_letter_topic: Option<TopicName>,
    group_id: String,
    plan: Plan,
    /// Partitions of each topic when the link began: what comes later is copied from its first record.
    initial: BTreeMap<TopicName, i32>,
    max_message_bytes: BTreeMap<TopicName, usize>,
    /// Of the target's topics, as they were seen last.
    target_ids: BTreeMap<TopicName, Uuid>,
    /// Something could not be brought about, and is tried again.
    is_behind: bool,
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
            ends: ends.clone(),
            sync: TopicSync {
                source: ends.source.clone(),
                target: ends.target.clone(),
                replication_factor: config.target.replication_factor,
            },
            lanes: config.delivery.lanes,
            accepted: config.delivery.accept_weak.clone(),
            ledger_topic: config.link.ledger_topic().as_str().into(),
            dead_letter_topic: (!ends.checks.is_empty()).then(|| config.dead_letter_topic().as_str().into()),
            group_id: config.link.group_id().into(),
            plan: Plan::default(),
            initial: BTreeMap::new(),
            max_message_bytes: BTreeMap::new(),
            target_ids: BTreeMap::new(),
            is_behind: false,
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
        self.initial = topics;
        if self.plan.entries.values().any(|it| it.start != Start::Earliest) {
            self.recall(&source.cluster_id).await;
        }
        let (target, failed) = self.sync.sync(self.plan.entries.values(), target.clone()).await?;
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(error.into());
        }
        self.note(&target);
        // Whether they are weak, the survey has judged.
        for (topic, found) in self.sync.describe(&self.target_names()).await? {
            self.max_message_bytes.insert(topic, found?.max_message_bytes);
        }
        Ok(())
    }

    /// Partitions that were added while no bridge ran came later too: a topic of which the ledger knows some partitions began
    /// with those. A lane that cannot be read says so itself when it is taken.
    async fn recall(&mut self, cluster_id: &str) {
        let ledgers = ledger::survey(&self.sync.target, &self.ledger_topic, self.lanes, &self.group_id).await;
        let mut known: BTreeMap<TopicName, i32> = BTreeMap::new();
        for ledger in ledgers.iter().flatten() {
            for key in ledger.positions().keys().filter(|it| &*it.cluster_id == cluster_id) {
                let count = known.entry(Arc::clone(&key.topic)).or_default();
                *count = key.partition.saturating_add(1).max(*count);
            }
        }
        self.initial.extend(known);
    }

    fn target_names(&self) -> Vec<TopicName> {
        self.plan.entries.values().map(|it| Arc::clone(&it.target)).collect()
    }

    /// What of the target's topics is weak and not accepted. A topic that cannot be described does not hold up the others.
    async fn examine(&mut self, entries: &[PlanEntry]) -> Result<Examined, ClusterError> {
        let names = |of: fn(&PlanEntry) -> &TopicName| entries.iter().map(|it| Arc::clone(of(it))).collect::<Vec<_>>();
        let ages = self.ages(entries).await?;
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
                    let oldest = ages.get(&entry.source).unwrap_or(&Oldest::Nothing);
                    let found = findings(&entry.target, &found.configs, of_source.as_ref(), oldest);
                    examined.weak.extend(found.into_iter().filter(|it| !self.accepted.contains(&it.weakness)));
                }
                Some(Err(error)) => examined.failed.push((Arc::clone(&entry.target), error)),
                None => {}
            }
        }
        Ok(examined)
    }

    /// Of topics that are not copied yet.
    async fn ages(&self, entries: &[PlanEntry]) -> Result<BTreeMap<TopicName, Oldest>, ClusterError> {
        let is_new = |it: &&PlanEntry| !self.max_message_bytes.contains_key(&it.target);
        let new: Vec<_> = entries.iter().filter(is_new).cloned().collect();
        let names = |of: fn(&PlanEntry) -> &TopicName| new.iter().map(|it| Arc::clone(of(it))).collect::<Vec<_>>();
        let source = self.sync.source.metadata(Some(&names(|it| &it.source))).await?;
        let target = self.sync.target.metadata(Some(&names(|it| &it.target))).await?;
        Ok(age::oldest(&self.ends, &source, &target, &new).await)
    }

    /// What the target's keeper has to follow.
    pub(super) fn target_topics(&self) -> Vec<TopicName> {
        let copied = self.plan.entries.values().map(|it| Arc::clone(&it.target));
        copied.chain([Arc::clone(&self.ledger_topic)]).chain(self.dead_letter_topic.clone()).collect()
    }

    pub(super) fn routes(&self, source: &Metadata) -> Routes {
        let mut routes: Routes = (0..self.lanes.get()).map(|lane| (lane, BTreeMap::new())).collect();
        for entry in self.plan.entries.values() {
            // Refused for a weakness, or not described yet.
            let Some(max_message_bytes) = self.max_message_bytes.get(&entry.target) else { continue };
            let topic_id = source.topics.get(&entry.source).map(|it| it.topic_id).unwrap_or_default();
            let known = self.initial.get(&entry.source).copied().unwrap_or(0);
            let check = self.ends.checks.of(entry.rule, &entry.source).map(Arc::new);
            for partition in 0..entry.partitions {
                let start = if partition < known { start(entry.start) } else { StartAt::Earliest };
                let route = Route {
                    target: TopicPartition::new(Arc::clone(&entry.target), partition),
                    topic_id,
                    target_topic_id: self.target_ids.get(&entry.target).copied().unwrap_or_default(),
                    start,
                    max_message_bytes: *max_message_bytes,
                    check: check.clone(),
                };
                let lane = plan::lane(&entry.source, partition, self.lanes);
                let of_lane = routes.entry(lane).or_default();
                of_lane.insert(TopicPartition::new(Arc::clone(&entry.source), partition), route);
            }
        }
        routes
    }

    /// Follows both ends.
    pub(super) async fn follow(mut self, source: Keeper, target: Keeper, publisher: Publisher<Arc<Routes>>) {
        let (mut at_source, mut at_target) = (source.watch(), target.watch());
        let mut metadata = at_source.now();
        let mut described = tokio::time::interval(DESCRIBE_INTERVAL);
        described.tick().await;
        loop {
            let is_due = tokio::select! {
                biased;
                _ = described.tick() => true,
                Some(seen) = at_source.changed() => {
                    metadata = seen;
                    false
                }
                Some(seen) = at_target.changed() => {
                    self.note(&seen);
                    false
                }
            };
            let is_new = self.replan(&metadata);
            if is_new || is_due || self.is_behind {
                let done = self.bring_about(is_due).await;
                self.is_behind = !matches!(done, Ok(true));
                if let Err(error) = done {
                    tracing::warn!(%error, "the target's topics are not as they should be yet");
                }
                target.follow(self.target_topics());
            }
            publisher.publish_if_other(Arc::new(self.routes(&metadata)));
        }
    }

    /// True when something is to be brought about.
    fn replan(&mut self, source: &Metadata) -> bool {
        let (plan, refused) = self.plan.follow(&self.rules, &topics_of(source));
        for error in refused {
            self.tell(error.to_string());
        }
        for gone in self.plan.entries.keys().filter(|it| !plan.entries.contains_key(*it)) {
            tracing::warn!(topic = %gone, "the source's topic is gone: what was not read of it is not copied");
        }
        let is_new = plan.entries != self.plan.entries;
        self.plan = plan;
        is_new
    }

    /// A topic that is missing in one answer may be there in the next; its id stays known, and another id tells that it was
    /// made anew.
    fn note(&mut self, target: &Metadata) {
        for name in self.plan.entries.values().map(|it| &it.target) {
            if let Some(topic) = target.topics.get(name).filter(|it| !it.topic_id.is_nil()) {
                self.target_ids.insert(Arc::clone(name), topic.topic_id);
            }
        }
    }

    /// False when some topic has to wait.
    async fn bring_about(&mut self, all: bool) -> Result<bool, ClusterError> {
        let target = self.sync.target.metadata(Some(&self.target_names())).await?;
        let (made, missing): (Vec<_>, Vec<_>) = self.plan.entries.values().cloned().partition(|it| {
            target.topics.get(&it.target).is_some_and(|topic| !topic.partitions.is_empty())
                || !self.target_ids.contains_key(&it.target)
        });
        // Made anew it would go on in the middle, as if what was copied were still there.
        for gone in missing {
            self.tell(format!("{} is gone at the target, and with it what was copied of {}", gone.target, gone.source));
        }
        let (target, failed) = self.sync.sync(made.iter(), target).await?;
        self.note(&target);
        let mut is_whole = failed.is_empty();
        for (topic, error) in failed {
            self.tell(format!("the copy of {topic} cannot be made yet: {error}"));
        }
        let is_known = |planner: &Self, topic: &TopicName| planner.max_message_bytes.contains_key(topic);
        let due: Vec<_> = made.into_iter().filter(|it| all || !is_known(self, &it.target)).collect();
        let unknown: BTreeSet<_> =
            due.iter().map(|it| Arc::clone(&it.target)).filter(|it| !is_known(self, it)).collect();
        let examined = self.examine(&due).await?;
        for (topic, error) in examined.failed {
            tracing::warn!(%topic, %error, "its settings are not known yet");
            is_whole = false;
        }
        for finding in examined.weak {
            // What is copied already is not stopped for it: the data is there, and the operator was told.
            if unknown.contains(&finding.topic) {
                self.max_message_bytes.remove(&finding.topic);
                is_whole = false;
            }
            self.tell(format!("{finding}: accept it in delivery.accept_weak, or mend the target"));
        }
        Ok(is_whole)
    }

    fn tell(&mut self, problem: String) {
        if !self.told.contains(&problem) {
            tracing::error!("{problem}");
            if self.told.len() >= TOLD_MAX {
                self.told.clear();
            }
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
