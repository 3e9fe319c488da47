//! Puts the machines' requests on a connection, in the version that it speaks.

use super::roster::REBALANCE_TIMEOUT;
use crate::batch::StampedBatch;
use crate::cluster::Pending;
use crate::group::{self, GroupRequest, protocol as member};
use crate::source::{self, Isolation, ListOffsetsPartition, SourceRequest};
use crate::target::protocol as produce;
use crate::target::{self, TransactionProtocol, TxnRequest};
use crate::types::{ProducerIdentity, TopicPartition};
use crate::wire::{Connection, WireError};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest, FetchRequest,
    HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListOffsetsRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, SyncGroupRequest, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::Request;
use std::sync::Arc;
use std::time::Duration;

fn ready<A: Send + 'static>(error: WireError) -> Pending<A> {
    Box::pin(std::future::ready(Err(error)))
}

/// `build` gives the request for the version; `read` turns its answer into the machine's.
fn ask<R: Request, A: Send + 'static>(
    connection: &Connection,
    version_max: i16,
    timeout: Duration,
    build: impl FnOnce(i16) -> R,
    read: impl FnOnce(R::Response, i16) -> A + Send + 'static,
) -> Pending<A> {
    let version = match connection.version::<R>(version_max) {
        Ok(version) => version,
        Err(error) => return ready(error),
    };
    let answer = connection.send(version, &build(version), timeout);
    Box::pin(async move { answer.await.map(|answer| read(answer, version)) })
}

pub(super) fn source(connection: &Connection, request: SourceRequest, timeout: Duration) -> Pending<source::Answer> {
    use source::protocol;
    match request {
        SourceRequest::Fetch(request) => {
            // An answer may take as long as the broker was told to wait for data.
            let timeout = timeout + request.max_wait;
            let most = match connection.version::<FetchRequest>(*protocol::FETCH_VERSIONS.end()) {
                Ok(most) => most,
                Err(error) => return ready(error),
            };
            let version = protocol::fetch_version(&request, most);
            let answer = connection.send(version, &protocol::fetch_request(&request, version), timeout);
            Box::pin(async move { answer.await.map(|answer| protocol::fetch_answer(&request, answer, version)) })
        }
        SourceRequest::ListOffsets { isolation, partitions } => ask::<ListOffsetsRequest, _>(
            connection,
            *protocol::LIST_OFFSETS_VERSIONS.end(),
            timeout,
            |version| protocol::list_offsets_request(isolation, &partitions, version),
            |answer, _| protocol::list_offsets_answer(answer),
        ),
        SourceRequest::OffsetForLeaderEpoch { partitions } => ask::<OffsetForLeaderEpochRequest, _>(
            connection,
            *protocol::OFFSET_FOR_LEADER_EPOCH_VERSIONS.end(),
            timeout,
            |version| protocol::offset_for_leader_epoch_request(&partitions, version),
            |answer, _| protocol::offset_for_leader_epoch_answer(answer),
        ),
    }
}

/// What goes to the target in one request.
pub(super) enum Order {
    One(TxnRequest),
    Produce { transactional_id: Arc<str>, protocol: TransactionProtocol, batches: Vec<(TopicPartition, StampedBatch)> },
}

/// An answer for each batch of a Produce, or the one that there is.
pub(super) fn target(connection: &Connection, order: Order, timeout: Duration) -> Pending<Vec<target::Answer>> {
    match order {
        Order::Produce { transactional_id, protocol, batches } => {
            produce(connection, &transactional_id, protocol, batches, timeout)
        }
        Order::One(request) => one(connection, request, timeout),
    }
}

fn produce(
    connection: &Connection,
    transactional_id: &str,
    protocol: TransactionProtocol,
    batches: Vec<(TopicPartition, StampedBatch)>,
    timeout: Duration,
) -> Pending<Vec<target::Answer>> {
    let version = match connection.version::<ProduceRequest>(produce::produce_version_max(protocol)) {
        Ok(version) => version,
        Err(error) => return ready(error),
    };
    let body = match produce::produce_body(transactional_id, &batches, timeout, version) {
        Ok(body) => body,
        Err(reason) => return ready(WireError::Unencodable { api: "Produce", version, reason: reason.into() }),
    };
    let partitions: Vec<_> = batches.into_iter().map(|(partition, _)| partition).collect();
    let answer = connection.send_encoded::<ProduceRequest>(version, body, timeout);
    Box::pin(async move { answer.await.map(|answer| produce::produce_answers(&answer, &partitions)) })
}

