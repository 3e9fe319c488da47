//! Reading: whole batches from the one that holds an offset, and offsets by time.

use super::Log;
use crate::batch::{RawBatch, UNCOMPRESSED_BYTES_MAX};
use bytes::{Bytes, BytesMut};

/// An offset that was looked up by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) timestamp: i64,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
}

impl Log {
    fn index_of(&self, offset: i64) -> usize {
        self.batches.partition_point(|it| it.header().last_offset() < offset)
    }

    /// The last stable offset may lie within a batch: where retention has reached into a transaction that is open. From there
    /// on there is nothing to read.
    fn readable(&self, offset: i64, upper: i64) -> impl Iterator<Item = &RawBatch> {
        let from = if offset < upper { self.index_of(offset) } else { self.batches.len() };
        self.batches.range(from..).take_while(move |it| it.header().base_offset < upper)
    }

    /// Bytes from the batch that holds `offset` up to `upper`, cut at `bytes_max` wherever that falls, and the offset behind
    /// them. With `whole_first` the first batch comes whole however large it is (KIP-74); without, a first batch that does
    /// not fit is left out.
    pub(crate) fn read(&self, offset: i64, upper: i64, bytes_max: usize, whole_first: bool) -> (Bytes, i64) {
        let batches = || self.readable(offset, upper);
        let Some(first) = batches().next() else { return (Bytes::new(), offset) };
        if first.bytes().len() >= bytes_max {
            // One batch alone is not copied.
            return if whole_first || first.bytes().len() == bytes_max {
                (first.bytes().clone(), first.header().next_offset())
            } else {
                (Bytes::new(), offset)
            };
        }
        let mut output = BytesMut::new();
        let mut next_offset = offset;
        for batch in batches() {
            let room = bytes_max - output.len();
            output.extend_from_slice(batch.bytes().get(..room).unwrap_or(batch.bytes()));
            next_offset = batch.header().next_offset();
            if output.len() == bytes_max {
                break;
            }
        }
        (output.freeze(), next_offset)
    }

    /// How much `read` would give, without giving it.
    pub(crate) fn readable_bytes(&self, offset: i64, upper: i64, bytes_max: usize) -> usize {
        let mut bytes: usize = 0;
        for batch in self.readable(offset, upper) {
            bytes = bytes.saturating_add(batch.bytes().len());
            if bytes >= bytes_max {
                break;
            }
        }
        bytes.min(bytes_max)
    }

    /// The first record at or after a time.
    pub(crate) fn offset_for_time(&self, timestamp: i64) -> Option<Found> {
        let batches = self.batches.iter().filter(|it| it.header().max_timestamp >= timestamp);
        batches.filter_map(|it| self.record_at(it, self.start, |found| found >= timestamp)).next()
    }

    /// The record with the largest timestamp, the first of several (KIP-734); as in Kafka also one that was deleted, while its
    /// batch is there.
    pub(crate) fn offset_of_max_time(&self) -> Option<Found> {
        let mut latest: Option<&RawBatch> = None;
        for batch in self.batches.iter().filter(|it| !it.header().is_control()) {
            if latest.is_none_or(|it| it.header().max_timestamp < batch.header().max_timestamp) {
                latest = Some(batch);
            }
        }
        let latest = latest?;
        let largest = latest.header().max_timestamp;
        self.record_at(latest, 0, |found| found == largest)
    }

    fn record_at(&self, batch: &RawBatch, from: i64, wanted: impl Fn(i64) -> bool) -> Option<Found> {
        let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).ok()?;
        let leader_epoch = batch.header().partition_leader_epoch;
        decoded.records().map_while(Result::ok).find_map(|record| {
            let (timestamp, offset) = (decoded.timestamp(&record), decoded.offset(&record));
            (offset >= from && wanted(timestamp)).then_some(Found { timestamp, offset, leader_epoch })
        })
    }
}
