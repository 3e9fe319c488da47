//! Checks that a message has the shape of its schema before `kafka-protocol` decodes it.
//!
//! The generated decoders reserve memory for as many array elements as the message claims, and a failed reservation aborts
//! the process. After this walk every count is one that the frame's own bytes bear out.

use super::{Field, Shape, Table};

/// Nothing in the tables is deeper; a bound all the same, because the walk recurses.
const DEPTH_MAX: usize = 8;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misshapen(pub(crate) String);

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    version: i16,
    flexible: bool,
    elements_left: usize,
}

/// `body` begins behind the message's header. Bytes behind the last field are left alone, as other clients do.
pub(crate) fn check(table: &Table, version: i16, body: &[u8]) -> Result<(), Misshapen> {
    check_within(table, version, body, usize::MAX).map(|_| ())
}

/// As `check`, with a bound on the elements of all arrays: decoded, an element takes many times its bytes in the frame.
/// Returns the length of the message.
pub(crate) fn check_within(table: &Table, version: i16, body: &[u8], elements_max: usize) -> Result<usize, Misshapen> {
    let mut walk =
        Walk { bytes: body, at: 0, version, flexible: version >= table.flexible, elements_left: elements_max };
    walk.structure(table.fields, table.tags, 0)?;
    Ok(walk.at)
}

/// Length of an answer's header: v0 is the correlation id, v1 has tagged fields behind it.
pub(crate) fn header_length(header_version: i16, frame: &[u8]) -> Result<usize, Misshapen> {
    let mut walk =
        Walk { bytes: frame, at: 0, version: header_version, flexible: header_version >= 1, elements_left: 0 };
    walk.skip(4)?;
    if header_version >= 1 {
        walk.tags(&[], 0)?;
    }
    Ok(walk.at)
}

/// Length of the tagged fields that `bytes` begins with.
pub(crate) fn tags_length(bytes: &[u8]) -> Result<usize, Misshapen> {
    let mut walk = Walk { bytes, at: 0, version: 0, flexible: true, elements_left: 0 };
    walk.tags(&[], 0)?;
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
        if count > self.left().min(self.elements_left) {
            return self.wrong(&format!("{count} elements are claimed"));
        }
        self.elements_left -= count;
        Ok(count)
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
