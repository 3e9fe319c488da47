//! InitProducerId v0–5 (TransactionCoordinator.handleInitProducerId). Errors: 16, 42, 47, 50, 51, 90.

use super::fenced_for;
use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use crate::broker::transactions::{Transaction, take_producer_id};
use crate::types::ProducerIdentity;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

const FENCED_VERSION: i16 = 4;
const BUMP_VERSION: i16 = 3;
/// One node's coordinator in a demo or a test; each id takes memory for good.
const TRANSACTIONAL_IDS_MAX: usize = 100_000;

impl Served for InitProducerIdRequest {
    const OFFERED: (i16, i16) = (0, 5);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let response = match cluster.init_producer_id(&caller, &self) {
            Ok(identity) => InitProducerIdResponse::default()
                .with_producer_id(identity.producer_id.into())
                .with_producer_epoch(identity.producer_epoch),
            Err(error) => self.refusal(caller.version, fenced_for(caller.version, FENCED_VERSION, error)),
        };
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> InitProducerIdResponse {
        let response = InitProducerIdResponse::default().with_error_code(error.code());
        response.with_producer_id((-1).into()).with_producer_epoch(-1)
    }
}

impl Cluster {
    fn init_producer_id(
        &mut self,
        caller: &Caller,
        request: &InitProducerIdRequest,
    ) -> Result<ProducerIdentity, ResponseError> {
        let expected = match (request.producer_id.0, request.producer_epoch) {
            _ if caller.version < BUMP_VERSION => None,
            (-1, -1) => None,
            (-1, _) | (_, -1) => return Err(ResponseError::InvalidRequest),
            (producer_id, producer_epoch) => Some(ProducerIdentity { producer_id, producer_epoch }),
        };
        let Some(id) = request.transactional_id.as_ref() else {
            let producer_id = self.new_producer_id();
            return Ok(ProducerIdentity { producer_id, producer_epoch: 0 });
        };
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let timeout_ms = request.transaction_timeout_ms;
        if timeout_ms <= 0 || timeout_ms > self.settings.transaction_max_timeout_ms {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        self.coordinates(caller.node, Coordinator::Transaction, id)?;
        if !self.transactions.by_id.contains_key(id.as_str()) {
            if self.transactions.by_id.len() >= TRANSACTIONAL_IDS_MAX {
                return Err(ResponseError::PolicyViolation);
            }
            let producer_id = self.new_producer_id();
            self.transactions.by_id.insert(id.to_string(), Transaction::new(producer_id, timeout_ms));
        }
        let server_bumps = self.settings.transaction_version >= 2;
        let mut next_id = self.transactions.next_producer_id;
        let Some(transaction) = self.transactions.by_id.get_mut(id.as_str()) else {
            return Err(ResponseError::UnknownServerError);
        };
        let was_pending = transaction.is_pending();
        let outcome = transaction.init(expected, timeout_ms, server_bumps, || take_producer_id(&mut next_id));
        let fenced = transaction.is_pending() && !was_pending;
        self.transactions.next_producer_id = next_id;
        if fenced {
            self.schedule_markers(id);
        } else {
            self.record_transaction(id);
        }
        outcome
    }

    fn new_producer_id(&mut self) -> i64 {
        let id = take_producer_id(&mut self.transactions.next_producer_id);
        self.record_producer_ids();
        id
    }
}
