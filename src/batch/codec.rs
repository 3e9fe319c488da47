//! The four codecs, each with a cap on its output: a kilobyte can unpack to a gigabyte.

use crate::batch::kept::KEPT_BYTES_MAX;
use crate::batch::{lz4, snappy};
use std::cell::RefCell;
use std::io::{self, Read, Write};
use zstd::zstd_safe::{DCtx, DParameter, ResetDirective};

/// What one batch may unpack to: a hundred times the default `max.message.bytes`. Every lane may hold one.
pub const UNCOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// Kafka's defaults (KIP-390), so that a re-encoded batch is about as large as it was.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// 128 MiB: the most that zstd's own reader accepts without being asked, and Java's too. A frame that wants more
/// memory than that for its window was not written by a Kafka client.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// The same as a frame's header says it: the logarithm from 10 on, and eighths (RFC 8878, 3.1.1.1.2).
const ZSTD_WINDOW_MAX: u8 = (ZSTD_WINDOW_LOG_MAX as u8 - 10) << 3;
/// Of a frame's header: it has no window, but is one.
const ZSTD_SINGLE_SEGMENT: u8 = 0x20;
/// A reused context keeps the largest window it has seen, in every worker thread; beyond this it is thrown away.
const ZSTD_CONTEXT_BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Kafka's name, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    pub(super) fn attributes(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    pub(super) fn from_attributes(codec: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.attributes() == codec)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("it unpacks to more than {limit} bytes; no consumer with ordinary memory reads such a batch")]
    TooLarge { limit: usize },
    #[error("its {codec} data is damaged: {problem}")]
    Corrupt { codec: &'static str, problem: String },
}

impl CodecError {
    pub(super) fn corrupt(compression: Compression, problem: impl ToString) -> Self {
        Self::Corrupt { codec: compression.name(), problem: problem.to_string() }
    }
}

pub fn compress(compression: Compression, data: &[u8]) -> Result<Vec<u8>, CodecError> {
    let failed = |problem: io::Error| CodecError::corrupt(compression, problem);
    match compression {
        Compression::None => Ok(data.to_vec()),
        Compression::Gzip => {
            let output = Vec::with_capacity(data.len() / 4);
            let mut encoder = flate2::write::GzEncoder::new(output, flate2::Compression::new(GZIP_LEVEL));
            encoder.write_all(data).map_err(failed)?;
            encoder.finish().map_err(failed)
        }
        Compression::Snappy => snappy::compress(data),
        Compression::Lz4 => lz4::compress(data),
        Compression::Zstd => ZSTD_ENCODER.with_borrow_mut(|kept| {
            let encoder = match kept {
                Some(encoder) => encoder,
                None => kept.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(failed)?),
            };
            encoder.compress(data).map_err(failed)
        }),
    }
}

/// Unpacks to at most `limit` bytes; memory follows the output, not what the input claims.
pub fn decompress(compression: Compression, data: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut output = Vec::new();
    decompress_into(&mut output, compression, data, limit)?;
    Ok(output)
}

/// `output` is empty; the room that it has is used.
pub(super) fn decompress_into(
    output: &mut Vec<u8>,
    compression: Compression,
    data: &[u8],
    limit: usize,
) -> Result<(), CodecError> {
    match compression {
        Compression::None if data.len() > limit => Err(CodecError::TooLarge { limit }),
        Compression::None => {
            output.extend_from_slice(data);
            Ok(())
        }
        // A stream may consist of several members, as for Java's GZIPInputStream.
        Compression::Gzip => {
            read_capped(output, compression, flate2::bufread::MultiGzDecoder::new(data), data.len(), limit)
        }
        Compression::Snappy => snappy::decompress(output, data, limit),
        Compression::Lz4 => lz4::decompress(output, data, limit),
        Compression::Zstd => unpack_zstd(output, data, limit),
    }
}

