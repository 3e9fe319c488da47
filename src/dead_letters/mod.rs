//! Records that did not pass their check. Each goes to the dead letters' topic at the target, in the transaction that moves
//! its position: key, value, headers and timestamp as they were, and headers behind them that say where it comes from and why.

mod id;
mod letter;
mod topic;

pub use id::{LetterId, NoLetterId};
pub use letter::{Letter, Part, Why};
pub use topic::{MAX_MESSAGE_BYTES, fault, new_topic, partition_of};
