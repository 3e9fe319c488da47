//! What is kept of a record that waits to be compared, and the hash of a whole sequence of them.

use super::ids::Ids;
use crate::batch::RecordView;
use crate::dead_letters::Part;
use crate::schemas::TopicCheck;
use ring::digest;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};

/// Of Confluent's framing: a magic byte of zero, and the schema's id.
const FRAMED: std::ops::Range<usize> = 1..5;

/// Of which parts the schema's id is left out: in the copy it is another one, the target registry's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mask {
    key: bool,
    value: bool,
}

impl Mask {
    pub(crate) fn of(check: Option<&TopicCheck>) -> Self {
        let renumbers = |part| check.is_some_and(|it| it.renumbers(part));
        Self { key: renumbers(Part::Key), value: renumbers(Part::Value) }
    }

    #[cfg(test)]
    pub(super) fn with_value(self) -> Self {
        Self { value: true, ..self }
    }

    pub(super) fn key<'a>(self, record: &RecordView<'a>) -> Option<Cow<'a, [u8]>> {
        record.key.map(|it| without_id(it, self.key))
    }

    pub(super) fn value<'a>(self, record: &RecordView<'a>) -> Option<Cow<'a, [u8]>> {
        record.value.map(|it| without_id(it, self.value))
    }

    /// Where it is left out; None where the key names none.
    pub(super) fn key_id(self, record: &RecordView<'_>) -> Option<[u8; 4]> {
        record.key.filter(|_| self.key).and_then(id_of)
    }

    pub(super) fn value_id(self, record: &RecordView<'_>) -> Option<[u8; 4]> {
        record.value.filter(|_| self.value).and_then(id_of)
    }

    /// Key, value and headers are the same, but for the ids of mapped schemas: every other bit counts.
    pub(super) fn is_same(self, one: &RecordView<'_>, other: &RecordView<'_>) -> bool {
        one.has_contents_of(other)
            || (self != Self::default()
                && self.key(one) == self.key(other)
                && self.value(one) == self.value(other)
                && one.headers().eq(other.headers()))
    }
}

fn id_of(bytes: &[u8]) -> Option<[u8; 4]> {
    bytes.get(FRAMED).filter(|_| bytes.first() == Some(&0)).and_then(|it| it.try_into().ok())
}

/// With zeros in its place; what is not framed stays as it is.
fn without_id(bytes: &[u8], is_masked: bool) -> Cow<'_, [u8]> {
    if !is_masked || bytes.first() != Some(&0) || bytes.len() < FRAMED.end {
        return Cow::Borrowed(bytes);
    }
    let mut bytes = bytes.to_vec();
    bytes[FRAMED].fill(0);
    Cow::Owned(bytes)
}

/// SHA-256 over timestamp, key, value and headers in their order: two records with the same one are the same record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(timestamp: i64, record: &RecordView<'_>) -> Self {
        Self::masked(timestamp, record, Mask::default())
    }

    /// The ids of mapped schemas do not count: a record and its copy have the same digest.
    pub(crate) fn masked(timestamp: i64, record: &RecordView<'_>, mask: Mask) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&timestamp.to_be_bytes());
        let mut field = |bytes: Option<&[u8]>| {
            // Null and empty differ, and no field can run into the next one.
            context.update(&bytes.map_or(-1, |it| i64::try_from(it.len()).unwrap_or(i64::MAX)).to_be_bytes());
            context.update(bytes.unwrap_or_default());
        };
        field(mask.key(record).as_deref());
        field(mask.value(record).as_deref());
        for (name, value) in record.headers() {
            field(Some(name));
            field(value);
        }
        Self::finished(context)
    }

    fn finished(context: digest::Context) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "not 64 hexadecimal digits";
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(WRONG);
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| WRONG)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// Over all records so far: each link is the hash of the one before and of the next record, so a proof can go on from the
/// last one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain(pub(super) Digest);

impl Default for Chain {
    fn default() -> Self {
        Self(Digest([0; 32]))
    }
}

impl Chain {
    pub(super) fn push(&mut self, record: Digest) {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.0.0);
        context.update(&record.0);
        self.0 = Digest::finished(context);
    }
}

/// A record whose bytes are gone.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) digest: Digest,
    /// Of key, value and headers: what of an altered record is still the same.
    pub(super) key: u128,
    pub(super) value: u128,
    pub(super) headers: u128,
    /// Of mapped schemas.
    pub(super) ids: Ids,
    pub(super) has_key: bool,
    /// No value: in a compacted topic it deletes the key.
    pub(super) is_tombstone: bool,
}

impl Entry {
    pub(super) fn of(offset: i64, timestamp: i64, record: &RecordView<'_>, mask: Mask) -> Self {
        Self {
            offset,
            timestamp,
            digest: Digest::masked(timestamp, record, mask),
            key: fingerprint(mask.key(record).as_deref()),
            value: fingerprint(mask.value(record).as_deref()),
            headers: fingerprint(Some(record.raw_headers)),
            ids: Ids::of(record, mask),
            has_key: record.key.is_some(),
            is_tombstone: record.value.is_none(),
        }
    }
}

/// Two times 64 bits of SipHash, whose key is always the same.
pub(super) fn fingerprint(bytes: Option<&[u8]>) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        hasher.write_u8(u8::from(bytes.is_some()));
        hasher.write(bytes.unwrap_or_default());
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Compression};

    /// A header as it is pushed.
    type Header<'a> = (&'a [u8], Option<&'a [u8]>);

    fn digest(timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> Digest {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(timestamp, key, value, headers);
        let batch = builder.build().unwrap().decode(1 << 10).unwrap();
        let record = batch.records().next().unwrap().unwrap();
        Digest::of(batch.timestamp(&record), &record)
    }

    #[test]
    fn whatever_differs_gives_another_digest() {
        let all = [
            digest(5, Some(b"k"), Some(b"v"), &[]),
            digest(6, Some(b"k"), Some(b"v"), &[]),
            digest(5, Some(b"kv"), Some(b""), &[]),
            digest(5, Some(b"k"), None, &[]),
            digest(5, None, Some(b"v"), &[]),
            digest(5, Some(b"k"), Some(b"v"), &[(b"h", None)]),
            digest(5, Some(b"k"), Some(b"v"), &[(b"h", Some(b""))]),
            digest(5, Some(b"k"), Some(b"v"), &[(b"h", None), (b"h", None)]),
            digest(5, Some(b"k"), Some(b"v"), &[(b"h", None), (b"i", None)]),
            digest(5, Some(b"k"), Some(b"v"), &[(b"i", None), (b"h", None)]),
        ];
        for (index, digest) in all.iter().enumerate() {
            assert!(!all[..index].contains(digest), "{index}");
            assert_eq!(Digest::try_from(String::from(*digest)), Ok(*digest));
        }
        assert_eq!(all[0], digest(5, Some(b"k"), Some(b"v"), &[]));
        assert!(Digest::try_from("00".to_owned()).is_err());
    }

    #[test]
    fn a_chain_knows_the_order() {
        let (one, two) = (digest(1, None, None, &[]), digest(2, None, None, &[]));
        let chain = |all: &[Digest]| {
            let mut chain = Chain::default();
            all.iter().for_each(|it| chain.push(*it));
            chain
        };
        assert_ne!(chain(&[one, two]), chain(&[two, one]));
        assert_ne!(chain(&[one]), chain(&[one, one]));
    }
}
