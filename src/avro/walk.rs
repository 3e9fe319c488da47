//! The walk over a datum's bytes: no value is built, and nothing is allocated until something is wrong.
//!
//! What it takes is what a strict reader of the specification takes ("Binary Encoding"); where the specification leaves
//! it open, what Java's `BinaryDecoder` takes:
//! - A number may be longer than it need be (`80 00` is 0), up to 5 bytes for an int, the index of a union and that of an
//!   enum, and up to 10 for a long. Bits beyond 32 or 64 are refused, where Java drops them: another reader would see
//!   another number.
//! - The size of a block is held against its items, which Java believes only when it skips.
//! - Keys of a map may come twice; the last one counts for Java.
//!
//! The work is bounded by the bytes: each op that is walked takes one at least or holds one that does, so nothing costs more
//! than `bytes × DEPTH_MAX`, whatever the counts claim.

use super::decimal::UNSCALED_BYTES_MAX;
use super::fault::FaultKind;
use super::program::{Children, Op, OpId, Program};

/// Records, arrays, maps and unions within each other. The walk recurses, and a datum of a recursive schema decides how
/// deeply; its JSON is as deep, and parsers of JSON stop at 128.
pub(super) const DEPTH_MAX: u32 = 120;
/// Items without a byte (nulls, empty records) of all arrays of a datum: two bytes can claim 2^60 of them, and a reader
/// makes an object of each.
pub(super) const EMPTY_ITEMS_MAX: u64 = 65_536;

const SIMD_BYTES_MIN: usize = 64;
const DAY_MILLIS: i64 = 86_400_000;
const DAY_MICROS: i64 = 1_000 * DAY_MILLIS;

pub(super) type Walked<T = ()> = Result<T, FaultKind>;

/// Where a fault was met, innermost first; written while the walk unwinds, so that a valid datum pays nothing.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Field {
        record: OpId,
        field: usize,
    },
    Item(u64),
    /// The key's bytes in the datum.
    Value {
        from: usize,
        to: usize,
    },
    /// Of a key that could not be read: its place among the entries.
    Key(u64),
}

