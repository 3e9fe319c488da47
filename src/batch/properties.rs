//! What must hold for every batch: hostile bytes never panic, and preparing loses, doubles and changes nothing.

use crate::batch::{
    BatchBuilder, BatchError, Candidate, Compression, Header, LogAppendTimePolicy, MergeLimits, PrepareError, RawBatch,
    ReencodeReason, Rules, Screen, Screened, compress, prepare, prepare_screened, samples, split, stamp,
};
use crate::types::ProducerIdentity;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;
type Payload = (Option<Vec<u8>>, Option<Vec<u8>>, Headers);

#[derive(Clone, Debug)]
struct Source {
    compression: Compression,
    /// A record, its timestamp, and the hole behind it.
    records: Vec<(Payload, i64, u8)>,
    base_hole: u8,
    log_append_time: bool,
    delete_horizon: bool,
    tail_hole: u8,
}

/// A record as a consumer sees it, with its source offset.
type Seen = (i64, i64, Payload);

fn source() -> impl Strategy<Value = Source> {
    let bytes = || vec(any::<u8>(), 0..40);
    let nullable = || proptest::option::of(bytes());
    let value = proptest::option::of(prop_oneof![9 => bytes(), 1 => vec(any::<u8>(), 0..3000)]);
    let headers = vec((bytes(), nullable()), 0..3);
    let timestamp = prop_oneof![9 => 0i64..5000, 1 => any::<i64>()];
    let hole = prop_oneof![8 => Just(0u8), 1 => 1u8..5];
    let record = ((nullable(), value, headers), timestamp, hole.clone());
    let flag = || prop_oneof![3 => Just(false), 1 => Just(true)];
    (proptest::sample::select(&Compression::ALL[..]), vec(record, 0..12), hole.clone(), flag(), flag(), hole).prop_map(
        |(compression, records, base_hole, log_append_time, delete_horizon, tail_hole)| Source {
            compression,
            records,
            base_hole,
            log_append_time,
            delete_horizon,
            tail_hole,
        },
    )
}

/// The batch as a source would serve it, written without the builder, and what consumers see of it.
fn serve(source: &Source, base_offset: i64) -> (RawBatch, Vec<Seen>) {
    serve_for(source, base_offset, LogAppendTimePolicy::KeepAppendTime)
}

fn serve_for(source: &Source, base_offset: i64, policy: LogAppendTimePolicy) -> (RawBatch, Vec<Seen>) {
    let mut body = Vec::new();
    let mut seen = Vec::new();
    let mut delta = i64::from(source.base_hole);
    let (base_timestamp, max_timestamp) = (777, 99_999);
    for ((key, value, headers), timestamp, hole) in &source.records {
        let mut record = vec![0];
        zigzag(&mut record, timestamp.wrapping_sub(base_timestamp));
        zigzag(&mut record, delta);
        let nullable = |output: &mut Vec<u8>, bytes: &Option<Vec<u8>>| {
            zigzag(output, bytes.as_ref().map_or(-1, |it| it.len() as i64));
            output.extend(bytes.iter().flatten());
        };
        nullable(&mut record, key);
        nullable(&mut record, value);
        zigzag(&mut record, headers.len() as i64);
        for (name, value) in headers {
            nullable(&mut record, &Some(name.clone()));
            nullable(&mut record, value);
        }
        zigzag(&mut body, record.len() as i64);
        body.extend(record);
        let append_time = source.log_append_time && policy == LogAppendTimePolicy::KeepAppendTime;
        let timestamp = if append_time { max_timestamp } else { *timestamp };
        seen.push((base_offset + delta, timestamp, (key.clone(), value.clone(), headers.clone())));
        delta += 1 + i64::from(*hole);
    }
    let template = samples::batch(Compression::None, 0, 1).header();
    let flags = if source.log_append_time { 0x08 } else { 0 } | if source.delete_horizon { 0x40 } else { 0 };
    let header = Header {
        base_offset,
        attributes: source.compression.attributes() | flags,
        last_offset_delta: (delta - 1 + i64::from(source.tail_hole)).max(0) as i32,
        record_count: source.records.len() as i32,
        base_timestamp,
        max_timestamp,
        ..template
    };
    (samples::assemble(header, &compress(source.compression, &body).unwrap()), seen)
}

