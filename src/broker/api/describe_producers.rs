//! DescribeProducers v0 (KIP-664). Errors: 3, 6.

use crate::broker::cluster::Cluster;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};

impl Served for DescribeProducersRequest {
    const OFFERED: (i16, i16) = (0, 0);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let response = respond(&self, |topic, index| {
            let partition = cluster.topics.partition(topic, index)?;
            partition.led_by(caller.node, -1)?;
            let producers = partition.log.producers.iter().map(|(id, producer)| {
                ProducerState::default()
                    .with_producer_id(id.into())
                    .with_producer_epoch(i32::from(producer.epoch))
                    .with_last_sequence(producer.last_sequence())
                    .with_last_timestamp(producer.last_timestamp)
                    .with_coordinator_epoch(producer.coordinator_epoch)
                    .with_current_txn_start_offset(producer.transaction_first_offset.unwrap_or(-1))
            });
            Ok(producers.collect())
        });
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> DescribeProducersResponse {
        respond(self, |_, _| Err(error))
    }
}

fn respond(
    request: &DescribeProducersRequest,
    producers: impl Fn(&str, i32) -> Result<Vec<ProducerState>, ResponseError>,
) -> DescribeProducersResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            let response = PartitionResponse::default().with_partition_index(*index);
            match producers(&topic.name, *index) {
                Ok(producers) => response.with_active_producers(producers),
                Err(error) => response.with_error_code(error.code()),
            }
        });
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}
