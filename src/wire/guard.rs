//! Checks that an answer has the shape of its schema before `kafka-protocol` decodes it.
//!
//! The generated decoders reserve memory for as many array elements as the answer claims, and a failed reservation aborts
//! the process. After this walk every count is one that the frame's own bytes bear out.

use super::shapes::{Field, Shape, Table};

/// Nothing in the tables is deeper; a bound all the same, because the walk recurses.
const DEPTH_MAX: usize = 8;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misshapen(pub(super) String);

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    version: i16,
    flexible: bool,
}

/// `body` begins behind the answer's header. Bytes behind the last field are left alone, as other clients do.
pub(super) fn check(table: &Table, version: i16, body: &[u8]) -> Result<(), Misshapen> {
    let mut walk = Walk { bytes: body, at: 0, version, flexible: version >= table.flexible };
    walk.structure(table.fields, table.tags, 0)
}

/// Length of an answer's header: v0 is the correlation id, v1 has tagged fields behind it.
pub(super) fn header_length(header_version: i16, frame: &[u8]) -> Result<usize, Misshapen> {
    let mut walk = Walk { bytes: frame, at: 0, version: header_version, flexible: header_version >= 1 };
    walk.skip(4)?;
    if header_version >= 1 {
        walk.tags(&[], 0)?;
    }
    Ok(walk.at)
}

impl Walk<'_> {
    fn wrong<T>(&self, what: &str) -> Result<T, Misshapen> {
        Err(Misshapen(format!("{what} at byte {} of {}", self.at, self.bytes.len())))
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn skip(&mut self, length: usize) -> Result<(), Misshapen> {
        if length > self.left() {
            return self.wrong(&format!("{length} more bytes are claimed"));
        }
        self.at += length;
        Ok(())
    }

    fn int(&mut self, length: usize) -> Result<i64, Misshapen> {
        let from = self.at;
        self.skip(length)?;
        let bytes = &self.bytes[from..self.at];
        let sign = if bytes.first().is_some_and(|it| it & 0x80 != 0) { -1 } else { 0 };
        Ok(bytes.iter().fold(sign, |value, byte| (value << 8) | i64::from(*byte)))
    }

    fn unsigned_varint(&mut self) -> Result<u64, Misshapen> {
        let mut value = 0;
        for shift in 0..5 {
            let Some(byte) = self.bytes.get(self.at) else { return self.wrong("a varint is cut off") };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return if value <= u64::from(u32::MAX) { Ok(value) } else { self.wrong("a varint is over 32 bits") };
            }
        }
        self.wrong("a varint is longer than 5 bytes")
    }

    /// Of a string, of bytes or of an array; null is 0.
    fn length(&mut self, classic_width: usize) -> Result<usize, Misshapen> {
        let length = if self.flexible {
            i64::try_from(self.unsigned_varint()?).unwrap_or(i64::MAX) - 1
        } else {
            self.int(classic_width)?
        };
        match usize::try_from(length) {
            Ok(length) => Ok(length),
            Err(_) if length == -1 => Ok(0),
            Err(_) => self.wrong("a length is negative"),
        }
    }

    fn shape(&mut self, shape: &Shape, depth: usize) -> Result<(), Misshapen> {
        if depth > DEPTH_MAX {
            return self.wrong("nested too deeply");
        }
        match shape {
            Shape::Fixed(width) => self.skip(*width),
            Shape::Text => {
                let length = self.length(2)?;
                self.skip(length)
            }
            Shape::Bytes => {
                let length = self.length(4)?;
                self.skip(length)
            }
            Shape::Structure(fields) => self.structure(fields, &[], depth),
            Shape::List(element) => {
                let count = self.count()?;
                for _ in 0..count {
                    self.shape(element, depth + 1)?;
                }
                Ok(())
            }
            Shape::Structures(fields, tags) => {
                let count = self.count()?;
                for _ in 0..count {
                    self.structure(fields, tags, depth + 1)?;
                }
                Ok(())
            }
        }
    }

    fn count(&mut self) -> Result<usize, Misshapen> {
        let count = self.length(4)?;
        // No element is smaller than a byte.
        if count > self.left() { self.wrong(&format!("{count} elements are claimed")) } else { Ok(count) }
    }

    fn structure(&mut self, fields: &[Field], tags: &[(u64, Shape)], depth: usize) -> Result<(), Misshapen> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version)) {
            self.shape(&field.shape, depth)?;
        }
        if self.flexible { self.tags(tags, depth) } else { Ok(()) }
    }

    fn tags(&mut self, known: &[(u64, Shape)], depth: usize) -> Result<(), Misshapen> {
        for _ in 0..self.unsigned_varint()? {
            let tag = self.unsigned_varint()?;
            let size = usize::try_from(self.unsigned_varint()?).unwrap_or(usize::MAX);
            let from = self.at;
            self.skip(size)?;
            if let Some((_, shape)) = known.iter().find(|(number, _)| *number == tag) {
                self.at = from;
                self.shape(shape, depth + 1)?;
                if self.at != from + size {
                    return self.wrong("a tagged field is not as long as it says");
                }
            }
        }
        Ok(())
    }
}
