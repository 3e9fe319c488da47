//! What Kafka checks of a client's batch before it is appended (ProduceRequest.validateRecords, UnifiedLog's
//! analyzeAndValidateRecords, LogValidator), in that order: the first fault decides the error.

use super::stored::{LOG_APPEND_TIME, encode};
use crate::batch::{
    BatchBuilder, BatchError, Compression, Header, RawBatch, RecordProblem, Records, UNCOMPRESSED_BYTES_MAX, split,
};
use crate::broker::configs::TopicConfig;
use bytes::Bytes;
use kafka_protocol::ResponseError;

const LOG_OVERHEAD: usize = 12;
/// What the oldest format needs behind its length; less is no message of any format.
const MESSAGE_BYTES_MIN: i32 = 14;
const MAGIC_OFFSET: usize = 16;
const CRC_OFFSET: usize = 17;
const CRC_START: usize = 21;
const NO_TIMESTAMP: i64 = -1;
const CODEC_MASK: i16 = 0x07;
/// Produce knows zstd from here on (KIP-110).
const ZSTD_VERSION: i16 = 7;
/// A batch of a million bad records must not become an answer of a million errors.
const RECORD_ERRORS_MAX: usize = 100;

/// Why a batch is not appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) error: ResponseError,
    pub(crate) message: Option<&'static str>,
    /// Index and reason of single records (KIP-467).
    pub(crate) records: Vec<(i32, &'static str)>,
}

impl Rejection {
    fn because(error: ResponseError, message: &'static str) -> Self {
        Self { error, message: Some(message), records: Vec::new() }
    }
}

impl From<ResponseError> for Rejection {
    fn from(error: ResponseError) -> Self {
        Self { error, message: None, records: Vec::new() }
    }
}

/// The one batch of a partition's part of a Produce request, taken out of `records` but for its offsets and timestamps.
pub(crate) fn single_batch(version: i16, records: &Bytes) -> Result<Bytes, Rejection> {
    let first = next_batch(records)?;
    let Some(first) = first else {
        return Err(Rejection::because(ResponseError::InvalidRecord, "A request needs a record batch per partition"));
    };
    if first[MAGIC_OFFSET] != 2 {
        return Err(Rejection::because(ResponseError::InvalidRecord, "Only magic version 2 is accepted"));
    }
    if attributes(&first) & CODEC_MASK == 4 && version < ZSTD_VERSION {
        let message = "This version of Produce is not allowed to use ZStandard compression";
        return Err(Rejection::because(ResponseError::UnsupportedCompressionType, message));
    }
    if next_batch(&records.slice(first.len()..))?.is_some() {
        return Err(Rejection::because(
            ResponseError::InvalidRecord,
            "Only one record batch per partition is accepted",
        ));
    }
    Ok(first)
}

/// A batch that is cut off is none (MemoryRecords' iterator ends there); one whose length cannot be is corrupt.
fn next_batch(bytes: &Bytes) -> Result<Option<Bytes>, Rejection> {
    let Some(length) = bytes.get(8..LOG_OVERHEAD) else { return Ok(None) };
    let length = length.try_into().map_or(-1, i32::from_be_bytes);
    if length < MESSAGE_BYTES_MIN {
        return Err(ResponseError::CorruptMessage.into());
    }
    let end = LOG_OVERHEAD + length.unsigned_abs() as usize;
    let Some(magic) = bytes.get(MAGIC_OFFSET) else { return Ok(None) };
    if bytes.len() < end {
        return Ok(None);
    }
    if *magic > 2 || (*magic == 2 && end < super::stored::HEADER_BYTES) {
        return Err(ResponseError::CorruptMessage.into());
    }
    Ok(Some(bytes.slice(..end)))
}

fn attributes(batch: &Bytes) -> i16 {
    batch.get(CRC_START..CRC_START + 2).and_then(|it| it.try_into().ok()).map_or(0, i16::from_be_bytes)
}

