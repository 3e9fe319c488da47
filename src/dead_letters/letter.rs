//! One dead letter: how it is written, and how it is read again.

use crate::batch::{HeaderView, Payload, RecordView};
use crate::types::TopicPartition;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

const PREFIX: &str = "dead-letter.";
const REASON: &str = "dead-letter.reason";
const ERROR: &str = "dead-letter.error";
const PART: &str = "dead-letter.part";
const PATH: &str = "dead-letter.path";
const SCHEMA_ID: &str = "dead-letter.schema-id";
const CLUSTER: &str = "dead-letter.cluster";
const TOPIC: &str = "dead-letter.topic";
const PARTITION: &str = "dead-letter.partition";
const OFFSET: &str = "dead-letter.offset";
const TIME_MS: &str = "dead-letter.time-ms";
/// How many headers the record had itself. The last of ours, so that a reader finds it whatever stands before.
const HEADERS: &str = "dead-letter.headers";
/// What is told of a record must not become longer than the record.
const TEXT_BYTES_MAX: usize = 1_000;

/// Which part of a record did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Key,
    Value,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a record did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// One of a few words, for metrics and filters.
    pub reason: Cow<'static, str>,
    /// For people.
    pub error: String,
    pub part: Part,
    /// The field; empty: the whole datum, or what stands before it.
    pub path: String,
    /// Of the source's registry.
    pub schema_id: Option<i32>,
}

/// What stands in a dead letter's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The source's.
    pub cluster_id: Arc<str>,
    pub source: TopicPartition,
    pub offset: i64,
    pub why: Why,
    /// When it was taken out of the copy.
    pub time_ms: u64,
}

fn cut(text: &str) -> &str {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

impl Letter {
    pub fn write(&self, record: &RecordView<'_>) -> Payload {
        let why = &self.why;
        let numbers = [
            (PARTITION, self.source.partition.to_string()),
            (OFFSET, self.offset.to_string()),
            (TIME_MS, self.time_ms.to_string()),
            (HEADERS, record.header_count.to_string()),
        ];
        let schema_id = why.schema_id.map(|it| it.to_string());
        let mut headers: Vec<(&str, &str)> =
            vec![(REASON, &why.reason), (ERROR, cut(&why.error)), (PART, why.part.name()), (PATH, cut(&why.path))];
        headers.extend(schema_id.as_deref().map(|it| (SCHEMA_ID, it)));
        headers.extend([(CLUSTER, &*self.cluster_id), (TOPIC, &*self.source.topic)]);
        headers.extend(numbers.iter().map(|(name, value)| (*name, value.as_str())));
        let headers: Vec<HeaderView<'_>> =
            headers.into_iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
        Payload::of(record, record.key, record.value, &headers)
    }

    /// None: the record is no dead letter.
    pub fn read(record: &RecordView<'_>) -> Option<Self> {
        let count = own_headers(record)?;
        let text = |wanted: &str| {
            let found = record.headers().skip(count).find(|(name, _)| *name == wanted.as_bytes())?;
            std::str::from_utf8(found.1?).ok()
        };
        let why = Why {
            reason: text(REASON)?.to_owned().into(),
            error: text(ERROR)?.to_owned(),
            part: if text(PART)? == Part::Key.name() { Part::Key } else { Part::Value },
            path: text(PATH)?.to_owned(),
            schema_id: text(SCHEMA_ID).and_then(|it| it.parse().ok()),
        };
        Some(Self {
            cluster_id: text(CLUSTER)?.into(),
            source: TopicPartition::new(text(TOPIC)?, text(PARTITION)?.parse().ok()?),
            offset: text(OFFSET)?.parse().ok()?,
            why,
            time_ms: text(TIME_MS)?.parse().ok()?,
        })
    }

    /// The record as it was at the source. None: it is no dead letter.
    pub fn original(record: &RecordView<'_>) -> Option<Payload> {
        let headers: Vec<_> = record.headers().take(own_headers(record)?).collect();
        Some(Payload::new(record.key, record.value, &headers))
    }
}

/// How many of the headers are the record's own: they may be named like ours, if it was a dead letter of another link.
fn own_headers(record: &RecordView<'_>) -> Option<usize> {
    let (name, value) = record.headers().last()?;
    let count = std::str::from_utf8(value?).ok()?.parse().ok()?;
    let is_ours =
        name == HEADERS.as_bytes() && record.headers().skip(count).all(|(name, _)| name.starts_with(PREFIX.as_bytes()));
    (is_ours && count < record.header_count).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn letter(error: &str, schema_id: Option<i32>) -> Letter {
        Letter {
            cluster_id: "source".into(),
            source: TopicPartition::new("orders", 3),
            offset: 77,
            why: Why {
                reason: "utf8".into(),
                error: error.to_owned(),
                part: Part::Value,
                path: "order.items[3].name".to_owned(),
                schema_id,
            },
            time_ms: 1_750_000_000_000,
        }
    }

    /// Copied by another link, and found wrong there too.
    #[test]
    fn a_dead_letter_of_a_dead_letter_gives_the_first_one_back() {
        let inner = Payload::new(Some(b"k"), Some(b"v"), &[(b"h", None)]);
        let first = letter("one", Some(5)).write(&inner.view().expect("a record"));
        let second = letter("two", None).write(&first.view().expect("a record"));
        let view = second.view().expect("a record");
        assert_eq!(Letter::read(&view), Some(letter("two", None)));
        let back = Letter::original(&view).expect("a dead letter");
        assert_eq!(back, first);
        assert_eq!(Letter::read(&back.view().expect("a record")), Some(letter("one", Some(5))));
    }

    #[test]
    fn what_is_no_dead_letter_is_not_taken_for_one() {
        let all: [&[HeaderView<'_>]; 4] = [
            &[],
            &[(b"dead-letter.headers", Some(b"0"))],
            &[(b"dead-letter.headers", Some(b"7"))],
            &[(b"other", Some(b"0")), (b"dead-letter.headers", Some(b"0"))],
        ];
        for headers in all {
            let payload = Payload::new(None, Some(b"v"), headers);
            assert_eq!(Letter::read(&payload.view().expect("a record")), None, "{headers:?}");
        }
    }

    #[test]
    fn a_long_error_is_cut_between_letters() {
        let text = "ä".repeat(TEXT_BYTES_MAX);
        assert_eq!(cut(&text).len(), TEXT_BYTES_MAX);
        assert_eq!(cut(&format!("x{text}")).len(), TEXT_BYTES_MAX - 1);
    }

    type Own = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    proptest! {
        #[test]
        fn the_record_comes_back_byte_for_byte(
            key in proptest::option::of(vec(any::<u8>(), 0..9)), value in proptest::option::of(vec(any::<u8>(), 0..9)),
            headers in vec((vec(any::<u8>(), 0..9), proptest::option::of(vec(any::<u8>(), 0..9))), 0..4),
            error in "\\PC{0,20}", id in proptest::option::of(any::<i32>()),
        ) {
            let headers: Own = headers;
            let views: Vec<HeaderView<'_>> = headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
            let payload = Payload::new(key.as_deref(), value.as_deref(), &views);
            let written = letter(&error, id).write(&payload.view().unwrap());
            let view = written.view().unwrap();
            prop_assert_eq!(Letter::read(&view), Some(letter(&error, id)));
            prop_assert_eq!(Letter::original(&view), Some(payload));
        }
    }
}
