//! Produce v3–12: one batch per partition (KafkaApis.handleProduceRequest, ReplicaManager.handleProduceAppend).
//!
//! From v12 on the leader adds the partition to the transaction by itself (KIP-890); before, it asks the coordinator whether
//! the client has. Errors: 2, 3, 6, 10, 17, 18, 19, 21, 32, 45, 47, 48, 49, 51, 53, 56, 76, 87, 120, −1.

use super::{text, topic_name};
use crate::broker::cluster::Cluster;
use crate::broker::log::{Append, Rejection};
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use crate::broker::settings::Millis;
use crate::broker::topics::is_internal;
use crate::broker::waiting::{Due, Parked};
use crate::types::{ProducerIdentity, TopicPartition};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use std::collections::{BTreeMap, BTreeSet};

const ADDS_PARTITIONS_VERSION: i16 = 12;
/// Knows TRANSACTION_ABORTABLE.
const ABORTABLE_VERSION: i16 = 11;
const LEADER_VERSION: i16 = 10;
/// `add.partitions.to.txn.retry.backoff.ms` and its `.max.ms`: the leader waits for the markers of the transaction before.
const ADD_RETRY_MS: Millis = 20;
const ADD_RETRY_MAX_MS: Millis = 100;
const ALL: i16 = -1;

/// What a batch's header says of its producer, before anything is checked.
#[derive(Clone, Copy)]
struct Sender {
    identity: ProducerIdentity,
    base_sequence: i32,
    is_transactional: bool,
}

impl Sender {
    fn of(records: Option<&Bytes>) -> Option<Self> {
        let header = records.filter(|it| it.len() >= 61 && it[16] == 2)?;
        let attributes = i16::from_be_bytes([header[21], header[22]]);
        let producer_id = i64::from_be_bytes(header.get(43..51)?.try_into().ok()?);
        let producer_epoch = i16::from_be_bytes(header.get(51..53)?.try_into().ok()?);
        let base_sequence = i32::from_be_bytes(header.get(53..57)?.try_into().ok()?);
        let identity = ProducerIdentity { producer_id, producer_epoch };
        Some(Self { identity, base_sequence, is_transactional: attributes & 0x10 != 0 })
    }
}

type Outcomes = BTreeMap<TopicPartition, Result<PartitionProduceResponse, Rejection>>;

impl Served for ProduceRequest {
    const OFFERED: (i16, i16) = (3, 12);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        cluster.produce(caller, self, None);
    }

    fn refusal(&self, version: i16, error: ResponseError) -> ProduceResponse {
        let outcomes = partitions(self).map(|(partition, _)| (partition, Err(error.into()))).collect();
        respond(outcomes, version)
    }

    fn touches(&self, partition: &TopicPartition) -> bool {
        partitions(self).any(|(it, _)| it == *partition)
    }
}

fn partitions(request: &ProduceRequest) -> impl Iterator<Item = (TopicPartition, Option<&Bytes>)> {
    request.topic_data.iter().flat_map(|topic| {
        topic
            .partition_data
            .iter()
            .map(|data| (TopicPartition::new(topic.name.as_str(), data.index), data.records.as_ref()))
    })
}

fn respond(outcomes: Outcomes, version: i16) -> ProduceResponse {
    let mut topics: BTreeMap<String, Vec<PartitionProduceResponse>> = BTreeMap::new();
    for (partition, outcome) in outcomes {
        let response = outcome.unwrap_or_else(|rejection| {
            let errors = rejection.records.iter().map(|(index, reason)| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(*index)
                    .with_batch_index_error_message(Some(text(reason)))
            });
            let response = PartitionProduceResponse::default()
                .with_error_code(rejection.error.code())
                .with_base_offset(-1)
                .with_log_start_offset(-1);
            if version < 8 {
                return response;
            }
            response.with_record_errors(errors.collect()).with_error_message(rejection.message.map(text))
        });
        topics.entry(partition.topic.to_string()).or_default().push(response.with_index(partition.partition));
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        TopicProduceResponse::default().with_name(topic_name(&name)).with_partition_responses(partitions)
    });
    ProduceResponse::default().with_responses(topics.collect())
}

