//! OffsetCommit v2–8. Errors: 3, 12, 15, 16, 22, 24, 25, 27, 82.

use crate::broker::cluster::Cluster;
use crate::broker::groups::{Committed, Group, GroupState, METADATA_BYTES_MAX};
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use crate::types::TopicPartition;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

impl Served for OffsetCommitRequest {
    const OFFERED: (i16, i16) = (2, 8);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let allowed = cluster.may_commit(&caller, &self);
        let response = respond(&self, |topic, asked| {
            cluster.topics.partition(topic, asked.partition_index).map_err(|it| it.code())?;
            allowed.map_err(|it| it.code())?;
            cluster.commit(&self.group_id, topic, asked)
        });
        if allowed.is_ok() {
            cluster.record_offsets(&self.group_id);
        }
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> OffsetCommitResponse {
        respond(self, |_, _| Err(error.code()))
    }
}

fn respond(
    request: &OffsetCommitRequest,
    mut commit: impl FnMut(&str, &OffsetCommitRequestPartition) -> Result<(), i16>,
) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|it| {
            let code = commit(&topic.name, it).err().unwrap_or(0);
            OffsetCommitResponsePartition::default().with_partition_index(it.partition_index).with_error_code(code)
        });
        OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

impl Cluster {
    fn may_commit(&mut self, caller: &Caller, request: &OffsetCommitRequest) -> Result<(), ResponseError> {
        self.coordinates(caller.node, Coordinator::Group, &request.group_id)?;
        let generation = request.generation_id_or_member_epoch;
        let now_ms = self.now_ms;
        let id = request.group_id.as_str();
        let Some(group) = self.groups.get_mut(id) else {
            if generation >= 0 {
                return Err(ResponseError::IllegalGeneration);
            }
            self.groups.insert(id.to_owned(), Group::new(now_ms));
            return Ok(());
        };
        group.validate_commit(&request.member_id, request.group_instance_id.as_deref(), generation, false)?;
        if matches!(group.state, GroupState::Stable | GroupState::PreparingRebalance) {
            group.touch(now_ms, &request.member_id);
        }
        Ok(())
    }

    fn commit(&mut self, group: &str, topic: &str, asked: &OffsetCommitRequestPartition) -> Result<(), i16> {
        let metadata = asked.committed_metadata.as_ref().map(ToString::to_string).unwrap_or_default();
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(ResponseError::OffsetMetadataTooLarge.code());
        }
        let committed = Committed {
            offset: asked.committed_offset,
            leader_epoch: asked.committed_leader_epoch,
            metadata,
            commit_ms: self.now_ms,
        };
        if let Some(group) = self.groups.get_mut(group) {
            group.offsets.committed.insert(TopicPartition::new(topic, asked.partition_index), committed);
        }
        Ok(())
    }
}
