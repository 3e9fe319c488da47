//! One member of the consumer group that shares a link's lanes out (classic protocol). Pure: inputs and the time go in,
//! outputs come out.
//!
//! The group decides who works, never what is true: the producer's epoch and the ledger do that. So a mistake of the group,
//! or of this machine, costs time and no record.
//!
//! What a driver owes it: `Send`s on one [`Channel`] go out in order over one connection; every `Send` is answered once;
//! a lane of `Revoke` ends within a limit, and is told by `Ended`. Heartbeats have a connection of their own: a JoinGroup is
//! held by the coordinator for as long as others take to come, and nothing behind it would be answered.

mod assignor;
pub mod errors;
mod member;
mod message;
pub mod protocol;

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod transitions;

pub use errors::{Action, Api};
pub use member::{Member, MemberSettings};
pub use message::{
    Answer, Channel, Event, Failure, Fitness, GroupRequest, Input, JoinAnswer, Membership, Output, RequestId, Round,
    Trouble,
};
