//! What is checked of a batch, and how it is stored.

use anyhow::Result;
use protocol_tests::raw::records::crc32c;
use protocol_tests::raw::{Codec, NewBatch, NewRecord};

use super::probe::{NOBODY, Probe, UNCOMMITTED, batch, now_ms, records};

const VERSION: i16 = 9;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const COUNT: usize = 57;
const BODY: usize = 61;
const HOUR_MS: i64 = 3_600_000;

fn plain(codec: Codec, count: usize) -> Result<Vec<u8>> {
    NewBatch::plain(codec, records(count)).encode()
}

/// Overwrites bytes of a batch and makes its checksum right again.
fn patched(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    signed(batch)
}

fn signed(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&batch[ATTRIBUTES..]);
    batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn with_body(batch: &[u8], body: &[u8]) -> Vec<u8> {
    let mut batch = [&batch[..BODY], body].concat();
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    signed(batch)
}

fn at(timestamp: i64) -> Result<Vec<u8>> {
    let record = NewRecord { timestamp, key: Some(b"k".to_vec()), ..NewRecord::default() };
    NewBatch::plain(Codec::None, vec![record]).encode()
}

pub(super) fn ask(probe: &mut Probe) -> Result<()> {
    probe.create("plain", 1, &[])?;
    probe.create("compacted", 1, &[("cleanup.policy", "compact")])?;
    probe.create("append-time", 1, &[("message.timestamp.type", "LogAppendTime")])?;
    probe.create("small", 1, &[("max.message.bytes", "200")])?;
    probe.create("zstd", 1, &[("compression.type", "zstd")])?;
    probe.create("uncompressed", 1, &[("compression.type", "uncompressed")])?;
    for (question, topic, bytes) in wrong()? {
        let answer = probe.produce(VERSION, topic, 0, bytes, None)?;
        let mut indexes: Vec<i32> = answer.record_errors.iter().map(|it| it.batch_index).collect();
        indexes.sort_unstable();
        probe.note(question, (answer.error_code, answer.base_offset, indexes));
    }
    for (question, topic, bytes) in right()? {
        let answer = probe.produce(VERSION, topic, 0, bytes, None)?;
        probe.note(question, (answer.error_code, answer.base_offset, answer.log_append_time_ms > 0));
    }
    places(probe)?;
    for topic in ["plain", "append-time", "zstd", "uncompressed"] {
        stored(probe, topic)?;
    }
    Ok(())
}

type Question = (&'static str, &'static str, Vec<u8>);

fn wrong() -> Result<Vec<Question>> {
    let good = plain(Codec::None, 3)?;
    let lz4 = plain(Codec::Lz4, 3)?;
    let mut flipped = good.clone();
    flipped[BODY + 3] ^= 1;
    let null_key = NewBatch::plain(Codec::Gzip, vec![records(1)[0].clone(), NewRecord::default()]).encode()?;
    // The second record's offset delta: 2 instead of 1. Records of equal length follow each other.
    let record = (good.len() - BODY) / 3;
    let mut holes = good[BODY..].to_vec();
    holes[record + 3] = 4;
    let unsigned = |batch: Vec<u8>, at: usize, byte: u8| {
        let mut batch = batch;
        batch[at] = byte;
        batch
    };
    Ok(vec![
        ("a flipped bit", "plain", flipped),
        ("two batches", "plain", [good.clone(), good.clone()].concat()),
        ("no bytes", "plain", vec![]),
        ("half a batch", "plain", good[..good.len() - 1].to_vec()),
        ("a length of -1", "plain", unsigned(unsigned(good.clone(), 8, 0xff), 9, 0xff)),
        ("magic 1", "plain", unsigned(good.clone(), 16, 1)),
        ("magic 3", "plain", unsigned(good.clone(), 16, 3)),
        ("base offset 1", "plain", unsigned(good.clone(), 7, 1)),
        ("base offset 1 and a flipped bit", "plain", unsigned(unsigned(good.clone(), 7, 1), 70, 9)),
        ("a gap at the end", "plain", patched(good.clone(), LAST_OFFSET_DELTA, &[0, 0, 0, 3])),
        ("a negative last offset delta", "plain", patched(good.clone(), LAST_OFFSET_DELTA, &[0xff; 4])),
        ("count 0", "plain", patched(good.clone(), COUNT, &[0; 4])),
        ("count -1", "plain", patched(good.clone(), COUNT, &[0xff; 4])),
        (
            "count and delta too large",
            "plain",
            patched(patched(good.clone(), COUNT, &[0, 0, 0, 4]), LAST_OFFSET_DELTA, &[0, 0, 0, 3]),
        ),
        (
            "count and delta too small",
            "plain",
            patched(patched(good.clone(), COUNT, &[0, 0, 0, 2]), LAST_OFFSET_DELTA, &[0, 0, 0, 1]),
        ),
        ("the control bit", "plain", patched(good.clone(), ATTRIBUTES, &[0, 0x20])),
        ("a producer without sequence", "plain", patched(good.clone(), PRODUCER_ID, &[0, 0, 0, 0, 0, 0, 0, 9])),
        ("transactional without an id", "plain", patched(good.clone(), ATTRIBUTES, &[0, 0x10])),
        ("too large", "small", plain(Codec::None, 20)?),
        ("too large and a flipped bit", "small", unsigned(plain(Codec::None, 20)?, 100, 9)),
        ("two hours ahead", "plain", at(now_ms() + 2 * HOUR_MS)?),
        ("a null key", "compacted", null_key),
        ("LogAppendTime to its own kind", "append-time", patched(good.clone(), ATTRIBUTES, &[0, 0x08])),
        ("an unknown codec", "plain", patched(good.clone(), ATTRIBUTES, &[0, 5])),
        ("lz4 that is none", "plain", with_body(&lz4, b"this is not lz4 data")),
        ("gzip that is none", "plain", with_body(&plain(Codec::Gzip, 3)?, b"this is not gzip data")),
        ("snappy that is none", "plain", with_body(&plain(Codec::Snappy, 3)?, b"this is not snappy")),
        ("zstd that is none", "plain", with_body(&plain(Codec::Zstd, 3)?, b"this is not zstd data")),
        ("records that are none", "plain", with_body(&good, &[0xff; 40])),
        ("a record too few", "plain", with_body(&good, &good[BODY..BODY + 2 * record])),
        ("bytes behind the last record", "plain", with_body(&good, &[&good[BODY..], &[0, 0][..]].concat())),
        ("holes in a compressed batch", "plain", with_body(&lz4, &lz4_of(&holes)?)),
    ])
}

