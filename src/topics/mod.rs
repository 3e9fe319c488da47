//! Which topics are copied, under which names, and what the target needs for them.

pub mod plan;
mod sync;

pub use sync::{MAX_MESSAGE_BYTES_DEFAULT, Step, TargetTopic, TopicSync};