/// Checks a batch and gives it its place in the log.
pub(crate) fn validate(
    batch: &Bytes,
    config: &TopicConfig,
    now_ms: i64,
    base_offset: i64,
    leader_epoch: i32,
) -> Result<RawBatch, Rejection> {
    if batch.get(..8).is_some_and(|it| it.iter().any(|byte| *byte != 0)) {
        return Err(Rejection::because(
            ResponseError::InvalidRecord,
            "The base offset of the record batch should be 0",
        ));
    }
    if batch.len() > config.max_message_bytes {
        return Err(Rejection::because(ResponseError::MessageTooLarge, "The record batch exceeds max.message.bytes"));
    }
    let stored = batch.get(CRC_OFFSET..CRC_START).and_then(|it| it.try_into().ok()).map(u32::from_be_bytes);
    if stored != Some(crc32c::crc32c(batch.get(CRC_START..).unwrap_or_default())) {
        return Err(Rejection::because(ResponseError::CorruptMessage, "The record batch fails its checksum"));
    }
    let batch = match split(batch.clone()).next() {
        Some(Ok(batch)) => batch,
        Some(Err(BatchError::Counts { .. })) => {
            return Err(Rejection::because(ResponseError::InvalidRecord, "Inconsistent offset range and record count"));
        }
        // CompressionType.forId throws what no handler expects.
        Some(Err(BatchError::UnknownCodec { .. })) => return Err(ResponseError::UnknownServerError.into()),
        Some(Err(_)) | None => return Err(ResponseError::CorruptMessage.into()),
    };
    let header = batch.header();
    if header.record_count == 0 || header.has_gaps() {
        return Err(Rejection::because(ResponseError::InvalidRecord, "Inconsistent offset range and record count"));
    }
    if header.is_control() {
        let message = "Clients are not allowed to write control records";
        return Err(Rejection::because(ResponseError::InvalidRecord, message));
    }
    if header.producer_id >= 0 && header.base_sequence < 0 {
        return Err(Rejection::because(ResponseError::InvalidRecord, "Invalid sequence number"));
    }
    let source = header.compression();
    let target = config.compression.unwrap_or(source);
    let body = match source {
        Compression::None => Bytes::copy_from_slice(batch.body()),
        _ => batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(|_| ResponseError::UnknownServerError)?.body().clone(),
    };
    let found = check_records(&header, &body, config, now_ms)?;
    // Kafka skips keys and values of a compressed batch that it means to keep as it is; when it then finds that it cannot,
    // the rebuilding fails in a way that no handler expects.
    if !found.offsets_rise && source == target && source != Compression::None {
        return Err(ResponseError::UnknownServerError.into());
    }
    let placed = Header {
        base_offset,
        partition_leader_epoch: leader_epoch,
        attributes: if config.log_append_time {
            header.attributes | LOG_APPEND_TIME
        } else {
            header.attributes & !LOG_APPEND_TIME
        },
        max_timestamp: if config.log_append_time { now_ms } else { found.max_timestamp },
        ..header
    };
    let encoded = if source == target { encode(&placed, batch.body()) } else { recompress(&placed, &body, target) };
    let encoded = encoded.map_err(|_| ResponseError::UnknownServerError)?;
    if source != target && encoded.bytes().len() > config.max_message_bytes {
        return Err(Rejection::because(ResponseError::MessageTooLarge, "The record batch exceeds max.message.bytes"));
    }
    if encoded.bytes().len() > config.segment_bytes {
        return Err(Rejection::because(ResponseError::RecordListTooLarge, "The record batch exceeds segment.bytes"));
    }
    Ok(encoded)
}

struct Found {
    max_timestamp: i64,
    /// The inner offsets are 0, 1, 2…
    offsets_rise: bool,
}

