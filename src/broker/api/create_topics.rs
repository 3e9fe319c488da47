//! CreateTopics v2–7. Errors: 17, 36, 37, 38, 39, 40, 42, 44.

use super::text;
use crate::broker::cluster::Cluster;
use crate::broker::configs::{Overrides, TopicConfig, describe};
use crate::broker::request::{Caller, Served};
use crate::broker::topics::{NewTopic, is_valid_name};
use crate::types::NodeId;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use std::collections::BTreeMap;

const DETAILS_VERSION: i16 = 5;
const ID_VERSION: i16 = 7;

/// An error with what Kafka says beside it.
type Refusal = (ResponseError, String);

impl Served for CreateTopicsRequest {
    const OFFERED: (i16, i16) = (2, 7);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in &self.topics {
            *counts.entry(topic.name.as_str()).or_default() += 1;
        }
        let mut named = std::collections::BTreeSet::new();
        // A name that comes twice is refused once.
        let results = self.topics.iter().filter(|it| named.insert(it.name.clone())).map(|topic| {
            let created = if counts.get(topic.name.as_str()) == Some(&1) {
                cluster.create(topic, self.validate_only)
            } else {
                Err((ResponseError::InvalidRequest, "Duplicate topic name.".to_owned()))
            };
            match created {
                Ok((new, replication_factor)) => {
                    described(topic, &new, &cluster.settings.topic_defaults, replication_factor, caller.version)
                }
                Err((error, message)) => CreatableTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_error_code(error.code())
                    .with_error_message(Some(text(&message))),
            }
        });
        let response = CreateTopicsResponse::default().with_topics(results.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> CreateTopicsResponse {
        let results = self
            .topics
            .iter()
            .map(|topic| CreatableTopicResult::default().with_name(topic.name.clone()).with_error_code(error.code()));
        CreateTopicsResponse::default().with_topics(results.collect())
    }
}

fn described(
    topic: &CreatableTopic,
    new: &NewTopic,
    defaults: &Overrides,
    replication_factor: i16,
    version: i16,
) -> CreatableTopicResult {
    let mut result = CreatableTopicResult::default().with_name(topic.name.clone());
    if version >= ID_VERSION {
        result.topic_id = new.id;
    }
    if version >= DETAILS_VERSION {
        let configs = describe(&new.overrides, defaults).map(|it| {
            CreatableTopicConfigs::default()
                .with_name(text(it.name))
                .with_value(Some(text(it.value)))
                .with_config_source(it.source)
        });
        result.configs = Some(configs.collect());
        result.num_partitions = i32::try_from(new.replicas.len()).unwrap_or(i32::MAX);
        result.replication_factor = replication_factor;
    }
    result
}

impl Cluster {
    fn create(&mut self, topic: &CreatableTopic, validate_only: bool) -> Result<(NewTopic, i16), Refusal> {
        let name = topic.name.to_string();
        if !is_valid_name(&name) {
            return Err((ResponseError::InvalidTopicException, "The topic name is not valid.".to_owned()));
        }
        if self.topics.get(&name).is_some() {
            return Err((ResponseError::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
        }
        let configs = topic.configs.iter();
        let overrides: Overrides = configs
            .map(|it| (it.name.to_string(), it.value.as_ref().map(ToString::to_string).unwrap_or_default()))
            .collect();
        TopicConfig::of(&overrides).map_err(|it| (ResponseError::InvalidConfig, it.0))?;
        let replicas = if topic.assignments.is_empty() {
            let partitions = match topic.num_partitions {
                -1 => self.settings.default_partitions,
                given => given,
            };
            let replication_factor = match topic.replication_factor {
                -1 => self.settings.default_replication_factor,
                given => given,
            };
            let alive = self.alive();
            self.topics.assign(partitions, replication_factor, &alive).map_err(|it| (it, it.to_string()))?
        } else if topic.num_partitions != -1 || topic.replication_factor != -1 {
            let message = "Both partition numbers and assignments are given.".to_owned();
            return Err((ResponseError::InvalidRequest, message));
        } else {
            self.assigned(topic)?
        };
        let replication_factor = i16::try_from(replicas.first().map_or(0, Vec::len)).unwrap_or(i16::MAX);
        let id = self.new_uuid();
        let new = NewTopic { name, id, replicas, overrides };
        if !validate_only {
            self.add_topic(new.clone())?;
        }
        Ok((new, replication_factor))
    }

    fn assigned(&self, topic: &CreatableTopic) -> Result<Vec<Vec<NodeId>>, Refusal> {
        let wrong = || (ResponseError::InvalidReplicaAssignment, "The assignment is not valid.".to_owned());
        let by_index: BTreeMap<i32, Vec<NodeId>> = topic
            .assignments
            .iter()
            .map(|it| (it.partition_index, it.broker_ids.iter().map(|id| id.0).collect()))
            .collect();
        let in_order = by_index.keys().copied().eq(0..i32::try_from(topic.assignments.len()).unwrap_or(0));
        let known = |it: &Vec<NodeId>| !it.is_empty() && it.iter().all(|id| self.nodes.contains_key(id));
        if in_order && by_index.values().all(known) { Ok(by_index.into_values().collect()) } else { Err(wrong()) }
    }
}
