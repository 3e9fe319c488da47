//! ListGroups v0–4: those that this node coordinates.

use super::{group_id, text};
use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

const STATES_VERSION: i16 = 4;

impl Served for ListGroupsRequest {
    const OFFERED: (i16, i16) = (0, 4);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let wanted = |state: &str| {
            self.states_filter.is_empty() || self.states_filter.iter().any(|it| it.eq_ignore_ascii_case(state))
        };
        let ours = |id: &str| cluster.coordinates(caller.node, Coordinator::Group, id).is_ok();
        let groups = cluster.groups.iter().filter(|(id, group)| ours(id) && wanted(group.state.name()));
        let listed = groups.map(|(id, group)| {
            let listed = ListedGroup::default()
                .with_group_id(group_id(id))
                .with_protocol_type(text(group.protocol_type.as_deref().unwrap_or_default()));
            if caller.version >= STATES_VERSION { listed.with_group_state(text(group.state.name())) } else { listed }
        });
        let response = ListGroupsResponse::default().with_groups(listed.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> ListGroupsResponse {
        ListGroupsResponse::default().with_error_code(error.code())
    }
}
