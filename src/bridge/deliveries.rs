//! Carries a transaction machine's requests to the target, and closes what it wants closed. It decides nothing.

use super::dispatch;
use crate::cluster::{Address, Cluster, CoordinatorKind, Courier, Keeper, Lost, Use};
use crate::target::{self, Destination, Input, TransactorSettings, TxnRequest};
use crate::types::{NodeId, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// More than a machine can have in flight.
const ANSWERS_MAX: usize = 4_096;

/// What comes back: one for each request, or each part of it.
pub(super) type Delivered = mpsc::Receiver<(target::RequestId, Result<target::Answer, Lost>)>;

/// The connections of one machine. Dropped, they are closed.
pub(super) struct Deliveries {
    cluster: Cluster,
    metadata: Keeper,
    transactional_id: Arc<str>,
    group_id: Arc<str>,
    lane: u32,
    request_timeout: Duration,
    couriers: BTreeMap<Address, Courier<target::RequestId, TxnRequest>>,
    /// Where the last request for a partition went: that is the connection to close.
    leaders: BTreeMap<TopicPartition, NodeId>,
    answers: mpsc::Sender<(target::RequestId, Result<target::Answer, Lost>)>,
}

impl Deliveries {
    pub(super) fn new(
        cluster: Cluster,
        metadata: Keeper,
        settings: &TransactorSettings,
        lane: u32,
        request_timeout: Duration,
    ) -> (Self, Delivered) {
        let (answers, delivered) = mpsc::channel(ANSWERS_MAX);
        let it = Self {
            cluster,
            metadata,
            transactional_id: Arc::clone(&settings.transactional_id),
            group_id: Arc::clone(&settings.group_id),
            lane,
            request_timeout,
            couriers: BTreeMap::new(),
            leaders: BTreeMap::new(),
            answers,
        };
        (it, delivered)
    }

    /// What the machine is to be told at once: of requests that could not be sent at all.
    pub(super) fn perform(&mut self, output: target::Output) -> Vec<Input> {
        match output {
            target::Output::Send { id, request: TxnRequest::ListOffsets { partitions, committed }, .. } => {
                self.list_offsets(id, partitions, committed)
            }
            target::Output::Send { id, to, request } => {
                let is_sent = match self.address(&to) {
                    Some(address) => self.courier(&address).send(id, request).is_ok(),
                    None => {
                        self.metadata.refresh();
                        false
                    }
                };
                if is_sent { Vec::new() } else { vec![unsent(id)] }
            }
            target::Output::RefreshMetadata(_) => {
                self.metadata.refresh();
                Vec::new()
            }
            // A new connection looks the coordinator up anew.
            target::Output::RefreshCoordinator(to) | target::Output::CloseConnection(to) => {
                let address = match &to {
                    Destination::Leader(partition) => self.leaders.get(partition).map(|node| Address::Node(*node)),
                    _ => self.address(&to),
                };
                address.and_then(|it| self.couriers.get(&it)).inspect(|it| it.close());
                Vec::new()
            }
            // Its caller's.
            target::Output::Event(_) => Vec::new(),
        }
    }

    /// One request to each leader.
    fn list_offsets(&mut self, id: target::RequestId, partitions: Vec<TopicPartition>, committed: bool) -> Vec<Input> {
        let mut by_leader: BTreeMap<Option<Address>, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            let address = self.address(&Destination::Leader(partition.clone()));
            by_leader.entry(address).or_default().push(partition);
        }
        let mut told = Vec::new();
        for (address, partitions) in by_leader {
            let request = TxnRequest::ListOffsets { partitions, committed };
            let is_sent = address.is_some_and(|address| self.courier(&address).send(id, request).is_ok());
            if !is_sent {
                told.push(unsent(id));
            }
        }
        told
    }

    fn address(&mut self, to: &Destination) -> Option<Address> {
        Some(match to {
            Destination::TransactionCoordinator => {
                Address::Coordinator(CoordinatorKind::Transaction, Arc::clone(&self.transactional_id))
            }
            Destination::GroupCoordinator => Address::Coordinator(CoordinatorKind::Group, Arc::clone(&self.group_id)),
            // Split by `list_offsets`.
            Destination::Leaders => return None,
            Destination::Leader(partition) => {
                let metadata = self.metadata.current();
                // Whoever led a topic that metadata no longer knows is asked all the same: that it is gone is for a broker to
                // say, and without an answer the lane would wait for ever, its other partitions with it.
                let is_gone = metadata.topics.get(&partition.topic).is_none_or(|it| it.partitions.is_empty());
                let last = self.leaders.get(partition).copied().filter(|_| is_gone);
                let node = metadata.leader(partition).or(last)?;
                self.leaders.insert(partition.clone(), node);
                Address::Node(node)
            }
        })
    }

    fn courier(&mut self, address: &Address) -> &Courier<target::RequestId, TxnRequest> {
        self.couriers.entry(address.clone()).or_insert_with(|| {
            let usage = match address {
                Address::Node(_) => Use::Produce(self.lane),
                Address::Coordinator(..) => Use::Coordinate(self.lane),
            };
            let (cluster, answers) = (self.cluster.clone(), self.answers.clone());
            Courier::spawn(cluster, address.clone(), usage, self.request_timeout, dispatch::target, answers)
        })
    }
}

fn unsent(id: target::RequestId) -> Input {
    Input::Answered { id, answer: Err(target::Failure::Disconnected) }
}

/// As the machine is told it.
pub(super) fn failure(lost: Lost) -> target::Failure {
    match lost {
        Lost::Disconnected => target::Failure::Disconnected,
        Lost::TimedOut => target::Failure::TimedOut,
    }
}
