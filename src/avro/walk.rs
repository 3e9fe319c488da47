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
/// The bit of each byte of a varint that says another follows.
const CONTINUES: u64 = 0x8080_8080_8080_8080;
const DAY_MILLIS: i64 = 86_400_000;
const DAY_MICROS: i64 = 1_000 * DAY_MILLIS;

/// Mostly where a value ends; what was wrong the walk knows. So it fits into registers, where a fault beside it would not.
type Walked<T = usize> = Result<T, Faulted>;

#[derive(Clone, Copy, Debug)]
struct Faulted;

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

/// Where the walk is goes from call to call, and is no field: so it stays in a register.
pub(super) struct Walk<'a> {
    program: &'a Program,
    bytes: &'a [u8],
    empty_items_left: u64,
    /// Of the array or map that was walked last, for a rule's test of it.
    items: u64,
    /// Of the fault; without one it says nothing.
    fault: FaultKind,
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
            empty_items_left: EMPTY_ITEMS_MAX,
            items: 0,
            fault: FaultKind::Truncated,
            fault_at: 0,
            trail: Vec::new(),
            #[cfg(test)]
            steps: 0,
            #[cfg(test)]
            without: None,
        }
    }

    pub(super) fn datum(&mut self) -> Result<(), FaultKind> {
        self.whole().map_err(|Faulted| self.fault)
    }

    fn whole(&mut self) -> Walked<()> {
        let end = self.value(self.program.root, 0, 0)?;
        self.ensure(end == self.bytes.len(), FaultKind::TrailingBytes, end)
    }

    #[cold]
    fn fault<T>(&mut self, kind: FaultKind, at: usize) -> Walked<T> {
        (self.fault, self.fault_at) = (kind, at);
        Err(Faulted)
    }

    #[inline]
    fn ensure(&mut self, holds: bool, kind: FaultKind, at: usize) -> Walked<()> {
        #[cfg(test)]
        let holds = holds || self.without == Some(kind);
        if holds { Ok(()) } else { self.fault(kind, at) }
    }

    /// Inlined where children are walked: most have a few bytes, and a call each would be half of what they cost.
    #[inline(always)]
    fn value(&mut self, mut id: OpId, mut from: usize, mut depth: u32) -> Walked {
        loop {
            #[cfg(test)]
            {
                self.steps += 1;
            }
            return match self.program.ops[id as usize] {
                Op::Nothing => Ok(from),
                Op::Boolean => {
                    let byte = self.take(1, from)?[0];
                    self.ensure(byte <= 1, FaultKind::Boolean, from)?;
                    Ok(from + 1)
                }
                Op::Int => self.skip_int(from),
                Op::Long => self.skip_long(from),
                Op::TimeMillis => {
                    let (value, end) = self.int(from)?;
                    self.ensure((0..DAY_MILLIS).contains(&i64::from(value)), FaultKind::TimeOfDay, from)?;
                    Ok(end)
                }
                Op::TimeMicros => {
                    let (value, end) = self.long(from)?;
                    self.ensure((0..DAY_MICROS).contains(&value), FaultKind::TimeOfDay, from)?;
                    Ok(end)
                }
                Op::Fixed(size) => self.take(size, from).map(|_| from + size),
                Op::Bytes => self.bytes(from).map(|it| it.1),
                Op::Text => self.text(from).map(|it| it.1),
                Op::Uuid => {
                    let (bytes, end) = self.bytes(from)?;
                    self.ensure(is_uuid(bytes), FaultKind::Uuid, from)?;
                    Ok(end)
                }
                Op::Decimal(index) => self.decimal(index, from),
                Op::BigDecimal => {
                    let (bytes, end) = self.bytes(from)?;
                    self.ensure(big_decimal(bytes).is_some(), FaultKind::Decimal, from)?;
                    Ok(end)
                }
                Op::Enum(count) => {
                    let (index, end) = self.int(from)?;
                    let is_known = u32::try_from(index).is_ok_and(|it| it < count);
                    self.ensure(is_known, FaultKind::EnumIndex, from)?;
                    Ok(end)
                }
                Op::Array(items) => self.blocks(items, false, from, depth),
                Op::Map(values) => self.blocks(values, true, from, depth),
                // No call: unions show in no path.
                Op::Union(branches) => {
                    (id, from) = self.branch(branches, from, depth)?;
                    depth += 1;
                    continue;
                }
                Op::Record(fields) => self.record(id, fields, from, depth),
                Op::Checked { inner, test } => self.checked(inner, test, from, depth),
            };
        }
    }

    fn decimal(&mut self, index: u32, from: usize) -> Walked {
        let decimal = &self.program.decimals[index as usize];
        let (unscaled, end) = match decimal.size {
            Some(size) => (self.take(size, from)?, from + size),
            None => self.bytes(from)?,
        };
        // Java's BigInteger refuses no bytes.
        let holds = !unscaled.is_empty() && decimal.largest.holds(unscaled);
        self.ensure(holds, FaultKind::Decimal, from)?;
        Ok(end)
    }

    fn checked(&mut self, inner: OpId, test: u32, from: usize, depth: u32) -> Walked {
        let end = self.value(inner, from, depth)?;
        let test = &self.program.tests[test as usize];
        let holds = test.holds(&self.bytes[from..end], self.items);
        self.ensure(holds, test.kind(), from)?;
        Ok(end)
    }

    /// Which op a union's value is of, and where it begins.
    #[inline]
    fn branch(&mut self, branches: Children, from: usize, depth: u32) -> Walked<(OpId, usize)> {
        self.ensure(depth < DEPTH_MAX, FaultKind::TooDeep, from)?;
        let (index, end) = self.int(from)?;
        let branch = usize::try_from(index).ok().and_then(|it| self.program.of(branches).get(it));
        match branch {
            Some(branch) => Ok((*branch, end)),
            None => self.fault(FaultKind::UnionIndex, from),
        }
    }

    fn record(&mut self, id: OpId, fields: Children, from: usize, depth: u32) -> Walked {
        self.ensure(depth < DEPTH_MAX, FaultKind::TooDeep, from)?;
        let mut at = from;
        for (child, op) in self.program.of(fields).iter().enumerate() {
            match self.value(*op, at, depth + 1) {
                Ok(end) => at = end,
                Err(faulted) => {
                    self.trail.push(Step::Field { record: id, field: self.program.field(fields, child) });
                    return Err(faulted);
                }
            }
        }
        Ok(at)
    }

    fn blocks(&mut self, item: OpId, is_map: bool, from: usize, depth: u32) -> Walked {
        self.ensure(depth < DEPTH_MAX, FaultKind::TooDeep, from)?;
        let is_nothing = !is_map && matches!(self.program.ops[item as usize], Op::Nothing);
        let (mut at, mut before) = (from, 0_u64);
        loop {
            let block = at;
            let (count, behind) = self.long(block)?;
            at = behind;
            if count == 0 {
                self.items = before;
                return Ok(at);
            }
            let mut end = None;
            if count < 0 {
                let (claimed, behind) = self.block_end(at)?;
                (end, at) = (Some(claimed), behind);
            }
            let count = count.unsigned_abs();
            if is_nothing {
                self.ensure(count <= self.empty_items_left, FaultKind::TooManyItems, block)?;
                self.empty_items_left = self.empty_items_left.saturating_sub(count);
            } else {
                for index in 0..count {
                    at = self.item(item, is_map, at, depth, before.saturating_add(index))?;
                }
            }
            self.ensure(end.is_none_or(|it| it == at), FaultKind::BlockSize, block)?;
            before = before.saturating_add(count);
        }
    }

    #[inline(always)]
    fn item(&mut self, item: OpId, is_map: bool, from: usize, depth: u32, index: u64) -> Walked {
        let (mut step, mut at) = (Step::Item(index), from);
        if is_map {
            match self.text(from) {
                Ok((key, end)) => (step, at) = (Step::Value { from: end - key.len(), to: end }, end),
                Err(faulted) => {
                    self.trail.push(Step::Key(index));
                    return Err(faulted);
                }
            }
        }
        let walked = self.value(item, at, depth + 1);
        if walked.is_err() {
            self.trail.push(step);
        }
        walked
    }

    /// Where a block ends by its size, and where the size does.
    fn block_end(&mut self, from: usize) -> Walked<(usize, usize)> {
        let (size, behind) = self.long(from)?;
        self.ensure(size >= 0, FaultKind::BlockSize, from)?;
        let end = usize::try_from(size).ok().and_then(|it| behind.checked_add(it));
        match end.filter(|it| *it <= self.bytes.len()) {
            Some(end) => Ok((end, behind)),
            None => self.fault(FaultKind::Truncated, from),
        }
    }

    #[inline]
    fn take(&mut self, size: usize, from: usize) -> Walked<&'a [u8]> {
        match self.bytes[from..].get(..size) {
            Some(taken) => Ok(taken),
            None => self.fault(FaultKind::Truncated, from),
        }
    }

    /// What stands behind a length that the bytes bear out, and where it ends.
    #[inline(always)]
    fn bytes(&mut self, from: usize) -> Walked<(&'a [u8], usize)> {
        let (length, at) = self.long(from)?;
        let taken = usize::try_from(length).ok().and_then(|it| self.bytes[at..].get(..it));
        match taken {
            Some(taken) => Ok((taken, at + taken.len())),
            None if length < 0 => self.fault(FaultKind::NegativeLength, from),
            None => self.fault(FaultKind::Truncated, from),
        }
    }

    #[inline(always)]
    fn text(&mut self, from: usize) -> Walked<(&'a [u8], usize)> {
        let (bytes, end) = self.bytes(from)?;
        self.ensure(is_utf8(bytes), FaultKind::Utf8, from)?;
        Ok((bytes, end))
    }

    /// An int, and where it ends.
    #[inline]
    fn int(&mut self, from: usize) -> Walked<(i32, usize)> {
        let (value, end) = match self.bytes.get(from) {
            Some(byte) if *byte < 0x80 => (u32::from(*byte), from + 1),
            _ => self.varint(5, 32, from).map(|(value, end)| (value as u32, end))?,
        };
        Ok(((value >> 1) as i32 ^ -((value & 1) as i32), end))
    }

    /// A long, and where it ends.
    #[inline]
    fn long(&mut self, from: usize) -> Walked<(i64, usize)> {
        let (value, end) = match self.bytes.get(from) {
            Some(byte) if *byte < 0x80 => (u64::from(*byte), from + 1),
            _ => self.varint(10, 64, from)?,
        };
        Ok(((value >> 1) as i64 ^ -((value & 1) as i64), end))
    }

    /// As `int`, where the number is of no interest: up to 4 bytes cannot have too many bits.
    #[inline]
    fn skip_int(&mut self, from: usize) -> Walked {
        match self.bytes[from..].first_chunk().map(|it| !u32::from_le_bytes(*it) & CONTINUES as u32) {
            Some(ends) if ends != 0 => Ok(from + ends.trailing_zeros() as usize / 8 + 1),
            _ => self.int(from).map(|it| it.1),
        }
    }

    /// As `long`, where the number is of no interest: up to 8 bytes cannot have too many bits.
    #[inline]
    fn skip_long(&mut self, from: usize) -> Walked {
        match self.bytes[from..].first_chunk().map(|it| !u64::from_le_bytes(*it) & CONTINUES) {
            Some(ends) if ends != 0 => Ok(from + ends.trailing_zeros() as usize / 8 + 1),
            _ => self.long(from).map(|it| it.1),
        }
    }

    #[inline(never)]
    fn varint(&mut self, length_max: usize, bits: u32, from: usize) -> Walked<(u64, usize)> {
        let mut value = 0;
        for (index, byte) in self.bytes[from..].iter().take(length_max).enumerate() {
            let (part, shift) = (u64::from(byte & 0x7f), 7 * index as u32);
            // Only the last byte can have too many bits.
            let is_wide = shift + 7 > bits && part >> (bits - shift) != 0;
            self.ensure(!is_wide, FaultKind::Varint, from)?;
            value |= part << shift;
            if *byte < 0x80 {
                return Ok((value, from + index + 1));
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
    let digits: u8 = text.iter().map(|it| u8::from(it.is_ascii_hexdigit())).sum();
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
