//! Batches that are unpacked: their records looked at, some left out or altered, and packed again where that is due.

use crate::batch::build::BatchBuilder;
use crate::batch::codec::Compression;
use crate::batch::payload::Payload;
use crate::batch::prepare::{LogAppendTimePolicy, PrepareError, Prepared, ReencodeReason, Rules};
use crate::batch::raw::RawBatch;
use crate::batch::screen::{Candidate, Screen, Screened};

struct Moving<'a> {
    candidate: Candidate<'a>,
    replaced: Option<Payload>,
}

/// `reason`: why it cannot pass as it is, whatever its records are. How many records were looked at.
pub(super) fn unpack(
    batch: RawBatch,
    rules: &Rules,
    reason: Option<ReencodeReason>,
    screen: &mut Option<&mut dyn Screen>,
    into: &mut Vec<Prepared>,
) -> Result<u64, PrepareError> {
    batch.verify_crc()?;
    let decoded = batch.decode(rules.uncompressed_bytes_max)?;
    let (mut moving, mut undecided) = (Vec::new(), None);
    let (mut is_diverted, mut is_replaced, mut read) = (false, false, 0);
    for record in decoded.records() {
        let record = record?;
        let offset = decoded.offset(&record);
        if offset < rules.position {
            continue;
        }
        read += 1;
        let timestamp = match rules.log_append_time {
            LogAppendTimePolicy::KeepAppendTime => decoded.timestamp(&record),
            LogAppendTimePolicy::KeepCreateTime => decoded.create_time(&record),
        };
        let candidate = Candidate { offset, timestamp, record };
        let mut replaced = None;
        match screen.as_mut().map_or(Screened::Pass, |it| it.screen(&candidate)) {
            Screened::Pass => {}
            Screened::Replace(payload) => {
                is_replaced = true;
                replaced = Some(payload);
            }
            Screened::Divert => {
                is_diverted = true;
                continue;
            }
            // What else the screen needs is asked for at once.
            Screened::Await => {
                undecided.get_or_insert(offset);
            }
        }
        moving.push(Moving { candidate, replaced });
    }
    if let Some(offset) = undecided {
        return Err(PrepareError::Undecided { offset });
    }
    let reasons =
        [reason, is_diverted.then_some(ReencodeReason::DeadLetter), is_replaced.then_some(ReencodeReason::SchemaId)];
    let reasons: Vec<_> = reasons.into_iter().flatten().collect();
    if reasons.is_empty() {
        drop(moving);
        into.push(Prepared::as_it_is(batch));
        return Ok(read);
    }
    // Depth first, left before right: the pieces come out in the order of their offsets.
    let mut pieces = vec![&moving[..]];
    let first = into.len();
    while let Some(piece) = pieces.pop() {
        let (Some(head), Some(tail)) = (piece.first(), piece.last()) else { continue };
        let batch = pack(piece, decoded.header().compression(), rules)?;
        let Some(batch) = batch else {
            let (left, right) = piece.split_at(piece.len() / 2);
            pieces.extend([right, left]);
            continue;
        };
        into.push(Prepared {
            record_count: batch.header().record_count.unsigned_abs(),
            batch,
            first_offset: head.candidate.offset,
            next_offset: tail.candidate.offset + 1,
            reencoded: reasons.clone(),
        });
    }
    if let Some(last) = into[first..].last_mut() {
        last.next_offset = decoded.header().next_offset();
    }
    Ok(read)
}

/// None: too large, and can be divided.
fn pack(piece: &[Moving<'_>], compression: Compression, rules: &Rules) -> Result<Option<RawBatch>, PrepareError> {
    let mut builder = BatchBuilder::new(compression);
    for Moving { candidate, replaced } in piece {
        match replaced {
            Some(payload) => builder.push_payload(candidate.timestamp, payload),
            None => builder.push_raw(candidate.timestamp, &candidate.record),
        }
    }
    let batch = builder.build()?;
    let bytes = batch.bytes().len();
    match piece {
        _ if bytes <= rules.batch_bytes_max => Ok(Some(batch)),
        [_] if bytes <= rules.max_message_bytes => Ok(Some(batch)),
        // Another codec might fit, but which one consumers must read is the producer's choice.
        [only] => Err(PrepareError::RecordTooLarge {
            offset: only.candidate.offset,
            bytes,
            max_message_bytes: rules.max_message_bytes,
        }),
        _ => Ok(None),
    }
}
