//! An in-process demo cluster: it speaks enough of Kafka's protocol for the bridge, for its tests, and for a demo without
//! any set-up. It is not Kafka and does not claim to be.
//!
//! [`Cluster`] is one pure machine for all nodes: frames and the time go in, frames come out. [`Server`] carries it over
//! sockets; a simulation carries it over a network in memory and in virtual time. It shares only `batch` and `types` with the
//! client side, so that a mistake is not made on both.
//!
//! Replicas share one log: a follower is never behind, unless replication is held. So nothing that was acknowledged is lost
//! when a node dies, and what Kafka loses by an unclean election is an operation of its own ([`Cluster::truncate`]).

mod api;
mod apis;
mod changes;
mod cluster;
mod configs;
mod durable;
mod faults;
mod groups;
mod log;
mod nodes;
mod request;
mod settings;
mod shapes;
mod shell;
mod topics;
mod transactions;
mod view;
mod waiting;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use cluster::{Action, Cluster, ConnectionId, Output};
pub use durable::{Change, Damaged};
pub use faults::{Fault, Loss, Rule, RuleId};
pub use nodes::{Coordinator, ListenerId};
pub use settings::{Millis, Settings};
pub use shell::{Server, ServerSecurity, StoreError};
pub use view::LogView;
