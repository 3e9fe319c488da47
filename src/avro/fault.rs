//! What can be wrong with a datum, and where.

use std::fmt;

/// A datum is not what its schema or a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// From the root, as rules spell it, with the place in arrays and the key in maps: `items[3].price`, `tags{"size"}.unit`.
    /// Branches of unions do not show. Empty: the datum itself.
    pub path: String,
    /// The byte in the datum at which the value with the fault, or the part of it that is wrong, begins.
    pub at: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the datum" } else { &self.path };
        write!(f, "{path}: {} (byte {})", self.kind.meaning(), self.at)
    }
}

impl std::error::Error for Fault {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    Truncated,
    TrailingBytes,
    Varint,
    Boolean,
    Utf8,
    NegativeLength,
    UnionIndex,
    EnumIndex,
    BlockSize,
    TooDeep,
    TooManyItems,
    Decimal,
    Uuid,
    TimeOfDay,
    RuleRequired,
    RuleRange,
    RuleOneOf,
    RuleMaxLength,
}

impl FaultKind {
    pub const ALL: [Self; 18] = [
        Self::Truncated,
        Self::TrailingBytes,
        Self::Varint,
        Self::Boolean,
        Self::Utf8,
        Self::NegativeLength,
        Self::UnionIndex,
        Self::EnumIndex,
        Self::BlockSize,
        Self::TooDeep,
        Self::TooManyItems,
        Self::Decimal,
        Self::Uuid,
        Self::TimeOfDay,
        Self::RuleRequired,
        Self::RuleRange,
        Self::RuleOneOf,
        Self::RuleMaxLength,
    ];

    /// As programs read it; it stays as it is.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing_bytes",
            Self::Varint => "varint",
            Self::Boolean => "boolean",
            Self::Utf8 => "utf8",
            Self::NegativeLength => "negative_length",
            Self::UnionIndex => "union_index",
            Self::EnumIndex => "enum_index",
            Self::BlockSize => "block_size",
            Self::TooDeep => "too_deep",
            Self::TooManyItems => "too_many_items",
            Self::Decimal => "decimal",
            Self::Uuid => "uuid",
            Self::TimeOfDay => "time_of_day",
            Self::RuleRequired => "rule_required",
            Self::RuleRange => "rule_range",
            Self::RuleOneOf => "rule_one_of",
            Self::RuleMaxLength => "rule_max_length",
        }
    }

    /// As people read it.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Truncated => "the bytes end within the value",
            Self::TrailingBytes => "bytes are left behind the datum",
            Self::Varint => "a number is longer than an int or long can be",
            Self::Boolean => "a boolean is neither 0 nor 1",
            Self::Utf8 => "a string is not UTF-8",
            Self::NegativeLength => "a length is negative",
            Self::UnionIndex => "the union has no such branch",
            Self::EnumIndex => "the enum has no such symbol",
            Self::BlockSize => "a block is not as long as it says",
            Self::TooDeep => "values are nested too deeply",
            Self::TooManyItems => "there are too many items without a byte",
            Self::Decimal => "the decimal has more digits than its precision, or none",
            Self::Uuid => "the string is no UUID",
            Self::TimeOfDay => "the time is not within a day",
            Self::RuleRequired => "a required value is null or empty",
            Self::RuleRange => "the number is outside the range of the rule",
            Self::RuleOneOf => "the value is none that the rule allows",
            Self::RuleMaxLength => "the value is longer than the rule allows",
        }
    }
}
