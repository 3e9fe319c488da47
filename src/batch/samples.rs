//! Batches for the tests of this layer.

use crate::batch::header::{CRC_START, HEADER_BYTES, LOG_OVERHEAD};
use crate::batch::{BatchBuilder, Compression, Header, RawBatch, split};

/// A batch of `count` small records from `base_offset` on.
pub(super) fn batch(compression: Compression, base_offset: i64, count: u32) -> RawBatch {
    let mut builder = BatchBuilder::new(compression);
    for index in 0..i64::from(count) {
        let offset = base_offset + index;
        builder.push(1_000 + offset, Some(&offset.to_be_bytes()), Some(b"a small value"), &[(b"h", Some(b"1"))]);
    }
    let batch = builder.build().unwrap();
    with_header(&batch, Header { base_offset, ..batch.header() })
}

/// The same body under another header.
pub(super) fn with_header(batch: &RawBatch, header: Header) -> RawBatch {
    assemble(header, batch.body())
}

/// Length and checksum are made right; everything else is taken as it is.
pub(super) fn assemble(mut header: Header, body: &[u8]) -> RawBatch {
    header.batch_length = i32::try_from(HEADER_BYTES - LOG_OVERHEAD + body.len()).unwrap();
    let mut bytes = [&header.write()[..], body].concat();
    header.crc = crc32c::crc32c(&bytes[CRC_START..]);
    bytes[..HEADER_BYTES].copy_from_slice(&header.write());
    split(bytes.into()).next().unwrap().unwrap()
}
