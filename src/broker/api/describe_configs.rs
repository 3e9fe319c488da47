//! DescribeConfigs v1–4, of topics and brokers. Errors: 3, 17, 42.

use super::text;
use crate::broker::cluster::Cluster;
use crate::broker::configs::{Kind, STATIC_BROKER_CONFIG, describe};
use crate::broker::request::{Caller, Served};
use crate::broker::topics::is_valid_name;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
const TYPE_VERSION: i16 = 3;

impl Served for DescribeConfigsRequest {
    const OFFERED: (i16, i16) = (1, 4);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let results = self.resources.iter().map(|resource| {
            let described = cluster.describe_resource(resource, caller.version, self.include_synonyms);
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match described {
                Ok(configs) => result.with_configs(configs),
                Err(error) => result.with_error_code(error.code()).with_error_message(Some(text(&error.to_string()))),
            }
        });
        let response = DescribeConfigsResponse::default().with_results(results.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> DescribeConfigsResponse {
        let results = self.resources.iter().map(|resource| {
            DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(error.code())
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }
}

impl Cluster {
    fn describe_resource(
        &self,
        resource: &DescribeConfigsResource,
        version: i16,
        synonyms: bool,
    ) -> Result<Vec<DescribeConfigsResourceResult>, ResponseError> {
        let name = resource.resource_name.as_str();
        let wanted = |name: &str| {
            resource.configuration_keys.as_ref().is_none_or(|it| it.iter().any(|key| key.as_str() == name))
        };
        match resource.resource_type {
            TOPIC => {
                if !is_valid_name(name) {
                    return Err(ResponseError::InvalidTopicException);
                }
                let topic = self.topics.get(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
                let described = describe(&topic.overrides, &self.settings.topic_defaults)
                    .filter(|it| wanted(it.name))
                    .map(|it| line(it.name, it.value, it.source, it.kind, version, synonyms));
                Ok(described.collect())
            }
            BROKER => {
                let known = name.is_empty() || name.parse().is_ok_and(|id| self.nodes.contains_key(&id));
                if !known {
                    return Err(ResponseError::InvalidRequest);
                }
                let described = self.broker_configs().into_iter().filter(|(name, _, _)| wanted(name));
                let lines = described.map(|(name, value, kind)| {
                    line(name, &value, STATIC_BROKER_CONFIG, kind, version, synonyms).with_read_only(true)
                });
                Ok(lines.collect())
            }
            _ => Err(ResponseError::InvalidRequest),
        }
    }

    /// What clients look at before they trust a cluster.
    fn broker_configs(&self) -> Vec<(&'static str, String, Kind)> {
        let settings = &self.settings;
        let of = |name: &str, default: &str| {
            settings.topic_defaults.get(name).cloned().unwrap_or_else(|| default.to_owned())
        };
        vec![
            ("auto.create.topics.enable", settings.auto_create_topics.to_string(), Kind::Boolean),
            ("default.replication.factor", settings.default_replication_factor.to_string(), Kind::Int),
            ("message.max.bytes", of("max.message.bytes", "1048588"), Kind::Int),
            ("min.insync.replicas", of("min.insync.replicas", "1"), Kind::Int),
            ("num.partitions", settings.default_partitions.to_string(), Kind::Int),
            ("offsets.retention.minutes", (settings.offsets_retention_ms / 60_000).to_string(), Kind::Int),
            ("transaction.max.timeout.ms", settings.transaction_max_timeout_ms.to_string(), Kind::Int),
            ("unclean.leader.election.enable", of("unclean.leader.election.enable", "false"), Kind::Boolean),
        ]
    }
}

fn line(
    name: &str,
    value: &str,
    source: i8,
    kind: Kind,
    version: i16,
    synonyms: bool,
) -> DescribeConfigsResourceResult {
    let mut line = DescribeConfigsResourceResult::default()
        .with_name(text(name))
        .with_value(Some(text(value)))
        .with_config_source(source);
    if synonyms {
        let synonym = DescribeConfigsSynonym::default().with_name(text(name)).with_value(Some(text(value)));
        line.synonyms = vec![synonym.with_source(source)];
    }
    if version >= TYPE_VERSION {
        line.config_type = kind as i8;
    }
    line
}
