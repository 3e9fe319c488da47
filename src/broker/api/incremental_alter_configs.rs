//! IncrementalAlterConfigs v0–1, of topics. Errors: 3, 40, 42.

use super::describe_configs::TOPIC;
use super::text;
use crate::broker::cluster::Cluster;
use crate::broker::configs::{Kind, Overrides, TopicConfig, default_of};
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

impl Served for IncrementalAlterConfigsRequest {
    const OFFERED: (i16, i16) = (0, 1);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let responses = self.resources.iter().map(|resource| {
            let altered = cluster.alter(resource, self.validate_only);
            let response = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match altered {
                Ok(()) => response,
                Err((error, message)) => {
                    response.with_error_code(error.code()).with_error_message(Some(text(&message)))
                }
            }
        });
        let response = IncrementalAlterConfigsResponse::default().with_responses(responses.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> IncrementalAlterConfigsResponse {
        let responses = self.resources.iter().map(|resource| {
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(error.code())
        });
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    }
}

impl Cluster {
    fn alter(&mut self, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), (ResponseError, String)> {
        if resource.resource_type != TOPIC {
            return Err((ResponseError::InvalidRequest, "Only configs of topics can be altered here".to_owned()));
        }
        let name = resource.resource_name.as_str();
        let Some(topic) = self.topics.get(name) else {
            let message = format!("The topic '{name}' does not exist.");
            return Err((ResponseError::UnknownTopicOrPartition, message));
        };
        let mut overrides = topic.overrides.clone();
        for config in &resource.configs {
            apply(&mut overrides, config)?;
        }
        TopicConfig::of(&overrides).map_err(|it| (ResponseError::InvalidConfig, it.0))?;
        if !validate_only {
            self.configure_topic(name, overrides);
        }
        Ok(())
    }
}

fn apply(overrides: &mut Overrides, config: &AlterableConfig) -> Result<(), (ResponseError, String)> {
    let name = config.name.to_string();
    let Some((default, kind)) = default_of(&name) else {
        return Err((ResponseError::InvalidConfig, format!("Unknown topic config name: {name}")));
    };
    let value = config.value.as_ref().map(ToString::to_string);
    match config.config_operation {
        DELETE => drop(overrides.remove(&name)),
        SET => {
            let message = || (ResponseError::InvalidRequest, format!("Null value not supported for : {name}"));
            let value = value.ok_or_else(message)?;
            overrides.insert(name, value);
        }
        APPEND | SUBTRACT if kind == Kind::List => {
            let current = overrides.get(&name).map_or(default, String::as_str);
            let mut entries: Vec<String> = current.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect();
            let given = value.unwrap_or_default();
            for entry in given.split(',') {
                entries.retain(|it| it != entry);
                if config.config_operation == APPEND {
                    entries.push(entry.to_owned());
                }
            }
            overrides.insert(name, entries.join(","));
        }
        _ => return Err((ResponseError::InvalidConfig, format!("The operation is not allowed for config: {name}"))),
    }
    Ok(())
}
