//! Rights, as an administrator grants them.

use anyhow::{Context, Result};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, delete_acls_request::DeleteAclsFilter};
use kafka_protocol::protocol::StrBytes;

use super::{RawClient, check};

const ALLOW: i8 = 3;
const ANY: i8 = 1;

/// `ResourceType` and `PatternType`, with their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Topic = 2,
    Group = 3,
    TransactionalId = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    Literal = 3,
    Prefixed = 4,
}

/// One right: who may do what where. The operation has `AclOperation`'s code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    pub principal: String,
    pub resource: Resource,
    pub name: String,
    pub pattern: Pattern,
    pub operation: i8,
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

impl RawClient {
    pub fn grant(&mut self, acls: &[Acl]) -> Result<()> {
        let creations = acls.iter().map(|acl| {
            AclCreation::default()
                .with_resource_type(acl.resource as i8)
                .with_resource_name(text(&acl.name))
                .with_resource_pattern_type(acl.pattern as i8)
                .with_principal(text(&acl.principal))
                .with_host(text("*"))
                .with_operation(acl.operation)
                .with_permission_type(ALLOW)
        });
        let request = CreateAclsRequest::default().with_creations(creations.collect());
        self.retry(|client| {
            let answer = client.send_controller(2, &request)?;
            answer
                .results
                .iter()
                .try_for_each(|it| check(it.error_code).with_context(|| format!("{:?}", it.error_message)))
        })
    }

    /// Everything that was granted.
    pub fn revoke_all(&mut self) -> Result<()> {
        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(ANY)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(ANY)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(ANY)
            .with_permission_type(ANY);
        let request = DeleteAclsRequest::default().with_filters(vec![filter]);
        self.retry(|client| {
            let answer = client.send_controller(2, &request)?;
            answer.filter_results.iter().try_for_each(|it| check(it.error_code))
        })
    }
}
