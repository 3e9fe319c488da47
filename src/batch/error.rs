//! What can be wrong with a batch. Every text names the offset; the caller adds the partition.

use crate::batch::codec::CodecError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error(
        "the batch at offset {base_offset} has message format v{magic}, which Kafka wrote before 0.11; \
         rewrite the topic's old segments, or start the partition behind them"
    )]
    OldMagic { base_offset: i64, magic: i8 },
    #[error("the batch at offset {base_offset} has message format v{magic}, which this version does not know")]
    UnknownMagic { base_offset: i64, magic: i8 },
    #[error(
        "the batch at offset {base_offset} declares {batch_length} bytes, which no batch can have; \
         the source's log is damaged there"
    )]
    Length { base_offset: i64, batch_length: i32 },
    #[error(
        "the batch at offset {base_offset} declares {record_count} records and last offset delta {last_offset_delta}, \
         which cannot both be true; the source's log is damaged there"
    )]
    Counts { base_offset: i64, record_count: i32, last_offset_delta: i32 },
    #[error("the batch at offset {base_offset} is marked with codec {codec}, which Kafka does not define")]
    UnknownCodec { base_offset: i64, codec: i16 },
    #[error(
        "the batch at offset {base_offset} fails its checksum (stored {stored:08x}, computed {computed:08x}); \
         fetch it again, then look at the source's disk"
    )]
    Crc { base_offset: i64, stored: u32, computed: u32 },
    #[error("the batch at offset {base_offset} cannot be unpacked: {problem}")]
    Codec { base_offset: i64, problem: CodecError },
    #[error("record {index} of the batch at offset {base_offset} is malformed: {problem}")]
    Record { base_offset: i64, index: usize, problem: RecordProblem },
    #[error("the batch at offset {base_offset} is no control batch with a readable marker: {problem}")]
    Control { base_offset: i64, problem: &'static str },
    #[error("a batch without records cannot be built")]
    Empty,
    #[error("a batch of {bytes} bytes cannot be built: its length field holds at most {max}")]
    TooLong { bytes: usize, max: usize },
    #[error("a new batch cannot be compressed: {0}")]
    Compress(CodecError),
}

impl BatchError {
    /// None: the error is about a batch that was to be built.
    pub fn base_offset(&self) -> Option<i64> {
        match self {
            Self::OldMagic { base_offset, .. }
            | Self::UnknownMagic { base_offset, .. }
            | Self::Length { base_offset, .. }
            | Self::Counts { base_offset, .. }
            | Self::UnknownCodec { base_offset, .. }
            | Self::Crc { base_offset, .. }
            | Self::Codec { base_offset, .. }
            | Self::Record { base_offset, .. }
            | Self::Control { base_offset, .. } => Some(*base_offset),
            Self::Empty | Self::TooLong { .. } | Self::Compress(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    #[error("it ends early")]
    Truncated,
    #[error("a varint is longer than its type")]
    Varint,
    #[error("a length is negative or runs past the end")]
    Length,
    #[error("the header count is negative or more than fit")]
    HeaderCount,
    #[error("bytes are left over behind its headers")]
    TrailingInRecord,
    #[error("bytes are left over behind the last record")]
    TrailingInBatch,
    #[error("its offset does not follow the one before, or lies outside the batch")]
    OffsetDelta,
}
