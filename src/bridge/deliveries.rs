//! Carries a transaction machine's requests to the target, and closes what it wants closed. It decides nothing.

use super::dispatch::{self, Order};
use super::packing::{Entry, Ids, Outbox};
use crate::cluster::{Address, Cluster, CoordinatorKind, Courier, Keeper, Lost, Use};
use crate::target::{self, Destination, Input, TransactorSettings, TxnRequest};
use crate::types::{NodeId, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// More than a machine can have in flight.
const ANSWERS_MAX: usize = 4_096;

type Answered = (Ids, Result<Vec<target::Answer>, Lost>);

/// The connections of one machine. Dropped, they are closed.
pub(super) struct Deliveries {
    cluster: Cluster,
    metadata: Keeper,
    transactional_id: Arc<str>,
    group_id: Arc<str>,
    lane: u32,
    request_timeout: Duration,
    couriers: BTreeMap<Address, Courier<Ids, Order>>,
    /// Batches that go out with the next `flush` whose turn it is.
    outbox: Outbox<Address>,
    /// Where the last request for a partition went: that is the connection to close.
    leaders: BTreeMap<TopicPartition, NodeId>,
    answers: mpsc::Sender<Answered>,
    delivered: mpsc::Receiver<Answered>,
}

impl Deliveries {
    pub(super) fn new(
        cluster: Cluster,
        metadata: Keeper,
        settings: &TransactorSettings,
        lane: u32,
        request_timeout: Duration,
    ) -> Self {
        let (answers, delivered) = mpsc::channel(ANSWERS_MAX);
        Self {
            cluster,
            metadata,
            transactional_id: Arc::clone(&settings.transactional_id),
            group_id: Arc::clone(&settings.group_id),
            lane,
            request_timeout,
            couriers: BTreeMap::new(),
            outbox: Outbox::new(),
            leaders: BTreeMap::new(),
            answers,
            delivered,
        }
    }

    /// The answers of one request, or of one part of it. The machine is to be told all of them before it sends anything: what follows
    /// then shares a request too.
    pub(super) async fn next(&mut self) -> Option<Vec<Input>> {
        let (ids, answers) = self.delivered.recv().await?;
        self.outbox.ended(&ids);
        Some(match answers {
            Ok(answers) => {
                ids.into_iter().zip(answers).map(|(id, it)| Input::Answered { id, answer: Ok(it) }).collect()
            }
            Err(lost) => ids.into_iter().map(|id| Input::Answered { id, answer: Err(failure(lost)) }).collect(),
        })
    }

    /// What the machine is to be told at once: of requests that could not be sent at all. Batches wait for `flush`.
    pub(super) fn perform(&mut self, output: target::Output) -> Vec<Input> {
        let (id, to, request) = match output {
            target::Output::Send { id, to, request } => (id, to, request),
            other => {
                let mut told = self.flush();
                told.extend(self.hint(other));
                return told;
            }
        };
        if let TxnRequest::ListOffsets { partitions, committed } = request {
            return self.list_offsets(id, partitions, committed);
        }
        let Some(address) = self.address(&to) else {
            self.metadata.refresh();
            return vec![unsent(id)];
        };
        match request {
            TxnRequest::Produce { partition, batch, protocol, .. } => {
                self.outbox.add(address, protocol, Entry { id, partition, batch });
                Vec::new()
            }
            request => self.send(&address, vec![id], Order::One(request)),
        }
    }

    /// To be called when the machine has nothing more to say.
    pub(super) fn flush(&mut self) -> Vec<Input> {
        let mut told = Vec::new();
        for (to, packed) in self.outbox.take() {
            let transactional_id = Arc::clone(&self.transactional_id);
            let (protocol, batches) = (packed.protocol, packed.batches);
            told.extend(self.send(&to, packed.ids, Order::Produce { transactional_id, protocol, batches }));
        }
        told
    }

    fn send(&mut self, address: &Address, ids: Ids, order: Order) -> Vec<Input> {
        match self.courier(address).send(ids, order) {
            Ok(()) => Vec::new(),
            Err(ids) => self.unsent(ids),
        }
    }

    fn unsent(&mut self, ids: Ids) -> Vec<Input> {
        self.outbox.ended(&ids);
        ids.into_iter().map(unsent).collect()
    }

    fn hint(&mut self, output: target::Output) -> Vec<Input> {
        match output {
            target::Output::RefreshMetadata(_) => self.metadata.refresh(),
            // A new connection looks the coordinator up anew.
            target::Output::RefreshCoordinator(to) | target::Output::CloseConnection(to) => {
                let address = match &to {
                    Destination::Leader(partition) => self.leaders.get(partition).map(|node| Address::Node(*node)),
                    _ => self.address(&to),
                };
                let Some(address) = address else { return Vec::new() };
                self.couriers.get(&address).inspect(|it| it.close());
                let held = self.outbox.give_up(&address);
                return self.unsent(held);
            }
            // `perform`'s, and its caller's.
            target::Output::Send { .. } | target::Output::Event(_) => {}
        }
        Vec::new()
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
            let order = Order::One(TxnRequest::ListOffsets { partitions, committed });
            match address {
                Some(address) => told.extend(self.send(&address, vec![id], order)),
                None => told.push(unsent(id)),
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

    fn courier(&mut self, address: &Address) -> &Courier<Ids, Order> {
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
fn failure(lost: Lost) -> target::Failure {
    match lost {
        Lost::Disconnected => target::Failure::Disconnected,
        Lost::TimedOut => target::Failure::TimedOut,
    }
}
