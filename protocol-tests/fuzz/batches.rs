//! Record batches: what a source sends, through everything that is done with it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_bridge::batch::{
    ControlRecord, LogAppendTimePolicy, MergeLimits, PrepareError, RawBatch, Rules, compress, decompress, prepare,
    split, stamp,
};
use kafka_bridge::source::protocol::fetch_answer;
use kafka_bridge::source::{Fetcher, FetcherSettings, Input, LeaderView, Output, Position, RequestId, SourceRequest};
use kafka_bridge::types::{ProducerIdentity, TopicPartition};
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use protocol_tests::golden;
use protocol_tests::raw::records::{CRC_START, HEADER_BYTES, LOG_OVERHEAD};
use uuid::Uuid;

use crate::mutate::{change, choose, mutated};
use crate::targets::{Taken, Verdict, ensure};

const UNPACKED_BYTES_MAX: usize = 1 << 20;
/// What a run may let out for one input; a machine that goes on for ever must not hang the fuzzer.
const OUTPUTS_MAX: usize = 1_000;
const ROUNDS_MAX: usize = 4;

/// Two bytes that choose how the batches are taken, then Java's batches.
pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let golden: Vec<Bytes> = golden::batches().unwrap_or_default().into_iter().map(|it| it.bytes).collect();
    let mut corpus: Vec<Vec<u8>> = golden.iter().map(|it| [&[0, 1], it.as_ref()].concat()).collect();
    // A log: offsets that go on, data between markers.
    for chunk in golden.chunks(3) {
        let mut log = vec![7, 2];
        let mut next_offset = 0;
        for batch in chunk {
            let mut batch = batch.to_vec();
            batch[..8].copy_from_slice(&i64::to_be_bytes(next_offset));
            next_offset += i64::from(i32::from_be_bytes([batch[23], batch[24], batch[25], batch[26]])) + 1;
            log.extend(batch);
        }
        corpus.push(log);
    }
    corpus
}

