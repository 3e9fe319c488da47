//! Corrected values of dead letters, as lines of JSON: `{"id": "3-1200", "value": {…}}`.

use super::UndeliveredError;
use super::show::registered;
use crate::avro::{Framing, JsonFault, Marker};
use crate::dead_letters::{Letter, LetterId, Part};
use crate::positions::Link;
use crate::produce::{LineFault, Lines};
use crate::schemas::{Expected, TopicCheck};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::io::AsyncBufRead;

/// Of one file: who corrects more of them by hand mends a schema instead.
const LINES_MAX: usize = 100_000;
/// All of them are kept in memory.
const BYTES_MAX: usize = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CorrectionFault {
    #[error("{0}")]
    Line(#[from] LineFault),
    #[error("is no correction: {0}. A line is {{\"id\": \"3-1200\", \"value\": …}}")]
    Form(serde_json::Error),
    #[error("letter {id} was corrected by line {before} already")]
    Twice { id: LetterId, before: u64 },
    #[error("too many: {LINES_MAX} lines and {BYTES_MAX} bytes are taken at a time. Split the file")]
    TooMany,
    #[error("letter {id}: value.{fault}")]
    Field { id: LetterId, fault: JsonFault },
    #[error("letter {id}: {reason}")]
    Schema { id: LetterId, reason: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: LetterId,
    value: Value,
}

#[derive(Debug)]
pub struct Corrections {
    /// With the numbers of their lines.
    by_id: BTreeMap<LetterId, (u64, Value)>,
    /// Of the source's registry, instead of the one that a letter names.
    schema_id: Option<i32>,
}

impl Corrections {
    pub async fn read<R: AsyncBufRead + Unpin>(reader: R, schema_id: Option<i32>) -> Result<Self, UndeliveredError> {
        let (mut lines, mut by_id, mut bytes) = (Lines::new(reader), BTreeMap::new(), 0);
        loop {
            let wrong = |number, fault| UndeliveredError::Correction { number, fault };
            let json = match lines.next().await {
                Ok(Some(json)) => json,
                Ok(None) => return Ok(Self { by_id, schema_id }),
                Err(fault) => return Err(wrong(lines.number(), fault.into())),
            };
            let number = lines.number();
            bytes += json.to_string().len();
            let Line { id, value } =
                serde_json::from_value(json).map_err(|error| wrong(number, CorrectionFault::Form(error)))?;
            if by_id.len() >= LINES_MAX || bytes > BYTES_MAX {
                return Err(wrong(number, CorrectionFault::TooMany));
            }
            if let Some((before, _)) = by_id.insert(id, (number, value)) {
                return Err(wrong(number, CorrectionFault::Twice { id, before }));
            }
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = LetterId> {
        self.by_id.keys().copied()
    }

    /// The value that takes the place of the letter's, under the schema that the letter names or `schema_id`. None: there is no
    /// correction of it.
    pub(super) async fn of(
        &self,
        link: &Link<'_>,
        check: Option<&TopicCheck>,
        (id, letter, value): (LetterId, &Letter, Option<&[u8]>),
    ) -> Result<Option<Vec<u8>>, UndeliveredError> {
        let Some((number, json)) = self.by_id.get(&id) else { return Ok(None) };
        let wrong = |fault| UndeliveredError::Correction { number: *number, fault };
        let no_schema = |reason: String| wrong(CorrectionFault::Schema { id, reason });
        let check = check.and_then(|it| it.part(Part::Value)).ok_or_else(|| {
            let topic = &letter.source.topic;
            no_schema(format!(
                "values of {topic} are not checked, so nothing says how they are encoded: set value_schema"
            ))
        })?;
        let named = || {
            let split = value.and_then(|it| check.framing.split(it).ok());
            let own = split.and_then(|it| if let Marker::Id(id) = it.0 { Some(id) } else { None });
            self.schema_id
                .or(own)
                .or(letter.why.schema_id.filter(|_| letter.why.part == Part::Value))
                .ok_or_else(|| no_schema("it names no schema of the registry: name one by --schema-id".to_owned()))
        };
        let encoded = match &check.expected {
            Expected::Fixed { schema, fingerprint, .. } => {
                let marker = match check.framing {
                    Framing::Confluent => Marker::Id(named()?),
                    Framing::SingleObject => Marker::Fingerprint(*fingerprint),
                    Framing::Raw => Marker::None,
                };
                schema.encode_json(json).map(|datum| (marker, datum))
            }
            Expected::Registry { .. } => {
                let named = named()?;
                let schema = registered(link, named).await.map_err(no_schema)?;
                schema.encode_json(json).map(|datum| (Marker::Id(named), datum))
            }
        };
        let (marker, datum) = encoded.map_err(|fault| wrong(CorrectionFault::Field { id, fault }))?;
        Ok(Some([marker.header(), datum].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> Result<Corrections, UndeliveredError> {
        Corrections::read(text.as_bytes(), None).await
    }

    #[tokio::test]
    async fn a_line_corrects_one_letter_and_a_wrong_one_is_named() {
        let all = read("{\"id\":\"3-7\",\"value\":{\"a\":1}}\n\n{\"id\":\"0-1\",\"value\":null}\n").await.unwrap();
        let ids: Vec<_> = all.ids().map(|it| it.to_string()).collect();
        assert_eq!(ids, ["0-1", "3-7"]);
        for (text, number, what) in [
            ("{\"id\":\"3-7\"}", 1, "missing field `value`"),
            ("\n{\"id\":\"x\",\"value\":1}", 2, "an id is <partition>-<offset>"),
            ("{\"id\":\"3-7\",\"value\":1,\"key\":2}", 1, "unknown field `key`"),
            ("{\"id\":\"3-7\",\"value\":1}\n{\"id\":\"3-7\",\"value\":2}", 2, "was corrected by line 1 already"),
            ("{", 1, "is no JSON"),
        ] {
            let error = read(text).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {number} ")) && error.contains(what), "{error}");
        }
    }
}
