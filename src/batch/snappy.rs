//! Snappy as Kafka has it: raw blocks in the framing of xerial's SnappyOutputStream, or one bare raw block.

use crate::batch::codec::{CodecError, Compression};

/// The framing's magic; version and lowest compatible version follow it.
const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const FRAME_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// SnappyOutputStream's default.
const BLOCK_BYTES: usize = 32 << 10;
/// Three bytes copy 64 at most, so a block that claims more than this lies; believing it would cost memory.
const RATIO_MAX: usize = 22;

pub(super) fn compress(data: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut encoder = snap::raw::Encoder::new();
    let mut output = FRAME_HEADER.to_vec();
    for block in data.chunks(BLOCK_BYTES) {
        let packed = encoder.compress_vec(block).map_err(damaged)?;
        let length = u32::try_from(packed.len()).map_err(damaged)?;
        output.extend_from_slice(&length.to_be_bytes());
        output.extend_from_slice(&packed);
    }
    Ok(output)
}

pub(super) fn decompress(output: &mut Vec<u8>, data: &[u8], limit: usize) -> Result<(), CodecError> {
    // Sarama and others write the bare block; Kafka's own reader takes it too.
    if !data.starts_with(MAGIC) {
        return append_block(output, data, limit);
    }
    let mut rest = data;
    while !rest.is_empty() {
        // Streams that were appended to one another repeat the header between blocks.
        if rest.starts_with(MAGIC) {
            rest = rest.get(FRAME_HEADER.len()..).ok_or_else(|| damaged("cut frame header"))?;
            continue;
        }
        let (length, blocks) = rest.split_first_chunk().ok_or_else(|| damaged("cut block length"))?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(damaged)?;
        let (block, after) = blocks.split_at_checked(length).ok_or_else(|| damaged("cut block"))?;
        append_block(output, block, limit)?;
        rest = after;
    }
    Ok(())
}

fn append_block(output: &mut Vec<u8>, block: &[u8], limit: usize) -> Result<(), CodecError> {
    let claimed = snap::raw::decompress_len(block).map_err(damaged)?;
    if claimed > block.len().saturating_mul(RATIO_MAX) {
        return Err(damaged("a block claims more than snappy can pack"));
    }
    let start = output.len();
    if claimed > limit - start {
        return Err(CodecError::TooLarge { limit });
    }
    output.resize(start + claimed, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut output[start..]).map_err(damaged)?;
    output.truncate(start + written);
    Ok(())
}

fn damaged(problem: impl ToString) -> CodecError {
    CodecError::corrupt(Compression::Snappy, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::codec::decompress;

    #[test]
    fn a_bare_block_is_read_too() {
        let bare = snap::raw::Encoder::new().compress_vec(b"bare bare bare").unwrap();
        assert_eq!(decompress(Compression::Snappy, &bare, 100).unwrap(), b"bare bare bare");
    }

    #[test]
    fn a_block_that_claims_the_world_costs_nothing() {
        // A varint of 2^31, then nothing.
        let block = [0x80, 0x80, 0x80, 0x80, 0x08];
        assert!(matches!(decompress(Compression::Snappy, &block, usize::MAX), Err(CodecError::Corrupt { .. })));
    }
}