fn one(connection: &Connection, request: TxnRequest, timeout: Duration) -> Pending<Vec<target::Answer>> {
    match request {
        TxnRequest::InitProducerId { transactional_id, transaction_timeout_ms, identity } => {
            ask::<InitProducerIdRequest, _>(
                connection,
                produce::INIT_PRODUCER_ID_VERSION_MAX,
                timeout,
                |_| produce::init_producer_id(&transactional_id, transaction_timeout_ms, identity),
                |answer, _| vec![produce::init_producer_id_answer(&answer)],
            )
        }
        TxnRequest::AddPartitionsToTxn { transactional_id, identity, partitions } => {
            ask::<AddPartitionsToTxnRequest, _>(
                connection,
                produce::ADD_PARTITIONS_TO_TXN_VERSION_MAX,
                timeout,
                |_| produce::add_partitions_to_txn(&transactional_id, identity, &partitions),
                |answer, _| vec![produce::add_partitions_to_txn_answer(answer)],
            )
        }
        TxnRequest::AddOffsetsToTxn { transactional_id, identity, group_id } => ask::<AddOffsetsToTxnRequest, _>(
            connection,
            produce::ADD_OFFSETS_TO_TXN_VERSION_MAX,
            timeout,
            |_| produce::add_offsets_to_txn(&transactional_id, identity, &group_id),
            |answer, _| vec![target::Answer::AddOffsetsToTxn { error_code: answer.error_code }],
        ),
        TxnRequest::Produce { transactional_id, partition, batch, protocol } => {
            produce(connection, &transactional_id, protocol, vec![(partition, batch)], timeout)
        }
        TxnRequest::TxnOffsetCommit {
            transactional_id,
            identity,
            group_id,
            partition,
            offset,
            generation_id,
            member_id,
            group_instance_id,
            protocol,
        } => {
            let group_instance_id = group_instance_id.as_deref();
            let member =
                produce::Member { group_id: &group_id, generation_id, member_id: &member_id, group_instance_id };
            ask::<TxnOffsetCommitRequest, _>(
                connection,
                produce::txn_offset_commit_version_max(protocol),
                timeout,
                |_| produce::txn_offset_commit(&transactional_id, identity, &member, &partition, offset),
                |answer, _| vec![produce::txn_offset_commit_answer(&answer)],
            )
        }
        TxnRequest::EndTxn { transactional_id, identity, commit, protocol } => {
            end_txn(connection, &transactional_id, identity, commit, produce::end_txn_version_max(protocol), timeout)
        }
        TxnRequest::DescribeTransactions { transactional_id } => {
            let most = produce::DESCRIBE_TRANSACTIONS_VERSION_MAX;
            if connection.version::<DescribeTransactionsRequest>(most).is_err() {
                return Box::pin(std::future::ready(Ok(vec![produce::describe_transactions_answer(None)])));
            }
            ask::<DescribeTransactionsRequest, _>(
                connection,
                most,
                timeout,
                |_| produce::describe_transactions(&transactional_id),
                |answer, _| vec![produce::describe_transactions_answer(Some(&answer))],
            )
        }
        TxnRequest::ListOffsets { partitions, committed } => list_offsets(connection, partitions, committed, timeout),
    }
}

fn list_offsets(
    connection: &Connection,
    partitions: Vec<TopicPartition>,
    committed: bool,
    timeout: Duration,
) -> Pending<Vec<target::Answer>> {
    use source::protocol;
    let isolation = if committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    const LATEST: i64 = -1;
    let latest = |partition| ListOffsetsPartition { partition, current_leader_epoch: -1, timestamp: LATEST };
    let asked: Vec<_> = partitions.into_iter().map(latest).collect();
    ask::<ListOffsetsRequest, _>(
        connection,
        *protocol::LIST_OFFSETS_VERSIONS.end(),
        timeout,
        |version| protocol::list_offsets_request(isolation, &asked, version),
        |answer, _| {
            let listed = match protocol::list_offsets_answer(answer) {
                source::Answer::ListOffsets { partitions } => partitions,
                _ => Vec::new(),
            };
            let offsets = listed.into_iter().map(|(partition, it)| (partition, it.error_code, it.offset));
            vec![target::Answer::ListOffsets { offsets: offsets.collect() }]
        },
    )
}

pub(super) fn group(connection: &Connection, request: GroupRequest, timeout: Duration) -> Pending<group::Answer> {
    // The coordinator holds these two until everybody has come.
    let held = timeout + REBALANCE_TIMEOUT;
    match request.api() {
        group::Api::JoinGroup => ask::<JoinGroupRequest, _>(
            connection,
            member::JOIN_GROUP_VERSION_MAX,
            held,
            |_| member::join_group(&request).unwrap_or_default(),
            |answer, _| member::join_group_answer(answer),
        ),
        group::Api::SyncGroup => ask::<SyncGroupRequest, _>(
            connection,
            member::SYNC_GROUP_VERSION_MAX,
            held,
            |version| member::sync_group(&request, version).unwrap_or_default(),
            |answer, _| member::sync_group_answer(answer),
        ),
        group::Api::Heartbeat => ask::<HeartbeatRequest, _>(
            connection,
            member::HEARTBEAT_VERSION_MAX,
            timeout,
            |_| member::heartbeat(&request).unwrap_or_default(),
            |answer, _| member::heartbeat_answer(&answer),
        ),
        group::Api::LeaveGroup => ask::<LeaveGroupRequest, _>(
            connection,
            member::LEAVE_GROUP_VERSION_MAX,
            timeout,
            |version| member::leave_group(&request, version).unwrap_or_default(),
            |answer, _| member::leave_group_answer(&answer),
        ),
    }
}

fn end_txn(
    connection: &Connection,
    transactional_id: &str,
    identity: ProducerIdentity,
    commit: bool,
    version_max: i16,
    timeout: Duration,
) -> Pending<Vec<target::Answer>> {
    ask::<EndTxnRequest, _>(
        connection,
        version_max,
        timeout,
        |_| produce::end_txn(transactional_id, identity, commit),
        |answer, _| vec![produce::end_txn_answer(&answer)],
    )
}
