//! The transaction machine of one lane. Pure: inputs and the time go in, outputs come out.
//!
//! The driver owns the loop: one input, drain every output, sleep to the timeout. Its part of the contract:
//! - `Send`s to one destination go out in the order of the outputs, over one connection at a time;
//! - every `Send` is answered by exactly one `Answered`, at the latest after the request timeout; one to `Leaders` by one for
//!   each part;
//! - `CloseConnection` closes the TCP connection to that destination before the next `Send` to it: a request that stays in
//!   a socket can join a later transaction (KAFKA-17754).
//!
//! An `Append` or `Commit` that arrives while the machine aborts for reasons of its own is dropped: `Event::Aborted` is on
//! its way and makes the caller rewind. `Event::Ready` says that `Append` is accepted again.

mod aborting;
mod body;
mod call;
mod committing;
pub mod errors;
mod identity;
mod message;
mod pipeline;
pub mod protocol;
mod settling;
mod transactor;

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod transcripts;
#[cfg(test)]
mod transitions;

pub use errors::{AbortClass, Action, Api};
pub use message::{
    Answer, Cause, CommitOffset, Destination, Event, Failure, Input, LastTransaction, Misuse, OffsetCommit, Output,
    RequestId, Timer, TransactionProtocol, Trouble, TxnRequest,
};
pub use transactor::{Transactor, TransactorSettings};
