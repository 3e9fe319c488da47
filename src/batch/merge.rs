//! Small batches joined: the broker takes one batch per partition and Produce request, so that throughput would die on
//! round trips.

use crate::batch::build::BatchBuilder;
use crate::batch::codec::Compression;
use crate::batch::header::HEADER_BYTES;
use crate::batch::prepare::{MergeLimits, Prepared, ReencodeReason, Rules};
use crate::batch::raw::{DecodedBatch, RawBatch};
use std::collections::BTreeSet;

/// Joins runs of small neighbours. What cannot be joined stays as it is; nothing here is a reason to stop.
pub(super) fn merge(prepared: Vec<Prepared>, rules: &Rules, limits: MergeLimits) -> Vec<Prepared> {
    let mut output = Vec::with_capacity(prepared.len());
    let mut run = Run::default();
    let mut rest = prepared.into_iter().peekable();
    while let Some(next) = rest.next() {
        let compression = next.batch.header().compression();
        let small = |it: &Prepared| it.batch.bytes().len() <= limits.batch_bytes_max;
        let fits = small(&next) && run.compression().is_none_or(|it| it == compression);
        if !fits {
            run.flush(rules, &mut output);
        }
        if !small(&next) {
            output.push(next);
            continue;
        }
        // Alone between large ones: unpacking it would be for nothing.
        let neighbour = |it: &Prepared| small(it) && it.batch.header().compression() == compression;
        if run.members.is_empty() && !rest.peek().is_some_and(neighbour) {
            output.push(next);
            continue;
        }
        let room = limits.merged_uncompressed_bytes_max.min(rules.batch_bytes_max.saturating_sub(HEADER_BYTES));
        let Some(decoded) = unpack_whole(&next.batch, room) else {
            run.flush(rules, &mut output);
            output.push(next);
            continue;
        };
        if run.uncompressed_bytes + decoded.body().len() > room {
            run.flush(rules, &mut output);
        }
        run.uncompressed_bytes += decoded.body().len();
        run.members.push((next, decoded));
    }
    run.flush(rules, &mut output);
    output
}

/// None: more than `room`, or damaged. A damaged batch passes as it is, with its own checksum: the target judges it.
fn unpack_whole(batch: &RawBatch, room: usize) -> Option<DecodedBatch> {
    batch.verify_crc().ok()?;
    let decoded = batch.decode(room).ok().filter(|it| it.body().len() <= room)?;
    let sound = decoded.records().all(|it| it.is_ok());
    sound.then_some(decoded)
}

#[derive(Default)]
struct Run {
    members: Vec<(Prepared, DecodedBatch)>,
    uncompressed_bytes: usize,
}

impl Run {
    fn compression(&self) -> Option<Compression> {
        self.members.first().map(|(it, _)| it.batch.header().compression())
    }

    fn flush(&mut self, rules: &Rules, output: &mut Vec<Prepared>) {
        self.uncompressed_bytes = 0;
        let members = std::mem::take(&mut self.members);
        match join(&members).filter(|it| it.batch.bytes().len() <= rules.batch_bytes_max) {
            Some(merged) => output.push(merged),
            None => output.extend(members.into_iter().map(|it| it.0)),
        }
    }
}

fn join(members: &[(Prepared, DecodedBatch)]) -> Option<Prepared> {
    let [(first, _), .., (last, _)] = members else { return None };
    let mut builder = BatchBuilder::new(first.batch.header().compression());
    for (_, decoded) in members {
        for record in decoded.records() {
            // Append times that count are in the records by now; the bit is left only where the create time is wanted.
            let record = record.ok()?;
            builder.push_raw(decoded.create_time(&record), &record);
        }
    }
    let batch = builder.build().ok()?;
    let reasons: BTreeSet<_> = members.iter().flat_map(|(it, _)| it.reencoded.iter().copied()).collect();
    Some(Prepared {
        first_offset: first.first_offset,
        next_offset: last.next_offset,
        record_count: batch.header().record_count.unsigned_abs(),
        reencoded: reasons.into_iter().chain([ReencodeReason::MergeSmall]).collect(),
        batch,
    })
}
