//! Fetch v4–16, long poll (KafkaApis.handleFetchRequest, ReplicaManager.readFromLog, Partition.readRecords).
//!
//! Always without a session: a broker whose slots are taken answers so too (KIP-227). Errors: 1, 3, 6, 70, 74, 75, 100.

use super::text;
use crate::broker::cluster::Cluster;
use crate::broker::log::UNDEFINED;
use crate::broker::request::{Caller, Served};
use crate::broker::settings::Millis;
use crate::broker::topics::Partition;
use crate::broker::waiting::{Due, Parked};
use crate::types::{NodeId, TopicPartition};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use std::collections::BTreeSet;

const TOPIC_ID_VERSION: i16 = 13;
/// Followers answer consumers that say where they are (KIP-392).
const RACK_VERSION: i16 = 11;
const ENDPOINTS_VERSION: i16 = 16;
const READ_COMMITTED: i8 = 1;
/// A new session is asked for by epoch 0, none by −1.
const FIRST_EPOCHS: [i32; 2] = [-1, 0];

impl Served for FetchRequest {
    const OFFERED: (i16, i16) = (4, 16);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        if caller.version >= 7 && !FIRST_EPOCHS.contains(&self.session_epoch) {
            let refusal = FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code());
            return cluster.answer::<Self>(caller, &refusal);
        }
        if self.max_wait_ms <= 0 || self.topics.is_empty() || cluster.fetch_is_ready(&caller, &self) {
            return cluster.answer_fetch(caller, &self);
        }
        let due = Due::At(cluster.now_ms + Millis::from(self.max_wait_ms));
        cluster.park(due, Parked::Fetch(caller, self));
    }

    fn refusal(&self, version: i16, error: ResponseError) -> FetchResponse {
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|it| failed(it.partition, error)).collect();
            named(topic, version, partitions)
        });
        FetchResponse::default().with_responses(topics.collect())
    }

    fn touches(&self, partition: &TopicPartition) -> bool {
        let of = self.topics.iter().filter(|it| it.topic.as_str() == partition.topic.as_ref());
        of.flat_map(|it| &it.partitions).any(|it| it.partition == partition.partition)
    }
}

fn named(topic: &FetchTopic, version: i16, partitions: Vec<PartitionData>) -> FetchableTopicResponse {
    let response = FetchableTopicResponse::default().with_partitions(partitions);
    if version >= TOPIC_ID_VERSION {
        response.with_topic_id(topic.topic_id)
    } else {
        response.with_topic(topic.topic.clone())
    }
}

fn failed(index: i32, error: ResponseError) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_records(Some(Bytes::new()))
}

/// Where a fetch may read.
enum Readable {
    UpTo(i64),
    /// The client's log is not ours from here on.
    Diverging(EpochEndOffset),
}

impl Partition {
    fn readable(
        &self,
        node: NodeId,
        version: i16,
        read_committed: bool,
        asked: &FetchPartition,
    ) -> Result<Readable, ResponseError> {
        match self.led_by(node, asked.current_leader_epoch) {
            Err(ResponseError::NotLeaderOrFollower) if version >= RACK_VERSION && self.in_sync.contains(&node) => {}
            led => led?,
        }
        let out_of_range = !(self.log.start()..=self.log.end()).contains(&asked.fetch_offset);
        if asked.last_fetched_epoch >= 0 {
            let end = self.log.end_offset_for_epoch(asked.last_fetched_epoch);
            if end == UNDEFINED || asked.fetch_offset < self.log.start() {
                return Err(ResponseError::OffsetOutOfRange);
            }
            if end.epoch < asked.last_fetched_epoch || end.end_offset < asked.fetch_offset {
                let diverging = EpochEndOffset::default().with_epoch(end.epoch).with_end_offset(end.end_offset);
                return Ok(Readable::Diverging(diverging));
            }
        }
        if out_of_range {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let upper = if read_committed { self.log.last_stable_offset() } else { self.log.high_watermark() };
        Ok(Readable::UpTo(upper))
    }
}

impl Cluster {
    fn fetched_topic(&self, topic: &FetchTopic, version: i16) -> Result<String, ResponseError> {
        if version < TOPIC_ID_VERSION {
            return Ok(topic.topic.to_string());
        }
        self.topics.name_of(topic.topic_id).map(str::to_owned).ok_or(ResponseError::UnknownTopicId)
    }

    fn fetched<'a>(
        &'a self,
        caller: &Caller,
        request: &FetchRequest,
        name: &Result<String, ResponseError>,
        asked: &FetchPartition,
    ) -> Result<(&'a Partition, Readable), ResponseError> {
        let partition = self.topics.partition(name.as_ref().map_err(|error| *error)?, asked.partition)?;
        let read_committed = request.isolation_level == READ_COMMITTED;
        Ok((partition, partition.readable(caller.node, caller.version, read_committed, asked)?))
    }

