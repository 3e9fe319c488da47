//! Record batches, format v2: an encoder and a decoder that favour plainness over speed.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail, ensure};

/// No batch of the tests unpacks to more; a corrupt one must not take the machine's memory.
const BODY_BYTES_MAX: u64 = 256 << 20;
/// From the base offset to the record count.
pub const HEADER_BYTES: usize = 61;
/// Base offset and batch length, which the length does not count.
pub const LOG_OVERHEAD: usize = 12;
/// The CRC covers everything from the attributes on.
pub const CRC_START: usize = 21;
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// The block size of Java's SnappyOutputStream.
const XERIAL_BLOCK: usize = 32 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// Kafka's name, as in `compression.type`.
    pub fn name(self) -> &'static str {
        ["none", "gzip", "snappy", "lz4", "zstd"][self as usize]
    }
}

pub type Header = (Vec<u8>, Option<Vec<u8>>);

/// A record to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

/// A batch to write; `producer_id` -1 means neither idempotent nor transactional.
#[derive(Clone, Debug)]
pub struct NewBatch {
    pub codec: Codec,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub transactional: bool,
    pub records: Vec<NewRecord>,
}

impl NewBatch {
    pub fn plain(codec: Codec, records: Vec<NewRecord>) -> NewBatch {
        NewBatch { codec, producer_id: -1, producer_epoch: -1, base_sequence: -1, transactional: false, records }
    }

