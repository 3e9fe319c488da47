//! ListTransactions v0–1: those that this node coordinates (KIP-664, KIP-994).

use super::{text, transactional_id};
use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use crate::broker::transactions::State;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_transactions_response::TransactionState;
use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

/// A state that Kafka has while its log is written, and this cluster never stays in.
const EPOCH_FENCE: &str = "PrepareEpochFence";

impl Served for ListTransactionsRequest {
    const OFFERED: (i16, i16) = (0, 1);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let known = |name: &str| name == EPOCH_FENCE || State::ALL.iter().any(|it| it.name() == name);
        let unknown = self.state_filters.iter().filter(|it| !known(it)).cloned();
        let now_ms = cluster.now_ms;
        let listed = cluster.transactions.by_id.iter().filter(|(id, transaction)| {
            let state = self.state_filters.is_empty()
                || self.state_filters.iter().any(|it| it.as_str() == transaction.state.name());
            let producer = self.producer_id_filters.is_empty()
                || self.producer_id_filters.iter().any(|it| it.0 == transaction.identity.producer_id);
            let old =
                caller.version < 1 || self.duration_filter < 0 || now_ms - transaction.start_ms > self.duration_filter;
            state && producer && old && cluster.coordinates(caller.node, Coordinator::Transaction, id).is_ok()
        });
        let states = listed.map(|(id, transaction)| {
            TransactionState::default()
                .with_transactional_id(transactional_id(id))
                .with_producer_id(transaction.identity.producer_id.into())
                .with_transaction_state(text(transaction.state.name()))
        });
        let response = ListTransactionsResponse::default()
            .with_unknown_state_filters(unknown.collect())
            .with_transaction_states(states.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> ListTransactionsResponse {
        ListTransactionsResponse::default().with_error_code(error.code())
    }
}
