//! Where a record comes from that only the target has: read the source once more, its aborted records too.

use super::VerifyError;
use super::cut::Job;
use super::entry::{Digest, Mask};
use super::found::{Difference, Found, Kind};
use super::letters::Filed;
use super::replays::Replayed;
use crate::batch::{BatchError, RawBatch, UNCOMPRESSED_BYTES_MAX};
use crate::bridge::Ends;
use crate::reader::{ReadError, Stream};
use std::collections::BTreeMap;

/// Where a record was found at the source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Committed(i64),
    Aborted(i64),
}

/// Only partitions with such records pay for it, and then it is one pass.
pub(super) async fn resolve(ends: &Ends, job: &Job, found: &mut Found) -> Result<(), VerifyError> {
    let surplus = std::mem::take(&mut found.surplus);
    if surplus.is_empty() {
        return Ok(());
    }
    let mut origins: BTreeMap<Digest, Option<Origin>> = surplus.iter().map(|it| (it.digest, None)).collect();
    let end = job.ranges.iter().map(|it| it.source.end).max().unwrap_or(0);
    let with_create_time = job.ranges.iter().any(|it| it.with_create_time);
    let (letters, mask) = (&job.letters, job.mask);
    // With mapped ids the ledger's digests are of other bytes.
    let is_masked = mask != Mask::default();
    let replays: BTreeMap<Digest, &Replayed> =
        job.replays.values().filter(|_| !is_masked).filter_map(|it| Some((it.digest?, it))).collect();
    let mut stream = Stream::open(ends.source.clone(), job.source.clone(), job.source_start, end);
    while let Some(part) = stream.next().await {
        let part = match part {
            Ok(part) => part,
            Err(error @ ReadError::Cluster(_)) => return Err(error.into()),
            // What was found until then counts.
            Err(_) => break,
        };
        let committed = part.batches.iter().map(|it| (it, true));
        for (batch, is_committed) in committed.chain(part.aborted.iter().map(|it| (it, false))) {
            // A batch that cannot be unpacked has stopped the comparison already.
            let _ = look(batch, is_committed, (with_create_time, mask), &mut origins);
        }
    }
    for lone in surplus {
        let origin = origins.get(&lone.digest).copied().flatten();
        let (kind, source_offset, what) = match origin {
            Some(Origin::Committed(offset)) => (Kind::Doubled, Some(offset), ""),
            Some(Origin::Aborted(offset)) => (Kind::Phantom, Some(offset), "aborted at the source"),
            None => (Kind::Phantom, None, "the source has no such record"),
        };
        let dead_letter = source_offset.and_then(|it| letters.get(&it)?.first()).map(Filed::id);
        let again =
            replays.get(&lone.digest).filter(|it| source_offset.is_none_or(|offset| offset == it.source_offset));
        let (kind, source_offset, dead_letter, what) = match (again, dead_letter) {
            (Some(it), _) => {
                (Kind::Doubled, Some(it.source_offset), Some(it.letter.to_string()), "replayed, and there once more")
            }
            (None, Some(id)) => (kind, source_offset, Some(id), "in the dead letters, and copied too"),
            (None, None) => (kind, source_offset, None, what),
        };
        let what = what.to_owned();
        let target_offset = Some(lone.offset);
        found.difference(Difference { kind, source_offset, target_offset, dead_letter, what });
    }
    Ok(())
}

fn look(
    batch: &RawBatch,
    is_committed: bool,
    (with_create_time, mask): (bool, Mask),
    origins: &mut BTreeMap<Digest, Option<Origin>>,
) -> Result<(), BatchError> {
    let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX)?;
    for record in decoded.records() {
        let record = record?;
        let timestamp = if with_create_time { decoded.create_time(&record) } else { decoded.timestamp(&record) };
        if let Some(origin) = origins.get_mut(&Digest::masked(timestamp, &record, mask)) {
            let offset = decoded.offset(&record);
            // Written again after its transaction was aborted, it is a committed one.
            match origin {
                Some(Origin::Committed(_)) => {}
                _ if is_committed => *origin = Some(Origin::Committed(offset)),
                Some(Origin::Aborted(_)) => {}
                None => *origin = Some(Origin::Aborted(offset)),
            }
        }
    }
    Ok(())
}