thread_local! {
    // Making a context costs more than unpacking a small batch.
    static ZSTD_ENCODER: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static ZSTD_DECODER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

fn unpack_zstd(output: &mut Vec<u8>, data: &[u8], limit: usize) -> Result<(), CodecError> {
    let failed = |code| CodecError::corrupt(Compression::Zstd, zstd::zstd_safe::get_error_name(code));
    ZSTD_DECODER.with_borrow_mut(|kept| {
        let context = kept.get_or_insert_with(DCtx::create);
        // The last batch may have left it in the middle of a frame.
        context.reset(ResetDirective::SessionOnly).map_err(failed)?;
        // At once, nothing is copied out of a window.
        if let Some(bound) = zstd_bound(data).filter(|it| *it <= limit.min(KEPT_BYTES_MAX)) {
            output.reserve_exact(bound);
            return context.decompress(output, data).map(drop).map_err(failed);
        }
        context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(failed)?;
        let reader = zstd::stream::read::Decoder::with_context(data, context);
        let read = read_capped(output, Compression::Zstd, reader, data.len(), limit);
        if kept.as_ref().is_some_and(|it| it.sizeof() > ZSTD_CONTEXT_BYTES_MAX) {
            *kept = None;
        }
        read
    })
}

/// What one frame can unpack to; None where only a reader by pieces can judge the data. Counted by blocks: frames that Java
/// writes do not say their size.
fn zstd_bound(data: &[u8]) -> Option<usize> {
    let [_, _, _, _, descriptor, window, ..] = data else { return None };
    let is_ordinary = descriptor & ZSTD_SINGLE_SEGMENT != 0 || *window <= ZSTD_WINDOW_MAX;
    let is_whole = zstd::zstd_safe::find_frame_compressed_size(data) == Ok(data.len());
    let bound = zstd::zstd_safe::decompress_bound(data).ok().filter(|_| is_ordinary && is_whole)?;
    usize::try_from(bound).ok()
}

fn read_capped(
    output: &mut Vec<u8>,
    compression: Compression,
    reader: impl Read,
    packed: usize,
    limit: usize,
) -> Result<(), CodecError> {
    output.reserve(packed.saturating_mul(3).min(limit));
    // One byte more than allowed tells "exactly at the limit" from "beyond it".
    let cap = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(cap).read_to_end(output).map_err(|problem| CodecError::corrupt(compression, problem))?;
    if output.len() > limit { Err(CodecError::TooLarge { limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_cap_holds_to_the_byte() {
        let data = vec![7; 3_000_000];
        for compression in Compression::ALL {
            let packed = compress(compression, &data).unwrap();
            assert_eq!(decompress(compression, &packed, data.len()).unwrap(), data, "{compression:?}");
            let limit = data.len() - 1;
            assert_eq!(decompress(compression, &packed, limit), Err(CodecError::TooLarge { limit }), "{compression:?}");
        }
    }

    #[test]
    fn a_cut_stream_is_damage() {
        let data: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        for compression in &Compression::ALL[1..] {
            let packed = compress(*compression, &data).unwrap();
            let cut = decompress(*compression, &packed[..packed.len() - 9], 1 << 20);
            assert!(matches!(cut, Err(CodecError::Corrupt { .. })), "{compression:?}");
        }
    }

    #[test]
    fn members_one_after_another_are_one_stream() {
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Zstd] {
            let twice = [compress(compression, b"one ").unwrap(), compress(compression, b"two").unwrap()].concat();
            assert_eq!(decompress(compression, &twice, 99).unwrap(), b"one two", "{compression:?}");
        }
    }

    /// As Java writes them: the frame does not say how much is in it.
    #[test]
    fn a_zstd_frame_is_unpacked_at_once_or_in_pieces_to_the_same() {
        for size in [0, 1, 100_000, 140_000, KEPT_BYTES_MAX - 1, KEPT_BYTES_MAX, KEPT_BYTES_MAX + 1, 3_000_000] {
            let data: Vec<u8> = (0..size as u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 29) as u8).collect();
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).unwrap();
            data.chunks(10_000).for_each(|it| encoder.write_all(it).unwrap());
            let packed = encoder.finish().unwrap();
            for limit in [size, 4 << 20] {
                assert!(decompress(Compression::Zstd, &packed, limit).unwrap() == data, "{size} of {limit}");
            }
            let is_at_once = zstd_bound(&packed).is_some_and(|it| it <= KEPT_BYTES_MAX);
            // Behind a last block that is full stands one of nothing.
            assert_eq!(is_at_once, size < KEPT_BYTES_MAX, "{size}");
            if let Some(limit) = size.checked_sub(1) {
                assert_eq!(decompress(Compression::Zstd, &packed, limit), Err(CodecError::TooLarge { limit }));
            }
            assert!(decompress(Compression::Zstd, &packed[..packed.len() - 1], 4 << 20).is_err(), "{size}");
        }
    }

    #[test]
    fn a_zstd_frame_with_a_giant_window_is_refused() {
        for (window_log, is_refused) in [(27, false), (28, true)] {
            for size in [1000, KEPT_BYTES_MAX + 1] {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                encoder.window_log(window_log).unwrap();
                encoder.write_all(&vec![0; size]).unwrap();
                let unpacked = decompress(Compression::Zstd, &encoder.finish().unwrap(), 2 * KEPT_BYTES_MAX);
                assert_eq!(matches!(unpacked, Err(CodecError::Corrupt { .. })), is_refused, "{window_log}, {size}");
            }
        }
        // And the context still works afterwards.
        let good = compress(Compression::Zstd, b"good").unwrap();
        assert_eq!(decompress(Compression::Zstd, &good, 4).unwrap(), b"good");
    }

    fn codec() -> impl Strategy<Value = Compression> {
        proptest::sample::select(&Compression::ALL[..])
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(codec in codec(), data in proptest::collection::vec(0u8..9, 0..200_000)) {
            let packed = compress(codec, &data).unwrap();
            prop_assert_eq!(decompress(codec, &packed, data.len()).unwrap(), data);
        }

        #[test]
        fn hostile_bytes_never_pass_the_cap(codec in codec(), data in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(output) = decompress(codec, &data, 1000) {
                prop_assert!(output.len() <= 1000);
            }
        }

        #[test]
        fn damaged_streams_never_pass_the_cap(
            codec in codec(), data in proptest::collection::vec(0u8..4, 1..3000),
            at: prop::sample::Index, to: u8, limit in 0usize..4000,
        ) {
            let mut packed = compress(codec, &data).unwrap();
            let at = at.index(packed.len());
            packed[at] = to;
            if let Ok(output) = decompress(codec, &packed, limit) {
                prop_assert!(output.len() <= limit);
            }
        }
    }
}
