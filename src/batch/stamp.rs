//! Passthrough: a fetched batch becomes a produced one by its header alone.

use crate::batch::header::{COMPRESSION_MASK, CONTROL, CRC_START, HEADER_BYTES, Header, TRANSACTIONAL};
use crate::batch::raw::RawBatch;
use crate::types::ProducerIdentity;
use bytes::Bytes;

/// A batch ready for Produce: its own header, and the body shared with the response it was fetched in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedBatch {
    pub header: [u8; HEADER_BYTES],
    pub body: Bytes,
}

impl StampedBatch {
    #[expect(clippy::len_without_is_empty, reason = "a batch always has its header")]
    pub fn len(&self) -> usize {
        self.header.len() + self.body.len()
    }

    pub fn base_sequence(&self) -> i32 {
        Header::read(&self.header).base_sequence
    }

    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(&self.header);
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }
}

/// Rewrites the header for a transactional Produce. The checksum is carried over, not taken anew: damage that happens
/// between the source's disk and the target's is found by the target.
pub fn stamp(batch: &RawBatch, identity: ProducerIdentity, base_sequence: i32) -> StampedBatch {
    stamp_with(batch, identity, base_sequence, TRANSACTIONAL)
}

/// As `stamp`, for an idempotent Produce outside of transactions.
pub fn stamp_idempotent(batch: &RawBatch, identity: ProducerIdentity, base_sequence: i32) -> StampedBatch {
    stamp_with(batch, identity, base_sequence, 0)
}

fn stamp_with(batch: &RawBatch, identity: ProducerIdentity, base_sequence: i32, transactional: i16) -> StampedBatch {
    let old = batch.header_bytes();
    let from = batch.header();
    let mut to = from;
    // LogValidator refuses any other base offset, and overwrites the leader epoch.
    to.base_offset = 0;
    to.partition_leader_epoch = -1;
    // Cleared: LogAppendTime (error 32 on a LogAppendTime target) and the delete horizon, which a broker would keep and
    // act upon. A control bit stays, so that the broker refuses what must never come here: without the bit it
    // would store a marker as data.
    to.attributes = (from.attributes & (COMPRESSION_MASK | CONTROL)) | transactional;
    to.producer_id = identity.producer_id;
    to.producer_epoch = identity.producer_epoch;
    to.base_sequence = base_sequence;
    let new = to.write();
    // CRC is linear: only the difference of the two headers is shifted past the body.
    let difference = crc32c::crc32c(&old[CRC_START..]) ^ crc32c::crc32c(&new[CRC_START..]);
    to.crc = from.crc ^ shift(difference, batch.body().len());
    StampedBatch { header: to.write(), body: batch.shared_body() }
}

/// As it is, without producer and transaction: only a planted bug writes so.
pub(crate) fn unstamped(batch: &RawBatch) -> StampedBatch {
    StampedBatch { header: batch.header().write(), body: batch.shared_body() }
}

/// CRC32C's polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// Powers x^(2^k): a body of 2^31 bytes needs k up to 34.
const POWERS: [u32; 36] = {
    let mut powers = [0; 36];
    powers[0] = 1 << 30;
    let mut k = 1;
    while k < powers.len() {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
};

/// The CRC's difference after `bytes` more bytes: times x^(8·bytes) modulo the polynomial, as in zlib's crc32_combine.
/// `crc32c_combine` squares matrices instead and takes fifty times as long.
fn shift(difference: u32, mut bytes: usize) -> u32 {
    let mut product = difference;
    let mut k = 3;
    while bytes > 0 && k < POWERS.len() {
        if bytes & 1 == 1 {
            product = multiply(POWERS[k], product);
        }
        bytes >>= 1;
        k += 1;
    }
    product
}

const fn multiply(left: u32, mut right: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1 << 31;
    while bit != 0 {
        if left & bit != 0 {
            product ^= right;
        }
        right = if right & 1 == 1 { (right >> 1) ^ POLYNOMIAL } else { right >> 1 };
        bit >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Compression, samples, split};
    use proptest::prelude::*;

    #[test]
    fn every_rewritten_field_is_what_produce_wants() {
        let mut header = samples::batch(Compression::Snappy, 700, 3).header();
        header.attributes |= 0x08 | 0x40;
        let batch = samples::with_header(&samples::batch(Compression::Snappy, 700, 3), header);
        let identity = ProducerIdentity { producer_id: 9, producer_epoch: 4 };
        let stamped = stamp(&batch, identity, 17);
        let after = split(stamped.to_bytes()).next().unwrap().unwrap();
        after.verify_crc().unwrap();
        assert_eq!(after.body(), batch.body());
        let new = after.header();
        assert_eq!((new.base_offset, new.partition_leader_epoch, new.attributes), (0, -1, 0x12));
        assert_eq!((new.producer_id, new.producer_epoch, new.base_sequence), (9, 4, 17));
        assert_eq!((new.base_timestamp, new.max_timestamp), (header.base_timestamp, header.max_timestamp));
        assert_eq!((new.record_count, new.last_offset_delta, new.batch_length), (3, 2, header.batch_length));
        let idempotent = split(stamp_idempotent(&batch, identity, 17).to_bytes()).next().unwrap().unwrap();
        idempotent.verify_crc().unwrap();
        assert_eq!((idempotent.header().attributes, idempotent.header().base_sequence), (0x02, 17));
    }

    #[test]
    fn damage_before_the_stamp_is_still_found_after_it() {
        let mut bytes = samples::batch(Compression::None, 0, 3).bytes().to_vec();
        bytes[70] ^= 0x20;
        let broken = split(bytes.into()).next().unwrap().unwrap();
        let stamped = stamp(&broken, ProducerIdentity { producer_id: 1, producer_epoch: 0 }, 0);
        assert!(split(stamped.to_bytes()).next().unwrap().unwrap().verify_crc().is_err());
    }

    proptest! {
        #[test]
        fn the_shift_equals_the_librarys(crc in any::<u32>(), bytes in 0usize..1 << 31) {
            prop_assert_eq!(shift(crc, bytes), crc32c::crc32c_combine(crc, 0, bytes));
        }

        #[test]
        fn the_carried_checksum_equals_a_new_one(
            body in proptest::collection::vec(any::<u8>(), 0..5000), attributes in 0i16..0x7f,
            pid: i64, epoch: i16, seq: i32,
        ) {
            prop_assume!(attributes & 7 < 5);
            let mut header = samples::batch(Compression::None, 5, 2).header();
            header.attributes = attributes;
            let batch = samples::assemble(header, &body);
            let stamped = stamp(&batch, ProducerIdentity { producer_id: pid, producer_epoch: epoch }, seq);
            let after = split(stamped.to_bytes()).next().unwrap().unwrap();
            prop_assert!(after.verify_crc().is_ok());
        }
    }
}
