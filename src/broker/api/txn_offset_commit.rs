//! TxnOffsetCommit v0–5 (KafkaApis.handleTxnOffsetCommitRequest, OffsetMetadataManager.commitTransactionalOffset). From v5 on
//! it adds the group's partition to the transaction by itself. Errors: 3, 12, 15, 16, 22, 24, 25, 47, 48, 49, 51, 82, 120.

use crate::broker::cluster::Cluster;
use crate::broker::groups::{Committed, Group};
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use crate::broker::topics::OFFSETS_TOPIC;
use crate::types::{ProducerIdentity, TopicPartition};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use std::collections::BTreeMap;

const ADDS_PARTITION_VERSION: i16 = 5;
const ABORTABLE_VERSION: i16 = 4;
const MEMBER_VERSION: i16 = 3;
const METADATA_BYTES_MAX: usize = crate::broker::groups::METADATA_BYTES_MAX;

impl Served for TxnOffsetCommitRequest {
    const OFFERED: (i16, i16) = (0, 5);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let mut codes = BTreeMap::new();
        let mut offsets = BTreeMap::new();
        for topic in &self.topics {
            for asked in &topic.partitions {
                let place = TopicPartition::new(topic.name.as_str(), asked.partition_index);
                if cluster.topics.partition(&place.topic, place.partition).is_err() {
                    codes.insert(place, ResponseError::UnknownTopicOrPartition.code());
                    continue;
                }
                let metadata = asked.committed_metadata.as_ref().map(ToString::to_string).unwrap_or_default();
                if metadata.len() > METADATA_BYTES_MAX {
                    codes.insert(place.clone(), ResponseError::OffsetMetadataTooLarge.code());
                }
                let committed = Committed {
                    offset: asked.committed_offset,
                    leader_epoch: asked.committed_leader_epoch,
                    metadata,
                    commit_ms: cluster.now_ms,
                };
                offsets.insert(place, committed);
            }
        }
        if !offsets.is_empty() {
            let too_large = |place: &TopicPartition| codes.contains_key(place);
            let good = offsets.iter().filter(|(place, _)| !too_large(place));
            let good = good.map(|(place, committed)| (place.clone(), committed.clone())).collect();
            if let Err(error) = cluster.commit_in_transaction(&caller, &self, good) {
                // An error of the whole request hides what is wrong with single partitions that exist.
                codes.extend(offsets.into_keys().map(|place| (place, error.code())));
            }
        }
        let response = respond(&self, |place| codes.get(place).copied().unwrap_or(0));
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> TxnOffsetCommitResponse {
        respond(self, |_| error.code())
    }

    fn touches(&self, partition: &TopicPartition) -> bool {
        let of = self.topics.iter().filter(|it| it.name.as_str() == partition.topic.as_ref());
        of.flat_map(|it| &it.partitions).any(|it| it.partition_index == partition.partition)
    }
}

fn respond(request: &TxnOffsetCommitRequest, code: impl Fn(&TopicPartition) -> i16) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|it| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(it.partition_index)
                .with_error_code(code(&TopicPartition::new(topic.name.as_str(), it.partition_index)))
        });
        TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

impl Cluster {
    fn commit_in_transaction(
        &mut self,
        caller: &Caller,
        request: &TxnOffsetCommitRequest,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> Result<(), ResponseError> {
        let group_id = request.group_id.as_str();
        if group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let (index, leader_epoch) = self.coordinates(caller.node, Coordinator::Group, group_id)?;
        let identity = ProducerIdentity { producer_id: request.producer_id.0, producer_epoch: request.producer_epoch };
        let place = TopicPartition::new(OFFSETS_TOPIC, index);
        let verified = self.verify_offsets_partition(caller.version, &request.transactional_id, identity, &place)?;
        let has_member = caller.version >= MEMBER_VERSION;
        let generation = if has_member { request.generation_id } else { -1 };
        let instance_id = request.group_instance_id.as_deref();
        let now_ms = self.now_ms;
        match self.groups.get(group_id) {
            Some(group) => group.validate_commit(&request.member_id, instance_id, generation, true)?,
            None if generation < 0 => drop(self.groups.insert(group_id.to_owned(), Group::new(now_ms))),
            None => return Err(ResponseError::IllegalGeneration),
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let (partition, config) = self.topics.partition_mut(OFFSETS_TOPIC, index)?;
        let producer = (identity.producer_id, identity.producer_epoch);
        let record = partition.log.append_coordinator_record(producer, verified, leader_epoch, now_ms, config)?;
        partition.replicate();
        self.record_batch(OFFSETS_TOPIC, index, &record);
        if let Some(group) = self.groups.get_mut(group_id) {
            group.offsets.pending.entry(identity.producer_id).or_default().extend(offsets);
        }
        self.record_offsets(group_id);
        Ok(())
    }

    /// Whether the coordinator has just said that the group's partition is in the transaction.
    fn verify_offsets_partition(
        &mut self,
        version: i16,
        transactional_id: &str,
        identity: ProducerIdentity,
        place: &TopicPartition,
    ) -> Result<bool, ResponseError> {
        let adds = version >= ADDS_PARTITION_VERSION;
        let ProducerIdentity { producer_id, producer_epoch } = identity;
        let (partition, _) = self.topics.partition_mut(&place.topic, place.partition)?;
        if !partition.log.producers.start_verification(producer_id, -1, producer_epoch, adds)? {
            return Ok(false);
        }
        let partitions = [place.clone()].into();
        let refused = self.add_or_verify(transactional_id, identity, &partitions, adds, version >= ABORTABLE_VERSION);
        match refused.into_values().next() {
            Some(error) => Err(error),
            None => Ok(true),
        }
    }
}
