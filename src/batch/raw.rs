//! One complete batch, and the cut of a fetch response into batches.

use crate::batch::codec::{CodecError, Compression, decompress, decompress_into};
use crate::batch::error::{BatchError, RecordProblem};
use crate::batch::header::{CRC_START, HEADER_BYTES, Header, LOG_OVERHEAD, MAGIC, MAGIC_OFFSET};
use crate::batch::kept::Kept;
use crate::batch::record::{RecordView, Records};
use bytes::Bytes;
use std::fmt;
use std::iter::FusedIterator;

/// What the oldest format needs behind its length: CRC, magic, attributes, and the lengths of key and value.
const OLD_MESSAGE_BYTES_MIN: usize = 14;

/// Exactly one complete v2 batch whose header is consistent in itself. A slice of the response it came in.
#[derive(Clone, PartialEq, Eq)]
pub struct RawBatch {
    bytes: Bytes,
    header: Header,
}

impl RawBatch {
    /// None: the batch is not complete. `bytes` may hold more than the batch.
    fn parse(bytes: &Bytes) -> Result<Option<Self>, BatchError> {
        let (Some(base_offset), Some(batch_length)) = (bytes.first_chunk(), bytes.get(8..LOG_OVERHEAD)) else {
            return Ok(None);
        };
        let base_offset = i64::from_be_bytes(*base_offset);
        let batch_length = batch_length.try_into().map_or(-1, i32::from_be_bytes);
        let Some(length) = usize::try_from(batch_length).ok().filter(|it| *it >= OLD_MESSAGE_BYTES_MIN) else {
            return Err(BatchError::Length { base_offset, batch_length });
        };
        // Before the length is trusted: an old batch may be shorter than a header of today.
        match bytes.get(MAGIC_OFFSET).map(|it| it.cast_signed()) {
            None => return Ok(None),
            Some(magic) if (0..MAGIC).contains(&magic) => return Err(BatchError::OldMagic { base_offset, magic }),
            Some(MAGIC) => (),
            Some(magic) => return Err(BatchError::UnknownMagic { base_offset, magic }),
        }
        if length < HEADER_BYTES - LOG_OVERHEAD {
            return Err(BatchError::Length { base_offset, batch_length });
        }
        if bytes.len() - LOG_OVERHEAD < length {
            return Ok(None);
        }
        let Some(header) = bytes.first_chunk() else { return Ok(None) };
        Ok(Some(Self { header: Header::parse(header)?, bytes: bytes.slice(..LOG_OVERHEAD + length) }))
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn header(&self) -> Header {
        self.header
    }

    /// The records as they came: compressed, where the header says so.
    pub fn body(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    pub(super) fn shared_body(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    pub(super) fn header_bytes(&self) -> [u8; HEADER_BYTES] {
        std::array::from_fn(|index| self.bytes[index])
    }

    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[CRC_START..]);
        let Header { base_offset, crc: stored, .. } = self.header;
        if computed == stored { Ok(()) } else { Err(BatchError::Crc { base_offset, stored, computed }) }
    }

    /// Unpacks the records to at most `limit` bytes; without compression nothing is copied.
    pub fn decode(&self, limit: usize) -> Result<DecodedBatch, BatchError> {
        self.unpacked(|compression| {
            let mut unpacked = decompress(compression, self.body(), limit)?;
            // It may be kept for as long as somebody reads, and many with it.
            unpacked.shrink_to_fit();
            Ok(unpacked.into())
        })
    }

    /// As `decode`, for whoever drops it before the next one: into memory that this thread uses again.
    pub(super) fn decode_for_now(&self, limit: usize) -> Result<DecodedBatch, BatchError> {
        self.unpacked(|compression| {
            let mut room = Kept::take();
            decompress_into(room.bytes(), compression, self.body(), limit)?;
            Ok(Bytes::from_owner(room))
        })
    }

    fn unpacked(
        &self,
        unpack: impl FnOnce(Compression) -> Result<Bytes, CodecError>,
    ) -> Result<DecodedBatch, BatchError> {
        let base_offset = self.header.base_offset;
        let body = match self.header.compression() {
            Compression::None => self.shared_body(),
            compression => unpack(compression).map_err(|problem| BatchError::Codec { base_offset, problem })?,
        };
        Ok(DecodedBatch { header: self.header, body })
    }
}

impl fmt::Debug for RawBatch {
    // Payload never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawBatch").field("header", &self.header).field("bytes", &self.bytes.len()).finish()
    }
}

/// The batches of one partition in a fetch response. A cut last batch ends it silently: brokers cut at `max_bytes`.
/// After an error nothing follows, for the next boundary is unknown.
pub fn split(records: Bytes) -> SplitBatches {
    SplitBatches { rest: records }
}

#[derive(Clone, Debug)]
pub struct SplitBatches {
    rest: Bytes,
}

impl Iterator for SplitBatches {
    type Item = Result<RawBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = RawBatch::parse(&self.rest).transpose();
        match &batch {
            Some(Ok(batch)) => self.rest = self.rest.slice(batch.bytes.len()..),
            Some(Err(_)) | None => self.rest = Bytes::new(),
        }
        batch
    }
}

impl FusedIterator for SplitBatches {}

/// Between two records of a batch; the default is before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    byte: usize,
    index: usize,
    /// Of the record before.
    offset_delta: i32,
}

