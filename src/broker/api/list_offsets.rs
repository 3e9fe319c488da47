//! ListOffsets v1–8 (Partition.fetchOffsetForTimestamp). Errors: 3, 5, 6, 35, 42, 74, 75, 78.

use crate::broker::cluster::Cluster;
use crate::broker::log::Found;
use crate::broker::request::{Caller, Served};
use crate::types::TopicPartition;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const NOT_AVAILABLE_VERSION: i16 = 5;
const EPOCH_VERSION: i16 = 4;
const READ_COMMITTED: i8 = 1;

impl Served for ListOffsetsRequest {
    const OFFERED: (i16, i16) = (1, 8);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let read_committed = self.isolation_level == READ_COMMITTED;
        let mut seen = std::collections::BTreeSet::new();
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let found = if seen.insert((topic.name.clone(), asked.partition_index)) {
                    cluster.list_offset(&caller, &topic.name, asked, read_committed)
                } else {
                    Err(ResponseError::InvalidRequest)
                };
                respond(asked.partition_index, caller.version, found)
            });
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        let response = ListOffsetsResponse::default().with_topics(topics.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, version: i16, error: ResponseError) -> ListOffsetsResponse {
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|it| respond(it.partition_index, version, Err(error)));
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    fn touches(&self, partition: &TopicPartition) -> bool {
        let of = self.topics.iter().filter(|it| it.name.as_str() == partition.topic.as_ref());
        of.flat_map(|it| &it.partitions).any(|it| it.partition_index == partition.partition)
    }
}

fn respond(index: i32, version: i16, found: Result<Option<Found>, ResponseError>) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    match found {
        Ok(Some(found)) => {
            let response = response.with_timestamp(found.timestamp).with_offset(found.offset);
            if version >= EPOCH_VERSION { response.with_leader_epoch(found.leader_epoch) } else { response }
        }
        Ok(None) => response.with_timestamp(-1).with_offset(-1),
        Err(error) => response.with_timestamp(-1).with_offset(-1).with_error_code(error.code()),
    }
}

impl Cluster {
    fn list_offset(
        &self,
        caller: &Caller,
        topic: &str,
        asked: &ListOffsetsPartition,
        read_committed: bool,
    ) -> Result<Option<Found>, ResponseError> {
        let unsupported = asked.timestamp < EARLIEST_LOCAL
            || (asked.timestamp == EARLIEST_LOCAL && caller.version < 8)
            || (asked.timestamp == MAX_TIMESTAMP && caller.version < 7);
        if unsupported {
            return Err(ResponseError::UnsupportedVersion);
        }
        let partition = self.topics.partition(topic, asked.partition_index)?;
        partition.led_by(caller.node, asked.current_leader_epoch)?;
        let log = &partition.log;
        let last_fetchable = if read_committed { log.last_stable_offset() } else { log.high_watermark() };
        // KIP-207: a new leader does not name an end that its followers do not have yet.
        let lags = log.high_watermark() < partition.epoch_start;
        let lag_error = if caller.version >= NOT_AVAILABLE_VERSION {
            ResponseError::OffsetNotAvailable
        } else {
            ResponseError::LeaderNotAvailable
        };
        let found = match asked.timestamp {
            LATEST if lags => return Err(lag_error),
            LATEST => {
                let leader_epoch = partition.leader_epoch;
                return Ok(Some(Found { timestamp: -1, offset: last_fetchable, leader_epoch }));
            }
            EARLIEST | EARLIEST_LOCAL => {
                let epoch = log.earliest_epoch().filter(|(_, start)| *start <= log.start()).map_or(-1, |it| it.0);
                return Ok(Some(Found { timestamp: -1, offset: log.start(), leader_epoch: epoch }));
            }
            MAX_TIMESTAMP => log.offset_of_max_time(),
            timestamp => log.offset_for_time(timestamp),
        };
        match found.filter(|it| it.offset < last_fetchable) {
            None if lags => Err(lag_error),
            found => Ok(found),
        }
    }
}