fn zigzag(output: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw > 127 {
        output.push(raw as u8 | 128);
        raw >>= 7;
    }
    output.push(raw as u8);
}

fn consume(batch: &RawBatch) -> Vec<(i32, i64, Payload)> {
    batch.verify_crc().unwrap();
    let decoded = batch.decode(1 << 20).unwrap();
    let mut seen = Vec::new();
    for record in decoded.records() {
        let record = record.unwrap();
        let headers = record.headers().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
        let payload = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers);
        seen.push((record.offset_delta, decoded.timestamp(&record), payload));
    }
    seen
}

fn plain(count: usize, value: usize) -> Source {
    let record = ((None, Some(vec![b'x'; value]), vec![]), 5, 0);
    Source {
        compression: Compression::None,
        records: vec![record; count],
        base_hole: 0,
        log_append_time: false,
        delete_horizon: false,
        tail_hole: 0,
    }
}

fn unmerged(position: i64, max_message_bytes: usize) -> Rules {
    Rules { merge: None, ..Rules::new(position, max_message_bytes) }
}

fn reasons(batches: Vec<RawBatch>, rules: &Rules) -> Vec<Vec<ReencodeReason>> {
    prepare(batches, rules).unwrap().batches.into_iter().map(|it| it.reencoded).collect()
}

#[test]
fn each_reason_is_named() {
    let rules = unmerged(0, 10_000);
    let gap = Source { base_hole: 2, ..plain(3, 10) };
    let append = Source { log_append_time: true, ..plain(3, 10) };
    let horizon = Source { delete_horizon: true, ..plain(3, 10) };
    let one = |source: &Source, rules: &Rules| reasons(vec![serve(source, 0).0], rules);
    assert_eq!(one(&plain(3, 10), &rules), [[]]);
    assert_eq!(one(&plain(3, 10), &unmerged(1, 10_000)), [[ReencodeReason::MidBatch]]);
    assert_eq!(one(&gap, &rules), [[ReencodeReason::CompactionGap]]);
    assert_eq!(one(&append, &rules), [[ReencodeReason::LogAppendTime]]);
    assert_eq!(one(&horizon, &rules), [[ReencodeReason::DeleteHorizon]]);
    assert_eq!(one(&plain(4, 90), &unmerged(0, 300)), [[ReencodeReason::Oversized]; 2]);
    let two = vec![serve(&plain(3, 10), 0).0, serve(&plain(3, 10), 3).0];
    assert_eq!(reasons(two, &Rules::new(0, 10_000)), [[ReencodeReason::MergeSmall]]);
    let with_gap = vec![serve(&gap, 0).0, serve(&plain(3, 10), 5).0];
    let both = [[ReencodeReason::CompactionGap, ReencodeReason::MergeSmall]];
    assert_eq!(reasons(with_gap, &Rules::new(0, 10_000)), both, "merged, it still was a gap");
    let create = Rules { log_append_time: LogAppendTimePolicy::KeepCreateTime, ..rules };
    assert_eq!(one(&append, &create), [[]]);
    let names: std::collections::BTreeSet<_> = ReencodeReason::ALL.iter().map(ReencodeReason::name).collect();
    assert_eq!(names.len(), ReencodeReason::ALL.len());
}

#[test]
fn a_passed_batch_is_the_same_bytes() {
    let batch = samples::batch(Compression::Zstd, 40, 9);
    let prepared = prepare(vec![batch.clone()], &Rules::new(40, 1 << 20)).unwrap();
    assert_eq!(prepared.batches[0].batch, batch);
    assert_eq!(prepared.next_position, 49);
}

