//! One dead letter, as far as it can be read.

use super::list::LetterRow;
use super::{UndeliveredError, delivered, partition};
use crate::avro::Schema;
use crate::dead_letters::{Letter, LetterId, Part};
use crate::positions::Link;
use crate::reader;
use crate::schemas::{self, TopicCheck, decoded};
use crate::topics::plan::TopicRules;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;

/// Of each field: a terminal is no place for megabytes, and the beginning shows the framing.
const SHOWN_BYTES_MAX: usize = 512;

#[derive(Clone, Debug, Serialize)]
pub struct ShownLetter {
    #[serde(flatten)]
    pub letter: LetterRow,
    /// The record's own, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The record's own, in their order.
    pub headers: Vec<HeaderShown>,
    /// None: null.
    pub key: Option<PartShown>,
    pub value: Option<PartShown>,
}

#[derive(Clone, Debug, Serialize)]
pub struct HeaderShown {
    pub name: String,
    /// None: null.
    pub value: Option<PartShown>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct PartShown {
    pub bytes: usize,
    /// Where it is UTF-8. Its beginning, as `hex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    pub hex: String,
    /// The schema that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_id: Option<i32>,
    /// Decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// How far it can be decoded, and why not farther.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// `id`: as `list` names it.
pub async fn show(link: &Link<'_>, id: &str) -> Result<ShownLetter, UndeliveredError> {
    let LetterId { partition: number, offset } = id.parse()?;
    let topic = link.config().dead_letter_topic();
    let no_such = || UndeliveredError::NoSuch { id: id.to_owned(), topic: topic.clone() };
    let (cluster, (_, target)) = (&link.ends().target, link.metadata());
    let partitions = target.topics.get(topic.as_str()).map_or(0, |it| it.partitions.len());
    if usize::try_from(number).is_ok_and(|it| it >= partitions) {
        return Err(no_such());
    }
    let at = partition(link, number);
    if !cluster.committed_range(target, &at).await?.contains(&offset) {
        return Err(no_such());
    }
    let mut found = None;
    reader::each(cluster, &at, offset..offset + 1, |batch, record| {
        let original = Letter::original(record);
        found = Letter::read(record).zip(original).map(|it| (it.0, it.1, batch.timestamp(record)));
        Ok::<_, UndeliveredError>(())
    })
    .await?;
    let (letter, original, timestamp_ms) = found.ok_or_else(no_such)?;
    let record = original.view().ok_or_else(no_such)?;
    let rule = TopicRules::compile(link.config()).matches(&letter.source.topic);
    let check = rule.and_then(|it| link.ends().checks.of(it.rule, &letter.source.topic));
    let (mut key, mut value) = (record.key.map(plain), record.value.map(plain));
    for (part, bytes, shown) in [(Part::Key, record.key, &mut key), (Part::Value, record.value, &mut value)] {
        if let Some((bytes, shown)) = bytes.zip(shown.as_mut()) {
            decode(link, check.as_ref(), part, bytes, shown).await;
        }
    }
    let headers = record
        .headers()
        .map(|(name, value)| HeaderShown { name: String::from_utf8_lossy(name).into_owned(), value: value.map(plain) });
    let headers = headers.collect();
    let id = LetterId { partition: number, offset };
    let delivered = delivered(link, &letter, id);
    Ok(ShownLetter { letter: LetterRow::of(letter, id, delivered), timestamp_ms, headers, key, value })
}

fn plain(bytes: &[u8]) -> PartShown {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let mut hex = String::with_capacity(shown.len() * 2);
    for byte in shown {
        let _ = write!(hex, "{byte:02x}");
    }
    // Cut within a character, it is text all the same.
    let text = match std::str::from_utf8(shown) {
        Ok(text) => Some(text.to_owned()),
        Err(error) if error.error_len().is_none() && shown.len() < bytes.len() => {
            std::str::from_utf8(&shown[..error.valid_up_to()]).ok().map(str::to_owned)
        }
        Err(_) => None,
    };
    PartShown { bytes: bytes.len(), text, hex, ..PartShown::default() }
}

/// By the schema that the topic's check holds it against; nothing where it is not checked.
async fn decode(link: &Link<'_>, check: Option<&TopicCheck>, part: Part, bytes: &[u8], shown: &mut PartShown) {
    let Some(check) = check.and_then(|it| it.part(part)) else { return };
    let decoded = decoded(check, link.ends().schemas.source.as_ref(), bytes).await;
    shown.schema_id = decoded.schema_id;
    match decoded.json {
        Ok(json) => shown.json = Some(json),
        Err(fault) => shown.fault = Some(fault),
    }
}

pub(super) async fn registered(link: &Link<'_>, id: i32) -> Result<Schema, String> {
    schemas::registered(link.ends().schemas.source.as_ref(), id).await
}
