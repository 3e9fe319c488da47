//! What a link did not deliver: its dead letters, for people who look into them, mend what is wrong, and replay them.

mod corrections;
mod deliver;
mod list;
mod replay;
mod replayed;
mod show;

pub use corrections::{CorrectionFault, Corrections};
pub use list::{Filter, LetterRow, ListReport, ReplayedTo, list};
pub use replay::{Order, replay};
pub use replayed::{Outcome, Progress, ReplayReport, ReplayRow};
pub use show::{HeaderShown, PartShown, ShownLetter, show};

use crate::batch::BatchError;
use crate::bridge::{ProducerError, RunError};
use crate::cluster::ClusterError;
use crate::dead_letters::{Letter, LetterId, NoLetterId};
use crate::ledger::{Delivered, LetterKey, PositionKey};
use crate::positions::Link;
use crate::reader::ReadError;
use crate::registry::RegistryError;
use crate::target::Cause;
use crate::types::TopicPartition;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

#[derive(Debug, thiserror::Error)]
pub enum UndeliveredError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    NoId(#[from] NoLetterId),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Producer(#[from] ProducerError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("line {number} {fault}")]
    Correction { number: u64, fault: CorrectionFault },
    #[error(
        "the target does not take the letters: {cause}. Nothing of this transaction is visible; mend it, and run the same again: \
         what was replayed is passed over"
    )]
    Refused { cause: Cause },
    #[error("{id}: {topic} has no such dead letter. `kafka-bridge dead-letters list` has those that there are")]
    NoSuch { id: String, topic: String },
}

impl From<ClusterError> for UndeliveredError {
    fn from(error: ClusterError) -> Self {
        Self::Read(error.into())
    }
}

/// Where the letter was replayed to, by the ledger.
fn delivered<'a>(link: &'a Link<'_>, letter: &Letter, id: LetterId) -> Option<&'a Delivered> {
    let key = key(letter, id);
    link.histories().values().find_map(|it| it.delivered.get(&key))
}

fn key(letter: &Letter, id: LetterId) -> LetterKey {
    let of = PositionKey {
        cluster_id: Arc::clone(&letter.cluster_id),
        topic: Arc::clone(&letter.source.topic),
        partition: letter.source.partition,
    };
    LetterKey { of, offset: letter.offset, letter: id }
}

fn partition(link: &Link<'_>, number: i32) -> TopicPartition {
    TopicPartition::new(link.config().dead_letter_topic().as_str(), number)
}

fn time(ms: u64) -> String {
    /// The last year that the form has room for; a record says what somebody wrote into it.
    const YEAR_9999_MS: u64 = 253_402_300_799_000;
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(YEAR_9999_MS))).to_string()
}