fn check_records(header: &Header, body: &Bytes, config: &TopicConfig, now_ms: i64) -> Result<Found, Rejection> {
    let mut found = Found { max_timestamp: NO_TIMESTAMP, offsets_rise: true };
    let mut errors: Vec<(i32, &'static str)> = Vec::new();
    let mut bad_timestamp = false;
    for (index, record) in (0..).zip(Records::new(body, header.record_count)) {
        let record = record.map_err(|problem| match problem {
            // ByteUtils throws what no handler expects.
            RecordProblem::Varint => ResponseError::UnknownServerError.into(),
            _ => Rejection::because(ResponseError::InvalidRecord, "A record is malformed"),
        })?;
        let timestamp = if header.is_log_append_time() {
            header.max_timestamp
        } else {
            header.base_timestamp.wrapping_add(record.timestamp_delta)
        };
        found.offsets_rise &= record.offset_delta == index;
        found.max_timestamp = found.max_timestamp.max(timestamp);
        let error = if config.compact && record.key.is_none() {
            Some("Compacted topic cannot accept message without key")
        } else {
            let reason = timestamp_error(timestamp, header, config, now_ms);
            bad_timestamp |= reason.is_some();
            reason
        };
        if let Some(reason) = error
            && errors.len() < RECORD_ERRORS_MAX
        {
            errors.push((index, reason));
        }
    }
    if errors.is_empty() {
        return Ok(found);
    }
    let (error, message) = if bad_timestamp {
        (ResponseError::InvalidTimestamp, "One or more records have been rejected due to invalid timestamp")
    } else {
        (ResponseError::InvalidRecord, "One or more records have been rejected")
    };
    Err(Rejection { error, message: Some(message), records: errors })
}

fn timestamp_error(timestamp: i64, header: &Header, config: &TopicConfig, now_ms: i64) -> Option<&'static str> {
    if !config.log_append_time && timestamp != NO_TIMESTAMP {
        let too_old = now_ms.saturating_sub(timestamp) > config.timestamp_before_max_ms;
        let too_new = timestamp.saturating_sub(now_ms) > config.timestamp_after_max_ms;
        (too_old || too_new).then_some("The timestamp is out of range")
    } else {
        header.is_log_append_time().then_some("Producers should not set the timestamp type to LogAppendTime")
    }
}

