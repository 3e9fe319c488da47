//! OffsetForLeaderEpoch v2–4 (KIP-320). Errors: 3, 6, 74, 75.

use crate::broker::cluster::Cluster;
use crate::broker::request::{Caller, Served};
use crate::types::TopicPartition;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

impl Served for OffsetForLeaderEpochRequest {
    const OFFERED: (i16, i16) = (2, 4);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let response = respond(&self, |topic, asked| {
            let partition = cluster.topics.partition(topic, asked.partition)?;
            partition.led_by(caller.node, asked.current_leader_epoch)?;
            let end = partition.log.end_offset_for_epoch(asked.leader_epoch);
            Ok((end.epoch, end.end_offset))
        });
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> OffsetForLeaderEpochResponse {
        respond(self, |_, _| Err(error))
    }

    fn touches(&self, partition: &TopicPartition) -> bool {
        let of = self.topics.iter().filter(|it| it.topic.as_str() == partition.topic.as_ref());
        of.flat_map(|it| &it.partitions).any(|it| it.partition == partition.partition)
    }
}

fn respond(
    request: &OffsetForLeaderEpochRequest,
    end: impl Fn(&str, &OffsetForLeaderPartition) -> Result<(i32, i64), ResponseError>,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let result = EpochEndOffset::default().with_partition(asked.partition);
            match end(&topic.topic, asked) {
                Ok((epoch, end_offset)) => result.with_leader_epoch(epoch).with_end_offset(end_offset),
                Err(error) => result.with_leader_epoch(-1).with_end_offset(-1).with_error_code(error.code()),
            }
        });
        OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
