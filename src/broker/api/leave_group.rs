//! LeaveGroup v0–5; of several members from v3 on. Errors: 16, 24, 25, 82.

use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

const SEVERAL_VERSION: i16 = 3;

impl Served for LeaveGroupRequest {
    const OFFERED: (i16, i16) = (0, 5);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let leaving = if caller.version >= SEVERAL_VERSION {
            self.members.clone()
        } else {
            vec![MemberIdentity::default().with_member_id(self.member_id.clone())]
        };
        let response = match cluster.leave(&caller, &self, &leaving) {
            Ok(members) if caller.version >= SEVERAL_VERSION => LeaveGroupResponse::default().with_members(members),
            Ok(members) => {
                let error = members.first().map_or(0, |it| it.error_code);
                LeaveGroupResponse::default().with_error_code(error)
            }
            Err(error) => self.refusal(caller.version, error),
        };
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> LeaveGroupResponse {
        LeaveGroupResponse::default().with_error_code(error.code())
    }
}

impl Cluster {
    fn leave(
        &mut self,
        caller: &Caller,
        request: &LeaveGroupRequest,
        leaving: &[MemberIdentity],
    ) -> Result<Vec<MemberResponse>, ResponseError> {
        if request.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.coordinates(caller.node, Coordinator::Group, &request.group_id)?;
        let (now_ms, delay_ms) = (self.now_ms, self.settings.group_initial_rebalance_delay_ms);
        let Some(group) = self.groups.get_mut(request.group_id.as_str()) else {
            let unknown = leaving.iter().map(|it| {
                MemberResponse::default()
                    .with_member_id(it.member_id.clone())
                    .with_group_instance_id(it.group_instance_id.clone())
                    .with_error_code(ResponseError::UnknownMemberId.code())
            });
            return Ok(unknown.collect());
        };
        let (members, replies) = group.leave(now_ms, leaving, delay_ms);
        self.reply(replies);
        Ok(members)
    }
}
