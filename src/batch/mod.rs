//! Record batches as bytes: header, CRC, records, compression.
//!
//! A batch that can pass does so with its compressed body untouched (`stamp`); one that cannot is re-encoded for a
//! reason that has a name (`prepare`). Only magic 2 is known: older formats are an error of their own, never a guess.

mod build;
mod codec;
mod control;
mod error;
mod header;
mod kept;
mod lz4;
mod merge;
mod payload;
mod prepare;
mod raw;
mod record;
mod reencode;
mod screen;
mod snappy;
mod stamp;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod samples;

pub use build::BatchBuilder;
pub use codec::{CodecError, Compression, UNCOMPRESSED_BYTES_MAX, compress, decompress};
pub use control::ControlRecord;
pub use error::{BatchError, RecordProblem};
pub use header::Header;
pub use payload::{HeaderView, Payload};
pub use prepare::{
    LogAppendTimePolicy, MergeLimits, PrepareError, Prepared, PreparedBatches, ReencodeReason, Rules, prepare,
    prepare_screened,
};
pub use raw::{DecodedBatch, Place, RawBatch, SplitBatches, split};
pub use record::{Headers, RecordView, Records};
pub use screen::{Candidate, Screen, Screened};
pub(crate) use stamp::unstamped;
pub use stamp::{StampedBatch, stamp, stamp_idempotent};
