//! What became of one record of the source: its copy at the target, a dead letter, or nothing, and why.

use super::translate::{Walk, find_letters};
use super::{Link, PositionsError};
use crate::bridge::RunError;
use crate::cluster::Cluster;
use crate::dead_letters::LetterId;
use crate::ledger::History;
use crate::reader::{self, ReadError};
use crate::types::TopicPartition;
use crate::verify::{Digest, Mask};
use serde::Serialize;
use std::ops::{ControlFlow, Range};

/// In a compacted topic records that the source has no more may stand before the copy: so many offsets are looked through.
const FOLLOWED_MAX: i64 = 100_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Destination {
    /// Held against the source's record: key, value, headers and timestamp are the same.
    Copied {
        target_topic: String,
        target_partition: i32,
        target_offset: i64,
    },
    DeadLetter {
        dead_letter_topic: String,
        id: LetterId,
        replayed: Option<Replayed>,
    },
    /// Passed over by an operator's decision.
    LeftOut {
        from_offset: i64,
        next_offset: i64,
        reason: String,
    },
    /// The copy stands before it.
    NotCopied {
        next_offset: i64,
    },
    /// A marker, a record that was aborted, or one that was compacted away.
    NoRecord,
    /// Of a compacted topic: the target has a later record of its key alone.
    Compacted {
        target_topic: String,
        target_partition: i32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    pub target_topic: String,
    pub target_partition: i32,
    pub target_offset: i64,
    /// With another value than the letter's.
    pub corrected: bool,
}

/// `offset`: of a record of the source.
pub async fn destination(
    link: &Link<'_>,
    partition: &TopicPartition,
    offset: i64,
) -> Result<Destination, PositionsError> {
    let other = |reason: String| PositionsError::Other { partition: partition.clone(), reason };
    let (history, position) = link.position(partition)?;
    let Range { start, end } = link.ends.source.committed_range(&link.source, partition).await?;
    if !(start..end).contains(&offset) {
        return Err(other(format!("the source holds offsets {start} to {} of it, and not {offset}", end - 1)));
    }
    let Some(plain) = digest(&link.ends.source, partition, offset, Mask::default()).await? else {
        return Ok(Destination::NoRecord);
    };
    let key = link.key(partition);
    let is_around = |from: i64, to: i64| (from..to).contains(&offset);
    let decision = history.decisions.iter().find(|((of, from), it)| *of == key && is_around(*from, it.next_offset));
    if let Some(((_, from), it)) = decision {
        let (from_offset, next_offset, reason) = (*from, it.next_offset, it.reason.clone());
        return Ok(Destination::LeftOut { from_offset, next_offset, reason });
    }
    if offset >= position.next_offset {
        return Ok(Destination::NotCopied { next_offset: position.next_offset });
    }
    let mut walk = Walk::plan(link, partition, offset).await?.with_its_letter();
    find_letters(link, [&mut walk]).await?;
    if let Some((number, at)) = walk.its_letter() {
        let id = LetterId { partition: number, offset: at };
        let replayed = replayed(link, id, offset).await?;
        return Ok(Destination::DeadLetter { dead_letter_topic: link.config.dead_letter_topic(), id, replayed });
    }
    let translated = walk.translate().await?.target_offset;
    let (target, target_end) = walk.target();
    let (target_topic, target_partition) = (target.topic.to_string(), target.partition);
    let masked = match walk.mask() {
        mask if mask == Mask::default() => plain,
        mask => digest(&link.ends.source, partition, offset, mask).await?.unwrap_or(plain),
    };
    let is_compacted = link.is_compacted(partition, target).await;
    let to = if is_compacted { target_end.min(translated.saturating_add(FOLLOWED_MAX)) } else { target_end };
    let found = follow(&walk, &link.ends.target, translated..to, masked, is_compacted).await?;
    match found {
        Some(target_offset) => Ok(Destination::Copied { target_topic, target_partition, target_offset }),
        None if is_compacted => Ok(Destination::Compacted { target_topic, target_partition }),
        None => Err(other(format!(
            "its copy belongs to {target} at offset {translated}, where another record stands or none: `kafka-bridge verify` \
             says what differs"
        ))),
    }
}

async fn replayed(link: &Link<'_>, id: LetterId, offset: i64) -> Result<Option<Replayed>, PositionsError> {
    let (topic, delivery) = (link.config.link.ledger_topic(), &link.config.delivery);
    let ledger = (topic.as_str(), delivery.lanes);
    let delivered = History::all_delivered(&link.ends.target, &link.target, ledger, delivery.patience()).await;
    let delivered = delivered.map_err(RunError::Ledger)?;
    Ok(delivered.into_iter().find(|(key, _)| key.letter == id && key.offset == offset).map(|(_, it)| Replayed {
        target_topic: it.target_topic.to_string(),
        target_partition: it.target_partition,
        target_offset: it.target_offset,
        corrected: it.corrected,
    }))
}

async fn digest(
    cluster: &Cluster,
    partition: &TopicPartition,
    offset: i64,
    mask: Mask,
) -> Result<Option<Digest>, ReadError> {
    let mut found = None;
    reader::each(cluster, partition, offset..offset + 1, |batch, record| {
        found = Some(Digest::masked(batch.timestamp(record), record, mask));
        Ok::<_, ReadError>(())
    })
    .await?;
    Ok(found)
}

/// The offset of the record with this digest: the first one that is a copy, or, in a compacted topic, whichever.
async fn follow(
    walk: &Walk<'_>,
    cluster: &Cluster,
    range: Range<i64>,
    wanted: Digest,
    is_compacted: bool,
) -> Result<Option<i64>, ReadError> {
    let (partition, mask) = (walk.target().0, walk.mask());
    let mut found = None;
    reader::until(cluster, partition, range, |batch, record| {
        let offset = batch.offset(record);
        // One that was replayed is nobody's copy.
        if walk.is_replay(offset) {
            return Ok::<_, ReadError>(ControlFlow::Continue(()));
        }
        let is_it = Digest::masked(batch.timestamp(record), record, mask) == wanted;
        found = is_it.then_some(offset);
        Ok(if is_it || !is_compacted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .await?;
    Ok(found)
}
