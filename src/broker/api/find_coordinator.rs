//! FindCoordinator v0–4. The first one creates the internal topic, as in Kafka. Errors: 15, 42.

use super::text;
use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator as Kind;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

const BATCH_VERSION: i16 = 4;
const MESSAGE_VERSION: i16 = 1;

impl Served for FindCoordinatorRequest {
    const OFFERED: (i16, i16) = (0, 4);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let kind = match self.key_type {
            0 => Some(Kind::Group),
            1 => Some(Kind::Transaction),
            _ => None,
        };
        let keys = if caller.version >= BATCH_VERSION { self.coordinator_keys } else { vec![self.key] };
        let found: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let node = kind
                    .ok_or(ResponseError::InvalidRequest)
                    .and_then(|it| cluster.find_coordinator(&caller, it, &key));
                (key, node)
            })
            .collect();
        let response = respond(caller.version, found);
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, version: i16, error: ResponseError) -> FindCoordinatorResponse {
        let keys = if version >= BATCH_VERSION { self.coordinator_keys.clone() } else { vec![self.key.clone()] };
        respond(version, keys.into_iter().map(|key| (key, Err(error))).collect())
    }
}

type Found = Result<(i32, String, u16), ResponseError>;

fn respond(version: i16, found: Vec<(StrBytes, Found)>) -> FindCoordinatorResponse {
    let parts = |found: Found| match found {
        Ok((node, host, port)) => (0, node, text(&host), i32::from(port)),
        Err(error) => (error.code(), -1, text(""), -1),
    };
    if version >= BATCH_VERSION {
        let coordinators = found.into_iter().map(|(key, found)| {
            let (code, node, host, port) = parts(found);
            let coordinator = Coordinator::default().with_key(key).with_error_code(code).with_node_id(node.into());
            coordinator.with_host(host).with_port(port).with_error_message(Some(text("")))
        });
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let first = found.into_iter().next().map_or(Err(ResponseError::InvalidRequest), |(_, found)| found);
    let (code, node, host, port) = parts(first);
    let response = FindCoordinatorResponse::default().with_error_code(code).with_node_id(node.into());
    let response = response.with_host(host).with_port(port);
    if version >= MESSAGE_VERSION { response.with_error_message(Some(text("NONE"))) } else { response }
}

impl Cluster {
    fn find_coordinator(&mut self, caller: &Caller, kind: Kind, key: &str) -> Found {
        let unavailable = ResponseError::CoordinatorNotAvailable;
        if self.coordinating_partition(kind, key).is_none() {
            let partitions = match kind {
                Kind::Group => self.settings.offsets_partitions,
                Kind::Transaction => self.settings.transaction_partitions,
            };
            let replicas = i16::try_from(self.alive().len()).unwrap_or(1).clamp(1, 3);
            // The client asks again: the topic is there only after this answer.
            let _ = self.create_topic(kind.topic(), partitions, replicas, &[("cleanup.policy", "compact")]);
            return Err(unavailable);
        }
        let node = self.coordinator(kind, key).ok_or(unavailable)?;
        let (host, port) = self.address(node, self.listener_of(caller.connection)).ok_or(unavailable)?;
        Ok((node, host.to_owned(), port))
    }
}
