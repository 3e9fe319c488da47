//! New batches: the ledger's, and those that cannot pass as they are.

use crate::batch::codec::{Compression, compress};
use crate::batch::error::BatchError;
use crate::batch::header::{CRC_START, HEADER_BYTES, Header, LOG_OVERHEAD, MAGIC};
use crate::batch::payload::{Payload, write_length};
use crate::batch::raw::{RawBatch, split};
use crate::batch::record::{RecordView, write_varlong};
use bytes::Bytes;

/// What the length field can say, with the bytes that it does not count.
const BATCH_BYTES_MAX: usize = i32::MAX as usize;

/// Collects records. Offset deltas are 0..n by construction: brokers store a wrong one of an uncompressed batch unseen.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    base_timestamp: i64,
    max_timestamp: i64,
    records: Vec<u8>,
    scratch: Vec<u8>,
    record_count: usize,
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            base_timestamp: -1,
            max_timestamp: -1,
            records: Vec::new(),
            scratch: Vec::new(),
            record_count: 0,
        }
    }

    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        self.push_payload(timestamp, &Payload::new(key, value, headers));
    }

    /// Moves a record: its attributes, key, value and headers byte for byte, whatever is in them.
    pub fn push_raw(&mut self, timestamp: i64, record: &RecordView<'_>) {
        self.push_encoded(timestamp, record.attributes, record.payload);
    }

    pub fn push_payload(&mut self, timestamp: i64, payload: &Payload) {
        self.push_encoded(timestamp, payload.attributes, &payload.bytes);
    }

    fn push_encoded(&mut self, timestamp: i64, attributes: u8, payload: &[u8]) {
        if self.record_count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.scratch.clear();
        self.scratch.push(attributes);
        write_varlong(&mut self.scratch, timestamp.wrapping_sub(self.base_timestamp));
        write_length(&mut self.scratch, self.record_count);
        write_length(&mut self.records, self.scratch.len() + payload.len());
        self.records.extend_from_slice(&self.scratch);
        self.records.extend_from_slice(payload);
        self.record_count += 1;
    }

    pub fn record_count(&self) -> usize {
        self.record_count
    }

    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// What `build` will return at most, where the records are not compressed.
    pub fn uncompressed_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// A batch without a producer, at offset 0; `stamp` gives it both.
    pub fn build(self) -> Result<RawBatch, BatchError> {
        if self.uncompressed_bytes() > BATCH_BYTES_MAX {
            return Err(BatchError::TooLong { bytes: self.uncompressed_bytes(), max: BATCH_BYTES_MAX });
        }
        let body = match self.compression {
            Compression::None => self.records,
            compression => compress(compression, &self.records).map_err(BatchError::Compress)?,
        };
        let bytes = HEADER_BYTES + body.len();
        let too_long = |_| BatchError::TooLong { bytes, max: BATCH_BYTES_MAX };
        let record_count = i32::try_from(self.record_count).map_err(too_long)?;
        if record_count == 0 {
            return Err(BatchError::Empty);
        }
        let mut header = Header {
            base_offset: 0,
            batch_length: i32::try_from(bytes - LOG_OVERHEAD).map_err(too_long)?,
            partition_leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: self.compression.attributes(),
            last_offset_delta: record_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count,
        };
        header.crc = crc32c::crc32c_append(crc32c::crc32c(&header.write()[CRC_START..]), &body);
        let mut batch = Vec::with_capacity(bytes);
        batch.extend_from_slice(&header.write());
        batch.extend_from_slice(&body);
        // Read back what was written: the reader's invariants are the writer's.
        split(Bytes::from(batch)).next().unwrap_or(Err(BatchError::Empty))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_one_record() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(1_000, Some(b"k"), None, &[(b"h", None), (b"h", Some(b"\xff"))]);
        let batch = builder.build().unwrap();
        batch.verify_crc().unwrap();
        assert_eq!(batch.body(), [28, 0, 0, 0, 2, b'k', 1, 4, 2, b'h', 1, 2, b'h', 2, 0xff]);
        assert_eq!(batch.header().max_timestamp, 1_000);
        assert_eq!(batch.header().producer_id, -1);
    }

    #[test]
    fn the_highest_timestamp_is_found_anywhere() {
        let mut builder = BatchBuilder::new(Compression::Gzip);
        for timestamp in [50, 90, 10, i64::MIN, 60] {
            builder.push(timestamp, None, None, &[]);
        }
        let batch = builder.build().unwrap();
        assert_eq!((batch.header().base_timestamp, batch.header().max_timestamp), (50, 90));
        let decoded = batch.decode(1000).unwrap();
        let timestamps: Vec<_> = decoded.records().map(|it| decoded.timestamp(&it.unwrap())).collect();
        assert_eq!(timestamps, [50, 90, 10, i64::MIN, 60]);
    }

    #[test]
    fn nothing_is_no_batch() {
        assert_eq!(BatchBuilder::new(Compression::None).build(), Err(BatchError::Empty));
    }
}