    /// Enough data, or something that the client must know at once.
    pub(crate) fn fetch_is_ready(&self, caller: &Caller, request: &FetchRequest) -> bool {
        let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
        let mut bytes = 0;
        for topic in &request.topics {
            let name = self.fetched_topic(topic, caller.version);
            for asked in &topic.partitions {
                match self.fetched(caller, request, &name, asked) {
                    Ok((partition, Readable::UpTo(upper))) => {
                        let limit = usize::try_from(asked.partition_max_bytes).unwrap_or(0).max(1);
                        bytes += partition.log.readable_bytes(asked.fetch_offset, upper, limit);
                    }
                    Ok((_, Readable::Diverging(_))) | Err(_) => return true,
                }
            }
        }
        bytes >= min_bytes
    }

    pub(crate) fn answer_fetch(&mut self, caller: Caller, request: &FetchRequest) {
        let mut room = usize::try_from(request.max_bytes).unwrap_or(0).min(self.settings.fetch_bytes_max);
        // KIP-74: the first batch comes whole, or a client with a small limit would never get past a large one.
        let mut whole_first = true;
        let mut leaders = BTreeSet::new();
        let mut responses = Vec::new();
        for topic in &request.topics {
            let name = self.fetched_topic(topic, caller.version);
            let mut partitions = Vec::new();
            for asked in &topic.partitions {
                let data = match self.fetched(&caller, request, &name, asked) {
                    Ok((partition, readable)) => {
                        let limit = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(room);
                        let data = read(partition, readable, request, asked, limit, whole_first);
                        let bytes = data.records.as_ref().map_or(0, Bytes::len);
                        whole_first &= bytes == 0;
                        room = room.saturating_sub(bytes);
                        data
                    }
                    Err(error) => {
                        let data = failed(asked.partition, error);
                        self.with_leader(&caller, name.as_deref().unwrap_or_default(), data, &mut leaders)
                    }
                };
                partitions.push(data);
            }
            responses.push(named(topic, caller.version, partitions));
        }
        let mut response = FetchResponse::default().with_responses(responses);
        if caller.version >= ENDPOINTS_VERSION {
            response.node_endpoints = self.fetch_endpoints(&caller, leaders);
        }
        self.answer::<FetchRequest>(caller, &response);
    }

    /// KIP-951; the field is older, and Kafka leaves it empty before.
    fn with_leader(
        &self,
        caller: &Caller,
        topic: &str,
        data: PartitionData,
        leaders: &mut BTreeSet<NodeId>,
    ) -> PartitionData {
        let moved = [ResponseError::NotLeaderOrFollower, ResponseError::FencedLeaderEpoch];
        let Ok(found) = self.topics.partition(topic, data.partition_index) else { return data };
        if caller.version < ENDPOINTS_VERSION || !moved.iter().any(|it| it.code() == data.error_code) {
            return data;
        }
        leaders.extend(found.leader);
        let leader = LeaderIdAndEpoch::default()
            .with_leader_id(found.leader.unwrap_or(-1).into())
            .with_leader_epoch(found.leader_epoch);
        data.with_current_leader(leader)
    }

    fn fetch_endpoints(&self, caller: &Caller, leaders: BTreeSet<NodeId>) -> Vec<NodeEndpoint> {
        let listener = self.listener_of(caller.connection);
        let endpoints = leaders.into_iter().filter_map(|id| {
            let (host, port) = self.address(id, listener)?;
            let rack = self.nodes.get(&id).and_then(|it| it.rack.as_deref()).map(text);
            let endpoint = NodeEndpoint::default().with_node_id(id.into()).with_host(text(host));
            Some(endpoint.with_port(i32::from(port)).with_rack(rack))
        });
        endpoints.collect()
    }
}

fn read(
    partition: &Partition,
    readable: Readable,
    request: &FetchRequest,
    asked: &FetchPartition,
    limit: usize,
    whole_first: bool,
) -> PartitionData {
    let log = &partition.log;
    let data = PartitionData::default()
        .with_partition_index(asked.partition)
        .with_high_watermark(log.high_watermark())
        .with_last_stable_offset(log.last_stable_offset())
        .with_log_start_offset(log.start());
    let upper = match readable {
        Readable::UpTo(upper) => upper,
        Readable::Diverging(end) => return data.with_diverging_epoch(end).with_records(Some(Bytes::new())),
    };
    let (records, next_offset) = log.read(asked.fetch_offset, upper, limit, whole_first);
    let aborted = (request.isolation_level == READ_COMMITTED).then(|| {
        let aborted = log.producers.aborted(asked.fetch_offset, next_offset.min(upper));
        let named = aborted.into_iter().map(|it| {
            AbortedTransaction::default().with_producer_id(it.producer_id.into()).with_first_offset(it.first_offset)
        });
        named.collect()
    });
    data.with_aborted_transactions(aborted).with_records(Some(records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::api::topic_name;

    #[test]
    fn topics_are_named_as_they_were_asked_for() {
        let topic = FetchTopic::default().with_topic(topic_name("t")).with_topic_id(uuid::Uuid::from_u128(7));
        assert_eq!(named(&topic, 12, vec![]).topic, topic_name("t"));
        assert_eq!(named(&topic, 13, vec![]).topic_id, uuid::Uuid::from_u128(7));
    }
}
