//! Makes the target's topics what the plan needs: created as they are at the source, grown when they grow.

use super::plan::{Plan, PlanEntry};
use crate::cluster::{Cluster, ClusterError, Metadata, NewTopic, TopicConfigs};
use crate::config::LogAppendTime;
use crate::types::TopicName;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Settings that make a copy behave as its original. The others say how a cluster works, not what a topic is.
const COPIED: [&str; 11] = [
    "cleanup.policy",
    "retention.ms",
    "retention.bytes",
    "max.message.bytes",
    TIMESTAMP_TYPE,
    "segment.bytes",
    "segment.ms",
    "segment.index.bytes",
    "segment.jitter.ms",
    "min.compaction.lag.ms",
    "delete.retention.ms",
];
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
/// Kafka's default, where the broker does not tell (the right DESCRIBE_CONFIGS is missing).
const MAX_MESSAGE_BYTES_DEFAULT: usize = 1_048_588;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;

/// A target topic as the copy finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTopic {
    pub max_message_bytes: usize,
    pub configs: TopicConfigs,
}

impl TargetTopic {
    fn of(configs: TopicConfigs) -> Self {
        let max_message_bytes = configs.get("max.message.bytes").and_then(|it| it.parse().ok());
        Self { max_message_bytes: max_message_bytes.unwrap_or(MAX_MESSAGE_BYTES_DEFAULT), configs }
    }
}

/// What `sync` did, or what `check` says that it would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Create(NewTopic),
    Grow { topic: TopicName, from: i32, to: i32 },
}

pub struct TopicSync {
    pub source: Cluster,
    pub target: Cluster,
    pub replication_factor: Option<i16>,
    pub log_append_time: LogAppendTime,
}

impl TopicSync {
    /// What is missing at the target for this topic. Changes nothing.
    pub async fn missing(&self, entry: &PlanEntry, target: &Metadata) -> Result<Option<Step>, ClusterError> {
        let found = target.topics.get(&entry.target).map_or(0, |it| it.partitions.len());
        let found = i32::try_from(found).unwrap_or(i32::MAX);
        if found >= entry.partitions {
            return Ok(None);
        }
        if found > 0 {
            let topic = Arc::clone(&entry.target);
            return Ok(Some(Step::Grow { topic, from: found, to: entry.partitions }));
        }
        let mut topic = NewTopic {
            name: Arc::clone(&entry.target),
            partitions: entry.partitions,
            replication_factor: self.replication_factor,
            configs: BTreeMap::new(),
        };
        let source = match self.source.topic_configs(&entry.source).await {
            Ok(configs) => configs,
            // Settings are worth less than the data: the topic is copied all the same.
            Err(error) if error.is_authorization() => {
                tracing::warn!(topic = %entry.source, %error, "the copy gets the target's default settings");
                TopicConfigs::new()
            }
            Err(error) => return Err(error),
        };
        let defaults = match self.target.create_topic(&topic, true).await {
            // Made a moment ago: the controller knows it before every broker does.
            Err(error) if error.code() == Some(TOPIC_ALREADY_EXISTS) => return Ok(None),
            defaults => defaults?,
        };
        topic.configs = self.configs(&source, defaults.as_ref());
        Ok(Some(Step::Create(topic)))
    }

    fn configs(&self, source: &TopicConfigs, defaults: Option<&TopicConfigs>) -> BTreeMap<String, String> {
        let mut wanted: BTreeMap<String, String> =
            COPIED.iter().filter_map(|name| Some(((*name).to_owned(), source.get(*name)?.clone()))).collect();
        // The broker would put its own time over the source's.
        if self.log_append_time == LogAppendTime::Keep {
            wanted.insert(TIMESTAMP_TYPE.to_owned(), "CreateTime".to_owned());
        }
        wanted.retain(|name, value| defaults.is_none_or(|defaults| defaults.get(name) != Some(value)));
        wanted
    }

    pub async fn apply(&self, step: &Step) -> Result<(), ClusterError> {
        let (done, already) = match step {
            Step::Create(topic) => (self.target.create_topic(topic, false).await.map(|_| ()), TOPIC_ALREADY_EXISTS),
            Step::Grow { topic, to, .. } => (self.target.create_partitions(topic, *to).await, INVALID_PARTITIONS),
        };
        match done {
            // Another process was faster.
            Err(error) if error.code() == Some(already) => Ok(()),
            other => other,
        }
    }

    /// The target topics that can be described; the others with the reason. A missing right hides the settings, no more.
    pub async fn describe(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, Result<TargetTopic, ClusterError>>, ClusterError> {
        let found = self.target.topics_configs(topics).await?.into_iter().map(|(topic, configs)| {
            let configs = match configs {
                Err(error) if error.is_authorization() => Ok(TopicConfigs::new()),
                other => other,
            };
            (topic, configs.map(TargetTopic::of))
        });
        Ok(found.collect())
    }

    /// Brings every topic of the plan about; a topic that fails is told, and does not hold up the others.
    pub async fn sync(&self, plan: &Plan, target: &Metadata) -> Vec<(TopicName, ClusterError)> {
        let mut failed = Vec::new();
        for entry in plan.entries.values() {
            let step = match self.missing(entry, target).await {
                Ok(Some(step)) => step,
                Ok(None) => continue,
                Err(error) => {
                    failed.push((Arc::clone(&entry.source), error));
                    continue;
                }
            };
            match (self.apply(&step).await, &step) {
                (Err(error), _) => failed.push((Arc::clone(&entry.source), error)),
                (Ok(()), Step::Create(topic)) => {
                    tracing::info!(topic = %topic.name, partitions = topic.partitions, configs = ?topic.configs, "created at the target");
                }
                (Ok(()), Step::Grow { topic, from, to }) => {
                    tracing::info!(%topic, from, to, "partitions added at the target");
                }
            }
        }
        failed
    }
}
