//! One file per API: its versions, its errors, and what it does to the cluster.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
pub(crate) mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_configs;
mod describe_groups;
mod describe_producers;
mod describe_transactions;
mod end_txn;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;
mod txn_offset_commit;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{GroupId, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;

pub(super) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(super) fn group_id(id: &str) -> GroupId {
    GroupId(text(id))
}

pub(super) fn transactional_id(id: &str) -> TransactionalId {
    TransactionalId(text(id))
}

pub(super) fn code(result: Result<(), ResponseError>) -> i16 {
    result.err().map_or(0, |it| it.code())
}

/// Clients before KIP-588 do not know the newer code.
pub(super) fn fenced_for(version: i16, knows_from: i16, error: ResponseError) -> ResponseError {
    if version < knows_from && error == ResponseError::ProducerFenced {
        ResponseError::InvalidProducerEpoch
    } else {
        error
    }
}
