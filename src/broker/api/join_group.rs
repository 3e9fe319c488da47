//! JoinGroup v0–9. Errors: 16, 23, 24, 25, 26, 79, 81, 82.

use crate::broker::cluster::Cluster;
use crate::broker::groups::{Group, Reply, join_error};
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest};

const NULLABLE_PROTOCOL_VERSION: i16 = 7;

impl Served for JoinGroupRequest {
    const OFFERED: (i16, i16) = (0, 9);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        if let Err(error) = cluster.may_join(&caller, &self) {
            return cluster.reply(vec![Reply::Join(caller, join_error(&self.member_id, error))]);
        }
        let prefix = self.group_instance_id.as_ref().map_or_else(|| caller.client_id.to_string(), ToString::to_string);
        let new_member_id = format!("{prefix}-{}", cluster.new_uuid());
        let (now_ms, delay_ms) = (cluster.now_ms, cluster.settings.group_initial_rebalance_delay_ms);
        let group = cluster.groups.entry(self.group_id.to_string()).or_insert_with(|| Group::new(now_ms));
        let replies = group.join(now_ms, caller, &self, new_member_id, delay_ms);
        cluster.reply(replies);
    }

    fn refusal(&self, version: i16, error: ResponseError) -> JoinGroupResponse {
        for_version(join_error(&self.member_id, error), version)
    }
}

/// The protocol's name may be null only where the type has its place too.
fn for_version(response: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    if version >= NULLABLE_PROTOCOL_VERSION {
        return response;
    }
    let name = response.protocol_name.clone().unwrap_or_default();
    response.with_protocol_type(None).with_protocol_name(Some(name))
}

impl Cluster {
    fn may_join(&self, caller: &Caller, request: &JoinGroupRequest) -> Result<(), ResponseError> {
        if request.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let sessions = self.settings.group_min_session_timeout_ms..=self.settings.group_max_session_timeout_ms;
        if !sessions.contains(&request.session_timeout_ms) {
            return Err(ResponseError::InvalidSessionTimeout);
        }
        self.coordinates(caller.node, Coordinator::Group, &request.group_id)?;
        let known = self.groups.contains_key(request.group_id.as_str());
        if known || request.member_id.is_empty() { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }

    /// Answers whose time has come, of this request or of others that waited for it.
    pub(crate) fn reply(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            match reply {
                Reply::Join(caller, response) => {
                    let response = for_version(response, caller.version);
                    self.answer::<JoinGroupRequest>(caller, &response);
                }
                Reply::Sync(caller, response) => {
                    let response = super::sync_group::for_version(response, caller.version);
                    self.answer::<SyncGroupRequest>(caller, &response);
                }
            }
        }
    }
}