    /// The batch's bytes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let base = self.records.first().context("a batch needs a record")?.timestamp;
        let max = self.records.iter().map(|record| record.timestamp).max().unwrap_or(base);
        let mut body = vec![];
        for (index, record) in self.records.iter().enumerate() {
            let mut bytes = vec![0u8];
            write_varint(&mut bytes, record.timestamp - base);
            write_varint(&mut bytes, index as i64);
            write_field(&mut bytes, record.key.as_deref());
            write_field(&mut bytes, record.value.as_deref());
            write_varint(&mut bytes, record.headers.len() as i64);
            for (key, value) in &record.headers {
                write_field(&mut bytes, Some(key));
                write_field(&mut bytes, value.as_deref());
            }
            write_varint(&mut body, bytes.len() as i64);
            body.extend(bytes);
        }
        let body = compress(self.codec, &body)?;
        let attributes = self.codec as i16 | if self.transactional { 0x10 } else { 0 };
        let mut batch = vec![];
        batch.extend(0i64.to_be_bytes());
        batch.extend(i32::try_from(HEADER_BYTES - LOG_OVERHEAD + body.len())?.to_be_bytes());
        batch.extend((-1i32).to_be_bytes());
        batch.push(2);
        batch.extend([0; 4]);
        batch.extend(attributes.to_be_bytes());
        batch.extend((i32::try_from(self.records.len())? - 1).to_be_bytes());
        batch.extend(base.to_be_bytes());
        batch.extend(max.to_be_bytes());
        batch.extend(self.producer_id.to_be_bytes());
        batch.extend(self.producer_epoch.to_be_bytes());
        batch.extend(self.base_sequence.to_be_bytes());
        batch.extend(i32::try_from(self.records.len())?.to_be_bytes());
        batch.extend(body);
        let crc = crc32c(&batch[CRC_START..]);
        batch[CRC_START - 4..CRC_START].copy_from_slice(&crc.to_be_bytes());
        Ok(batch)
    }
}

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct ReadRecord {
    pub offset: i64,
    /// What readers see: in a LogAppendTime topic the broker's time.
    pub timestamp: i64,
    /// What the producer wrote.
    pub create_time: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

/// A batch as it was read, its CRC verified.
#[derive(Clone, Debug)]
pub struct ReadBatch {
    pub base_offset: i64,
    pub last_offset: i64,
    pub codec: Codec,
    pub transactional: bool,
    pub control: bool,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    /// With its header, as it was sent.
    pub bytes: usize,
    /// The body as it was sent, still compressed.
    pub body_hash: u64,
    pub records: Vec<ReadRecord>,
}

impl ReadBatch {
    /// The cleaner took records out of it.
    pub fn has_holes(&self) -> bool {
        !self.control && self.records.len() as i64 != self.last_offset - self.base_offset + 1
    }

    /// For a control batch: whether its marker commits.
    pub fn commits(&self) -> Option<bool> {
        let key = self.records.first()?.key.as_deref()?;
        match (self.control, key) {
            (true, [_, _, 0, 0, ..]) => Some(false),
            (true, [_, _, 0, 1, ..]) => Some(true),
            _ => None,
        }
    }
}

/// Decodes the complete batches of a fetch answer; a cut last one is left out, as brokers may send it.
pub fn decode(mut bytes: &[u8]) -> Result<Vec<ReadBatch>> {
    let mut batches = vec![];
    while bytes.len() >= LOG_OVERHEAD {
        let length = usize::try_from(i32::from_be_bytes(bytes[8..12].try_into()?))?;
        if bytes.len() < LOG_OVERHEAD + length {
            break;
        }
        let (batch, rest) = bytes.split_at(LOG_OVERHEAD + length);
        batches.push(decode_batch(batch)?);
        bytes = rest;
    }
    Ok(batches)
}

fn decode_batch(batch: &[u8]) -> Result<ReadBatch> {
    ensure!(batch.len() >= HEADER_BYTES, "a batch of {} bytes", batch.len());
    ensure!(batch[16] == 2, "a batch of format {}", batch[16]);
    let mut header = Cursor(&batch[CRC_START..HEADER_BYTES]);
    let base_offset = i64::from_be_bytes(batch[..8].try_into()?);
    let crc = u32::from_be_bytes(batch[17..21].try_into()?);
    ensure!(crc == crc32c(&batch[CRC_START..]), "the batch at offset {base_offset} has a wrong CRC");
    let attributes = i16::from_be_bytes(header.array()?);
    let last_offset_delta = i32::from_be_bytes(header.array()?);
    let base_timestamp = i64::from_be_bytes(header.array()?);
    let max_timestamp = i64::from_be_bytes(header.array()?);
    let producer_id = i64::from_be_bytes(header.array()?);
    let producer_epoch = i16::from_be_bytes(header.array()?);
    let base_sequence = i32::from_be_bytes(header.array()?);
    let count = i32::from_be_bytes(header.array()?);
    let codec = *Codec::ALL.get(usize::from(attributes as u16 & 7)).context("an unknown codec")?;
    let log_append_time = attributes & 0x08 != 0;
    let compressed = &batch[HEADER_BYTES..];
    let body = decompress(codec, compressed)?;
    let mut cursor = Cursor(&body);
    let mut records = vec![];
    for _ in 0..count {
        let length = cursor.length()?;
        let mut record = Cursor(cursor.take(length)?);
        record.take(1)?;
        let timestamp_delta = record.varint()?;
        let offset = base_offset + record.varint()?;
        let key = record.field()?;
        let value = record.field()?;
        let mut headers = vec![];
        for _ in 0..record.varint()? {
            headers.push((record.field()?.context("a header without key")?, record.field()?));
        }
        ensure!(record.0.is_empty(), "unread bytes at the end of the record at offset {offset}");
        let create_time = base_timestamp + timestamp_delta;
        let timestamp = if log_append_time { max_timestamp } else { create_time };
        records.push(ReadRecord { offset, timestamp, create_time, key, value, headers });
    }
    ensure!(cursor.0.is_empty(), "unread bytes behind the records of the batch at offset {base_offset}");
    Ok(ReadBatch {
        base_offset,
        last_offset: base_offset + i64::from(last_offset_delta),
        codec,
        transactional: attributes & 0x10 != 0,
        control: attributes & 0x20 != 0,
        producer_id,
        producer_epoch,
        base_sequence,
        bytes: batch.len(),
        body_hash: hash(compressed),
        records,
    })
}

/// FNV-1a: says whether two compressed bodies are the same bytes.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Bit by bit for the table's 256 entries, then a byte at a time: independent of the crate that the bridge uses.
pub fn crc32c(bytes: &[u8]) -> u32 {
    static TABLE: std::sync::OnceLock<[u32; 256]> = std::sync::OnceLock::new();
    let table = TABLE.get_or_init(|| {
        std::array::from_fn(|index| {
            (0..8).fold(index as u32, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
        })
    });
    !bytes.iter().fold(!0u32, |crc, byte| (crc >> 8) ^ table[((crc ^ u32::from(*byte)) & 0xff) as usize])
}

fn compress(codec: Codec, body: &[u8]) -> Result<Vec<u8>> {
    Ok(match codec {
        Codec::None => body.to_vec(),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
            encoder.write_all(body)?;
            encoder.finish()?
        }
        Codec::Snappy => {
            let mut out = XERIAL_MAGIC.to_vec();
            out.extend([0, 0, 0, 1, 0, 0, 0, 1]);
            for block in body.chunks(XERIAL_BLOCK) {
                let packed = snap::raw::Encoder::new().compress_vec(block)?;
                out.extend(u32::try_from(packed.len())?.to_be_bytes());
                out.extend(packed);
            }
            out
        }
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(vec![]);
            encoder.write_all(body)?;
            encoder.finish()?
        }
        Codec::Zstd => zstd::encode_all(body, 3)?,
    })
}

