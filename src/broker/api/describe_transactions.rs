//! DescribeTransactions v0 (KIP-664). Errors: 16, 42, 105.

use super::{text, topic_name, transactional_id};
use crate::broker::cluster::Cluster;
use crate::broker::nodes::Coordinator;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use std::collections::BTreeMap;

impl Served for DescribeTransactionsRequest {
    const OFFERED: (i16, i16) = (0, 0);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        let states = self.transactional_ids.iter().map(|id| {
            let state = TransactionState::default().with_transactional_id(transactional_id(id));
            match cluster.described_transaction(&caller, id, state.clone()) {
                Ok(described) => described,
                Err(error) => state.with_error_code(error.code()),
            }
        });
        let response = DescribeTransactionsResponse::default().with_transaction_states(states.collect());
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> DescribeTransactionsResponse {
        let states = self
            .transactional_ids
            .iter()
            .map(|id| TransactionState::default().with_transactional_id(id.clone()).with_error_code(error.code()));
        DescribeTransactionsResponse::default().with_transaction_states(states.collect())
    }
}

impl Cluster {
    fn described_transaction(
        &self,
        caller: &Caller,
        id: &str,
        state: TransactionState,
    ) -> Result<TransactionState, ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        self.coordinates(caller.node, Coordinator::Transaction, id)?;
        let transaction = self.transactions.by_id.get(id).ok_or(ResponseError::TransactionalIdNotFound)?;
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for place in &transaction.partitions {
            topics.entry(place.topic.as_ref()).or_default().push(place.partition);
        }
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| TopicData::default().with_topic(topic_name(name)).with_partitions(partitions));
        Ok(state
            .with_transaction_state(text(transaction.state.name()))
            .with_transaction_timeout_ms(transaction.timeout_ms)
            .with_transaction_start_time_ms(transaction.start_ms)
            .with_producer_id(transaction.identity.producer_id.into())
            .with_producer_epoch(transaction.identity.producer_epoch)
            .with_topics(topics.collect()))
    }
}
