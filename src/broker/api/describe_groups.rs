//! DescribeGroups v0–5. A group that does not exist is described as Dead. Errors: 16.

use super::{group_id, text};
use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

impl Served for DescribeGroupsRequest {
    const OFFERED: (i16, i16) = (0, 5);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let groups = self.groups.iter().map(|id| cluster.described_group(&caller, id));
        let response = DescribeGroupsResponse::default().with_groups(groups.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> DescribeGroupsResponse {
        let groups = self
            .groups
            .iter()
            .map(|id| DescribedGroup::default().with_group_id(id.clone()).with_error_code(error.code()));
        DescribeGroupsResponse::default().with_groups(groups.collect())
    }
}

impl Cluster {
    fn described_group(&self, caller: &Caller, id: &str) -> DescribedGroup {
        let described = DescribedGroup::default().with_group_id(group_id(id));
        if let Err(error) = self.coordinates(caller.node, Coordinator::Group, id) {
            return described.with_error_code(error.code());
        }
        let Some(group) = self.groups.get(id) else { return described.with_group_state(text("Dead")) };
        let members = group.members.iter().map(|(id, member)| {
            let described = DescribedGroupMember::default()
                .with_member_id(text(id))
                .with_client_id(text(&member.client_id))
                .with_client_host(text("/127.0.0.1"))
                .with_member_metadata(group.metadata_of(member))
                .with_member_assignment(member.assignment.clone());
            if caller.version >= 4 {
                described.with_group_instance_id(member.instance_id.as_deref().map(text))
            } else {
                described
            }
        });
        described
            .with_group_state(text(group.state.name()))
            .with_protocol_type(text(group.protocol_type.as_deref().unwrap_or_default()))
            .with_protocol_data(text(group.protocol.as_deref().unwrap_or_default()))
            .with_members(members.collect())
    }
}
