//! AddPartitionsToTxn v0–3; later versions are for brokers. Errors: 3, 16, 42, 47, 49, 51, 55, 90.

use super::{code, fenced_for};
use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use crate::types::{ProducerIdentity, TopicPartition};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use std::collections::BTreeSet;

pub(super) const FENCED_VERSION: i16 = 2;

impl Served for AddPartitionsToTxnRequest {
    const OFFERED: (i16, i16) = (0, 3);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let partitions: BTreeSet<TopicPartition> = places(&self).collect();
        let exists = |it: &TopicPartition| cluster.topics.partition(&it.topic, it.partition).is_ok();
        let response = if partitions.iter().all(exists) {
            let identity = ProducerIdentity {
                producer_id: self.v3_and_below_producer_id.0,
                producer_epoch: self.v3_and_below_producer_epoch,
            };
            let added = cluster.add_to_transaction(&caller, &self.v3_and_below_transactional_id, identity, &partitions);
            let error = code(added.map_err(|it| fenced_for(caller.version, FENCED_VERSION, it)));
            respond(&self, |_| error)
        } else {
            // One that is not there fails them all.
            respond(&self, |it| match exists(it) {
                true => ResponseError::OperationNotAttempted.code(),
                false => ResponseError::UnknownTopicOrPartition.code(),
            })
        };
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> AddPartitionsToTxnResponse {
        respond(self, |_| error.code())
    }

    fn touches(&self, partition: &TopicPartition) -> bool {
        places(self).any(|it| it == *partition)
    }
}

fn places(request: &AddPartitionsToTxnRequest) -> impl Iterator<Item = TopicPartition> {
    let topics = request.v3_and_below_topics.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|it| TopicPartition::new(topic.name.as_str(), *it)))
}

fn respond(request: &AddPartitionsToTxnRequest, error: impl Fn(&TopicPartition) -> i16) -> AddPartitionsToTxnResponse {
    let topics = request.v3_and_below_topics.iter().map(|topic| {
        let results = topic.partitions.iter().map(|index| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(error(&TopicPartition::new(topic.name.as_str(), *index)))
        });
        let result = AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone());
        result.with_results_by_partition(results.collect())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
}

impl Cluster {
    pub(super) fn add_to_transaction(
        &mut self,
        caller: &Caller,
        id: &str,
        identity: ProducerIdentity,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Result<(), ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        self.coordinates(caller.node, Coordinator::Transaction, id)?;
        let now_ms = self.now_ms;
        let transaction = self.transactions.by_id.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        if transaction.add(identity, partitions, now_ms)? {
            self.record_transaction(id);
        }
        Ok(())
    }
}