pub(super) struct Walk<'a> {
    program: &'a Program,
    bytes: &'a [u8],
    at: usize,
    empty_items_left: u64,
    /// Of the array or map that was walked last, for a rule's test of it.
    items: u64,
    pub(super) fault_at: usize,
    pub(super) trail: Vec<Step>,
    #[cfg(test)]
    pub(super) steps: u64,
    /// A check that is left out, to show that its tests miss it.
    #[cfg(test)]
    pub(super) without: Option<FaultKind>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(program: &'a Program, bytes: &'a [u8]) -> Self {
        Self {
            program,
            bytes,
            at: 0,
            empty_items_left: EMPTY_ITEMS_MAX,
            items: 0,
            fault_at: 0,
            trail: Vec::new(),
            #[cfg(test)]
            steps: 0,
            #[cfg(test)]
            without: None,
        }
    }

    pub(super) fn datum(&mut self) -> Walked {
        self.value(self.program.root, 0)?;
        self.ensure(self.at == self.bytes.len(), FaultKind::TrailingBytes, self.at)
    }

    #[cold]
    fn fault<T>(&mut self, kind: FaultKind, at: usize) -> Walked<T> {
        self.fault_at = at;
        Err(kind)
    }

    #[inline]
    fn ensure(&mut self, holds: bool, kind: FaultKind, at: usize) -> Walked {
        #[cfg(test)]
        let holds = holds || self.without == Some(kind);
        if holds { Ok(()) } else { self.fault(kind, at) }
    }

    fn value(&mut self, id: OpId, depth: u32) -> Walked {
        #[cfg(test)]
        {
            self.steps += 1;
        }
        let from = self.at;
        match self.program.ops[id as usize] {
            Op::Nothing => Ok(()),
            Op::Boolean => {
                let byte = self.take(1)?[0];
                self.ensure(byte <= 1, FaultKind::Boolean, from)
            }
            Op::Int => self.int().map(drop),
            Op::Long => self.long().map(drop),
            Op::TimeMillis => {
                let value = i64::from(self.int()?);
                self.ensure((0..DAY_MILLIS).contains(&value), FaultKind::TimeOfDay, from)
            }
            Op::TimeMicros => {
                let value = self.long()?;
                self.ensure((0..DAY_MICROS).contains(&value), FaultKind::TimeOfDay, from)
            }
            Op::Fixed(size) => self.take(size).map(drop),
            Op::Bytes => self.bytes().map(drop),
            Op::Text => self.text().map(drop),
            Op::Uuid => {
                let is_uuid = is_uuid(self.bytes()?);
                self.ensure(is_uuid, FaultKind::Uuid, from)
            }
            Op::Decimal(index) => {
                let decimal = &self.program.decimals[index as usize];
                let unscaled = match decimal.size {
                    Some(size) => self.take(size)?,
                    None => self.bytes()?,
                };
                // Java's BigInteger refuses no bytes.
                let holds = !unscaled.is_empty() && decimal.largest.holds(unscaled);
                self.ensure(holds, FaultKind::Decimal, from)
            }
            Op::BigDecimal => {
                let bytes = self.bytes()?;
                self.ensure(big_decimal(bytes).is_some(), FaultKind::Decimal, from)
            }
            Op::Enum(count) => {
                let index = self.int()?;
                let is_known = u32::try_from(index).is_ok_and(|it| it < count);
                self.ensure(is_known, FaultKind::EnumIndex, from)
            }
            Op::Array(items) => self.blocks(items, false, depth),
            Op::Map(values) => self.blocks(values, true, depth),
            Op::Union(branches) => self.union(branches, depth),
            Op::Record(fields) => self.record(id, fields, depth),
            Op::Checked { inner, test } => {
                self.value(inner, depth)?;
                let test = &self.program.tests[test as usize];
                let holds = test.holds(&self.bytes[from..self.at], self.items);
                self.ensure(holds, test.kind(), from)
            }
        }
    }

    fn union(&mut self, branches: Children, depth: u32) -> Walked {
        let from = self.at;
        self.ensure(depth < DEPTH_MAX, FaultKind::TooDeep, from)?;
        let index = self.int()?;
        let branch = usize::try_from(index).ok().and_then(|it| self.program.of(branches).get(it));
        match branch {
            Some(branch) => self.value(*branch, depth + 1),
            None => self.fault(FaultKind::UnionIndex, from),
        }
    }

    fn record(&mut self, id: OpId, fields: Children, depth: u32) -> Walked {
        self.ensure(depth < DEPTH_MAX, FaultKind::TooDeep, self.at)?;
        for (child, op) in self.program.of(fields).iter().enumerate() {
            if let Err(kind) = self.value(*op, depth + 1) {
                self.trail.push(Step::Field { record: id, field: self.program.field(fields, child) });
                return Err(kind);
            }
        }
        Ok(())
    }

    fn blocks(&mut self, item: OpId, is_map: bool, depth: u32) -> Walked {
        self.ensure(depth < DEPTH_MAX, FaultKind::TooDeep, self.at)?;
        let is_nothing = !is_map && matches!(self.program.ops[item as usize], Op::Nothing);
        let mut before: u64 = 0;
        loop {
            let block = self.at;
            let count = self.long()?;
            if count == 0 {
                self.items = before;
                return Ok(());
            }
            let end = if count < 0 { Some(self.block_end()?) } else { None };
            let count = count.unsigned_abs();
            if is_nothing {
                self.ensure(count <= self.empty_items_left, FaultKind::TooManyItems, block)?;
                self.empty_items_left = self.empty_items_left.saturating_sub(count);
            } else {
                for index in 0..count {
                    self.item(item, is_map, depth, before.saturating_add(index))?;
                }
            }
            self.ensure(end.is_none_or(|it| it == self.at), FaultKind::BlockSize, block)?;
            before = before.saturating_add(count);
        }
    }

    #[inline]
    fn item(&mut self, item: OpId, is_map: bool, depth: u32, index: u64) -> Walked {
        let mut step = Step::Item(index);
        if is_map {
            match self.text() {
                Ok(key) => step = Step::Value { from: self.at - key.len(), to: self.at },
                Err(kind) => {
                    self.trail.push(Step::Key(index));
                    return Err(kind);
                }
            }
        }
        let walked = self.value(item, depth + 1);
        if walked.is_err() {
            self.trail.push(step);
        }
        walked
    }

    fn block_end(&mut self) -> Walked<usize> {
        let from = self.at;
        let size = self.long()?;
        self.ensure(size >= 0, FaultKind::BlockSize, from)?;
        let end = usize::try_from(size).ok().and_then(|it| self.at.checked_add(it));
        match end.filter(|it| *it <= self.bytes.len()) {
            Some(end) => Ok(end),
            None => self.fault(FaultKind::Truncated, from),
        }
    }

    /// A length that the bytes bear out.
    #[inline]
    fn length(&mut self, from: usize) -> Walked<usize> {
        let length = self.long()?;
        match u64::try_from(length) {
            Ok(length) if length <= (self.bytes.len() - self.at) as u64 => Ok(length as usize),
            Ok(_) => self.fault(FaultKind::Truncated, from),
            Err(_) => self.fault(FaultKind::NegativeLength, from),
        }
    }

    #[inline]
    fn take(&mut self, size: usize) -> Walked<&'a [u8]> {
        match self.bytes[self.at..].get(..size) {
            Some(taken) => {
                self.at += size;
                Ok(taken)
            }
            None => self.fault(FaultKind::Truncated, self.at),
        }
    }

    #[inline]
    fn bytes(&mut self) -> Walked<&'a [u8]> {
        let length = self.length(self.at)?;
        self.take(length)
    }

    #[inline]
    fn text(&mut self) -> Walked<&'a [u8]> {
        let from = self.at;
        let bytes = self.bytes()?;
        self.ensure(is_utf8(bytes), FaultKind::Utf8, from)?;
        Ok(bytes)
    }

    #[inline]
    fn int(&mut self) -> Walked<i32> {
        let value = match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                u32::from(*byte)
            }
            _ => self.varint(5, 32)? as u32,
        };
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    #[inline]
    fn long(&mut self) -> Walked<i64> {
        let value = match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                u64::from(*byte)
            }
            _ => self.varint(10, 64)?,
        };
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn varint(&mut self, length_max: usize, bits: u32) -> Walked<u64> {
        let from = self.at;
        let mut value = 0;
        for (index, byte) in self.bytes[from..].iter().take(length_max).enumerate() {
            let (part, shift) = (u64::from(byte & 0x7f), 7 * index as u32);
            // Only the last byte can have too many bits.
            let is_wide = shift + 7 > bits && part >> (bits - shift) != 0;
            self.ensure(!is_wide, FaultKind::Varint, from)?;
            value |= part << shift;
            if *byte < 0x80 {
                self.at = from + index + 1;
                return Ok(value);
            }
        }
        let is_cut = self.bytes.len() - from < length_max;
        self.fault(if is_cut { FaultKind::Truncated } else { FaultKind::Varint }, from)
    }
}

