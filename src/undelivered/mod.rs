//! What a link did not deliver: its dead letters, for people who look into them.

mod list;
mod show;

pub use list::{Filter, LetterRow, ListReport, list};
pub use show::{HeaderShown, PartShown, ShownLetter, show};

use crate::cluster::ClusterError;
use crate::positions::Link;
use crate::reader::ReadError;
use crate::types::TopicPartition;
use std::time::{Duration, UNIX_EPOCH};

#[derive(Debug, thiserror::Error)]
pub enum UndeliveredError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(
        "{id}: an id is <partition>-<offset>, as 3-1200. `kafka-bridge dead-letters list` has those that there are"
    )]
    NoId { id: String },
    #[error("{id}: {topic} has no such dead letter. `kafka-bridge dead-letters list` has those that there are")]
    NoSuch { id: String, topic: String },
}

impl From<ClusterError> for UndeliveredError {
    fn from(error: ClusterError) -> Self {
        Self::Read(error.into())
    }
}

fn partition(link: &Link<'_>, number: i32) -> TopicPartition {
    TopicPartition::new(link.config().dead_letter_topic().as_str(), number)
}

fn time(ms: u64) -> String {
    /// The last year that the form has room for; a record says what somebody wrote into it.
    const YEAR_9999_MS: u64 = 253_402_300_799_000;
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(YEAR_9999_MS))).to_string()
}
