//! How a datum stands in a record's value, and how it says its schema.

use std::fmt;

/// Of Confluent's wire format: a zero byte, then the schema's id.
const CONFLUENT_MAGIC: u8 = 0;
const CONFLUENT_HEADER_BYTES: usize = 5;
/// "Single-object encoding" of the Avro specification, version 1.
const SINGLE_OBJECT_MAGIC: [u8; 2] = [0xc3, 0x01];
const SINGLE_OBJECT_HEADER_BYTES: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `00`, the schema's id in a registry as big-endian int32, the datum.
    Confluent,
    /// `c3 01`, the CRC-64-AVRO fingerprint of the schema, little-endian, the datum.
    SingleObject,
    /// The datum alone.
    Raw,
}

/// What a value says of its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Marker {
    Id(i32),
    /// As `Schema::fingerprint` has it.
    Fingerprint([u8; 8]),
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingFault {
    /// The value is shorter than the framing's header.
    TooShort { framing: Framing, bytes: usize },
    /// It begins with other bytes than the framing does.
    Magic { framing: Framing, found: [u8; 2] },
    /// A registry counts its ids from 1.
    NegativeId(i32),
}

impl Framing {
    /// As people name it in arguments and programs read it; it stays as it is.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confluent => "confluent",
            Self::SingleObject => "single-object",
            Self::Raw => "raw",
        }
    }

    /// The schema's marker, and the datum.
    pub fn split(self, value: &[u8]) -> Result<(Marker, &[u8]), FramingFault> {
        match self {
            Self::Raw => Ok((Marker::None, value)),
            Self::Confluent => {
                let (header, datum) = self.header::<CONFLUENT_HEADER_BYTES>(value)?;
                let [magic, id @ ..] = header;
                if magic != CONFLUENT_MAGIC {
                    return Err(FramingFault::Magic { framing: self, found: [magic, id[0]] });
                }
                match i32::from_be_bytes(id) {
                    id if id < 0 => Err(FramingFault::NegativeId(id)),
                    id => Ok((Marker::Id(id), datum)),
                }
            }
            Self::SingleObject => {
                let (header, datum) = self.header::<SINGLE_OBJECT_HEADER_BYTES>(value)?;
                let [first, second, fingerprint @ ..] = header;
                if [first, second] != SINGLE_OBJECT_MAGIC {
                    return Err(FramingFault::Magic { framing: self, found: [first, second] });
                }
                Ok((Marker::Fingerprint(fingerprint), datum))
            }
        }
    }

    fn header<const N: usize>(self, value: &[u8]) -> Result<([u8; N], &[u8]), FramingFault> {
        let split = value.split_first_chunk::<N>().map(|(header, datum)| (*header, datum));
        split.ok_or(FramingFault::TooShort { framing: self, bytes: value.len() })
    }
}

impl Marker {
    /// What stands before the datum under this marker.
    pub fn header(self) -> Vec<u8> {
        match self {
            Self::Id(id) => [&[CONFLUENT_MAGIC][..], &id.to_be_bytes()].concat(),
            Self::Fingerprint(fingerprint) => [&SINGLE_OBJECT_MAGIC[..], &fingerprint].concat(),
            Self::None => Vec::new(),
        }
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "schema id {id}"),
            // As tools print it, which is not the order of the bytes.
            Self::Fingerprint(bytes) => write!(f, "schema fingerprint {:016x}", u64::from_le_bytes(*bytes)),
            Self::None => write!(f, "no marker"),
        }
    }
}

impl FramingFault {
    /// As programs read it; it stays as it is.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooShort { .. } => "framing_too_short",
            Self::Magic { .. } => "framing_magic",
            Self::NegativeId(_) => "framing_negative_id",
        }
    }
}

impl fmt::Display for FramingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { framing, bytes } => {
                write!(f, "{bytes} bytes are too few for {}", framing.meaning())
            }
            Self::Magic { framing, found: [first, second] } => {
                write!(f, "the value begins with {first:02x} {second:02x}, which is not {}", framing.meaning())
            }
            Self::NegativeId(id) => write!(f, "{id} is no schema id"),
        }
    }
}

impl std::error::Error for FramingFault {}

impl Framing {
    fn meaning(self) -> &'static str {
        match self {
            Self::Confluent => "Confluent's wire format (00, then 4 bytes of schema id)",
            Self::SingleObject => "Avro's single-object encoding (c3 01, then 8 bytes of fingerprint)",
            Self::Raw => "a bare datum",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_framing_says_its_schema() {
        let value = [0, 0, 0, 1, 2, 9, 9];
        assert_eq!(Framing::Confluent.split(&value), Ok((Marker::Id(258), &[9, 9][..])));
        let value = [0xc3, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let marker = Marker::Fingerprint([1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Framing::SingleObject.split(&value), Ok((marker, &[9][..])));
        assert_eq!(marker.to_string(), "schema fingerprint 0807060504030201");
        assert_eq!(Framing::Raw.split(&[]), Ok((Marker::None, &[][..])));
        // A datum may have no byte.
        assert_eq!(Framing::Confluent.split(&[]).map_err(FramingFault::name), Err("framing_too_short"));
        assert_eq!(Framing::Confluent.split(&[0, 0, 0, 0, 7]), Ok((Marker::Id(7), &[][..])));
        for (framing, marker) in [(Framing::Confluent, Marker::Id(7)), (Framing::SingleObject, marker)] {
            assert_eq!(framing.split(&marker.header()), Ok((marker, &[][..])));
        }
    }

    #[test]
    fn another_framing_is_told() {
        let told = |framing: Framing, value: &[u8]| {
            framing.split(value).map_err(|fault| (fault.name(), fault.to_string())).unwrap_err()
        };
        let json = told(Framing::Confluent, b"{\"a\": 1}");
        assert_eq!(json.0, "framing_magic");
        assert!(json.1.starts_with("the value begins with 7b 22, which is not Confluent's"), "{}", json.1);
        assert_eq!(told(Framing::SingleObject, &[0xc3, 2, 0, 0, 0, 0, 0, 0, 0, 0]).0, "framing_magic");
        assert_eq!(told(Framing::SingleObject, &[0xc3, 1, 0, 0, 0, 0, 0, 0, 0]).0, "framing_too_short");
        assert_eq!(told(Framing::Confluent, &[0, 0, 0, 1]).1.split(" for").next(), Some("4 bytes are too few"));
        assert_eq!(
            told(Framing::Confluent, &[0, 0xff, 0xff, 0xff, 0xff]),
            ("framing_negative_id", "-1 is no schema id".into())
        );
    }
}
