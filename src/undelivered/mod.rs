//! What a link did not deliver: its dead letters, for people who look into them.

mod list;
mod show;

pub use list::{Filter, LetterRow, ListReport, list};
pub use show::{HeaderShown, PartShown, ShownLetter, show};

use crate::batch::{BatchError, DecodedBatch, RecordView, UNCOMPRESSED_BYTES_MAX};
use crate::cluster::{At, ClusterError};
use crate::positions::Link;
use crate::reader::{ReadError, Stream};
use crate::types::TopicPartition;
use std::time::{Duration, UNIX_EPOCH};

#[derive(Debug, thiserror::Error)]
pub enum UndeliveredError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{partition}: the batch at offset {offset} cannot be read: {error}")]
    Batch { partition: TopicPartition, offset: i64, error: BatchError },
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

/// Where a partition's committed records begin and end.
async fn bounds(link: &Link<'_>, partition: &TopicPartition) -> Result<(i64, i64), ClusterError> {
    let (cluster, (_, target)) = (&link.ends().target, link.metadata());
    let at = async |at| -> Result<i64, ClusterError> {
        let unanswered = || Err(ClusterError::Answered { end: cluster.end(), api: "ListOffsets", code: -1 });
        let mut found = cluster.offsets(target, &[(partition.clone(), at)]).await;
        Ok(found.remove(partition).unwrap_or_else(unanswered)?.offset)
    };
    Ok((at(At::Earliest).await?, at(At::LastStable).await?))
}

/// Committed records from one offset to another, in their order.
async fn each(
    link: &Link<'_>,
    partition: &TopicPartition,
    (from, to): (i64, i64),
    mut look: impl FnMut(&DecodedBatch, &RecordView<'_>),
) -> Result<(), UndeliveredError> {
    let mut stream = Stream::open(link.ends().target.clone(), partition.clone(), from, to);
    while let Some(part) = stream.next().await {
        for batch in part?.batches {
            let offset = batch.header().base_offset;
            let damaged = |error| UndeliveredError::Batch { partition: partition.clone(), offset, error };
            let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(damaged)?;
            for record in decoded.records() {
                let record = record.map_err(damaged)?;
                if (from..to).contains(&decoded.offset(&record)) {
                    look(&decoded, &record);
                }
            }
        }
    }
    Ok(())
}

fn time(ms: u64) -> String {
    /// The last year that the form has room for; a record says what somebody wrote into it.
    const YEAR_9999_MS: u64 = 253_402_300_799_000;
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(YEAR_9999_MS))).to_string()
}
