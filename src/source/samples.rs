//! Batches as a broker would store them, for the tests of this layer.

use crate::batch::{BatchBuilder, Compression};
use bytes::Bytes;

const TRANSACTIONAL: u8 = 0x10;
const CONTROL: u8 = 0x20;

/// What one record of a data batch takes, with its one-byte varints.
const RECORD_BYTES: usize = 18;

/// One stored batch; `bytes` are always those of its fields.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) base_offset: i64,
    pub(super) count: i32,
    pub(super) leader_epoch: i32,
    pub(super) producer_id: i64,
    /// The value of the first record; the others count on.
    pub(super) first_value: u64,
    attributes: u8,
    is_abort: bool,
    /// Records that compaction has taken, a bit for each.
    gone: u32,
    is_damaged: bool,
}

impl Sample {
    pub(super) fn data(base_offset: i64, count: i32) -> Self {
        Self {
            base_offset,
            count,
            leader_epoch: 0,
            producer_id: -1,
            first_value: 0,
            attributes: 0,
            is_abort: false,
            gone: 0,
            is_damaged: false,
        }
    }

    /// In a transaction of this producer.
    pub(super) fn of(mut self, producer_id: i64) -> Self {
        self.attributes = TRANSACTIONAL;
        self.idempotent(producer_id)
    }

    pub(super) fn idempotent(mut self, producer_id: i64) -> Self {
        self.producer_id = producer_id;
        self
    }

    pub(super) fn commit(offset: i64, producer_id: i64) -> Self {
        Self { attributes: TRANSACTIONAL | CONTROL, producer_id, ..Self::data(offset, 1) }
    }

    pub(super) fn abort(offset: i64, producer_id: i64) -> Self {
        Self { is_abort: true, ..Self::commit(offset, producer_id) }
    }

    pub(super) fn emptied(self) -> Self {
        (0..self.count).fold(self, Self::without)
    }

    /// Compaction takes one record; the header goes on to count its offset.
    pub(super) fn without(mut self, index: i32) -> Self {
        self.gone |= 1 << index;
        self
    }

    /// Offset and value of the records that are left.
    pub(super) fn records(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        let left = (0..self.count).filter(|index| !self.is_control() && self.gone & 1 << index == 0);
        left.map(|index| (self.base_offset + i64::from(index), self.first_value + u64::from(index.unsigned_abs())))
    }

    pub(super) fn damaged(mut self) -> Self {
        self.is_damaged = true;
        self
    }

    pub(super) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(super) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(super) fn is_abort(&self) -> bool {
        self.is_abort
    }

    pub(super) fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.count)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        if self.is_control() {
            let key = [0, 0, 0, u8::from(!self.is_abort)];
            builder.push(1, Some(&key), Some(&[0; 6]), &[]);
        } else {
            for index in 0..self.count.unsigned_abs() {
                builder.push(1, Some(b"key"), Some(&(self.first_value + u64::from(index)).to_be_bytes()), &[]);
            }
        }
        let mut bytes = builder.build().unwrap().bytes().to_vec();
        for index in (0..self.count).rev().filter(|index| self.gone & 1 << index != 0) {
            let at = 61 + RECORD_BYTES * index as usize;
            bytes.drain(at..at + RECORD_BYTES);
        }
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[57..61].copy_from_slice(&(self.count - self.gone.count_ones() as i32).to_be_bytes());
        bytes[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        bytes[22] = self.attributes;
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]) ^ u32::from(self.is_damaged);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

pub(super) fn join(samples: &[Sample]) -> Bytes {
    samples.iter().flat_map(Sample::bytes).collect::<Vec<u8>>().into()
}
