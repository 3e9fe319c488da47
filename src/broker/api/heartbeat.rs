//! Heartbeat v0–4. Errors: 16, 22, 24, 25, 27, 82.

use super::code;
use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

impl Served for HeartbeatRequest {
    const OFFERED: (i16, i16) = (0, 4);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let error = code(cluster.heartbeat(&caller, &self));
        cluster.answer::<Self>(caller, &HeartbeatResponse::default().with_error_code(error));
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> HeartbeatResponse {
        HeartbeatResponse::default().with_error_code(error.code())
    }
}

impl Cluster {
    fn heartbeat(&mut self, caller: &Caller, request: &HeartbeatRequest) -> Result<(), ResponseError> {
        if request.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.coordinates(caller.node, Coordinator::Group, &request.group_id)?;
        let now_ms = self.now_ms;
        let group = self.groups.get_mut(request.group_id.as_str()).ok_or(ResponseError::UnknownMemberId)?;
        let instance_id = request.group_instance_id.as_deref();
        group.heartbeat(now_ms, &request.member_id, instance_id, request.generation_id)
    }
}
