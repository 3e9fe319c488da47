//! CreatePartitions v0–3. Errors: 3, 37, 39, 44.

use super::text;
use crate::broker::cluster::Cluster;
use crate::broker::request::{Caller, Served};
use crate::types::NodeId;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

impl Served for CreatePartitionsRequest {
    const OFFERED: (i16, i16) = (0, 3);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let results = self.topics.iter().map(|topic| {
            let grown = cluster.grow(topic, self.validate_only);
            let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
            match grown {
                Ok(()) => result,
                Err(error) => result.with_error_code(error.code()).with_error_message(Some(text(&error.to_string()))),
            }
        });
        let response = CreatePartitionsResponse::default().with_results(results.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> CreatePartitionsResponse {
        let results = self.topics.iter().map(|topic| {
            CreatePartitionsTopicResult::default().with_name(topic.name.clone()).with_error_code(error.code())
        });
        CreatePartitionsResponse::default().with_results(results.collect())
    }
}

impl Cluster {
    fn grow(&mut self, request: &CreatePartitionsTopic, validate_only: bool) -> Result<(), ResponseError> {
        let topic = self.topics.get(&request.name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let current = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let added = request.count.checked_sub(current).filter(|it| *it > 0).ok_or(ResponseError::InvalidPartitions)?;
        let replication_factor = topic.partitions.first().map_or(1, |it| it.replicas.len());
        let alive = self.alive();
        let replicas: Vec<Vec<NodeId>> = match &request.assignments {
            Some(given) => {
                let given: Vec<Vec<NodeId>> =
                    given.iter().map(|it| it.broker_ids.iter().map(|id| id.0).collect()).collect();
                let known = given.iter().all(|it| !it.is_empty() && it.iter().all(|id| self.nodes.contains_key(id)));
                if !known || given.len() != added.unsigned_abs() as usize {
                    return Err(ResponseError::InvalidReplicaAssignment);
                }
                given
            }
            None => {
                let replicas = i16::try_from(replication_factor.min(alive.len())).unwrap_or(1);
                self.topics.assign(added, replicas, &alive)?
            }
        };
        if !validate_only {
            self.grow_topic(&request.name, replicas);
        }
        Ok(())
    }
}
