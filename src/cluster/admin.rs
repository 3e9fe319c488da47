//! Topics and their settings.

use super::{Cluster, ClusterError};
use crate::types::{NodeId, TopicName};
use crate::wire::Connection;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DescribeConfigsRequest, TopicName as WireName,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::sync::Arc;

const CREATE_TOPICS_VERSION_MAX: i16 = 7;
const CREATE_PARTITIONS_VERSION_MAX: i16 = 3;
const DESCRIBE_CONFIGS_VERSION_MAX: i16 = 4;
/// `ConfigResource.Type`
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// In one request: an answer about each is some kilobytes, and an answer's size has a limit.
const TOPICS_MAX: usize = 500;
const NOT_CONTROLLER: i16 = 41;

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

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic
        .configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))));
    CreatableTopic::default()
        .with_name(WireName(text(&topic.name)))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor.unwrap_or(-1))
        .with_configs(configs.collect())
}

fn described(kind: i8, name: &str) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(None)
}

/// A topic as it would be created, as far as the broker tells (DESCRIBE_CONFIGS is needed).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WouldBe {
    pub configs: Option<TopicConfigs>,
    pub replication_factor: Option<i16>,
}

impl Cluster {
    /// Gives the settings that the topic has, or would have: with `validate_only` nothing is created.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<Option<TopicConfigs>, ClusterError> {
        let created = self.create_topics(std::slice::from_ref(topic), validate_only).await?;
        created.into_values().next().unwrap_or(Ok(WouldBe::default())).map(|it| it.configs)
    }

    /// Every topic is in the answer; one that is refused does not hold up the others.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<BTreeMap<TopicName, Result<WouldBe, ClusterError>>, ClusterError> {
        let mut done = BTreeMap::new();
        for topics in topics.chunks(TOPICS_MAX) {
            let request = CreateTopicsRequest::default()
                .with_topics(topics.iter().map(creatable).collect())
                .with_timeout_ms(self.request_timeout_ms())
                .with_validate_only(validate_only);
            let answer = loop {
                let connection = self.controller().await?;
                let answer = self.ask(&connection, CREATE_TOPICS_VERSION_MAX, &request).await?;
                // ZooKeeper mode: the controller has moved. Metadata names the new one, and an election ends.
                let is_lost = answer.topics.iter().any(|it| it.error_code == NOT_CONTROLLER);
                if !is_lost || !self.controller_moved().await? {
                    break answer;
                }
            };
            let mut answers: BTreeMap<_, _> = answer.topics.into_iter().map(|it| (it.name.0.to_string(), it)).collect();
            for topic in topics {
                let result = answers.remove(&*topic.name).unwrap_or_default();
                let refused =
                    self.refused("CreateTopics", &topic.name, result.error_code, result.error_message.as_ref());
                let would_be = refused.map(|()| WouldBe {
                    replication_factor: Some(result.replication_factor).filter(|it| *it > 0),
                    configs: result.configs.filter(|_| result.topic_config_error_code == 0).map(|configs| {
                        configs
                            .into_iter()
                            .filter_map(|it| Some((it.name.to_string(), it.value?.to_string())))
                            .collect()
                    }),
                });
                done.insert(Arc::clone(&topic.name), would_be);
            }
        }
        Ok(done)
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

    pub async fn topic_configs(&self, topic: &str) -> Result<TopicConfigs, ClusterError> {
        let connection = self.any().await?;
        let described = self.describe_configs(&connection, vec![described(TOPIC, topic)]).await?;
        described.into_values().next().unwrap_or(Ok(TopicConfigs::new()))
    }

    /// Every topic is in the answer.
    pub async fn topics_configs(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, Result<TopicConfigs, ClusterError>>, ClusterError> {
        let mut found = BTreeMap::new();
        for topics in topics.chunks(TOPICS_MAX) {
            let connection = self.any().await?;
            let resources = topics.iter().map(|topic| described(TOPIC, topic)).collect();
            let mut answers = self.describe_configs(&connection, resources).await?;
            let of = |topic: &TopicName| answers.remove(&**topic).unwrap_or(Ok(TopicConfigs::new()));
            found.extend(topics.iter().cloned().zip(topics.iter().map(of).collect::<Vec<_>>()));
        }
        Ok(found)
    }

    /// A broker's own settings; only it knows them, and DESCRIBE_CONFIGS on the cluster is needed.
    pub async fn broker_configs(&self, connection: &Connection, node: NodeId) -> Result<TopicConfigs, ClusterError> {
        let described = self.describe_configs(connection, vec![described(BROKER, &node.to_string())]).await?;
        described.into_values().next().unwrap_or(Ok(TopicConfigs::new()))
    }

    /// By the resource's name.
    async fn describe_configs(
        &self,
        connection: &Connection,
        resources: Vec<DescribeConfigsResource>,
    ) -> Result<BTreeMap<String, Result<TopicConfigs, ClusterError>>, ClusterError> {
        let request = DescribeConfigsRequest::default().with_resources(resources);
        let answer = self.ask(connection, DESCRIBE_CONFIGS_VERSION_MAX, &request).await?;
        let results = answer.results.into_iter().map(|result| {
            let name = result.resource_name.to_string();
            let refused = self.refused("DescribeConfigs", &name, result.error_code, result.error_message.as_ref());
            let configs = result.configs.into_iter();
            let configs = configs.filter_map(|it| Some((it.name.to_string(), it.value?.to_string())));
            (name, refused.map(|()| configs.collect()))
        });
        Ok(results.collect())
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
