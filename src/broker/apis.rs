//! Which APIs the cluster serves, and in which versions.

use super::api::api_versions;
use super::cluster::Cluster;
use super::request::{Caller, Served, Unreadable, receive, resume};
use super::settings::Settings;
use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;

type Handler = fn(&mut Cluster, Caller, &Bytes) -> Result<(), Unreadable>;

pub(crate) struct Api {
    pub(crate) key: i16,
    pub(crate) first: i16,
    last: i16,
    header_version: fn(i16) -> i16,
    pub(crate) receive: Handler,
    pub(crate) resume: Handler,
    #[cfg(test)]
    pub(crate) reread: fn(&Bytes, i16) -> Option<(usize, Bytes)>,
}

/// Decodes and encodes again; with the number of bytes that the decoder left.
#[cfg(test)]
fn reread<R: Served>(bytes: &Bytes, version: i16) -> Option<(usize, Bytes)> {
    let mut rest = bytes.clone();
    let request = R::decode(&mut rest, version).ok()?;
    let mut again = bytes::BytesMut::new();
    request.encode(&mut again, version).ok()?;
    Some((rest.len(), again.freeze()))
}

impl Api {
    const fn of<R: Served>() -> Self {
        Self {
            key: R::KEY,
            first: R::OFFERED.0,
            last: R::OFFERED.1,
            header_version: R::header_version,
            receive: receive::<R>,
            resume: resume::<R>,
            #[cfg(test)]
            reread: reread::<R>,
        }
    }

    /// The newest version that this cluster offers.
    pub(crate) fn last(&self, settings: &Settings) -> i16 {
        settings.version_caps.get(&self.key).map_or(self.last, |cap| self.last.min(*cap))
    }

    pub(crate) fn is_flexible(&self, version: i16) -> bool {
        (self.header_version)(version) >= 2
    }
}

static APIS: &[Api] = &[
    Api::of::<ProduceRequest>(),
    Api::of::<FetchRequest>(),
    Api::of::<ListOffsetsRequest>(),
    Api::of::<MetadataRequest>(),
    Api::of::<OffsetCommitRequest>(),
    Api::of::<OffsetFetchRequest>(),
    Api::of::<FindCoordinatorRequest>(),
    Api::of::<JoinGroupRequest>(),
    Api::of::<HeartbeatRequest>(),
    Api::of::<LeaveGroupRequest>(),
    Api::of::<SyncGroupRequest>(),
    Api::of::<DescribeGroupsRequest>(),
    Api::of::<ListGroupsRequest>(),
    Api::of::<ApiVersionsRequest>(),
    Api::of::<CreateTopicsRequest>(),
    Api::of::<DeleteTopicsRequest>(),
    Api::of::<DeleteRecordsRequest>(),
    Api::of::<InitProducerIdRequest>(),
    Api::of::<OffsetForLeaderEpochRequest>(),
    Api::of::<AddPartitionsToTxnRequest>(),
    Api::of::<AddOffsetsToTxnRequest>(),
    Api::of::<EndTxnRequest>(),
    Api::of::<TxnOffsetCommitRequest>(),
    Api::of::<DescribeConfigsRequest>(),
    Api::of::<CreatePartitionsRequest>(),
    Api::of::<DeleteGroupsRequest>(),
    Api::of::<IncrementalAlterConfigsRequest>(),
    Api::of::<DescribeProducersRequest>(),
    Api::of::<DescribeTransactionsRequest>(),
    Api::of::<ListTransactionsRequest>(),
];

pub(crate) fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|it| it.key == key)
}

pub(crate) fn all() -> impl Iterator<Item = &'static Api> {
    APIS.iter()
}

/// ApiVersions answers in version 0 what it can do (KIP-511); for any other API the connection ends.
pub(crate) fn unsupported(cluster: &mut Cluster, caller: Caller) -> Result<(), Unreadable> {
    if caller.api() == <ApiVersionsRequest as Request>::KEY {
        api_versions::answer_unsupported(cluster, caller);
        return Ok(());
    }
    Err(Unreadable(format!("API {} has no version {} here", caller.api(), caller.version)))
}