#[test]
fn emptied_batches_only_move_the_position() {
    let empty = serve(&Source { tail_hole: 5, ..plain(0, 0) }, 10).0;
    let prepared = prepare(vec![empty], &Rules::new(10, 1000)).unwrap();
    assert_eq!((prepared.batches.len(), prepared.next_position), (0, 15));
}

#[test]
fn a_position_behind_every_record_that_is_left_needs_no_batch() {
    let batch = serve(&Source { tail_hole: 4, ..plain(3, 10) }, 0).0;
    let prepared = prepare(vec![batch.clone()], &Rules::new(4, 1000)).unwrap();
    assert_eq!((prepared.batches.len(), prepared.next_position), (0, 7));
    let prepared = prepare(vec![batch], &Rules::new(70, 1000)).unwrap();
    assert_eq!((prepared.batches.len(), prepared.next_position), (0, 70));
}

#[test]
fn a_record_too_large_for_the_target_is_named() {
    let mut source = plain(3, 10);
    source.records[1].0.1 = Some(vec![b'x'; 900]);
    let error = prepare(vec![serve(&source, 50).0], &Rules::new(50, 500)).unwrap_err();
    assert!(matches!(error, PrepareError::RecordTooLarge { offset: 51, max_message_bytes: 500, .. }), "{error}");
    assert_eq!(error.offset(), Some(51));
}

/// Half of a size that was refused is a guess; a record that the target might take must not stop the partition by it.
#[test]
fn a_record_alone_may_be_larger_than_a_batch_may_become() {
    let mut source = plain(3, 10);
    source.records[1].0.1 = Some(vec![b'x'; 900]);
    let rules = Rules { batch_bytes_max: 500, ..Rules::new(50, 2000) };
    let prepared = prepare(vec![serve(&source, 50).0], &rules).unwrap();
    let offsets: Vec<_> = prepared.batches.iter().map(|it| (it.first_offset, it.record_count)).collect();
    assert_eq!(offsets, [(50, 1), (51, 1), (52, 1)]);
    // Alone in its batch it passes as it is.
    source.records = vec![source.records[1].clone()];
    let alone = serve(&source, 50).0;
    assert!(alone.bytes().len() > rules.batch_bytes_max);
    assert_eq!(prepare(vec![alone], &rules).unwrap().batches[0].reencoded, []);
}

#[test]
fn damage_is_not_packed_again() {
    let batch = serve(&plain(3, 10), 5).0;
    let mut bytes = batch.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    *bytes.get_mut(80).unwrap() ^= 1;
    let broken = split(bytes.into()).next().unwrap().unwrap();
    let error = prepare(vec![broken.clone()], &Rules::new(6, 1000)).unwrap_err();
    assert!(matches!(error, PrepareError::Corrupt(BatchError::Crc { base_offset: 5, .. })));
    // Merging leaves it alone, so that the checksum it came with still tells.
    let with_neighbour = vec![broken.clone(), serve(&plain(3, 10), 8).0];
    assert_eq!(prepare(with_neighbour, &Rules::new(5, 1000)).unwrap().batches[0].batch, broken);
}

#[test]
fn batches_out_of_order_and_markers_are_refused() {
    let (first, second) = (serve(&plain(3, 10), 0).0, serve(&plain(3, 10), 2).0);
    let error = prepare(vec![first.clone(), second], &Rules::new(0, 1000)).unwrap_err();
    assert_eq!(error, PrepareError::OutOfOrder { base_offset: 2, position: 3 });
    let marker = samples::with_header(&first, Header { attributes: 0x30, ..first.header() });
    assert_eq!(prepare(vec![marker], &Rules::new(0, 1000)), Err(PrepareError::Control { base_offset: 0 }));
}

