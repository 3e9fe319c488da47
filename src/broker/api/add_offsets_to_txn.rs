//! AddOffsetsToTxn v0–3: the group's partition of `__consumer_offsets` joins the transaction. Errors: 15, 16, 42, 47, 49, 51,
//! 90.

use super::add_partitions_to_txn::FENCED_VERSION;
use super::{code, fenced_for};
use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use crate::broker::topics::OFFSETS_TOPIC;
use crate::types::{ProducerIdentity, TopicPartition};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

impl Served for AddOffsetsToTxnRequest {
    const OFFERED: (i16, i16) = (0, 3);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let identity = ProducerIdentity { producer_id: self.producer_id.0, producer_epoch: self.producer_epoch };
        let added = match cluster.coordinating_partition(Coordinator::Group, &self.group_id) {
            Some(index) => {
                let partitions = [TopicPartition::new(OFFSETS_TOPIC, index)].into();
                cluster.add_to_transaction(&caller, &self.transactional_id, identity, &partitions)
            }
            None => Err(ResponseError::CoordinatorNotAvailable),
        };
        let error = code(added.map_err(|it| fenced_for(caller.version, FENCED_VERSION, it)));
        cluster.answer::<Self>(caller, &AddOffsetsToTxnResponse::default().with_error_code(error));
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> AddOffsetsToTxnResponse {
        AddOffsetsToTxnResponse::default().with_error_code(error.code())
    }
}