/// One lz4 frame, as Kafka's clients write it.
fn lz4_of(body: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write;
    let mut encoder = lz4_flex::frame::FrameEncoder::new(vec![]);
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

fn right() -> Result<Vec<Question>> {
    let good = plain(Codec::None, 3)?;
    let wrong_max = patched(good.clone(), MAX_TIMESTAMP, &(now_ms() + 60_000).to_be_bytes());
    let mut questions = vec![
        ("trailing bytes that are no batch", "plain", [good.clone(), vec![1; 11]].concat()),
        ("a leader epoch", "plain", {
            let mut batch = good.clone();
            batch[15] = 7;
            batch
        }),
        ("ten years old", "plain", at(now_ms() - 10 * 365 * 24 * HOUR_MS)?),
        ("no timestamp", "plain", at(-1)?),
        ("a wrong max timestamp", "plain", wrong_max),
        ("LogAppendTime to CreateTime", "plain", patched(good.clone(), ATTRIBUTES, &[0, 0x08])),
        ("the delete horizon bit", "plain", patched(good.clone(), ATTRIBUTES, &[0, 0x40])),
        ("CreateTime to LogAppendTime", "append-time", plain(Codec::Lz4, 2)?),
        ("ten years old to LogAppendTime", "append-time", at(now_ms() - 10 * 365 * 24 * HOUR_MS)?),
        ("lz4 to zstd", "zstd", plain(Codec::Lz4, 3)?),
        ("nothing to zstd", "zstd", plain(Codec::None, 3)?),
        ("zstd to zstd", "zstd", plain(Codec::Zstd, 3)?),
        ("gzip to uncompressed", "uncompressed", plain(Codec::Gzip, 3)?),
        ("keys on a compacted topic", "compacted", plain(Codec::Snappy, 2)?),
    ];
    for codec in Codec::ALL {
        questions.push((codec.name(), "plain", plain(codec, 3)?));
    }
    Ok(questions)
}

fn places(probe: &mut Probe) -> Result<()> {
    let good = plain(Codec::None, 1)?;
    for (question, version, topic, partition, acks) in [
        ("zstd before v7 is judged by its codec alone", 6, "plain", 0, -1),
        ("an unknown topic", VERSION, "missing", 0, -1),
        ("an unknown partition", VERSION, "plain", 5, -1),
        ("acks 1", VERSION, "plain", 0, 1),
        ("acks 2", VERSION, "plain", 0, 2),
        ("acks -2", VERSION, "plain", 0, -2),
        ("an internal topic", VERSION, "__transaction_state", 0, -1),
    ] {
        if topic.starts_with("__") {
            probe.coordinator(1, "anybody")?;
        }
        let bytes = if version < 7 { plain(Codec::Zstd, 1)? } else { good.clone() };
        let answer = probe.produce_acks(version, topic, partition, bytes, None, acks)?;
        probe.note(question, (answer.error_code, answer.base_offset));
    }
    let answer = probe.produce(VERSION, "plain", 0, batch(NOBODY, -1, false, 1)?, None)?;
    probe.note("the log start", answer.log_start_offset);
    Ok(())
}

/// Base and last offset, attributes, leader epoch, sequence, count, length, and whether the checksum is right.
fn stored(probe: &mut Probe, topic: &str) -> Result<()> {
    let data = probe.fetch_from(topic, 0, UNCOMMITTED)?;
    let mut bytes = &data.records.unwrap_or_default()[..];
    while bytes.len() > BODY {
        let length = i32::from_be_bytes(bytes[8..12].try_into()?) as usize + 12;
        let (batch, rest) = bytes.split_at(length.min(bytes.len()));
        let int = |at: usize| i32::from_be_bytes(std::array::from_fn(|index| batch[at + index]));
        let long = |at: usize| i64::from_be_bytes(std::array::from_fn(|index| batch[at + index]));
        let age = |timestamp: i64| match now_ms() - timestamp {
            _ if timestamp == -1 => "none",
            age if age > HOUR_MS => "old",
            _ => "new",
        };
        let crc = u32::from_be_bytes(batch[CRC..ATTRIBUTES].try_into()?) == crc32c(&batch[ATTRIBUTES..]);
        let fields = (long(0), int(LAST_OFFSET_DELTA), int(12), batch[ATTRIBUTES + 1], int(53), int(COUNT));
        // What a broker has packed anew has a length of its own.
        let kept = if topic == "zstd" { 0 } else { batch.len() };
        probe.note(&format!("stored in {topic}"), (fields, age(long(27)), age(long(MAX_TIMESTAMP)), kept, crc));
        bytes = rest;
    }
    Ok(())
}
