//! Pictures of a browser made small: a page has few colours, and by a list of them it takes a third of the bytes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const HEADER_BYTES: usize = 13;
/// The list's; edges of letters have more shades, which nobody sees.
const COLOURS_MAX: usize = 256;

/// Width and height.
pub fn size(png: &[u8]) -> Result<(u32, u32)> {
    ensure!(png.starts_with(SIGNATURE), "it is no PNG");
    let number = |at: usize| png.get(at..at + 4).and_then(|it| it.try_into().ok()).map(u32::from_be_bytes);
    Ok((number(16).context("it is cut off")?, number(20).context("it is cut off")?))
}

/// The same picture by its most frequent colours, each other one become the nearest of them; from one with three bytes a pixel, as
/// browsers make it.
pub fn with_few_colours(png: &[u8]) -> Result<Vec<u8>> {
    let ((width, height), pixels) = (size(png)?, pixels(png)?);
    let mut counts: BTreeMap<[u8; 3], usize> = BTreeMap::new();
    pixels.chunks_exact(3).for_each(|it| *counts.entry([it[0], it[1], it[2]]).or_default() += 1);
    let mut palette: Vec<_> = counts.keys().copied().collect();
    palette.sort_by_key(|it| Reverse(counts[it]));
    palette.truncate(COLOURS_MAX);
    let far = |one: &[u8; 3], other: &[u8; 3]| -> u32 {
        one.iter().zip(other).map(|(one, other)| u32::from(one.abs_diff(*other)).pow(2)).sum()
    };
    let nearest = |colour: &[u8; 3]| (0..palette.len()).min_by_key(|at| far(&palette[*at], colour)).unwrap_or_default();
    let places: BTreeMap<[u8; 3], u8> = counts.keys().map(|it| (*it, nearest(it) as u8)).collect();
    let mut lines = Vec::with_capacity(pixels.len() / 3 + height as usize);
    for line in pixels.chunks_exact(3 * width as usize) {
        lines.push(0);
        lines.extend(line.chunks_exact(3).map(|it| places[&[it[0], it[1], it[2]]]));
    }
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&lines)?;
    // Eight bits, of a palette.
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 3, 0, 0, 0]].concat();
    let mut written = SIGNATURE.to_vec();
    let chunks = [(b"IHDR", header), (b"PLTE", palette.concat()), (b"IDAT", packed.finish()?), (b"IEND", Vec::new())];
    chunks.iter().try_for_each(|(kind, body)| chunk(&mut written, **kind, body))?;
    Ok(written)
}

fn chunk(to: &mut Vec<u8>, kind: [u8; 4], body: &[u8]) -> Result<()> {
    let mut sum = Crc::new();
    sum.update(&kind);
    sum.update(body);
    to.extend(u32::try_from(body.len())?.to_be_bytes());
    to.extend(kind);
    to.extend(body);
    to.extend(sum.sum().to_be_bytes());
    Ok(())
}

/// Three bytes for each, line by line.
fn pixels(png: &[u8]) -> Result<Vec<u8>> {
    let (mut at, mut packed) = (SIGNATURE.len(), Vec::new());
    while let Some(head) = png.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let body = png.get(at + 8..at + 8 + length).context("a chunk is cut off")?;
        match &head[4..] {
            // Eight bits of red, green and blue, not interlaced.
            b"IHDR" => ensure!(length == HEADER_BYTES && body[8..] == [8, 2, 0, 0, 0], "another form: {body:?}"),
            b"IDAT" => packed.extend_from_slice(body),
            _ => {}
        }
        at += 12 + length;
    }
    let mut lines = Vec::new();
    ZlibDecoder::new(&packed[..]).read_to_end(&mut lines)?;
    let (width, height) = size(png)?;
    let line_bytes = 3 * width as usize;
    ensure!(lines.len() == height as usize * (line_bytes + 1), "{} bytes of pixels", lines.len());
    let mut pixels: Vec<u8> = Vec::with_capacity(height as usize * line_bytes);
    for line in lines.chunks_exact(line_bytes + 1) {
        let above = pixels.len().checked_sub(line_bytes);
        let from = pixels.len();
        for (index, byte) in line[1..].iter().enumerate() {
            let left = if index < 3 { 0 } else { pixels[from + index - 3] };
            let up = above.map_or(0, |it| pixels[it + index]);
            let before = if index < 3 { 0 } else { above.map_or(0, |it| pixels[it + index - 3]) };
            let predicted = match line[0] {
                0 => 0,
                1 => left,
                2 => up,
                3 => u16::midpoint(u16::from(left), u16::from(up)) as u8,
                4 => nearest(left, up, before),
                other => anyhow::bail!("filter {other} is not known"),
            };
            pixels.push(byte.wrapping_add(predicted));
        }
    }
    Ok(pixels)
}

/// Paeth's predictor.
fn nearest(left: u8, up: u8, before: u8) -> u8 {
    let (a, b, c) = (i16::from(left), i16::from(up), i16::from(before));
    let far = |it: i16| (a + b - c - it).abs();
    if far(a) <= far(b) && far(a) <= far(c) {
        left
    } else if far(b) <= far(c) {
        up
    } else {
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_is_undone_and_colours_are_kept() {
        // Five lines of two pixels, a filter each; each byte is 1 more than what its filter says.
        let lines: Vec<u8> = (0..5).flat_map(|filter| [filter, 1, 1, 1, 1, 1, 1]).collect();
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&lines).unwrap();
        let mut png = SIGNATURE.to_vec();
        let header = [&2u32.to_be_bytes()[..], &5u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        for (kind, body) in [(b"IHDR", header), (b"IDAT", packed.finish().unwrap())] {
            chunk(&mut png, *kind, &body).unwrap();
        }
        let first_of_pixels: Vec<u8> = pixels(&png).unwrap().into_iter().step_by(3).collect();
        assert_eq!(first_of_pixels, [1, 1, 1, 2, 2, 3, 2, 3, 3, 4]);
        let small = with_few_colours(&png).unwrap();
        assert_eq!((size(&small).unwrap(), small[25]), ((2, 5), 3));
        assert!(pixels(&small).is_err() && size(b"GIF89a").is_err());
    }
}
