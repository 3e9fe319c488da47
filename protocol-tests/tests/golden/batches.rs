//! Record batches: Java's bytes are read as Java reads them, and what needs no codec is written as Java writes it.

use anyhow::{Context, Result, ensure};
use kafka_bridge::batch::{BatchBuilder, ControlRecord, RawBatch, split, stamp};
use kafka_bridge::types::ProducerIdentity;
use protocol_tests::golden::{self, Recorded, unhex};
use protocol_tests::raw::records::{CRC_START, HEADER_BYTES, decode};
use protocol_tests::raw::{Codec, NewBatch, NewRecord};
use serde_json::Value;

const UNPACKED_BYTES_MAX: usize = 1 << 20;
/// Where what a broker may rewrite at will has ended.
const MAGIC: usize = 16;

type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
}

fn number(content: &Value, name: &str) -> Result<i64> {
    content[name].as_i64().with_context(|| format!("Java names no {name}"))
}

/// Null, hex, or so many times one byte.
fn bytes(value: &Value) -> Result<Option<Vec<u8>>> {
    let Some(text) = value.as_str() else { return Ok(None) };
    match text.split_once(" times ") {
        Some((count, byte)) => Ok(Some(unhex(byte)?.repeat(count.parse()?))),
        None => Ok(Some(unhex(text)?)),
    }
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("no list")
}

/// What Java's reader found.
fn expected(content: &Value) -> Result<Vec<Seen>> {
    let record = |it: &Value| {
        let header = |it: &Value| Ok((bytes(&it[0])?.context("a header without a name")?, bytes(&it[1])?));
        Ok(Seen {
            offset: number(it, "offset")?,
            timestamp: number(it, "timestamp")?,
            key: bytes(&it["key"])?,
            value: bytes(&it["value"])?,
            headers: list(&it["headers"])?.iter().map(header).collect::<Result<_>>()?,
        })
    };
    list(&content["records"])?.iter().map(record).collect()
}

pub(super) fn check(recorded: &Recorded) -> Result<()> {
    let content = &recorded.content;
    let mut batches = split(recorded.bytes.clone());
    let batch = batches.next().context("no batch")??;
    ensure!(batch.bytes() == &recorded.bytes && batches.next().is_none(), "it ends elsewhere");
    batch.verify_crc()?;
    header(&batch, content)?;
    let decoded = batch.decode(UNPACKED_BYTES_MAX)?;
    let mut found = vec![];
    for record in decoded.records() {
        let record = record?;
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        found.push(Seen {
            offset: decoded.offset(&record),
            timestamp: decoded.timestamp(&record),
            key: owned(record.key),
            value: owned(record.value),
            headers: record.headers().map(|(name, value)| (name.to_vec(), owned(value))).collect(),
        });
    }
    let expected = expected(content)?;
    ensure!(found == expected, "the records are {found:?}");
    second_opinion(recorded, &expected)?;
    if recorded.title == "commit" || recorded.title == "abort" {
        return marker(&batch, recorded);
    }
    if recorded.title.ends_with("_none") {
        again(&batch, &expected)?;
    }
    Ok(())
}

fn header(batch: &RawBatch, content: &Value) -> Result<()> {
    let header = batch.header();
    let found = [
        ("baseOffset", header.base_offset),
        ("lastOffset", header.last_offset()),
        ("partitionLeaderEpoch", header.partition_leader_epoch.into()),
        ("crc", header.crc.into()),
        ("maxTimestamp", header.max_timestamp),
        ("producerId", header.producer_id),
        ("producerEpoch", header.producer_epoch.into()),
        ("baseSequence", header.base_sequence.into()),
    ];
    for (name, found) in found {
        ensure!(number(content, name)? == found, "{name} is {found}");
    }
    ensure!(content["codec"] == header.compression().name(), "the codec is {:?}", header.compression());
    let timestamp_type = if header.is_log_append_time() { "LogAppendTime" } else { "CreateTime" };
    ensure!(content["timestampType"] == timestamp_type, "the times are of {timestamp_type}");
    ensure!(content["isTransactional"] == header.is_transactional(), "the transactional bit is another");
    ensure!(content["isControl"] == header.is_control(), "the control bit is another");
    ensure!(!header.has_delete_horizon(), "it has a delete horizon");
    Ok(())
}