fn is_utf8(bytes: &[u8]) -> bool {
    if bytes.len() > SIMD_BYTES_MIN {
        simdutf8::basic::from_utf8(bytes).is_ok()
    } else {
        bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
    }
}

/// As RFC 4122 writes it: 8-4-4-4-12 hexadecimal digits. Counted, not matched byte by byte: so it is done in vectors.
pub(super) fn is_uuid(text: &[u8]) -> bool {
    let Ok(text) = <&[u8; 36]>::try_from(text) else { return false };
    let digits: u32 = text.iter().map(|it| u32::from(it.is_ascii_hexdigit())).sum();
    digits == 32 && [8, 13, 18, 23].iter().all(|at| text[*at] == b'-')
}

/// Unscaled value and scale: bytes and an int within bytes, as Java's `Conversions.BigDecimalConversion` writes them.
pub(super) fn big_decimal(bytes: &[u8]) -> Option<(&[u8], i32)> {
    let (length, from) = leading_varint(bytes)?;
    let unscaled = bytes[from..].get(..usize::try_from(length).ok()?)?;
    let (scale, length) = leading_varint(&bytes[from + unscaled.len()..])?;
    let is_whole = from + unscaled.len() + length == bytes.len();
    let is_bounded = !unscaled.is_empty() && unscaled.len() <= UNSCALED_BYTES_MAX;
    (is_whole && is_bounded).then_some((unscaled, i32::try_from(scale).ok()?))
}

/// A long, and how many bytes it has.
pub(super) fn leading_varint(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value: u64 = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Some(((value >> 1) as i64 ^ -((value & 1) as i64), index + 1));
        }
    }
    None
}
