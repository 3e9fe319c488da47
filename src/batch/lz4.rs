//! LZ4 frames. The walk is ours: `lz4_flex`'s takes a frame without its end mark for a whole one, and reserves the
//! largest block a header may name.

use crate::batch::codec::{CodecError, Compression};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use std::io::Write;

const MAGIC: u32 = 0x184D_2204;
const VERSION: u8 = 1;
const INDEPENDENT_BLOCKS: u8 = 0x20;
const BLOCK_CHECKSUMS: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const DICTIONARY: u8 = 0x01;
const STORED_BLOCK: u32 = 1 << 31;
/// How far a linked block refers back.
const WINDOW_BYTES: usize = 64 << 10;
/// A byte of a block makes 255 of output at most, so room is given by the input and not by what the frame claims.
const RATIO_MAX: usize = 255;

/// As Kafka's Lz4BlockOutputStream: independent blocks of 64 KiB, no checksum of the content, for the batch has one.
pub(super) fn compress(data: &[u8]) -> Result<Vec<u8>, CodecError> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(data.len() / 2));
    encoder.write_all(data).map_err(damaged)?;
    encoder.finish().map_err(damaged)
}

/// Reads one frame, to its end mark, as Kafka's Lz4BlockInputStream does. The frame's checksums are not compared: the
/// batch's own CRC32C covers the same bytes.
pub(super) fn decompress(output: &mut Vec<u8>, data: &[u8], limit: usize) -> Result<(), CodecError> {
    let mut input = data;
    if read_u32(&mut input)? != MAGIC {
        return Err(damaged("no frame magic"));
    }
    let [flags, descriptor] = *take(&mut input, 2)? else { return Err(damaged("cut frame header")) };
    if flags >> 6 != VERSION || flags & DICTIONARY != 0 {
        return Err(damaged("a frame version or dictionary that Kafka does not use"));
    }
    let block_bytes_max: usize = match descriptor >> 4 & 7 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err(damaged("unknown block size")),
    };
    let header_checksum = 1;
    take(&mut input, if flags & CONTENT_SIZE == 0 { header_checksum } else { 8 + header_checksum })?;

    loop {
        let size = read_u32(&mut input)?;
        if size == 0 {
            return Ok(());
        }
        let length = usize::try_from(size & !STORED_BLOCK).map_err(damaged)?;
        if length > block_bytes_max {
            return Err(damaged("a block larger than the frame allows"));
        }
        let block = take(&mut input, length)?;
        if flags & BLOCK_CHECKSUMS != 0 {
            take(&mut input, 4)?;
        }
        let left = limit - output.len();
        if size & STORED_BLOCK != 0 {
            if length > left {
                return Err(CodecError::TooLarge { limit });
            }
            output.extend_from_slice(block);
        } else {
            let room = block_bytes_max.min(length * RATIO_MAX);
            append_block(output, block, room.min(left), flags & INDEPENDENT_BLOCKS == 0)
                .map_err(|problem| if left < room { CodecError::TooLarge { limit } } else { problem })?;
        }
    }
}

fn append_block(output: &mut Vec<u8>, block: &[u8], room: usize, linked: bool) -> Result<(), CodecError> {
    let start = output.len();
    output.resize(start + room, 0);
    let (before, into) = output.split_at_mut(start);
    let window = if linked { &before[start.saturating_sub(WINDOW_BYTES)..] } else { &[] };
    let written = lz4_flex::block::decompress_into_with_dict(block, into, window).map_err(damaged)?;
    output.truncate(start + written);
    Ok(())
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], CodecError> {
    let (taken, rest) = input.split_at_checked(length).ok_or_else(|| damaged("the frame has no end"))?;
    *input = rest;
    Ok(taken)
}

fn read_u32(input: &mut &[u8]) -> Result<u32, CodecError> {
    let (taken, rest) = input.split_first_chunk().ok_or_else(|| damaged("the frame has no end"))?;
    *input = rest;
    Ok(u32::from_le_bytes(*taken))
}

fn damaged(problem: impl ToString) -> CodecError {
    CodecError::corrupt(Compression::Lz4, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::codec::decompress;

    #[test]
    fn every_kind_of_frame_is_read() {
        let data: Vec<u8> = (0..120_000u32).flat_map(|it| (it % 1000).to_le_bytes()).collect();
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for mode in [BlockMode::Independent, BlockMode::Linked] {
                for sums in [false, true] {
                    let info = FrameInfo::new().block_size(size).block_mode(mode).block_checksums(sums);
                    let info = info.content_checksum(sums).content_size(sums.then_some(data.len() as u64));
                    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                    encoder.write_all(&data).unwrap();
                    let packed = encoder.finish().unwrap();
                    assert_eq!(
                        decompress(Compression::Lz4, &packed, data.len()).unwrap(),
                        data,
                        "{size:?} {mode:?} {sums}"
                    );
                }
            }
        }
    }
}
