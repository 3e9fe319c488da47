//! Batches that are unpacked: their records looked at, some left out or altered, and packed again where that is due.

use crate::batch::build::BatchBuilder;
use crate::batch::codec::Compression;
use crate::batch::payload::Payload;
use crate::batch::prepare::{LogAppendTimePolicy, PrepareError, Prepared, ReencodeReason, Rules};
use crate::batch::raw::{DecodedBatch, RawBatch};
use crate::batch::record::RecordView;
use crate::batch::screen::{Candidate, Screen, Screened};

struct Moving<'a> {
    candidate: Candidate<'a>,
    replaced: Option<&'a Payload>,
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
    let decoded = batch.decode_for_now(rules.uncompressed_bytes_max)?;
    // Of the records that do not pass as they are; a batch of which all do costs no memory here.
    let mut altered: Vec<(i64, Option<Payload>)> = Vec::new();
    let (mut undecided, mut read) = (None, 0);
    for record in decoded.records() {
        let Some(candidate) = candidate(&decoded, rules, record?) else { continue };
        read += 1;
        match screen.as_mut().map_or(Screened::Pass, |it| it.screen(&candidate)) {
            Screened::Pass => {}
            Screened::Replace(payload) => altered.push((candidate.offset, Some(payload))),
            Screened::Divert => altered.push((candidate.offset, None)),
            // What else the screen needs is asked for at once.
            Screened::Await => {
                undecided.get_or_insert(candidate.offset);
            }
        }
    }
    if let Some(offset) = undecided {
        return Err(PrepareError::Undecided { offset });
    }
    let is_diverted = altered.iter().any(|it| it.1.is_none());
    let is_replaced = altered.iter().any(|it| it.1.is_some());
    let reasons =
        [reason, is_diverted.then_some(ReencodeReason::DeadLetter), is_replaced.then_some(ReencodeReason::SchemaId)];
    let reasons: Vec<_> = reasons.into_iter().flatten().collect();
    if reasons.is_empty() {
        into.push(Prepared::as_it_is(batch));
        return Ok(read);
    }
    let (mut moving, mut altered) = (Vec::new(), altered.iter().peekable());
    for record in decoded.records() {
        let Some(candidate) = candidate(&decoded, rules, record?) else { continue };
        match altered.next_if(|it| it.0 == candidate.offset) {
            None => moving.push(Moving { candidate, replaced: None }),
            Some((_, Some(payload))) => moving.push(Moving { candidate, replaced: Some(payload) }),
            Some((_, None)) => {}
        }
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

/// As the target would get it. None: it lies before the position.
#[inline]
fn candidate<'a>(decoded: &DecodedBatch, rules: &Rules, record: RecordView<'a>) -> Option<Candidate<'a>> {
    let offset = decoded.offset(&record);
    let timestamp = match rules.log_append_time {
        LogAppendTimePolicy::KeepAppendTime => decoded.timestamp(&record),
        LogAppendTimePolicy::KeepCreateTime => decoded.create_time(&record),
    };
    (offset >= rules.position).then_some(Candidate { offset, timestamp, record })
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