/// A batch whose records can be walked.
#[derive(Clone)]
pub struct DecodedBatch {
    header: Header,
    body: Bytes,
}

impl DecodedBatch {
    pub fn header(&self) -> Header {
        self.header
    }

    /// The records, uncompressed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Walks the records in place; the walk ends at the first malformed one.
    pub fn records(&self) -> impl Iterator<Item = Result<RecordView<'_>, BatchError>> {
        let Header { base_offset, last_offset_delta, record_count, .. } = self.header;
        let mut previous = -1;
        let walk = Records::new(&self.body, record_count).map(move |record| {
            // Offsets that go back would let a position skip records.
            let record = record?;
            if record.offset_delta <= previous || record.offset_delta > last_offset_delta {
                return Err(RecordProblem::OffsetDelta);
            }
            previous = record.offset_delta;
            Ok(record)
        });
        walk.enumerate()
            .map(move |(index, record)| record.map_err(|problem| BatchError::Record { base_offset, index, problem }))
    }

    /// The record at `place`, and the place behind it; None behind the last one. For whoever has to stop between two records.
    pub fn record_at(&self, place: Place) -> Option<Result<(RecordView<'_>, Place), BatchError>> {
        let Header { base_offset, last_offset_delta, record_count, .. } = self.header;
        let Place { byte, index, .. } = place;
        let failed = |problem| BatchError::Record { base_offset, index, problem };
        let mut rest = self.body.get(byte..).unwrap_or_default();
        if index >= usize::try_from(record_count).unwrap_or(0) {
            return (!rest.is_empty()).then(|| Err(failed(RecordProblem::TrailingInBatch)));
        }
        let read = RecordView::read(&mut rest).and_then(|record| {
            // As above.
            let is_behind = index == 0 || record.offset_delta > place.offset_delta;
            let is_in = (0..=last_offset_delta).contains(&record.offset_delta);
            if is_behind && is_in { Ok(record) } else { Err(RecordProblem::OffsetDelta) }
        });
        let behind = |record: RecordView<'_>| Place {
            byte: self.body.len() - rest.len(),
            index: index + 1,
            offset_delta: record.offset_delta,
        };
        Some(read.map(|record| (record, behind(record))).map_err(failed))
    }

    pub fn offset(&self, record: &RecordView<'_>) -> i64 {
        self.header.base_offset + i64::from(record.offset_delta)
    }

    /// What the producer wrote. Wraps as Kafka's arithmetic does, so that decoding and encoding cancel out.
    pub fn create_time(&self, record: &RecordView<'_>) -> i64 {
        self.header.base_timestamp.wrapping_add(record.timestamp_delta)
    }

    /// What a consumer sees: with LogAppendTime the broker's time stands in the header alone.
    pub fn timestamp(&self, record: &RecordView<'_>) -> i64 {
        if self.header.is_log_append_time() { self.header.max_timestamp } else { self.create_time(record) }
    }
}

impl fmt::Debug for DecodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecodedBatch").field("header", &self.header).field("body", &self.body.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::samples;

    #[test]
    fn a_response_is_cut_at_batch_boundaries_and_a_cut_tail_is_silent() {
        let first = samples::batch(Compression::None, 0, 3);
        let second = samples::batch(Compression::Lz4, 3, 2);
        let whole = [first.bytes().as_ref(), second.bytes()].concat();
        for end in 0..=whole.len() {
            let batches: Vec<_> = split(Bytes::copy_from_slice(&whole[..end])).map(Result::unwrap).collect();
            let complete = usize::from(end >= first.bytes().len()) + usize::from(end == whole.len());
            assert_eq!(batches, [first.clone(), second.clone()][..complete], "cut at {end}");
        }
    }

    #[test]
    fn an_old_format_is_named_even_where_it_is_shorter_than_a_header() {
        let mut old = vec![0; 26];
        old[11] = 14;
        assert_eq!(split(old.into()).next(), Some(Err(BatchError::OldMagic { base_offset: 0, magic: 0 })));
    }

    #[test]
    fn after_an_error_nothing_follows() {
        let good = samples::batch(Compression::None, 0, 1);
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(good.bytes());
        let mut batches = split(bytes.into());
        assert!(matches!(batches.next(), Some(Err(BatchError::Length { .. }))));
        assert_eq!(batches.next(), None);
    }

    #[test]
    fn a_walk_in_steps_sees_what_a_walk_at_once_sees() {
        let decoded = samples::batch(Compression::Lz4, 7, 50).decode(1 << 20).unwrap();
        let (mut place, mut seen) = (Place::default(), Vec::new());
        while let Some(next) = decoded.record_at(place) {
            let (record, behind) = next.unwrap();
            seen.push(record);
            place = behind;
        }
        assert_eq!(seen, decoded.records().map(Result::unwrap).collect::<Vec<_>>());
        assert_eq!(seen.len(), 50);
    }

    #[test]
    fn one_flipped_bit_fails_the_checksum() {
        let batch = samples::batch(Compression::Zstd, 0, 5);
        batch.verify_crc().unwrap();
        let mut bytes = batch.bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let broken = split(bytes.into()).next().unwrap().unwrap();
        assert!(matches!(broken.verify_crc(), Err(BatchError::Crc { .. })));
    }
}