#[test]
fn merging_stops_at_its_limits() {
    let batches: Vec<_> = (0..40).map(|it| serve(&plain(2, 100), it * 2).0).collect();
    let limits = MergeLimits { batch_bytes_max: 1000, merged_uncompressed_bytes_max: 1100 };
    let rules = Rules { merge: Some(limits), ..Rules::new(0, 1 << 20) };
    let prepared = prepare(batches, &rules).unwrap().batches;
    assert!(prepared.iter().all(|it| it.record_count == 10 && it.batch.body().len() <= 1100), "{prepared:?}");
    assert_eq!(prepared.len(), 8);
}

/// Decides by the offset.
#[derive(Default)]
struct Sieve {
    divert: std::collections::BTreeSet<i64>,
    replace: std::collections::BTreeSet<i64>,
    wait: Option<i64>,
    diverted: Vec<i64>,
    seen: Vec<i64>,
}

impl Screen for Sieve {
    fn screen(&mut self, candidate: &Candidate<'_>) -> Screened {
        let offset = candidate.offset;
        self.seen.push(offset);
        if self.wait == Some(offset) {
            Screened::Await
        } else if self.divert.contains(&offset) {
            self.diverted.push(offset);
            Screened::Divert
        } else if self.replace.contains(&offset) {
            let record = &candidate.record;
            Screened::Replace(super::Payload::of(record, record.key, Some(b"other"), &[]))
        } else {
            Screened::Pass
        }
    }
}

#[test]
fn a_batch_that_waits_tells_where_and_is_looked_at_to_its_end() {
    let batches = vec![serve(&plain(3, 10), 0).0, serve(&plain(3, 10), 3).0, serve(&plain(3, 10), 6).0];
    let mut sieve = Sieve { wait: Some(4), ..Sieve::default() };
    let error = prepare_screened(batches, &Rules::new(0, 1000), Some(&mut sieve)).unwrap_err();
    assert_eq!(error, PrepareError::Undecided { offset: 4 });
    assert_eq!(sieve.seen, [0, 1, 2, 3, 4, 5]);
}

