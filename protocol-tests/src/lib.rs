//! The harness behind the trials: real Apache Kafka, certificates, fault proxies, checkers.
//!
//! Nothing here uses the bridge's own protocol layers, so that a mistake cannot be made on both sides and cancel out.

pub mod audit;
pub mod bridge;
pub mod browser;
pub mod command;
pub mod compare;
pub mod door;
pub mod embedded;
pub mod fake;
pub mod golden;
pub mod house;
pub mod http;
pub mod jars;
pub mod java;
pub mod kafka;
pub mod ledger;
pub mod linked;
pub mod load;
pub mod orders;
pub mod pair;
pub mod pki;
pub mod places;
pub mod plant;
pub mod planted;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod registry;
pub mod shares;
pub mod simulation;
pub mod sockets;
pub mod takeover;
pub mod visit;
pub mod workload;