/// Changes what is in a batch as well as its bytes, and mostly makes its length and checksum right again: else nothing gets
/// past them.
pub(crate) fn input(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    if random.u8(..3) > 0 {
        let mut bytes = mutated(random, corpus, &[]);
        if random.u8(..4) > 0 {
            repair(&mut bytes);
        }
        return bytes;
    }
    let sample = choose(random, corpus).cloned().unwrap_or_default();
    let mut output = sample.get(..2).map(<[u8]>::to_vec).unwrap_or_default();
    for batch in split(Bytes::from(sample).slice(2.min(sample_length(corpus))..)).flatten() {
        let compression = batch.header().compression();
        let Ok(mut body) = decompress(compression, batch.body(), UNPACKED_BYTES_MAX) else { continue };
        change(random, &mut body, &[], &[]);
        let Ok(packed) = compress(compression, &body) else { continue };
        output.extend_from_slice(&batch.bytes()[..HEADER_BYTES]);
        let length = output.len();
        output.extend(packed);
        let size = (output.len() - length + HEADER_BYTES - LOG_OVERHEAD) as i32;
        let at = length - HEADER_BYTES + 8;
        output[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
    repair(&mut output);
    output
}

fn sample_length(corpus: &[Vec<u8>]) -> usize {
    corpus.iter().map(Vec::len).min().unwrap_or(0)
}

/// Walks by the lengths that are there, cuts the last one to what is left, and writes the checksums.
fn repair(bytes: &mut [u8]) {
    let mut at = 2;
    while at + HEADER_BYTES <= bytes.len() {
        let claimed = i32::from_be_bytes([bytes[at + 8], bytes[at + 9], bytes[at + 10], bytes[at + 11]]);
        let left = bytes.len() - at - LOG_OVERHEAD;
        let length = usize::try_from(claimed).ok().filter(|it| (HEADER_BYTES - LOG_OVERHEAD..=left).contains(it));
        let length = length.unwrap_or(left);
        bytes[at + 8..at + 12].copy_from_slice(&(length as i32).to_be_bytes());
        let end = at + LOG_OVERHEAD + length;
        let crc = crc32c::crc32c(&bytes[at + CRC_START..end]);
        bytes[at + CRC_START - 4..at + CRC_START].copy_from_slice(&crc.to_be_bytes());
        at = end;
    }
}

fn rules(dials: [u8; 2], position: i64) -> Rules {
    let merge = (dials[0] & 1 == 0)
        .then_some(MergeLimits { batch_bytes_max: 16 << 10, merged_uncompressed_bytes_max: 64 << 10 });
    let log_append_time =
        if dials[0] & 2 == 0 { LogAppendTimePolicy::KeepAppendTime } else { LogAppendTimePolicy::KeepCreateTime };
    let max_message_bytes = if dials[0] & 4 == 0 { 1 << 20 } else { 400 };
    let rules = Rules::new(position, max_message_bytes);
    Rules { merge, log_append_time, uncompressed_bytes_max: UNPACKED_BYTES_MAX, ..rules }
}

fn dials(input: &[u8]) -> ([u8; 2], Bytes) {
    let dials = [input.first().copied().unwrap_or(0), input.get(1).copied().unwrap_or(0)];
    (dials, Bytes::copy_from_slice(input.get(2..).unwrap_or_default()))
}

/// Split, checked, unpacked, walked, prepared and stamped.
pub(crate) fn batch(input: &[u8]) -> Verdict {
    let (dials, records) = dials(input);
    let mut read = 0;
    let mut batches = Vec::new();
    for batch in split(records.clone()).flatten() {
        read += batch.bytes().len();
        one(&batch)?;
        batches.push(batch);
    }
    ensure(read <= records.len(), || format!("{read} bytes of {} were read", records.len()))?;
    for batch in &batches {
        let _ = prepared(vec![batch.clone()], &rules(dials, i64::from(dials[1])))?;
    }
    let all = prepared(batches, &rules(dials, i64::from(dials[1])))?;
    Ok(Taken::when(read > 0 && all.is_none()))
}

fn one(batch: &RawBatch) -> Result<(), String> {
    let _ = ControlRecord::parse(batch);
    let Ok(decoded) = batch.decode(UNPACKED_BYTES_MAX) else { return Ok(()) };
    let body = decoded.body().len();
    ensure(body <= UNPACKED_BYTES_MAX.max(batch.body().len()), || format!("unpacked to {body} bytes"))?;
    let mut previous = batch.header().base_offset - 1;
    for record in decoded.records().flatten() {
        let offset = decoded.offset(&record);
        ensure(offset > previous && offset <= batch.header().last_offset(), || format!("offset {offset}"))?;
        previous = offset;
        let _ = (decoded.timestamp(&record), decoded.create_time(&record));
        ensure(record.headers().count() == record.header_count, || "a header is missing".to_owned())?;
    }
    Ok(())
}

/// What the target is sent must be what it takes.
fn prepared(batches: Vec<RawBatch>, rules: &Rules) -> Result<Option<PrepareError>, String> {
    let prepared = match prepare(batches, rules) {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = error.to_string();
            return Ok(Some(error));
        }
    };
    let mut position = rules.position;
    for it in &prepared.batches {
        let header = it.batch.header();
        ensure(it.first_offset >= position && it.next_offset > it.first_offset, || {
            format!("from {} to {} behind {position}", it.first_offset, it.next_offset)
        })?;
        position = it.next_offset;
        ensure(!header.has_gaps() && !header.is_control(), || format!("{header:?}"))?;
        ensure(it.batch.bytes().len() <= rules.max_message_bytes, || format!("{} bytes", it.batch.bytes().len()))?;
        let stamped = stamp(&it.batch, ProducerIdentity { producer_id: 5, producer_epoch: 1 }, 9).to_bytes();
        let Some(Ok(landed)) = split(stamped).next() else { return Err("what was stamped is no batch".to_owned()) };
        ensure(landed.verify_crc().is_ok() == it.batch.verify_crc().is_ok(), || "the checksum was lost".to_owned())?;
        if !it.reencoded.is_empty() {
            landed.verify_crc().map_err(|error| error.to_string())?;
            let decoded = landed.decode(UNPACKED_BYTES_MAX * 2).map_err(|error| error.to_string())?;
            let records = decoded.records().collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
            ensure(records.len() as u32 == it.record_count, || format!("{} records", records.len()))?;
        }
    }
    ensure(position <= prepared.next_position, || format!("{position} and {}", prepared.next_position))?;
    Ok(None)
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// Through the fetch machine: the answer is decoded, selected, delivered and prepared.
pub(crate) fn fetch(input: &[u8]) -> Verdict {
    let (dials, records) = dials(input);
    let now = Instant::now();
    let mut run = FetchRun {
        machine: Fetcher::new(FetcherSettings::default(), now),
        now,
        spent: 0,
        granted: 0,
        delivered: false,
    };
    let topic_id = Uuid::from_u128(1);
    let position = Position { offset: i64::from(dials[1]), leader_epoch: -1 };
    run.machine.handle(now, Input::Assign { partition: partition(), topic_id, position });
    let view = LeaderView { leader: Some(1), leader_epoch: 6, topic_id };
    run.machine.handle(now, Input::Metadata([(partition(), view)].into()));
    for _ in 0..ROUNDS_MAX {
        let Some((id, request)) = run.drain(dials)? else { break };
        let answer = match request {
            SourceRequest::Fetch(request) => fetch_answer(&request, response(dials, records.clone()), 13),
            // Nothing but the records is hostile here.
            _ => break,
        };
        run.machine.handle(run.now, Input::Answered { id, answer: Ok(answer) });
    }
    run.drain(dials)?;
    ensure(run.spent <= run.granted, || format!("{} bytes of {} are spent", run.spent, run.granted))?;
    Ok(Taken::when(run.delivered))
}

struct FetchRun {
    machine: Fetcher,
    now: Instant,
    /// Charged or given back.
    spent: usize,
    granted: usize,
    delivered: bool,
}

impl FetchRun {
    /// The last request that was sent.
    fn drain(&mut self, dials: [u8; 2]) -> Result<Option<(RequestId, SourceRequest)>, String> {
        let mut sent = None;
        for _ in 0..OUTPUTS_MAX {
            let Some(output) = self.machine.poll_output() else {
                let Some((due, _)) = self.machine.poll_timeout().filter(|_| sent.is_none()) else { return Ok(sent) };
                if due > self.now + Duration::from_secs(600) {
                    return Ok(sent);
                }
                self.now = self.now.max(due);
                self.machine.handle(self.now, Input::Timeout);
                continue;
            };
            match output {
                Output::WantBudget { node, bytes } => {
                    self.granted += bytes;
                    self.machine.handle(self.now, Input::BudgetGranted { node, bytes });
                }
                Output::ReturnBudget { bytes } => self.spent += bytes,
                Output::Send { id, request, .. } => sent = Some((id, request)),
                Output::Deliver(it) => {
                    self.spent += it.charged_bytes;
                    self.delivered |= !it.batches.is_empty();
                    ensure(it.next_position.offset > it.position.offset, || "it does not go on".to_owned())?;
                    // What was selected is in order, and data alone.
                    match prepared(it.batches, &rules(dials, it.position.offset))? {
                        Some(PrepareError::OutOfOrder { .. } | PrepareError::Control { .. }) => {
                            return Err("what was delivered cannot be prepared".to_owned());
                        }
                        _ => continue,
                    }
                }
                Output::Incident(it) => drop(format!("{it:?}")),
                Output::RefreshMetadata | Output::CloseConnection(_) | Output::Resolved { .. } => {}
            }
            if sent.is_some() {
                return Ok(sent);
            }
        }
        Err("it never rests".to_owned())
    }
}

fn response(dials: [u8; 2], records: Bytes) -> FetchResponse {
    let aborted = (0..dials[0] % 4).map(|index| {
        let first_offset = i64::from(dials[1]) + i64::from(index) * 3 - 1;
        AbortedTransaction::default()
            .with_producer_id([7, 11, -1][usize::from(index) % 3].into())
            .with_first_offset(first_offset)
    });
    let data = PartitionData::default()
        .with_high_watermark(i64::MAX)
        .with_last_stable_offset(i64::MAX)
        .with_log_start_offset(0)
        .with_aborted_transactions(Some(aborted.collect()))
        .with_records(Some(records));
    let topic = FetchableTopicResponse::default().with_topic_id(Uuid::from_u128(1)).with_partitions(vec![data]);
    FetchResponse::default().with_responses(vec![topic])
}
