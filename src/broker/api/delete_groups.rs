//! DeleteGroups v0–2. Errors: 16, 24, 68, 69.

use super::code;
use crate::broker::cluster::Cluster;
use crate::broker::groups::GroupState;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

impl Served for DeleteGroupsRequest {
    const OFFERED: (i16, i16) = (0, 2);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let results = self.groups_names.iter().map(|id| {
            let deleted = cluster.delete_group(&caller, id);
            DeletableGroupResult::default().with_group_id(id.clone()).with_error_code(code(deleted))
        });
        let response = DeleteGroupsResponse::default().with_results(results.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> DeleteGroupsResponse {
        let results = self
            .groups_names
            .iter()
            .map(|id| DeletableGroupResult::default().with_group_id(id.clone()).with_error_code(error.code()));
        DeleteGroupsResponse::default().with_results(results.collect())
    }
}

impl Cluster {
    fn delete_group(&mut self, caller: &Caller, id: &str) -> Result<(), ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.coordinates(caller.node, Coordinator::Group, id)?;
        match self.groups.get(id) {
            None => return Err(ResponseError::GroupIdNotFound),
            Some(group) if group.state != GroupState::Empty => return Err(ResponseError::NonEmptyGroup),
            Some(_) => {}
        }
        self.groups.remove(id);
        self.record_offsets(id);
        Ok(())
    }
}
