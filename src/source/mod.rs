//! The fetch machine of one lane: what to read next, what is committed, where the source lost data. Pure: inputs and the
//! time go in, outputs come out.
//!
//! The driver owns the loop: one input, drain every output, sleep to the timeout. Its part of the contract:
//! - every `Send` is answered by exactly one `Answered`, at the latest after the request timeout;
//! - a Fetch waits at the broker and holds up what stands behind it on its connection: send the other requests over another;
//! - `WantBudget` is answered by exactly one `BudgetGranted`, whenever there is room; it cannot be taken back;
//! - `Delivery::charged_bytes` stay charged until the driver gives them back to its own pool, after the commit;
//! - a `RefreshMetadata` is answered by a `Metadata` input when there is one; a failed refresh needs no input.
//!
//! The machine never skips: where the source no longer has what comes next, the partition stops with an `Incident` until
//! it is assigned anew.

mod committed;
pub mod errors;
mod fetched;
mod fetcher;
mod lookup;
mod message;
mod partition;
pub mod protocol;

#[cfg(test)]
mod fetcher_tests;
#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod transitions;
#[cfg(test)]
mod world;

pub use committed::{Selection, select};
pub use errors::{Action, Api};
pub use fetcher::{Fetcher, FetcherSettings, PartitionStatus};
pub use message::{
    AbortedTransaction, Answer, CorruptProblem, Delivery, EpochEnd, Failure, FetchPartition, FetchRequest,
    FetchedPartition, Incident, IncidentKind, Input, Isolation, LeaderView, ListOffsetsPartition, ListedOffset,
    OffsetForLeaderEpochPartition, Output, Position, RequestId, SourceRequest, StartAt, Timer, Trouble,
};
