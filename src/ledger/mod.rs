//! Where a link stands: the compacted topic `<link>.ledger` at the target, a partition for each lane.
//!
//! Positions are written in the transaction of the data they speak of, so the two cannot disagree. What the ledger says,
//! read after InitProducerId, is true; no error code is.

mod anchor;
mod error;
mod history;
mod reader;
mod record;
mod replay;
mod state;
mod survey;
mod topic;

#[cfg(test)]
mod properties;

pub use anchor::{Anchor, MilestoneKey};
pub use error::LedgerError;
pub use history::History;
pub use reader::{LedgerReader, Until};
pub use record::{
    DeadLetters, Decision, Delivered, LedgerRecord, LetterKey, Milestone, Owner, Position, PositionKey, Proof,
};
pub use replay::Replay;
pub use state::{Change, LaneLedger, Pending, batch};
pub use survey::survey;
pub use topic::{ensure, fault, new_topic};
