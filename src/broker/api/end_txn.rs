//! EndTxn v0–5; the version alone chooses the protocol (TransactionVersion.transactionVersionForEndTxn). Errors: 16, 42, 47,
//! 48, 49, 51, 90.

use super::fenced_for;
use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use crate::broker::transactions::take_producer_id;
use crate::types::ProducerIdentity;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};

const FENCED_VERSION: i16 = 2;
const BUMP_VERSION: i16 = 5;

impl Served for EndTxnRequest {
    const OFFERED: (i16, i16) = (0, 5);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let response = match cluster.end_transaction(&caller, &self) {
            Ok(identity) if caller.version >= BUMP_VERSION => EndTxnResponse::default()
                .with_producer_id(identity.producer_id.into())
                .with_producer_epoch(identity.producer_epoch),
            Ok(_) => EndTxnResponse::default(),
            Err(error) => self.refusal(caller.version, fenced_for(caller.version, FENCED_VERSION, error)),
        };
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> EndTxnResponse {
        EndTxnResponse::default().with_error_code(error.code())
    }
}

impl Cluster {
    fn end_transaction(&mut self, caller: &Caller, request: &EndTxnRequest) -> Result<ProducerIdentity, ResponseError> {
        let id = request.transactional_id.as_str();
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        self.coordinates(caller.node, Coordinator::Transaction, id)?;
        let identity = ProducerIdentity { producer_id: request.producer_id.0, producer_epoch: request.producer_epoch };
        let mut next_id = self.transactions.next_producer_id;
        let transaction = self.transactions.by_id.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        let ended = if caller.version >= BUMP_VERSION {
            transaction.end_v2(identity, request.committed, || take_producer_id(&mut next_id))
        } else {
            transaction.end_v1(identity, request.committed)
        }?;
        self.transactions.next_producer_id = next_id;
        if ended.is_new {
            self.schedule_markers(id);
        }
        Ok(ended.identity)
    }
}
