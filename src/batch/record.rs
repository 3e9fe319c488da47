//! Records walked in place: nothing is copied, nothing is allocated (Kafka's DefaultRecord).

use crate::batch::error::RecordProblem;

/// Attributes, deltas, key, value and header count take a byte each at least.
const RECORD_BYTES_MIN: usize = 6;
/// The lengths of a header's key and value.
const HEADER_BYTES_MIN: usize = 2;

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    pub attributes: u8,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub header_count: usize,
    /// The headers as they are encoded, without their count.
    pub raw_headers: &'a [u8],
    /// Key, value, header count and headers as they are encoded: what a record keeps wherever it moves.
    pub(super) payload: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// In their order; names may repeat, and need not be UTF-8.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.raw_headers, count: self.header_count }
    }

    /// Key, value and headers in their order are the same.
    pub fn has_contents_of(&self, other: &RecordView<'_>) -> bool {
        // Lengths need not be written the shortest way, and every negative one is null.
        self.payload == other.payload
            || (self.key == other.key && self.value == other.value && self.headers().eq(other.headers()))
    }

    /// Takes one record from the front of `input`.
    pub(super) fn read(input: &mut &'a [u8]) -> Result<Self, RecordProblem> {
        let length = read_varint(input)?;
        let length = usize::try_from(length).map_err(|_| RecordProblem::Length)?;
        let mut record = take(input, length)?;
        if length < RECORD_BYTES_MIN {
            return Err(RecordProblem::Length);
        }
        let attributes = read_byte(&mut record)?;
        let timestamp_delta = read_varlong(&mut record)?;
        let offset_delta = read_varint(&mut record)?;
        Ok(Self { timestamp_delta, offset_delta, ..Self::of_payload(attributes, record)? })
    }

    /// The first of its batch, at the base timestamp.
    pub(super) fn of_payload(attributes: u8, payload: &'a [u8]) -> Result<Self, RecordProblem> {
        let mut record = payload;
        let key = read_nullable(&mut record)?;
        let value = read_nullable(&mut record)?;
        let count = read_varint(&mut record)?;
        let header_count = usize::try_from(count)
            .ok()
            .filter(|it| *it <= record.len() / HEADER_BYTES_MIN)
            .ok_or(RecordProblem::HeaderCount)?;
        let raw_headers = record;
        for _ in 0..header_count {
            read_header(&mut record)?;
        }
        if !record.is_empty() {
            return Err(RecordProblem::TrailingInRecord);
        }
        let (timestamp_delta, offset_delta) = (0, 0);
        Ok(Self { attributes, timestamp_delta, offset_delta, key, value, header_count, raw_headers, payload })
    }
}

/// Walks uncompressed records; ends after the first malformed one, or when all of them have been seen.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    remaining: usize,
    failed: bool,
}

impl<'a> Records<'a> {
    /// `record_count` is the header's: bytes beyond that many records are an error, as they are for Kafka's own reader.
    pub fn new(body: &'a [u8], record_count: i32) -> Self {
        Self { rest: body, remaining: usize::try_from(record_count).unwrap_or(0), failed: false }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, RecordProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = if self.remaining > 0 {
            self.remaining -= 1;
            RecordView::read(&mut self.rest)
        } else if self.rest.is_empty() {
            return None;
        } else {
            Err(RecordProblem::TrailingInBatch)
        };
        self.failed = item.is_err();
        Some(item)
    }
}

#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
    count: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        // The record's walk has read them all once.
        read_header(&mut self.rest).ok()
    }
}

fn read_header<'a>(input: &mut &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), RecordProblem> {
    let key = read_nullable(input)?.ok_or(RecordProblem::Length)?;
    Ok((key, read_nullable(input)?))
}

/// Kafka's reader takes every negative length for null.
fn read_nullable<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordProblem> {
    match usize::try_from(read_varint(input)?) {
        Ok(length) => take(input, length).map(Some),
        Err(_) => Ok(None),
    }
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], RecordProblem> {
    let (taken, rest) = input.split_at_checked(length).ok_or(RecordProblem::Length)?;
    *input = rest;
    Ok(taken)
}

fn read_byte(input: &mut &[u8]) -> Result<u8, RecordProblem> {
    let (byte, rest) = input.split_first().ok_or(RecordProblem::Truncated)?;
    *input = rest;
    Ok(*byte)
}

fn read_varint(input: &mut &[u8]) -> Result<i32, RecordProblem> {
    let raw = u32::try_from(read_unsigned(input, 5)?).map_err(|_| RecordProblem::Varint)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

fn read_varlong(input: &mut &[u8]) -> Result<i64, RecordProblem> {
    let raw = read_unsigned(input, 10)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

fn read_unsigned(input: &mut &[u8], bytes_max: u32) -> Result<u64, RecordProblem> {
    let mut value = 0;
    for index in 0..bytes_max {
        let byte = read_byte(input)?;
        // The tenth byte has room for one bit.
        if index == 9 && byte > 1 {
            return Err(RecordProblem::Varint);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(RecordProblem::Varint)
}

pub(super) fn write_varint(output: &mut Vec<u8>, value: i32) {
    write_varlong(output, i64::from(value));
}

/// Zigzag: the same bytes for an `i32` and for the `i64` of the same value.
pub(super) fn write_varlong(output: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while raw >= 0x80 {
        output.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    output.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_varint_longer_than_its_type_is_refused() {
        assert_eq!(read_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x0f][..]), Ok(i32::MIN));
        assert_eq!(read_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), Err(RecordProblem::Varint));
        assert_eq!(read_varint(&mut &[0x80; 6][..]), Err(RecordProblem::Varint));
        assert_eq!(read_varlong(&mut &[0xff; 11][..]), Err(RecordProblem::Varint));
        assert_eq!(read_varint(&mut &[0x80][..]), Err(RecordProblem::Truncated));
    }

    #[test]
    fn a_header_count_beyond_the_record_is_refused_at_once() {
        // Length 9, attributes, two deltas, null key, null value, 2^30 headers.
        let mut body = vec![20, 0, 0, 0, 1, 1];
        write_varint(&mut body, 1 << 30);
        assert_eq!(body.len(), 11);
        let walked: Vec<_> = Records::new(&body, 1).collect();
        assert_eq!(walked, [Err(RecordProblem::HeaderCount)]);
    }

    #[test]
    fn bytes_behind_the_last_record_are_refused() {
        let body = [12, 0, 0, 0, 1, 1, 0, 99];
        let walked: Vec<_> = Records::new(&body, 1).map(|it| it.map(|it| it.key)).collect();
        assert_eq!(walked, [Ok(None), Err(RecordProblem::TrailingInBatch)]);
    }

    proptest! {
        #[test]
        fn varints_survive(value: i64, small: i32) {
            let mut bytes = Vec::new();
            write_varlong(&mut bytes, value);
            write_varint(&mut bytes, small);
            let mut input = &bytes[..];
            prop_assert_eq!(read_varlong(&mut input), Ok(value));
            prop_assert_eq!(read_varint(&mut input), Ok(small));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn hostile_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), count: i32) {
            let seen = Records::new(&body, count).filter(Result::is_ok).count();
            prop_assert!(seen <= body.len() / RECORD_BYTES_MIN);
        }
    }
}
