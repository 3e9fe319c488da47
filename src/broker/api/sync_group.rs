//! SyncGroup v0–5. Errors: 16, 22, 23, 24, 25, 27, 82.

use crate::broker::cluster::Cluster;
use crate::broker::groups::{Reply, sync_error};
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

const PROTOCOL_VERSION: i16 = 5;

impl Served for SyncGroupRequest {
    const OFFERED: (i16, i16) = (0, 5);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let now_ms = cluster.now_ms;
        let refuse = |caller, error| vec![Reply::Sync(caller, sync_error(error))];
        let replies = match cluster.coordinates(caller.node, Coordinator::Group, &self.group_id) {
            _ if self.group_id.is_empty() => refuse(caller, ResponseError::InvalidGroupId),
            Err(error) => refuse(caller, error),
            Ok(_) => match cluster.groups.get_mut(self.group_id.as_str()) {
                Some(group) => group.sync(now_ms, caller, &self),
                None => refuse(caller, ResponseError::UnknownMemberId),
            },
        };
        cluster.reply(replies);
    }

    fn refusal(&self, version: i16, error: ResponseError) -> SyncGroupResponse {
        for_version(sync_error(error), version)
    }
}

pub(super) fn for_version(response: SyncGroupResponse, version: i16) -> SyncGroupResponse {
    if version >= PROTOCOL_VERSION { response } else { response.with_protocol_type(None).with_protocol_name(None) }
}
