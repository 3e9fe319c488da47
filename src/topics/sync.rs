//! Makes the target's topics what the plan needs: created as they are at the source, grown when they grow.

use super::plan::PlanEntry;
use crate::clock;
use crate::cluster::{Cluster, ClusterError, Metadata, NewTopic, TopicConfigs, TopicMetadata};
use crate::types::TopicName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Settings that make a copy behave as its original. The others say how a cluster works, not what a topic is.
const COPIED: [&str; 10] = [
    "cleanup.policy",
    "retention.ms",
    "retention.bytes",
    "max.message.bytes",
    "segment.bytes",
    "segment.ms",
    "segment.index.bytes",
    "segment.jitter.ms",
    "min.compaction.lag.ms",
    "delete.retention.ms",
];
/// How a log is cut into files. Some values of old brokers are refused by new ones (KIP-1030: `segment.bytes` below 1 MB),
/// and for that no topic is left out.
const EXPENDABLE: &str = "segment.";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
/// Whatever the source's is: a LogAppendTime target would put its own time over the one that is copied, be that the
/// append time or the producer's.
const CREATE_TIME: &str = "CreateTime";
/// Kafka's default, where the broker does not tell (the right DESCRIBE_CONFIGS is missing).
pub const MAX_MESSAGE_BYTES_DEFAULT: usize = 1_048_588;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_CONFIG: i16 = 40;
/// Between two looks at what a broker is about to know.
const POLL: Duration = Duration::from_millis(50);

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
            // Another process was faster, or the controller knows what was made a moment ago before every broker does.
            Err(error) if error.code() == Some(TOPIC_ALREADY_EXISTS) => return Ok(None),
            defaults => defaults?,
        };
        topic.configs = configs(&source, defaults.as_ref());
        self.leave_out_refused(&mut topic).await?;
        Ok(Some(Step::Create(topic)))
    }

    async fn leave_out_refused(&self, topic: &mut NewTopic) -> Result<(), ClusterError> {
        let is_refused = async |topic: &NewTopic| match self.target.create_topic(topic, true).await {
            Err(error) if error.code() == Some(INVALID_CONFIG) => Ok(Some(error)),
            other => other.map(|_| None),
        };
        if topic.configs.is_empty() || is_refused(topic).await?.is_none() {
            return Ok(());
        }
        for (name, value) in topic.configs.clone() {
            let alone = NewTopic { configs: BTreeMap::from([(name.clone(), value)]), ..topic.clone() };
            if name.starts_with(EXPENDABLE)
                && let Some(error) = is_refused(&alone).await?
            {
                tracing::warn!(topic = %topic.name, setting = name, %error, "the copy gets the target's default");
                topic.configs.remove(&name);
            }
        }
        Ok(())
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

    /// Brings these topics about; one that fails is told, and does not hold up the others. Gives the target as it is then.
    pub async fn sync<'a>(
        &self,
        entries: impl Iterator<Item = &'a PlanEntry>,
        mut target: Metadata,
    ) -> Result<(Metadata, Vec<(TopicName, ClusterError)>), ClusterError> {
        let (mut failed, mut changed) = (Vec::new(), BTreeMap::new());
        for entry in entries {
            let step = match self.missing(entry, &target).await {
                Ok(Some(step)) => step,
                Ok(None) => continue,
                Err(error) => {
                    failed.push((Arc::clone(&entry.source), error));
                    continue;
                }
            };
            match (self.apply(&step).await, &step) {
                (Err(error), _) => {
                    failed.push((Arc::clone(&entry.source), error));
                    continue;
                }
                (Ok(()), Step::Create(topic)) => {
                    tracing::info!(topic = %topic.name, partitions = topic.partitions, configs = ?topic.configs, "created at the target");
                }
                (Ok(()), Step::Grow { topic, from, to }) => {
                    tracing::info!(%topic, from, to, "partitions added at the target");
                }
            }
            changed.insert(Arc::clone(&entry.target), entry.partitions);
        }
        if !changed.is_empty() {
            target.topics.extend(self.settled(&changed).await?);
        }
        Ok((target, failed))
    }

    /// What was created is asked of a broker that may hear of it only later.
    async fn settled(
        &self,
        wanted: &BTreeMap<TopicName, i32>,
    ) -> Result<BTreeMap<TopicName, TopicMetadata>, ClusterError> {
        let names: Vec<_> = wanted.keys().cloned().collect();
        let began = clock::now();
        loop {
            let metadata = self.target.metadata(Some(&names)).await?;
            let is_there = |(name, partitions): (&TopicName, &i32)| {
                let found = metadata.topics.get(name).map(|it| &it.partitions);
                found.is_some_and(|it| {
                    i32::try_from(it.len()).is_ok_and(|count| count >= *partitions)
                        && it.values().all(|it| it.leader.is_some())
                })
            };
            // Later than that its absence is somebody else's to tell: a lane waits for its leader.
            if wanted.iter().all(is_there) || clock::now() - began >= self.target.request_timeout() {
                return Ok(metadata.topics);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn configs(source: &TopicConfigs, defaults: Option<&TopicConfigs>) -> BTreeMap<String, String> {
    let mut wanted: BTreeMap<String, String> =
        COPIED.iter().filter_map(|name| Some(((*name).to_owned(), source.get(*name)?.clone()))).collect();
    wanted.insert(TIMESTAMP_TYPE.to_owned(), CREATE_TIME.to_owned());
    wanted.retain(|name, value| defaults.is_none_or(|defaults| defaults.get(name) != Some(value)));
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> TopicConfigs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_what_differs_from_the_defaults_is_set() {
        let source = map(&[
            ("cleanup.policy", "compact"),
            ("retention.ms", "1000"),
            ("segment.ms", "7"),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.insync.replicas", "3"),
        ]);
        let defaults = map(&[
            ("cleanup.policy", "delete"),
            ("retention.ms", "1000"),
            ("segment.ms", "8"),
            ("message.timestamp.type", "CreateTime"),
        ]);
        let expected = map(&[("cleanup.policy", "compact"), ("segment.ms", "7")]);
        assert_eq!(configs(&source, Some(&defaults)), expected);
        let stamped = map(&[("message.timestamp.type", "LogAppendTime")]);
        assert_eq!(configs(&TopicConfigs::new(), Some(&stamped)), map(&[("message.timestamp.type", "CreateTime")]));
        assert_eq!(configs(&source, None).len(), 4, "where the target does not tell, everything is set");
    }
}
