//! DeleteRecords v0–2; −1 is the high watermark. Errors: 1, 3, 6, 44.

use crate::broker::cluster::Cluster;
use crate::broker::request::{Caller, Served};
use crate::types::TopicPartition;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

const HIGH_WATERMARK: i64 = -1;

impl Served for DeleteRecordsRequest {
    const OFFERED: (i16, i16) = (0, 2);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let response = respond(&self, |topic, asked| cluster.delete_records(&caller, topic, asked));
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> DeleteRecordsResponse {
        respond(self, |_, _| Err(error))
    }

    fn touches(&self, partition: &TopicPartition) -> bool {
        let of = self.topics.iter().filter(|it| it.name.as_str() == partition.topic.as_ref());
        of.flat_map(|it| &it.partitions).any(|it| it.partition_index == partition.partition)
    }
}

fn respond(
    request: &DeleteRecordsRequest,
    mut delete: impl FnMut(&str, &DeleteRecordsPartition) -> Result<i64, ResponseError>,
) -> DeleteRecordsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let result = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            match delete(&topic.name, asked) {
                Ok(low_watermark) => result.with_low_watermark(low_watermark),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            }
        });
        DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

impl Cluster {
    fn delete_records(
        &mut self,
        caller: &Caller,
        topic: &str,
        asked: &DeleteRecordsPartition,
    ) -> Result<i64, ResponseError> {
        let (partition, config) = self.topics.partition_mut(topic, asked.partition_index)?;
        partition.led_by(caller.node, -1)?;
        // A compacted log is history that readers count on (LogConfig: only where `delete` is among the policies).
        if !config.delete {
            return Err(ResponseError::PolicyViolation);
        }
        let offset = if asked.offset == HIGH_WATERMARK { partition.log.high_watermark() } else { asked.offset };
        if offset < 0 {
            return Err(ResponseError::OffsetOutOfRange);
        }
        self.move_log_start(topic, asked.partition_index, offset)?;
        Ok(self.topics.partition(topic, asked.partition_index)?.log.start())
    }
}