/// The tests' own decoder must say the same, or it judges the bridge by a mistake.
fn second_opinion(recorded: &Recorded, expected: &[Seen]) -> Result<()> {
    let batches = decode(&recorded.bytes)?;
    let batch = batches.first().context("the tests' decoder finds no batch")?;
    let records = batch.records.iter().cloned().map(|it| Seen {
        offset: it.offset,
        timestamp: it.timestamp,
        key: it.key,
        value: it.value,
        headers: it.headers,
    });
    ensure!(records.eq(expected.iter().cloned()), "the tests' decoder reads other records");
    Ok(())
}

fn marker(batch: &RawBatch, recorded: &Recorded) -> Result<()> {
    let marker = ControlRecord::parse(batch)?;
    let expected = match recorded.title.as_str() {
        "commit" => ControlRecord::Commit { coordinator_epoch: 8 },
        _ => ControlRecord::Abort { coordinator_epoch: 9 },
    };
    ensure!(marker == Some(expected), "the marker is {marker:?}");
    Ok(())
}

/// By the bridge's builder, and by the tests' own.
fn again(batch: &RawBatch, records: &[Seen]) -> Result<()> {
    let header = batch.header();
    let mut builder = BatchBuilder::new(header.compression());
    for it in records {
        let headers: Vec<_> = it.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
        builder.push(it.timestamp, it.key.as_deref(), it.value.as_deref(), &headers);
    }
    let built = builder.build()?;
    ensure!(built.body() == batch.body(), "built again, the records are {:02x?}", built.body());
    let identity = ProducerIdentity { producer_id: header.producer_id, producer_epoch: header.producer_epoch };
    let whole = match (header.is_transactional(), header.producer_id) {
        (true, _) => Some(stamp(&built, identity, header.base_sequence).to_bytes()),
        (false, -1) => Some(built.bytes().clone()),
        // The bridge never writes outside a transaction.
        (false, _) => None,
    };
    if let Some(whole) = whole {
        ensure!(
            whole[MAGIC..] == batch.bytes()[MAGIC..] && whole[8..12] == batch.bytes()[8..12],
            "built: {whole:02x?}"
        );
    }
    let by_tests = NewBatch {
        codec: Codec::None,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        transactional: header.is_transactional(),
        records: records
            .iter()
            .cloned()
            .map(|it| NewRecord { timestamp: it.timestamp, key: it.key, value: it.value, headers: it.headers })
            .collect(),
    };
    ensure!(by_tests.encode()?[MAGIC..] == batch.bytes()[MAGIC..], "the tests' encoder writes it otherwise");
    Ok(())
}

/// A recorded batch with one bit flipped is refused, whichever it is.
pub(super) fn flips() -> Result<()> {
    for recorded in golden::batches()? {
        check(&recorded)?;
        let mut bytes = recorded.bytes.to_vec();
        // A large body is flipped here and there: its checksum is one.
        let step = 1.max((bytes.len() - HEADER_BYTES) / 200);
        for at in (0..HEADER_BYTES).chain((HEADER_BYTES..bytes.len()).step_by(step)) {
            bytes[at] ^= 1;
            let damaged = Recorded { bytes: bytes.clone().into(), ..recorded.clone() };
            ensure!(check(&damaged).is_err(), "{}: byte {at} may be another", recorded.title);
            bytes[at] ^= 1;
        }
    }
    Ok(())
}

/// Damage under a checksum that is right is seen by its content.
pub(super) fn flips_under_a_right_checksum() -> Result<()> {
    let mut refused = 0;
    for recorded in golden::batches()?.into_iter().filter(|it| it.title.ends_with("_none")) {
        for at in HEADER_BYTES..recorded.bytes.len() {
            let mut bytes = recorded.bytes.to_vec();
            bytes[at] ^= 1;
            let crc = crc32c::crc32c(&bytes[CRC_START..]);
            bytes[CRC_START - 4..CRC_START].copy_from_slice(&crc.to_be_bytes());
            let mut content = recorded.content.clone();
            content["crc"] = crc.into();
            let damaged = Recorded { bytes: bytes.into(), content, ..recorded.clone() };
            ensure!(check(&damaged).is_err(), "{}: byte {at} may be another", recorded.title);
            refused += 1;
        }
    }
    ensure!(refused > 100, "only {refused} bytes were flipped");
    Ok(())
}

pub(super) fn holds(title: &str) -> Result<()> {
    let batches = golden::batches()?;
    check(batches.iter().find(|it| it.title == title).context("no such batch")?)
}
