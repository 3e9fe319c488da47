//! A record as a person can read it: by its topic's schema, else as JSON, text, or hexadecimal digits.

use super::read::{Part, Raw};
use crate::avro::{Framing, Marker};
use crate::batch::RecordView;
use crate::bridge::Ends;
use crate::config::{Config, SchemaIds};
use crate::dead_letters::{self, Letter, Part as Where};
use crate::registry::Registry;
use crate::schemas::{Decoded, TopicCheck, decoded, registered};
use crate::topics::plan::TopicRules;
use crate::types::TopicName;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Of a key or value: larger ones are no events, and are shown as they begin.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// Of text, and of what a datum decodes to.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Of what is no text: each byte takes two digits.
const HEX_BYTES_MAX: usize = 1 << 10;
const HEADERS_MAX: usize = 50;
const HEADER_BYTES_MAX: usize = 1 << 10;
const NAME_BYTES_MAX: usize = 256;

#[derive(Serialize)]
pub(super) struct Record {
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    /// None: null.
    key: Option<Shown>,
    value: Option<Shown>,
    headers: Vec<Header>,
    headers_left_out: usize,
    /// Where it comes from, and why it is here.
    dead_letter: Option<DeadLetter>,
}

#[derive(Serialize)]
struct DeadLetter {
    topic: String,
    partition: i32,
    offset: i64,
    reason: String,
    error: String,
    path: String,
}

#[derive(Serialize)]
struct Header {
    name: String,
    value: Option<Shown>,
}

#[derive(Default, Serialize)]
struct Shown {
    /// Of the whole.
    bytes: usize,
    /// `avro`, `json`, `text`, `hex`, `empty`.
    form: &'static str,
    /// Made here, not in the browser, where a long beyond 2^53 would become another number.
    text: String,
    is_cut: bool,
    schema_id: Option<i32>,
    /// Why it is not shown by its schema.
    fault: Option<String>,
}

impl Record {
    pub(super) fn bytes(&self) -> usize {
        let of = |it: &Option<Shown>| it.as_ref().map_or(0, |it| it.text.len());
        of(&self.key) + of(&self.value) + self.headers.iter().map(|it| it.name.len() + of(&it.value)).sum::<usize>()
    }
}

pub(super) fn raw(partition: i32, offset: i64, timestamp_ms: i64, record: &RecordView<'_>) -> Raw {
    let part = |bytes: &[u8], most: usize| Part { bytes: bytes[..bytes.len().min(most)].to_vec(), length: bytes.len() };
    let header = |(name, value): (&[u8], Option<&[u8]>)| {
        let name = String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]).into_owned();
        (name, value.map(|it| part(it, HEADER_BYTES_MAX)))
    };
    Raw {
        partition,
        offset,
        timestamp_ms,
        key: record.key.map(|it| part(it, KEPT_BYTES_MAX)),
        value: record.value.map(|it| part(it, KEPT_BYTES_MAX)),
        headers: record.headers().take(HEADERS_MAX).map(header).collect(),
        headers_left_out: record.headers().count().saturating_sub(HEADERS_MAX),
        letter: Letter::read(record),
    }
}

pub(super) struct Decoder<'a> {
    rules: TopicRules,
    ends: &'a Ends,
    is_source: bool,
    /// The source's name of the topic; None: records are dead letters, each of a topic of its own.
    topic: Option<TopicName>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(
        config: &Config,
        ends: &'a Ends,
        is_source: bool,
        topic: &str,
        copied: &BTreeMap<TopicName, TopicName>,
    ) -> Self {
        let of_source = copied.iter().find(|(from, to)| if is_source { ***from == *topic } else { ***to == *topic });
        Self { rules: TopicRules::compile(config), ends, is_source, topic: of_source.map(|it| it.0.clone()) }
    }

    pub(super) async fn shown(&self, raw: Raw) -> Record {
        let letter = if self.topic.is_none() { raw.letter } else { None };
        let topic = self.topic.clone().or_else(|| letter.as_ref().map(|it| it.source.topic.clone()));
        let check = topic.as_ref().and_then(|it| self.check(it));
        let (mut key, mut value) = (None, None);
        for (part, bytes, shown) in [(Where::Key, raw.key, &mut key), (Where::Value, raw.value, &mut value)] {
            if let Some(it) = bytes {
                *shown = Some(self.part(check.as_ref(), part, it).await);
            }
        }
        let header = |(name, value): (String, Option<Part>)| Header { name, value: value.map(|it| plain(&it)) };
        Record {
            partition: raw.partition,
            offset: raw.offset,
            timestamp_ms: raw.timestamp_ms,
            key,
            value,
            headers: raw.headers.into_iter().map(header).collect(),
            headers_left_out: raw.headers_left_out,
            dead_letter: letter.map(DeadLetter::from),
        }
    }

    fn check(&self, topic: &TopicName) -> Option<TopicCheck> {
        let found = self.rules.matches(topic)?;
        self.ends.checks.of(found.rule, topic)
    }

    /// Dead letters keep the source's ids; a copy has the target's where they are mapped.
    fn registry(&self, check: Option<&TopicCheck>) -> Option<&Registry> {
        let is_mapped = check.is_some_and(|it| it.schema_ids == SchemaIds::Map);
        match self.is_source || self.topic.is_none() || !is_mapped {
            true => self.ends.schemas.source.as_ref(),
            false => self.ends.schemas.target.as_ref(),
        }
    }

    async fn part(&self, check: Option<&TopicCheck>, part: Where, it: Part) -> Shown {
        if it.bytes.len() < it.length {
            return Shown { fault: Some("too large to be decoded".to_owned()), ..plain(&it) };
        }
        let registry = self.registry(check);
        let found = match check.and_then(|it| it.part(part)) {
            Some(check) => Some(decoded(check, registry, &it.bytes).await),
            // No check says so, but it looks as what a registry's producers write.
            None => match (registry, Framing::Confluent.split(&it.bytes)) {
                (Some(registry), Ok((Marker::Id(id), datum))) => match registered(Some(registry), id).await {
                    Ok(schema) => schema.to_json(datum).ok().map(|it| Decoded { schema_id: Some(id), json: Ok(it) }),
                    Err(_) => None,
                },
                _ => None,
            },
        };
        match found {
            Some(Decoded { schema_id, json: Ok(value) }) => Shown { schema_id, ..json("avro", &value, it.length) },
            Some(Decoded { schema_id, json: Err(fault) }) => Shown { schema_id, fault: Some(fault), ..plain(&it) },
            None => plain(&it),
        }
    }
}

