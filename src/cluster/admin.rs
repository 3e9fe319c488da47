//! Topics and their settings.

use super::{Cluster, ClusterError};
use crate::types::TopicName;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DescribeConfigsRequest, TopicName as WireName,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;

const CREATE_TOPICS_VERSION_MAX: i16 = 7;
const CREATE_PARTITIONS_VERSION_MAX: i16 = 3;
const DESCRIBE_CONFIGS_VERSION_MAX: i16 = 4;
/// `ConfigResource.Type`
const TOPIC: i8 = 2;
const NOT_CONTROLLER: i16 = 41;
/// Some forty settings each: an answer of a few megabytes.
const DESCRIBED_TOPICS_MAX: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: TopicName,
    pub partitions: i32,
    /// None: the cluster's default.
    pub replication_factor: Option<i16>,
    pub configs: BTreeMap<String, String>,
}

/// A topic's settings with their effective values; none where the broker does not tell (a right is missing).
pub type TopicConfigs = BTreeMap<String, String>;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Cluster {
    /// Gives the settings that the topic has, or would have: with `validate_only` nothing is created.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<Option<TopicConfigs>, ClusterError> {
        let configs = topic
            .configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))));
        let wanted = CreatableTopic::default()
            .with_name(WireName(text(&topic.name)))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication_factor.unwrap_or(-1))
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(self.request_timeout_ms())
            .with_validate_only(validate_only);
        let answer = loop {
            let connection = self.controller().await?;
            let answer = self.ask(&connection, CREATE_TOPICS_VERSION_MAX, &request).await?;
            let result = answer.topics.into_iter().next().unwrap_or_default();
            // ZooKeeper mode: the controller has moved. Metadata names the new one, and an election ends.
            if result.error_code != NOT_CONTROLLER || !self.controller_moved().await? {
                break result;
            }
        };
        self.refused("CreateTopics", &topic.name, answer.error_code, answer.error_message.as_ref())?;
        Ok(answer.configs.filter(|_| answer.topic_config_error_code == 0).map(|configs| {
            configs.into_iter().filter_map(|it| Some((it.name.to_string(), it.value?.to_string()))).collect()
        }))
    }

    /// `count`: of all partitions, the old ones included.
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<(), ClusterError> {
        let wanted =
            CreatePartitionsTopic::default().with_name(WireName(text(topic))).with_count(count).with_assignments(None);
        let request =
            CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(self.request_timeout_ms());
        let connection = self.controller().await?;
        let answer = self.ask(&connection, CREATE_PARTITIONS_VERSION_MAX, &request).await?;
        let result = answer.results.into_iter().next().unwrap_or_default();
        self.refused("CreatePartitions", topic, result.error_code, result.error_message.as_ref())
    }

    pub async fn topic_configs(&self, topic: &TopicName) -> Result<TopicConfigs, ClusterError> {
        let mut found = self.topics_configs(std::slice::from_ref(topic)).await?;
        found.remove(topic).unwrap_or_else(|| Err(self.unanswered()))
    }

    /// Of many topics in few requests: one by one, a thousand of them would take a start several seconds.
    pub async fn topics_configs(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, Result<TopicConfigs, ClusterError>>, ClusterError> {
        let mut found: BTreeMap<_, _> =
            topics.iter().map(|topic| (TopicName::clone(topic), Err(self.unanswered()))).collect();
        let connection = self.any().await?;
        for topics in topics.chunks(DESCRIBED_TOPICS_MAX) {
            let resource = |topic: &TopicName| {
                DescribeConfigsResource::default()
                    .with_resource_type(TOPIC)
                    .with_resource_name(text(topic))
                    .with_configuration_keys(None)
            };
            let request = DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect());
            let answer = self.ask(&connection, DESCRIBE_CONFIGS_VERSION_MAX, &request).await?;
            for result in answer.results {
                let Some(slot) = found.get_mut(result.resource_name.as_str()) else { continue };
                let code = self.refused(
                    "DescribeConfigs",
                    &result.resource_name,
                    result.error_code,
                    result.error_message.as_ref(),
                );
                let configs = result.configs.into_iter();
                *slot = code
                    .map(|()| configs.filter_map(|it| Some((it.name.to_string(), it.value?.to_string()))).collect());
            }
        }
        Ok(found)
    }

    /// For a topic that an answer leaves out (UNKNOWN_SERVER_ERROR).
    fn unanswered(&self) -> ClusterError {
        ClusterError::Answered { end: self.end(), api: "DescribeConfigs", code: -1 }
    }

    fn request_timeout_ms(&self) -> i32 {
        i32::try_from(self.request_timeout().as_millis()).unwrap_or(i32::MAX)
    }

    fn refused(
        &self,
        api: &'static str,
        what: &str,
        code: i16,
        message: Option<&StrBytes>,
    ) -> Result<(), ClusterError> {
        if code == 0 {
            return Ok(());
        }
        let message = message.map(ToString::to_string).unwrap_or_default();
        Err(ClusterError::Refused { end: self.end(), api, what: what.to_owned(), code, message })
    }
}
