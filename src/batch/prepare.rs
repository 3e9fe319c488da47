//! Which batches pass as they are, and what becomes of those that cannot.

use crate::batch::codec::UNCOMPRESSED_BYTES_MAX;
use crate::batch::error::BatchError;
use crate::batch::merge::merge;
use crate::batch::raw::RawBatch;
use crate::batch::reencode::unpack;
use crate::batch::screen::Screen;

/// Why a batch was unpacked and packed again. Each is a counter, for each costs CPU that passthrough does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReencodeReason {
    /// The position lies inside the batch: what was copied before must not be copied again.
    MidBatch,
    /// Compaction has taken records; the broker wants offsets without holes (error 87).
    CompactionGap,
    /// The broker's time stands in the header alone, and the target would not keep it.
    LogAppendTime,
    /// KIP-534: the base timestamp is not a record's time.
    DeleteHorizon,
    /// The target's `max.message.bytes` is smaller than the batch.
    Oversized,
    /// One batch per partition and Produce request: many small ones die on round trips.
    MergeSmall,
    /// A record of it goes to the dead letters.
    DeadLetter,
    /// The target's registry has another id for the schema.
    SchemaId,
}

impl ReencodeReason {
    pub const ALL: [Self; 8] = [
        Self::MidBatch,
        Self::CompactionGap,
        Self::LogAppendTime,
        Self::DeleteHorizon,
        Self::Oversized,
        Self::MergeSmall,
        Self::DeadLetter,
        Self::SchemaId,
    ];

    pub fn name(&self) -> &'static str {
        match self {
            Self::MidBatch => "mid_batch",
            Self::CompactionGap => "compaction_gap",
            Self::LogAppendTime => "log_append_time",
            Self::DeleteHorizon => "delete_horizon",
            Self::Oversized => "oversized",
            Self::MergeSmall => "merge_small",
            Self::DeadLetter => "dead_letter",
            Self::SchemaId => "schema_id",
        }
    }
}

/// What a record of a LogAppendTime topic carries at the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogAppendTimePolicy {
    /// What consumers of the source saw: the broker's time, written into each record.
    #[default]
    KeepAppendTime,
    /// What the producer wrote; such batches pass as they are.
    KeepCreateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeLimits {
    /// Only batches of at most so many bytes are merged: beyond, a round trip costs less than recompression.
    pub batch_bytes_max: usize,
    /// What a merged batch unpacks to at most, so that merging stays a matter of microseconds.
    pub merged_uncompressed_bytes_max: usize,
}

impl Default for MergeLimits {
    fn default() -> Self {
        Self { batch_bytes_max: 16 << 10, merged_uncompressed_bytes_max: 256 << 10 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The next source offset to copy; what lies before it is left out.
    pub position: i64,
    /// The target topic's `max.message.bytes`.
    pub max_message_bytes: usize,
    /// Batches of more than one record are made no larger. Smaller than `max_message_bytes` where the target has refused a
    /// batch of that size: how much it takes is then a guess, and no record alone may fail by a guess.
    pub batch_bytes_max: usize,
    pub log_append_time: LogAppendTimePolicy,
    /// None: batches stay apart.
    pub merge: Option<MergeLimits>,
    pub uncompressed_bytes_max: usize,
}

impl Rules {
    pub fn new(position: i64, max_message_bytes: usize) -> Self {
        Self {
            position,
            max_message_bytes,
            batch_bytes_max: max_message_bytes,
            log_append_time: LogAppendTimePolicy::default(),
            merge: Some(MergeLimits::default()),
            uncompressed_bytes_max: UNCOMPRESSED_BYTES_MAX,
        }
    }
}

/// A batch that the target takes. Its own base offset means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    pub batch: RawBatch,
    /// Source offset of its first record.
    pub first_offset: i64,
    /// Source position behind it.
    pub next_offset: i64,
    pub record_count: u32,
    /// Each reason once: a batch with holes may be merged on top. Empty: it passes as it came.
    pub reencoded: Vec<ReencodeReason>,
}

impl Prepared {
    pub(super) fn as_it_is(batch: RawBatch) -> Self {
        let header = batch.header();
        Self {
            first_offset: header.base_offset,
            next_offset: header.next_offset(),
            record_count: header.record_count.unsigned_abs(),
            reencoded: Vec::new(),
            batch,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedBatches {
    pub batches: Vec<Prepared>,
    /// The position behind everything that was given, emptied batches included.
    pub next_position: i64,
    /// Records at and behind the position that was given, whatever became of them.
    pub read: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Corrupt(#[from] BatchError),
    #[error(
        "the batch at offset {base_offset} overlaps the one before it, which ends at {position}; \
         the source answered out of order or its log is damaged"
    )]
    OutOfOrder { base_offset: i64, position: i64 },
    #[error("the batch at offset {base_offset} is a control batch, and markers are never copied")]
    Control { base_offset: i64 },
    #[error(
        "the record at offset {offset} needs a batch of {bytes} bytes, and the target topic takes {max_message_bytes}; \
         raise its max.message.bytes"
    )]
    RecordTooLarge { offset: i64, bytes: usize, max_message_bytes: usize },
    #[error(
        "the record at offset {offset} does not pass its check, and as a dead letter it needs a batch of {bytes} bytes, where the \
         topic of dead letters takes {max_message_bytes}; raise that topic's max.message.bytes"
    )]
    DeadLetterTooLarge { offset: i64, bytes: usize, max_message_bytes: usize },
    #[error("whether the record at offset {offset} may pass is not known yet")]
    Undecided { offset: i64 },
}