/// `compression.type` of the topic differs from the producer's.
fn recompress(header: &Header, body: &Bytes, target: Compression) -> Result<RawBatch, BatchError> {
    let mut builder = BatchBuilder::new(target);
    for (index, record) in Records::new(body, header.record_count).enumerate() {
        let record =
            record.map_err(|problem| BatchError::Record { base_offset: header.base_offset, index, problem })?;
        builder.push_raw(header.base_timestamp.wrapping_add(record.timestamp_delta), &record);
    }
    let built = builder.build()?;
    let attributes = (header.attributes & !CODEC_MASK) | (built.header().attributes & CODEC_MASK);
    encode(&Header { attributes, base_timestamp: built.header().base_timestamp, ..*header }, built.body())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn builder(compression: Compression) -> BatchBuilder {
        let mut builder = BatchBuilder::new(compression);
        for index in 0..3 {
            builder.push(NOW + index, Some(b"key"), Some(b"value"), &[]);
        }
        builder
    }

    fn edited(compression: Compression, edit: impl FnOnce(&mut Header)) -> Bytes {
        let batch = builder(compression).build().unwrap();
        let mut header = batch.header();
        edit(&mut header);
        match encode(&header, batch.body()) {
            Ok(batch) => batch.bytes().clone(),
            Err(error) => panic!("{error}"),
        }
    }

    fn outcome(batch: &Bytes, config: &TopicConfig) -> Result<RawBatch, i16> {
        let single = single_batch(11, batch).map_err(|it| it.error.code())?;
        validate(&single, config, NOW, 40, 6).map_err(|it| it.error.code())
    }

    #[test]
    fn a_good_batch_is_placed_and_its_body_kept() {
        for compression in Compression::ALL {
            let batch = edited(compression, |_| ());
            let placed = outcome(&batch, &TopicConfig::default()).unwrap();
            assert_eq!((placed.header().base_offset, placed.header().partition_leader_epoch), (40, 6));
            assert_eq!(placed.body(), &batch[61..]);
            placed.verify_crc().unwrap();
        }
    }

    #[test]
    fn each_fault_has_its_error() {
        let code =
            |edit: &dyn Fn(&mut Header)| outcome(&edited(Compression::None, edit), &TopicConfig::default()).err();
        assert_eq!(code(&|it| it.base_offset = 1), Some(87));
        assert_eq!(code(&|it| it.last_offset_delta = 3), Some(87));
        assert_eq!(code(&|it| it.attributes |= 0x20), Some(87));
        assert_eq!(code(&|it| it.producer_id = 5), Some(87));
        assert_eq!(code(&|it| (it.producer_id, it.base_sequence) = (5, 0)), None);
        assert_eq!(code(&|it| it.base_timestamp = NOW + 7_200_000), Some(32));
        assert_eq!(code(&|it| it.base_timestamp = 1), None);
        let good = edited(Compression::None, |_| ());
        assert_eq!(outcome(&good.slice(..good.len() - 1), &TopicConfig::default()).err(), Some(87));
        assert_eq!(outcome(&Bytes::new(), &TopicConfig::default()).err(), Some(87));
        assert_eq!(outcome(&[&good[..], &good[..]].concat().into(), &TopicConfig::default()).err(), Some(87));
        let mut flipped = good.to_vec();
        flipped[70] ^= 1;
        assert_eq!(outcome(&flipped.into(), &TopicConfig::default()).err(), Some(2));
        let small = TopicConfig { max_message_bytes: good.len() - 1, ..TopicConfig::default() };
        assert_eq!(outcome(&good, &small).err(), Some(10));
        let zstd = edited(Compression::Zstd, |_| ());
        assert_eq!(single_batch(6, &zstd).unwrap_err().error.code(), 76);
    }

    #[test]
    fn a_compacted_topic_wants_keys_and_says_which_records_have_none() {
        let mut builder = builder(Compression::Lz4);
        builder.push(NOW, None, None, &[]);
        let batch = builder.build().unwrap().bytes().clone();
        let config = TopicConfig { compact: true, ..TopicConfig::default() };
        let rejection = validate(&batch, &config, NOW, 0, 0).unwrap_err();
        assert_eq!((rejection.error.code(), rejection.records[0].0), (87, 3));
    }

    #[test]
    fn the_leader_sets_timestamps_and_their_type() {
        let batch = edited(Compression::Gzip, |it| it.max_timestamp = 5);
        let placed = outcome(&batch, &TopicConfig::default()).unwrap();
        assert_eq!(placed.header().max_timestamp, NOW + 2);
        let append_time = TopicConfig { log_append_time: true, ..TopicConfig::default() };
        let placed = outcome(&batch, &append_time).unwrap();
        assert_eq!((placed.header().max_timestamp, placed.header().is_log_append_time()), (NOW, true));
        let marked = edited(Compression::None, |it| it.attributes |= LOG_APPEND_TIME);
        assert_eq!(outcome(&marked, &append_time).err(), Some(32));
        assert!(!outcome(&marked, &TopicConfig::default()).unwrap().header().is_log_append_time());
    }

    #[test]
    fn another_compression_type_packs_again() {
        let config = TopicConfig { compression: Some(Compression::Zstd), ..TopicConfig::default() };
        let placed = outcome(&edited(Compression::Lz4, |_| ()), &config).unwrap();
        assert_eq!(placed.header().compression(), Compression::Zstd);
        let decoded = placed.decode(10_000).unwrap();
        assert_eq!(decoded.records().map(|it| decoded.create_time(&it.unwrap())).max(), Some(NOW + 2));
    }
}