fn decompress(codec: Codec, body: &[u8]) -> Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(body.to_vec()),
        Codec::Gzip => read_capped(flate2::read::GzDecoder::new(body)),
        Codec::Snappy if body.starts_with(XERIAL_MAGIC) => {
            let mut out = vec![];
            let mut cursor = Cursor(body.get(16..).context("a cut snappy header")?);
            while !cursor.0.is_empty() {
                let length = u32::from_be_bytes(cursor.array()?) as usize;
                out.extend(unsnap(cursor.take(length)?)?);
                ensure!(out.len() as u64 <= BODY_BYTES_MAX, "a batch unpacks to more than {BODY_BYTES_MAX} bytes");
            }
            Ok(out)
        }
        Codec::Snappy => unsnap(body),
        Codec::Lz4 => read_capped(lz4_flex::frame::FrameDecoder::new(body)),
        Codec::Zstd => read_capped(zstd::Decoder::new(body)?),
    }
}

fn unsnap(block: &[u8]) -> Result<Vec<u8>> {
    ensure!(snap::raw::decompress_len(block)? as u64 <= BODY_BYTES_MAX, "a snappy block is too large");
    Ok(snap::raw::Decoder::new().decompress_vec(block)?)
}

fn read_capped(reader: impl Read) -> Result<Vec<u8>> {
    let mut out = vec![];
    reader.take(BODY_BYTES_MAX + 1).read_to_end(&mut out)?;
    ensure!(out.len() as u64 <= BODY_BYTES_MAX, "a batch unpacks to more than {BODY_BYTES_MAX} bytes");
    Ok(out)
}

fn write_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn write_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    write_varint(out, field.map_or(-1, |bytes| bytes.len() as i64));
    out.extend(field.unwrap_or_default());
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("a record ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn varint(&mut self) -> Result<i64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift.min(63);
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        bail!("a varint without end")
    }

    fn length(&mut self) -> Result<usize> {
        usize::try_from(self.varint()?).context("a negative length")
    }

    fn field(&mut self) -> Result<Option<Vec<u8>>> {
        match self.varint()? {
            -1 => Ok(None),
            length => Ok(Some(self.take(usize::try_from(length)?)?.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_has_the_known_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_hole_is_a_record_less_than_the_offsets_say() {
        let bytes = NewBatch::plain(Codec::None, vec![NewRecord::default(); 3]).encode().unwrap();
        let mut batch = decode(&bytes).unwrap().remove(0);
        assert!(!batch.has_holes());
        batch.records.remove(1);
        assert!(batch.has_holes());
        batch.control = true;
        assert!(!batch.has_holes(), "markers are not the cleaner's work");
    }

    #[test]
    fn every_codec_gives_back_what_was_written() {
        for codec in Codec::ALL {
            let records: Vec<NewRecord> = (0..50i64)
                .map(|index| NewRecord {
                    timestamp: 1_000_000 - index * 7,
                    key: (index % 3 != 0).then(|| vec![index as u8; 3]),
                    value: (index % 4 != 0).then(|| vec![7; (index * 100) as usize]),
                    headers: vec![(b"a".to_vec(), None), (b"a".to_vec(), Some(vec![])), (vec![0xff], Some(vec![1]))],
                })
                .collect();
            let bytes = NewBatch::plain(codec, records.clone()).encode().unwrap();
            let cut = [bytes.clone(), bytes[..bytes.len() - 1].to_vec()].concat();
            let batches = decode(&cut).unwrap();
            assert_eq!(batches.len(), 1, "a cut last batch is left out");
            assert_eq!(batches[0].codec, codec);
            for (read, written) in batches[0].records.iter().zip(&records) {
                assert_eq!((read.timestamp, &read.key, &read.value), (written.timestamp, &written.key, &written.value));
                assert_eq!(read.headers, written.headers);
            }
            let mut bad = bytes;
            *bad.last_mut().unwrap() ^= 1;
            assert!(decode(&bad).is_err(), "a flipped bit is found");
        }
    }
}