impl PrepareError {
    /// Where in the source the trouble is; the caller adds the partition.
    pub fn offset(&self) -> Option<i64> {
        match self {
            Self::OutOfOrder { base_offset, .. } | Self::Control { base_offset } => Some(*base_offset),
            Self::RecordTooLarge { offset, .. }
            | Self::DeadLetterTooLarge { offset, .. }
            | Self::Undecided { offset } => Some(*offset),
            Self::Corrupt(error) => error.base_offset(),
        }
    }
}

/// Turns the committed data batches of one partition, in order, into what the target takes. Timestamps, keys, values
/// and headers stay byte for byte. The checksum of a batch that is unpacked is compared first: packed again, damage
/// would get a checksum that is right.
pub fn prepare(batches: Vec<RawBatch>, rules: &Rules) -> Result<PreparedBatches, PrepareError> {
    prepare_screened(batches, rules, None)
}

/// With a screen every record is looked at. A batch of which all pass as they are passes as it came.
pub fn prepare_screened(
    batches: Vec<RawBatch>,
    rules: &Rules,
    mut screen: Option<&mut dyn Screen>,
) -> Result<PreparedBatches, PrepareError> {
    let mut prepared = Vec::with_capacity(batches.len());
    let (mut next_position, mut read) = (rules.position, 0);
    let mut end = i64::MIN;
    for batch in batches {
        let header = batch.header();
        if header.is_control() {
            return Err(PrepareError::Control { base_offset: header.base_offset });
        }
        // Taken for "already copied", a batch out of order would be lost in silence.
        if header.base_offset < end {
            return Err(PrepareError::OutOfOrder { base_offset: header.base_offset, position: end });
        }
        end = header.next_offset();
        if end <= rules.position {
            continue;
        }
        next_position = end;
        if header.record_count == 0 {
            continue;
        }
        let reason = reason(&batch, rules);
        if reason.is_some() || screen.is_some() {
            read += unpack(batch, rules, reason, &mut screen, &mut prepared)?;
        } else {
            read += u64::from(header.record_count.unsigned_abs());
            prepared.push(Prepared::as_it_is(batch));
        }
    }
    if let Some(limits) = rules.merge {
        prepared = merge(prepared, rules, limits);
    }
    Ok(PreparedBatches { batches: prepared, next_position, read })
}

fn reason(batch: &RawBatch, rules: &Rules) -> Option<ReencodeReason> {
    let header = batch.header();
    if header.base_offset < rules.position {
        Some(ReencodeReason::MidBatch)
    } else if header.has_gaps() {
        Some(ReencodeReason::CompactionGap)
    } else if header.is_log_append_time() && rules.log_append_time == LogAppendTimePolicy::KeepAppendTime {
        Some(ReencodeReason::LogAppendTime)
    } else if header.has_delete_horizon() {
        Some(ReencodeReason::DeleteHorizon)
    } else if batch.bytes().len()
        > if header.record_count > 1 { rules.batch_bytes_max } else { rules.max_message_bytes }
    {
        Some(ReencodeReason::Oversized)
    } else {
        None
    }
}
