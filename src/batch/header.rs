//! The 61 bytes before a batch's records (Kafka's DefaultRecordBatch).

use crate::batch::codec::Compression;
use crate::batch::error::BatchError;

/// From the base offset to the record count.
pub(super) const HEADER_BYTES: usize = 61;
/// Base offset and batch length, which the length does not count.
pub(super) const LOG_OVERHEAD: usize = 12;
/// The CRC covers everything from here: what stands before it may be rewritten by a broker at will.
pub(super) const CRC_START: usize = 21;
pub(super) const MAGIC_OFFSET: usize = 16;
pub(super) const MAGIC: i8 = 2;

pub(super) const COMPRESSION_MASK: i16 = 0x07;
pub(super) const LOG_APPEND_TIME: i16 = 0x08;
pub(super) const TRANSACTIONAL: i16 = 0x10;
pub(super) const CONTROL: i16 = 0x20;
pub(super) const DELETE_HORIZON: i16 = 0x40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub base_offset: i64,
    pub batch_length: i32,
    pub partition_leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl Header {
    /// Reads the header and checks every invariant that later code leans on. `bytes` holds at least the header.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BatchError> {
        let header = Self::read(bytes);
        let Self { base_offset, batch_length, magic, last_offset_delta, record_count, .. } = header;
        if magic != MAGIC {
            return Err(if (0..MAGIC).contains(&magic) {
                BatchError::OldMagic { base_offset, magic }
            } else {
                BatchError::UnknownMagic { base_offset, magic }
            });
        }
        if usize::try_from(batch_length).is_ok_and(|it| it < HEADER_BYTES - LOG_OVERHEAD) || batch_length < 0 {
            return Err(BatchError::Length { base_offset, batch_length });
        }
        // Compaction leaves fewer records than offsets, down to none; more of them than offsets cannot be.
        let counts = base_offset >= 0
            && record_count >= 0
            && last_offset_delta >= 0
            && i64::from(record_count) <= i64::from(last_offset_delta) + 1
            && base_offset.checked_add(i64::from(last_offset_delta) + 1).is_some();
        if !counts {
            return Err(BatchError::Counts { base_offset, record_count, last_offset_delta });
        }
        let codec = header.attributes & COMPRESSION_MASK;
        if Compression::from_attributes(codec).is_none() {
            return Err(BatchError::UnknownCodec { base_offset, codec });
        }
        Ok(header)
    }

    pub(super) fn read(bytes: &[u8; HEADER_BYTES]) -> Self {
        fn at<const N: usize>(bytes: &[u8; HEADER_BYTES], start: usize) -> [u8; N] {
            std::array::from_fn(|index| bytes[start + index])
        }
        Self {
            base_offset: i64::from_be_bytes(at(bytes, 0)),
            batch_length: i32::from_be_bytes(at(bytes, 8)),
            partition_leader_epoch: i32::from_be_bytes(at(bytes, 12)),
            magic: i8::from_be_bytes(at(bytes, MAGIC_OFFSET)),
            crc: u32::from_be_bytes(at(bytes, 17)),
            attributes: i16::from_be_bytes(at(bytes, CRC_START)),
            last_offset_delta: i32::from_be_bytes(at(bytes, 23)),
            base_timestamp: i64::from_be_bytes(at(bytes, 27)),
            max_timestamp: i64::from_be_bytes(at(bytes, 35)),
            producer_id: i64::from_be_bytes(at(bytes, 43)),
            producer_epoch: i16::from_be_bytes(at(bytes, 51)),
            base_sequence: i32::from_be_bytes(at(bytes, 53)),
            record_count: i32::from_be_bytes(at(bytes, 57)),
        }
    }

    pub(super) fn write(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        bytes[16..17].copy_from_slice(&self.magic.to_be_bytes());
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }

    pub fn compression(&self) -> Compression {
        // `parse` has refused the codecs that do not exist.
        Compression::from_attributes(self.attributes & COMPRESSION_MASK).unwrap_or(Compression::None)
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// KIP-534: the base timestamp holds the time from which compaction may drop the batch's tombstones.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The position behind the batch, also where compaction has taken its last records.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// The broker refuses a batch where these differ (LogValidator, error 87); compaction makes them differ.
    pub fn has_gaps(&self) -> bool {
        i64::from(self.record_count) != i64::from(self.last_offset_delta) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::samples;

    fn parse_with(edit: impl FnOnce(&mut Header)) -> Result<Header, BatchError> {
        let mut header = samples::batch(Compression::None, 7, 3).header();
        edit(&mut header);
        Header::parse(&header.write())
    }

    #[test]
    fn each_field_is_written_where_it_is_read() {
        let bytes: [u8; HEADER_BYTES] = std::array::from_fn(|index| index as u8 + 1);
        assert_eq!(Header::read(&bytes).write(), bytes);
    }

    #[test]
    fn impossible_headers_are_refused() {
        assert!(parse_with(|_| ()).is_ok());
        assert!(matches!(parse_with(|it| it.magic = 1), Err(BatchError::OldMagic { magic: 1, .. })));
        assert!(matches!(parse_with(|it| it.magic = 3), Err(BatchError::UnknownMagic { .. })));
        assert!(matches!(parse_with(|it| it.batch_length = 48), Err(BatchError::Length { .. })));
        assert!(matches!(parse_with(|it| it.batch_length = -1), Err(BatchError::Length { .. })));
        assert!(matches!(parse_with(|it| it.record_count = -1), Err(BatchError::Counts { .. })));
        assert!(matches!(parse_with(|it| it.record_count = 4), Err(BatchError::Counts { .. })));
        assert!(matches!(parse_with(|it| it.last_offset_delta = -1), Err(BatchError::Counts { .. })));
        assert!(matches!(parse_with(|it| it.base_offset = -1), Err(BatchError::Counts { .. })));
        assert!(matches!(parse_with(|it| it.base_offset = i64::MAX - 2), Err(BatchError::Counts { .. })));
        assert!(matches!(parse_with(|it| it.attributes = 5), Err(BatchError::UnknownCodec { codec: 5, .. })));
    }

    #[test]
    fn an_emptied_batch_still_moves_the_position() {
        let header = parse_with(|it| it.record_count = 0).unwrap();
        assert_eq!((header.next_offset(), header.has_gaps()), (10, true));
    }
}
