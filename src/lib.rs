//! Copies topics between two isolated Kafka clusters, each record exactly once.
//!
//! Layers, lowest first; each may use those above it in this list, never those below:
//! `types`, `wire`, `cluster`, `batch`, `source` and `target` (pure state machines), `ledger` and `topics`, `bridge`, `cli`.

pub mod batch;
pub mod bridge;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod ledger;
pub mod source;
pub mod target;
pub mod topics;
pub mod types;
pub mod wire;

#[cfg(test)]
mod testing;
