//! Events that are invalid on purpose, for those who want to see what becomes of them.

use crate::avro::{Framing, Marker, Schema, Validator};
use fastrand::Rng;

/// Ids and fingerprints that no registry hands out.
const UNKNOWN_ID: i32 = i32::MAX;
const UNKNOWN_FINGERPRINT: [u8; 8] = [0xff; 8];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Poison {
    /// The value ends within the datum.
    Truncated,
    /// Something stands behind the datum.
    TrailingBytes,
    /// The value has no bytes at all.
    Empty,
    /// JSON, as from a producer without a serializer.
    Json,
    /// The framing's first byte is another.
    Magic,
    /// A schema that nobody registered.
    UnknownSchema,
}

impl Poison {
    pub const ALL: [Self; 6] =
        [Self::Truncated, Self::TrailingBytes, Self::Empty, Self::Json, Self::Magic, Self::UnknownSchema];

    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing_bytes",
            Self::Empty => "empty",
            Self::Json => "json",
            Self::Magic => "magic",
            Self::UnknownSchema => "unknown_schema",
        }
    }
}

/// Makes a valid event invalid. What the dice say may be valid after all, as no bytes are a datum of type null; then something
/// is put behind it, which is always wrong.
pub fn poison(schema: &Schema, framing: Framing, marker: Marker, datum: &[u8], random: &mut Rng) -> (Poison, Vec<u8>) {
    let kinds = if framing == Framing::Raw { &Poison::ALL[..4] } else { &Poison::ALL[..] };
    let kind = random.choice(kinds).copied().unwrap_or(Poison::TrailingBytes);
    let header = marker.header();
    let value = match kind {
        Poison::Truncated => [&header[..], &datum[..datum.len() / 2]].concat(),
        Poison::TrailingBytes => trailing(&header, datum),
        Poison::Empty => Vec::new(),
        Poison::Json => br#"{"this":"is no Avro"}"#.to_vec(),
        Poison::Magic => {
            let mut value = [&header[..], datum].concat();
            value.iter_mut().take(1).for_each(|it| *it = !*it);
            value
        }
        Poison::UnknownSchema => {
            let unknown = match marker {
                Marker::Id(_) => Marker::Id(UNKNOWN_ID),
                _ => Marker::Fingerprint(UNKNOWN_FINGERPRINT),
            };
            [&unknown.header()[..], datum].concat()
        }
    };
    if is_valid(schema, framing, marker, &value) {
        return (Poison::TrailingBytes, trailing(&header, datum));
    }
    (kind, value)
}

fn trailing(header: &[u8], datum: &[u8]) -> Vec<u8> {
    [header, datum, b"\0trailing"].concat()
}

fn is_valid(schema: &Schema, framing: Framing, marker: Marker, value: &[u8]) -> bool {
    let Ok((found, datum)) = framing.split(value) else { return false };
    found == marker && Validator::compile(schema, &[]).is_ok_and(|it| it.check(datum).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::SchemaText;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_comes_and_is_invalid() {
        let mut random = Rng::with_seed(3);
        for text in ["\"null\"", "\"string\"", r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#]
        {
            let schema = Schema::parse(&SchemaText { text: text.to_owned(), references: Vec::new() }).unwrap();
            let made = schema.sample(0, &mut |below| random.u64(..below.max(1)));
            let datum = schema.encode_json(&made).unwrap();
            for (framing, marker) in [
                (Framing::Raw, Marker::None),
                (Framing::Confluent, Marker::Id(7)),
                (Framing::SingleObject, Marker::Fingerprint(schema.fingerprint())),
            ] {
                let mut seen = BTreeSet::new();
                for _ in 0..200 {
                    let (kind, value) = poison(&schema, framing, marker, &datum, &mut random);
                    assert!(!is_valid(&schema, framing, marker, &value), "{kind:?} of {text} is valid");
                    seen.insert(kind);
                }
                let expected = match (framing, text) {
                    (Framing::Raw, "\"null\"") => 2,
                    (Framing::Raw, _) => 4,
                    (_, "\"null\"") => 5,
                    _ => 6,
                };
                assert!(seen.len() >= expected, "{framing:?} {text}: {seen:?}");
            }
        }
    }

    #[test]
    fn each_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Poison::ALL.into_iter().map(Poison::name).collect();
        assert_eq!(names.len(), Poison::ALL.len());
    }
}