impl Cluster {
    /// `retry_until_ms` is set where the request has waited for the markers of the transaction before.
    pub(crate) fn produce(&mut self, caller: Caller, request: ProduceRequest, retry_until_ms: Option<Millis>) {
        let senders: BTreeMap<TopicPartition, Sender> =
            partitions(&request).filter_map(|(it, records)| Some((it, Sender::of(records)?))).collect();
        let transactional = || senders.values().filter(|it| it.is_transactional && it.identity.producer_id >= 0);
        if senders.values().any(|it| it.is_transactional) && request.transactional_id.is_none() {
            let refusal = request.refusal(caller.version, ResponseError::TransactionalIdAuthorizationFailed);
            return self.answer::<ProduceRequest>(caller, &refusal);
        }
        if transactional().any(|it| Some(it.identity) != transactional().next().map(|first| first.identity)) {
            let refusal = request.refusal(caller.version, ResponseError::InvalidProducerIdMapping);
            return self.answer::<ProduceRequest>(caller, &refusal);
        }
        let mut outcomes = Outcomes::new();
        for (partition, records) in partitions(&request) {
            let checked = self.topics.partition(&partition.topic, partition.partition).map_err(Rejection::from);
            let records = records.cloned().unwrap_or_default();
            if let Err(rejection) = checked.and_then(|_| crate::broker::log::single_batch(caller.version, &records)) {
                outcomes.insert(partition, Err(rejection));
            }
        }
        let verified = match request.transactional_id.as_ref() {
            Some(id) => {
                let (errors, verified) = self.verify(&caller, id, &senders, &outcomes);
                let waits = errors.values().any(|it| *it == ResponseError::ConcurrentTransactions);
                let until_ms = retry_until_ms.unwrap_or(self.now_ms + ADD_RETRY_MAX_MS);
                if waits && caller.version >= ADDS_PARTITIONS_VERSION && self.now_ms < until_ms {
                    let due = Due::At(self.now_ms + ADD_RETRY_MS);
                    return self.park(due, Parked::Produce(caller, request, until_ms));
                }
                outcomes.extend(errors.into_iter().map(|(partition, error)| (partition, Err(error.into()))));
                verified
            }
            None => BTreeSet::new(),
        };
        self.append_all(caller, &request, outcomes, &verified);
    }

    /// Which partitions are not part of the transaction, and which are as the coordinator says.
    fn verify(
        &mut self,
        caller: &Caller,
        id: &str,
        senders: &BTreeMap<TopicPartition, Sender>,
        failed: &Outcomes,
    ) -> (BTreeMap<TopicPartition, ResponseError>, BTreeSet<TopicPartition>) {
        let adds = caller.version >= ADDS_PARTITIONS_VERSION;
        let mut errors = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        let mut identity = None;
        for (place, sender) in senders.iter().filter(|(it, sender)| sender.is_transactional && !failed.contains_key(it))
        {
            let Ok((partition, _)) = self.topics.partition_mut(&place.topic, place.partition) else { continue };
            let ProducerIdentity { producer_id, producer_epoch } = sender.identity;
            identity = Some(sender.identity);
            let started = partition.led_by(caller.node, -1).and_then(|()| {
                let producers = &mut partition.log.producers;
                producers.start_verification(producer_id, sender.base_sequence, producer_epoch, adds)
            });
            match started {
                Ok(true) => drop(unknown.insert(place.clone())),
                Ok(false) => {}
                Err(error) => drop(errors.insert(place.clone(), error)),
            }
        }
        let Some(identity) = identity.filter(|_| !unknown.is_empty()) else { return (errors, unknown) };
        let abortable = caller.version >= ABORTABLE_VERSION;
        for (partition, error) in self.add_or_verify(id, identity, &unknown, adds, abortable) {
            let error = match error {
                ResponseError::CoordinatorNotAvailable => ResponseError::NotEnoughReplicas,
                ResponseError::ConcurrentTransactions if !adds => ResponseError::NotEnoughReplicas,
                other => other,
            };
            unknown.remove(&partition);
            errors.insert(partition, error);
        }
        (errors, unknown)
    }

    /// What leaders ask the transaction's coordinator (AddPartitionsToTxnManager). Returns those that were refused.
    pub(crate) fn add_or_verify(
        &mut self,
        id: &str,
        identity: ProducerIdentity,
        partitions: &BTreeSet<TopicPartition>,
        adds: bool,
        abortable: bool,
    ) -> BTreeMap<TopicPartition, ResponseError> {
        let translate = |error| match error {
            ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
            ResponseError::TransactionAbortable if !abortable => ResponseError::InvalidTxnState,
            other => other,
        };
        let all = |error: ResponseError| partitions.iter().map(|it| (it.clone(), translate(error))).collect();
        if self.coordinator(Coordinator::Transaction, id).is_none() {
            return all(ResponseError::CoordinatorNotAvailable);
        }
        let now_ms = self.now_ms;
        let Some(transaction) = self.transactions.by_id.get_mut(id) else {
            return all(ResponseError::InvalidProducerIdMapping);
        };
        if adds {
            match transaction.add(identity, partitions, now_ms) {
                Ok(changed) => {
                    if changed {
                        self.record_transaction(id);
                    }
                    BTreeMap::new()
                }
                Err(error) => all(error),
            }
        } else {
            let refused = partitions
                .iter()
                .filter_map(|it| transaction.verify(identity, it).err().map(|error| (it.clone(), translate(error))));
            refused.collect()
        }
    }

