//! Batches as a broker would store them, for the tests of this layer.

use crate::batch::{BatchBuilder, Compression};
use bytes::Bytes;

const TRANSACTIONAL: u8 = 0x10;
const CONTROL: u8 = 0x20;

/// One stored batch; `bytes` are always those of its fields.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) base_offset: i64,
    pub(super) count: i32,
    pub(super) leader_epoch: i32,
    pub(super) producer_id: i64,
    attributes: u8,
    is_abort: bool,
    is_emptied: bool,
    is_damaged: bool,
}

impl Sample {
    pub(super) fn data(base_offset: i64, count: i32) -> Self {
        Self {
            base_offset,
            count,
            leader_epoch: 0,
            producer_id: -1,
            attributes: 0,
            is_abort: false,
            is_emptied: false,
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

    pub(super) fn emptied(mut self) -> Self {
        self.is_emptied = true;
        self
    }

    pub(super) fn damaged(mut self) -> Self {
        self.is_damaged = true;
        self
    }

    pub(super) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        if self.is_control() {
            let key = [0, 0, 0, u8::from(!self.is_abort)];
            builder.push(1, Some(&key), Some(&[0; 6]), &[]);
        } else {
            for index in 0..i64::from(self.count) {
                builder.push(1, Some(b"key"), Some(&(self.base_offset + index).to_be_bytes()), &[]);
            }
        }
        let mut bytes = builder.build().unwrap().bytes().to_vec();
        if self.is_emptied {
            bytes.truncate(61);
            bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
            bytes[57..61].copy_from_slice(&[0; 4]);
        }
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