proptest! {
    #[test]
    fn what_a_screen_takes_is_missing_and_nothing_else(
        sources in vec(source(), 0..5), start in 0i64..20, divert in vec(0i64..60, 0..20), replace in vec(0i64..60, 0..20),
    ) {
        let (mut batches, mut expected, mut next) = (Vec::new(), Vec::new(), 0);
        for source in &sources {
            let (batch, seen) = serve_for(source, next, LogAppendTimePolicy::KeepAppendTime);
            next = batch.header().next_offset();
            expected.extend(seen.into_iter().filter(|it| it.0 >= start));
            batches.push(batch);
        }
        let untouched: Vec<_> = batches.iter().map(|it| it.body().to_vec()).collect();
        let mut sieve = Sieve {
            divert: divert.into_iter().collect(),
            replace: replace.into_iter().collect(),
            ..Sieve::default()
        };
        let rules = unmerged(start, 1 << 20);
        let prepared = prepare_screened(batches, &rules, Some(&mut sieve)).unwrap();
        prop_assert_eq!(prepared.next_position, next.max(start));
        let all: Vec<_> = expected.iter().map(|it| it.0).collect();
        prop_assert_eq!(&sieve.seen, &all, "each record is looked at once, in order");
        let due: Vec<_> = all.iter().copied().filter(|it| sieve.divert.contains(it)).collect();
        prop_assert_eq!(&sieve.diverted, &due);
        let mut expected = expected.into_iter().filter(|it| !sieve.divert.contains(&it.0));
        for it in &prepared.batches {
            if it.reencoded.is_empty() {
                prop_assert!(untouched.iter().any(|body| body == it.batch.body()));
            }
            for (_, timestamp, payload) in consume(&it.batch) {
                let (offset, want_timestamp, mut want) = expected.next().unwrap();
                if sieve.replace.contains(&offset) {
                    want.1 = Some(b"other".to_vec());
                    prop_assert!(it.reencoded.contains(&ReencodeReason::SchemaId));
                }
                prop_assert_eq!((timestamp, payload), (want_timestamp, want));
            }
        }
        prop_assert!(expected.next().is_none());
    }

    #[test]
    fn preparing_loses_doubles_and_changes_nothing(
        sources in vec(source(), 0..6), start in 0i64..30,
        max_message_bytes in prop_oneof![Just(4000usize), Just(1 << 20)],
        small in prop_oneof![Just(None), Just(Some(300usize)), Just(Some(16_384))], create: bool,
    ) {
        let policy =
            if create { LogAppendTimePolicy::KeepCreateTime } else { LogAppendTimePolicy::KeepAppendTime };
        let mut batches = Vec::new();
        let mut expected = Vec::new();
        let mut next = 0;
        for source in &sources {
            let (batch, seen) = serve_for(source, next, policy);
            next = batch.header().next_offset();
            expected.extend(seen.into_iter().filter(|it| it.0 >= start));
            batches.push(batch);
        }
        let merge = small.map(|it| MergeLimits { batch_bytes_max: it, merged_uncompressed_bytes_max: 4 * it });
        let rules = Rules { merge, log_append_time: policy, ..Rules::new(start, max_message_bytes) };
        let prepared = prepare(batches, &rules).unwrap();
        prop_assert_eq!(prepared.next_position, next.max(start));

        let mut expected = expected.into_iter().peekable();
        let mut position = start;
        for it in &prepared.batches {
            prop_assert!(it.batch.bytes().len() <= max_message_bytes);
            prop_assert!(it.first_offset >= position && it.next_offset > it.first_offset);
            prop_assert_eq!(expected.peek().map(|seen| seen.0), Some(it.first_offset));
            let header = it.batch.header();
            prop_assert!(!header.has_gaps() && !header.has_delete_horizon());
            prop_assert!(create || !header.is_log_append_time());
            prop_assert_eq!(it.record_count, header.record_count as u32);
            let stamped = stamp(&it.batch, ProducerIdentity { producer_id: 3, producer_epoch: 1 }, 0).to_bytes();
            let landed = split(stamped).next().unwrap().unwrap();
            for (index, (delta, timestamp, payload)) in consume(&landed).into_iter().enumerate() {
                let (offset, want_timestamp, want_payload) = expected.next().unwrap();
                prop_assert_eq!(delta as usize, index);
                prop_assert_eq!((timestamp, payload), (want_timestamp, want_payload));
                prop_assert!(offset < it.next_offset);
            }
            position = it.next_offset;
        }
        prop_assert!(expected.next().is_none());
        prop_assert!(position <= prepared.next_position);
    }

    #[test]
    fn hostile_responses_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let count = split(Bytes::from(bytes)).count();
        prop_assert!(count <= 5);
    }

    #[test]
    fn damaged_batches_never_panic(
        source in source(), edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), position in 0i64..20,
    ) {
        let mut bytes = serve(&source, 0).0.bytes().to_vec();
        for (at, to) in edits {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        for batch in split(Bytes::from(bytes)).flatten() {
            // A checksum that is right lets the damage through to the codecs and the walk.
            let batch = samples::assemble(batch.header(), batch.body());
            let _ = crate::batch::ControlRecord::parse(&batch);
            let _ = prepare(vec![batch.clone(), batch.clone()], &Rules::new(position, 4000));
            if let Ok(decoded) = batch.decode(10_000) {
                prop_assert!(decoded.body().len() <= 10_000.max(batch.body().len()));
                for record in decoded.records().flatten() {
                    prop_assert!(record.headers().count() == record.header_count);
                }
            }
        }
    }

    #[test]
    fn what_is_built_is_read(source in source()) {
        prop_assume!(!source.records.is_empty());
        let mut builder = BatchBuilder::new(source.compression);
        let mut want = Vec::new();
        for (index, (payload, timestamp, _)) in source.records.iter().enumerate() {
            let (key, value, headers) = payload;
            let headers: Vec<_> = headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
            builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
            want.push((index as i32, *timestamp, payload.clone()));
        }
        prop_assert_eq!(consume(&builder.build().unwrap()), want);
    }
}