    fn append_all(
        &mut self,
        caller: Caller,
        request: &ProduceRequest,
        mut outcomes: Outcomes,
        verified: &BTreeSet<TopicPartition>,
    ) {
        let mut awaited = Vec::new();
        for (place, records) in partitions(request) {
            if outcomes.contains_key(&place) {
                continue;
            }
            let records = records.cloned().unwrap_or_default();
            let appended = self.append(&caller, request.acks, &place, &records, verified.contains(&place));
            let outcome = appended.map(|(response, next_offset)| {
                awaited.push((place.topic.to_string(), place.partition, next_offset));
                response
            });
            outcomes.insert(place, outcome);
        }
        let failed = outcomes.values().any(Result::is_err);
        let mut response = respond(outcomes, caller.version);
        if caller.version >= LEADER_VERSION {
            self.name_leaders(&caller, &mut response);
        }
        match request.acks {
            // Nobody reads an answer; a closed connection is the only way to say that something is wrong.
            0 if failed => self.close(&caller),
            0 => self.no_answer(caller),
            ALL if !self.is_replicated(&awaited) => {
                let due = Due::At(self.now_ms + Millis::from(request.timeout_ms.max(0)));
                self.park(due, Parked::Replication(caller, response, awaited));
            }
            _ => self.answer::<ProduceRequest>(caller, &response),
        }
    }

    fn append(
        &mut self,
        caller: &Caller,
        acks: i16,
        place: &TopicPartition,
        records: &Bytes,
        verified: bool,
    ) -> Result<(PartitionProduceResponse, i64), Rejection> {
        if !(-1..=1).contains(&acks) {
            return Err(ResponseError::InvalidRequiredAcks.into());
        }
        if is_internal(&place.topic) {
            return Err(ResponseError::InvalidTopicException.into());
        }
        if self.topics.log_bytes() + records.len() > self.settings.log_bytes_max {
            return Err(ResponseError::KafkaStorageError.into());
        }
        let now_ms = self.now_ms;
        let (partition, config) = self.topics.partition_mut(&place.topic, place.partition)?;
        partition.led_by(caller.node, -1)?;
        if acks == ALL && partition.in_sync.len() < config.min_insync_replicas {
            return Err(ResponseError::NotEnoughReplicas.into());
        }
        let leader_epoch = partition.leader_epoch;
        let append = Append { version: caller.version, records, leader_epoch, verified, now_ms };
        let info = partition.log.append(append, config)?;
        partition.replicate();
        let response = PartitionProduceResponse::default()
            .with_base_offset(info.base_offset)
            .with_log_append_time_ms(info.log_append_time_ms)
            .with_log_start_offset(partition.log.start());
        if let Some(batch) = &info.appended {
            self.record_batch(&place.topic, place.partition, batch);
            self.logs_changed = true;
        }
        Ok((response, info.last_offset + 1))
    }

    /// KIP-951: who was wrong about the leader learns the right one at once.
    fn name_leaders(&self, caller: &Caller, response: &mut ProduceResponse) {
        let mut leaders = BTreeSet::new();
        for topic in &mut response.responses {
            for partition in &mut topic.partition_responses {
                let Ok(found) = self.topics.partition(&topic.name, partition.index) else { continue };
                if partition.error_code == ResponseError::NotLeaderOrFollower.code() {
                    partition.current_leader = LeaderIdAndEpoch::default()
                        .with_leader_id(found.leader.unwrap_or(-1).into())
                        .with_leader_epoch(found.leader_epoch);
                    leaders.extend(found.leader);
                }
            }
        }
        let listener = self.listener_of(caller.connection);
        let endpoints = leaders.into_iter().filter_map(|id| {
            let (host, port) = self.address(id, listener)?;
            let rack = self.nodes.get(&id).and_then(|it| it.rack.as_deref()).map(text);
            let endpoint = NodeEndpoint::default().with_node_id(id.into()).with_host(text(host));
            Some(endpoint.with_port(i32::from(port)).with_rack(rack))
        });
        response.node_endpoints = endpoints.collect();
    }

    pub(crate) fn is_replicated(&self, awaited: &[(String, i32, i64)]) -> bool {
        // A partition that is gone waits for nothing.
        let lags = |(topic, partition, offset): &(String, i32, i64)| {
            self.topics.partition(topic, *partition).is_ok_and(|it| it.log.high_watermark() < *offset)
        };
        !awaited.iter().any(lags)
    }

    pub(crate) fn answer_replicated(
        &mut self,
        caller: Caller,
        mut response: ProduceResponse,
        awaited: &[(String, i32, i64)],
        time_is_up: bool,
    ) {
        for (topic, partition, offset) in awaited.iter().filter(|_| time_is_up) {
            let late = self.topics.partition(topic, *partition).is_ok_and(|it| it.log.high_watermark() < *offset);
            let of = response.responses.iter_mut().filter(|it| it.name.as_str() == topic);
            for answer in of.flat_map(|it| &mut it.partition_responses).filter(|it| it.index == *partition && late) {
                answer.error_code = ResponseError::RequestTimedOut.code();
            }
        }
        self.answer::<ProduceRequest>(caller, &response);
    }
}
