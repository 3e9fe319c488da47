//! Carries the requests of one lane to one address, in order, and brings every answer back.
//!
//! A courier owns one connection at a time. It opens it when there is something to send, looks the coordinator up anew
//! with every connection, and turns every way of not getting an answer into a failure that its owner receives: a request
//! is never lost in silence.

use super::renewal::Renewal;
use super::{Cluster, ClusterError, CoordinatorKind, Use};
use crate::types::NodeId;
use crate::wire::{Connection, WireError};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What the machines can have in flight to one address is far less: five batches a partition, or one fetch.
const ORDERS_MAX: usize = 4_096;

/// Where a courier goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    Node(NodeId),
    Coordinator(CoordinatorKind, Arc<str>),
}

/// A request that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    Disconnected,
    TimedOut,
}

pub type Pending<A> = Pin<Box<dyn Future<Output = Result<A, WireError>> + Send>>;
/// Puts one request on a connection before it returns, so that the order of the calls is the order on the wire.
pub type Dispatch<R, A> = fn(&Connection, R, Duration) -> Pending<A>;

pub struct Courier<I, R> {
    orders: mpsc::Sender<(I, R)>,
    open: Open,
    /// Whoever drops a courier waits for no answer any more.
    _task: JoinSet<()>,
}

/// The connection in use. Its owner may close it while the courier is busy dialing or sending.
#[derive(Clone, Default)]
pub(super) struct Open(Arc<Mutex<Option<Connection>>>);

impl Open {
    pub(super) fn slot(&self) -> MutexGuard<'_, Option<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn usable(&self) -> Option<Connection> {
        self.slot().clone().filter(|it| !it.is_dead())
    }

    pub(super) fn close(&self) {
        if let Some(connection) = self.slot().take() {
            connection.close();
        }
    }
}

impl<I, R> Drop for Courier<I, R> {
    fn drop(&mut self) {
        self.open.close();
    }
}

impl<I: Send + 'static, R: Send + 'static> Courier<I, R> {
    /// Answers go to `answers` with the id their request was sent with.
    pub fn spawn<A: Send + 'static>(
        cluster: Cluster,
        address: Address,
        usage: Use,
        request_timeout: Duration,
        dispatch: Dispatch<R, A>,
        answers: mpsc::Sender<(I, Result<A, Lost>)>,
    ) -> Self {
        let (orders, mut queue) = mpsc::channel::<(I, R)>(ORDERS_MAX);
        let open = Open::default();
        let held = open.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut awaited = JoinSet::new();
            let mut renewal = Renewal::default();
            let dial = || dial(cluster.clone(), address.clone(), usage, request_timeout);
            loop {
                let (id, request) = tokio::select! {
                    biased;
                    order = queue.recv() => match order {
                        Some(order) => order,
                        None => return,
                    },
                    () = renewal.follow(&held, dial) => continue,
                };
                while awaited.try_join_next().is_some() {}
                renewal.settle(&held, dial).await;
                let connection = match held.usable() {
                    Some(connection) => connection,
                    None => match dial().await {
                        Ok(connection) => {
                            *held.slot() = Some(connection.clone());
                            connection
                        }
                        Err(error) => {
                            tracing::debug!(%error, ?address, "no connection");
                            // Nothing was sent, yet the machine must not conclude that: it only knows that no answer came.
                            // What waits behind it has waited as long: a dial for each would keep the last of them from
                            // its answer for many request timeouts.
                            let mut lost = Some(id);
                            while let Some(id) = lost {
                                if answers.send((id, Err(Lost::Disconnected))).await.is_err() {
                                    return;
                                }
                                lost = queue.try_recv().ok().map(|(id, _)| id);
                            }
                            continue;
                        }
                    },
                };
                let answer = dispatch(&connection, request, request_timeout);
                let answers = answers.clone();
                awaited.spawn(async move {
                    let answer = answer.await.map_err(|error| {
                        tracing::debug!(%error, "a request got no answer");
                        if error.is_timeout() { Lost::TimedOut } else { Lost::Disconnected }
                    });
                    // The lane has ended: nobody waits for the answer any more.
                    let _ = answers.send((id, answer)).await;
                });
            }
        });
        Self { orders, open, _task: task }
    }

    /// Gives the id back when the queue is full: nothing was sent, and no answer will come.
    pub fn send(&self, id: I, request: R) -> Result<(), I> {
        self.orders.try_send((id, request)).map_err(|error| error.into_inner().0)
    }

    /// Closes the TCP connection: a request that stays in a socket could join a later transaction (KAFKA-17754).
    pub fn close(&self) {
        self.open.close();
    }
}

async fn dial(
    cluster: Cluster,
    address: Address,
    usage: Use,
    request_timeout: Duration,
) -> Result<Connection, ClusterError> {
    let dialed = async {
        let node = match &address {
            Address::Node(node) => *node,
            Address::Coordinator(kind, key) => cluster.coordinator(*kind, key).await?,
        };
        cluster.dial(node, usage).await
    };
    match tokio::time::timeout(request_timeout, dialed).await {
        Ok(dialed) => dialed,
        Err(_) => {
            let address = match &address {
                Address::Node(node) => format!("broker {node}").into(),
                Address::Coordinator(_, key) => format!("the coordinator of {key}").into(),
            };
            let error = WireError::ConnectTimeout { address, within: request_timeout };
            Err(ClusterError::Wire { end: cluster.end(), error })
        }
    }
}
