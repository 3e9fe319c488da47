//! Copies topics between two isolated Kafka clusters, each record exactly once.
//!
//! Layers, lowest first; each may use those above it in this list, never those below:
//! `types`, `clock`, `latest` and `planted`, `shape`, `wire`, `cluster` and `pki`, `registry`, `batch`, `source`, `target` and `group` (pure state
//! machines), `reader` and `dead_letters`, `ledger`, `topics` and `avro`, `schemas`, `bridge`, `verify`, `positions`, `incidents`, `monitor`,
//! `produce`, `undelivered`, `consume`, `demo`, `cli`.
//! `broker`, the in-process demo cluster, stands beside them: it uses `types`, `shape` and `batch` alone.

pub mod avro;
pub mod batch;
pub mod bridge;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod consume;
pub mod dead_letters;
pub mod demo;
pub mod group;
pub mod incidents;
pub mod latest;
pub mod ledger;
pub mod monitor;
pub mod pki;
#[cfg(not(debug_assertions))]
mod planted;
#[cfg(debug_assertions)]
pub mod planted;
pub mod positions;
pub mod produce;
pub mod reader;
pub mod registry;
pub mod schemas;
mod shape;
pub mod source;
pub mod target;
pub mod topics;
pub mod types;
pub mod undelivered;
pub mod verify;
pub mod wire;

#[cfg(test)]
mod testing;