impl From<Letter> for DeadLetter {
    fn from(it: Letter) -> Self {
        let dead_letters::Why { reason, error, path, .. } = it.why;
        Self {
            topic: it.source.topic.to_string(),
            partition: it.source.partition,
            offset: it.offset,
            reason: reason.into_owned(),
            error,
            path,
        }
    }
}

fn json(form: &'static str, value: &Value, bytes: usize) -> Shown {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    let is_cut = cut(&mut text);
    Shown { bytes, form, text, is_cut, ..Shown::default() }
}

fn cut(text: &mut String) -> bool {
    let is_cut = text.len() > TEXT_BYTES_MAX;
    if is_cut {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(0);
        text.truncate(end);
    }
    is_cut
}

/// Without a schema.
fn plain(it: &Part) -> Shown {
    let (bytes, is_whole) = (it.length, it.bytes.len() == it.length);
    if bytes == 0 {
        return Shown { form: "empty", ..Shown::default() };
    }
    let is_text = |text: &str| text.chars().all(|it| !it.is_control() || matches!(it, '\n' | '\r' | '\t'));
    match std::str::from_utf8(&it.bytes) {
        Ok(text) if is_text(text) => {
            let mut text = text.to_owned();
            // As it was written: parsed and printed again, numbers and the order of keys could be others.
            let is_json = is_whole && text.starts_with(['{', '[']) && serde_json::from_str::<Value>(&text).is_ok();
            let is_cut = cut(&mut text) || !is_whole;
            Shown { bytes, form: if is_json { "json" } else { "text" }, text, is_cut, ..Shown::default() }
        }
        _ => {
            let shown = &it.bytes[..it.bytes.len().min(HEX_BYTES_MAX)];
            let mut text = String::with_capacity(shown.len() * 3);
            for (at, byte) in shown.iter().enumerate() {
                let _ = write!(text, "{}{byte:02x}", if at == 0 { "" } else { " " });
            }
            Shown { bytes, form: "hex", text, is_cut: shown.len() < bytes, ..Shown::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(bytes: &[u8]) -> (&'static str, String, bool) {
        let it = plain(&Part { bytes: bytes.to_vec(), length: bytes.len() });
        (it.form, it.text, it.is_cut)
    }

    #[test]
    fn bytes_are_shown_as_what_they_are() {
        assert_eq!(form(b""), ("empty", String::new(), false));
        assert_eq!(form(b"<b>hello</b>"), ("text", "<b>hello</b>".to_owned(), false));
        let large = br#"{"id": 9007199254740993}"#;
        assert_eq!(form(large), ("json", String::from_utf8_lossy(large).into_owned(), false));
        assert_eq!(form(b"{\"id\": "), ("text", "{\"id\": ".to_owned(), false));
        assert_eq!(form(&[0, 0xff, 7]), ("hex", "00 ff 07".to_owned(), false));
        assert_eq!(form(b"\x1b[31mred").0, "hex", "a terminal's own signs are no text");
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        let (form_name, text, is_cut) = form("ä".repeat(TEXT_BYTES_MAX).as_bytes());
        assert_eq!((form_name, text.len(), is_cut), ("text", TEXT_BYTES_MAX, true));
        let (form_name, text, is_cut) = form(&[0xff; 5_000]);
        assert_eq!((form_name, text.len(), is_cut), ("hex", HEX_BYTES_MAX * 3 - 1, true));
    }
}
