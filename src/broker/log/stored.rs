//! Batches as the log holds them: re-based, stamped with the leader's epoch, and the control batches that brokers write.
//!
//! An encoder of its own, so that the client side's rewriting is not proved by itself.

use crate::batch::{BatchError, Header, RawBatch, split};
use bytes::Bytes;

pub(crate) const HEADER_BYTES: usize = 61;
const LOG_OVERHEAD: usize = 12;
const CRC_START: usize = 21;
const CRC: std::ops::Range<usize> = 17..21;

pub(crate) const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
pub(crate) const DELETE_HORIZON: i16 = 0x40;
/// EndTransactionMarker and ControlRecordType, both in version 0.
const ABORT: [u8; 4] = [0, 0, 0, 0];
const COMMIT: [u8; 4] = [0, 0, 0, 1];

/// Length and checksum are computed; everything else is taken from the header.
pub(crate) fn encode(header: &Header, body: &[u8]) -> Result<RawBatch, BatchError> {
    let length = HEADER_BYTES - LOG_OVERHEAD + body.len();
    let too_long = |_| BatchError::TooLong { bytes: body.len(), max: i32::MAX as usize };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&header.base_offset.to_be_bytes());
    bytes.extend_from_slice(&i32::try_from(length).map_err(too_long)?.to_be_bytes());
    bytes.extend_from_slice(&header.partition_leader_epoch.to_be_bytes());
    bytes.extend_from_slice(&header.magic.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&header.attributes.to_be_bytes());
    bytes.extend_from_slice(&header.last_offset_delta.to_be_bytes());
    bytes.extend_from_slice(&header.base_timestamp.to_be_bytes());
    bytes.extend_from_slice(&header.max_timestamp.to_be_bytes());
    bytes.extend_from_slice(&header.producer_id.to_be_bytes());
    bytes.extend_from_slice(&header.producer_epoch.to_be_bytes());
    bytes.extend_from_slice(&header.base_sequence.to_be_bytes());
    bytes.extend_from_slice(&header.record_count.to_be_bytes());
    bytes.extend_from_slice(body);
    let crc = crc32c::crc32c(&bytes[CRC_START..]);
    bytes[CRC].copy_from_slice(&crc.to_be_bytes());
    split(Bytes::from(bytes)).next().unwrap_or(Err(BatchError::Empty))
}

/// The one record of a marker.
fn marker_body(commit: bool, coordinator_epoch: i32) -> Vec<u8> {
    let key = if commit { COMMIT } else { ABORT };
    // length, attributes, timestamp delta, offset delta, key length, key, value length, version, epoch, no headers
    let mut body = vec![32, 0, 0, 0, 8];
    body.extend_from_slice(&key);
    body.push(12);
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&coordinator_epoch.to_be_bytes());
    body.push(0);
    body
}

/// Where a batch goes, and by whom it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) base_offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) now_ms: i64,
}

/// Whose transaction ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marker {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) coordinator_epoch: i32,
    pub(crate) commit: bool,
}

pub(crate) fn marker(place: Place, marker: Marker) -> Result<RawBatch, BatchError> {
    let header = broker_header(place, marker.producer_id, marker.producer_epoch, TRANSACTIONAL | CONTROL);
    encode(&header, &marker_body(marker.commit, marker.coordinator_epoch))
}

/// A transactional record of a coordinator's own log: without sequence, and read by nobody.
pub(crate) fn coordinator_record(
    place: Place,
    producer_id: i64,
    producer_epoch: i16,
    key: &[u8],
) -> Result<RawBatch, BatchError> {
    let mut builder = crate::batch::BatchBuilder::new(crate::batch::Compression::None);
    builder.push(place.now_ms, Some(key), None, &[]);
    let plain = builder.build()?;
    encode(&broker_header(place, producer_id, producer_epoch, TRANSACTIONAL), plain.body())
}

fn broker_header(place: Place, producer_id: i64, producer_epoch: i16, attributes: i16) -> Header {
    Header {
        base_offset: place.base_offset,
        batch_length: 0,
        partition_leader_epoch: place.leader_epoch,
        magic: 2,
        crc: 0,
        attributes,
        last_offset_delta: 0,
        base_timestamp: place.now_ms,
        max_timestamp: place.now_ms,
        producer_id,
        producer_epoch,
        base_sequence: -1,
        record_count: 1,
    }
}

/// For recovery: whether a control batch commits, and the coordinator's epoch.
pub(crate) fn read_marker(batch: &RawBatch) -> Option<(bool, i32)> {
    match crate::batch::ControlRecord::parse(batch) {
        Ok(Some(crate::batch::ControlRecord::Commit { coordinator_epoch })) => Some((true, coordinator_epoch)),
        Ok(Some(crate::batch::ControlRecord::Abort { coordinator_epoch })) => Some((false, coordinator_epoch)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::ControlRecord;

    const PLACE: Place = Place { base_offset: 7, leader_epoch: 3, now_ms: 1_000 };

    #[test]
    fn a_marker_is_one_that_readers_know() {
        for commit in [true, false] {
            let marker = Marker { producer_id: 5, producer_epoch: 2, coordinator_epoch: 9, commit };
            let batch = super::marker(PLACE, marker).unwrap();
            batch.verify_crc().unwrap();
            let header = batch.header();
            assert!(header.is_control() && header.is_transactional());
            assert_eq!((header.base_offset, header.partition_leader_epoch, header.base_sequence), (7, 3, -1));
            let expected = if commit {
                ControlRecord::Commit { coordinator_epoch: 9 }
            } else {
                ControlRecord::Abort { coordinator_epoch: 9 }
            };
            assert_eq!(ControlRecord::parse(&batch), Ok(Some(expected)));
            assert_eq!(read_marker(&batch), Some((commit, 9)));
        }
    }

    #[test]
    fn what_is_encoded_again_is_the_same() {
        let batch = coordinator_record(PLACE, 5, 2, b"key").unwrap();
        assert_eq!(encode(&batch.header(), batch.body()).unwrap(), batch);
    }
}
