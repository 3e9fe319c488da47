//! The ledger's records: JSON, so that `kafka-console-consumer.sh --property print.key=true` shows where a link stands.

use crate::types::{TopicName, TopicPartition};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// Fields may be added within a version, readers ignore those they do not know; a changed meaning is a new version.
pub(super) const VERSION: u64 = 1;

/// Which source partition a position is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PositionKey {
    /// The source cluster's id.
    #[serde(rename = "source")]
    pub cluster_id: Arc<str>,
    pub topic: TopicName,
    pub partition: i32,
}

impl PositionKey {
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topic), self.partition)
    }
}

/// Where a source partition stands, after the transaction that holds this record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The next source offset to copy.
    pub next_offset: i64,
    /// Of the record before it; −1: none was read.
    pub leader_epoch: i32,
    /// Of the source's topic; nil where its brokers have none.
    pub topic_id: Uuid,
    /// The source offset at which this transaction's part begins.
    pub from: i64,
    /// Copied so far, over the link's whole life.
    pub records: u64,
    pub target_topic: TopicName,
    pub target_partition: i32,
    /// A target that was deleted and created again no longer holds what was copied. Nil: not known.
    #[serde(default, skip_serializing_if = "Uuid::is_nil")]
    pub target_topic_id: Uuid,
    /// Where the target's log ended before this transaction: a transaction of the link that is found open exactly there is this
    /// one, and was committed. None where nothing was copied, or nobody knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_offset: Option<i64>,
    /// The lane's transactions are numbered; the number only grows.
    pub transaction: u64,
    pub time_ms: u64,
    /// An operator's word, where the position was set by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
}

/// Who works on a lane. A bridge that was fenced reads here who took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Of one process; another one on the same host has another.
    pub instance: Uuid,
    pub host: String,
    pub pid: u32,
    pub started_ms: u64,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerRecord {
    /// None: a tombstone; the position was given up.
    Position(PositionKey, Option<Position>),
    Owner(u32, Option<Owner>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Key {
    Owner { owner: u32 },
    Position(PositionKey),
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u64,
    #[serde(flatten)]
    value: &'a T,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Newer(u64),
    Malformed(String),
}

impl LedgerRecord {
    /// Key and value.
    pub(super) fn encode(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), serde_json::Error> {
        fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
            serde_json::to_vec(&Versioned { v: VERSION, value })
        }
        Ok(match self {
            Self::Position(key, value) => {
                (serde_json::to_vec(&Key::Position(key.clone()))?, value.as_ref().map(json).transpose()?)
            }
            Self::Owner(lane, value) => {
                (serde_json::to_vec(&Key::Owner { owner: *lane })?, value.as_ref().map(json).transpose()?)
            }
        })
    }

    pub(super) fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, Unreadable> {
        fn parsed<'a, T: Deserialize<'a>>(value: Option<&'a [u8]>) -> Result<Option<T>, Unreadable> {
            let Some(value) = value else { return Ok(None) };
            let malformed = |error: serde_json::Error| Unreadable::Malformed(error.to_string());
            match serde_json::from_slice::<Version>(value).map_err(malformed)?.v {
                1..=VERSION => serde_json::from_slice(value).map(Some).map_err(malformed),
                newer => Err(Unreadable::Newer(newer)),
            }
        }
        let Some(key) = key else { return Err(Unreadable::Malformed("it has no key".to_owned())) };
        let key = serde_json::from_slice(key).map_err(|error| Unreadable::Malformed(format!("its key: {error}")))?;
        Ok(match key {
            Key::Position(key) => Self::Position(key, parsed(value)?),
            Key::Owner { owner } => Self::Owner(owner, parsed(value)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::ledger) fn position(next_offset: i64) -> Position {
        Position {
            next_offset,
            leader_epoch: 3,
            topic_id: Uuid::from_u128(7),
            from: next_offset - 2,
            records: 2,
            target_topic: "copy".into(),
            target_partition: 1,
            target_topic_id: Uuid::nil(),
            target_offset: None,
            transaction: 9,
            time_ms: 1_700_000_000_000,
            decision: None,
        }
    }

    fn key() -> PositionKey {
        PositionKey { cluster_id: "c".into(), topic: "orders".into(), partition: 1 }
    }

    #[test]
    fn records_survive_the_way_through_bytes() {
        let owner =
            Owner { instance: Uuid::from_u128(1), host: "h".into(), pid: 2, started_ms: 3, version: "0.1.0".into() };
        let records = [
            LedgerRecord::Position(key(), Some(position(12))),
            LedgerRecord::Position(key(), Some(Position { decision: Some("by hand".into()), ..position(4) })),
            LedgerRecord::Position(key(), Some(Position { target_topic_id: Uuid::from_u128(8), ..position(4) })),
            LedgerRecord::Position(key(), None),
            LedgerRecord::Owner(5, Some(owner)),
        ];
        for record in records {
            let (key, value) = record.encode().unwrap();
            assert_eq!(LedgerRecord::decode(Some(&key), value.as_deref()), Ok(record));
        }
    }

    /// Ledgers outlive versions of the bridge: what was written once must stay readable.
    #[test]
    fn the_form_is_fixed() {
        let (key, value) = LedgerRecord::Position(key(), Some(position(12))).encode().unwrap();
        assert_eq!(String::from_utf8(key).unwrap(), r#"{"source":"c","topic":"orders","partition":1}"#);
        assert_eq!(
            String::from_utf8(value.unwrap()).unwrap(),
            r#"{"v":1,"next_offset":12,"leader_epoch":3,"topic_id":"00000000-0000-0000-0000-000000000007","from":10,"records":2,"target_topic":"copy","target_partition":1,"transaction":9,"time_ms":1700000000000}"#
        );
        let (key, _) = LedgerRecord::Owner(5, None).encode().unwrap();
        assert_eq!(String::from_utf8(key).unwrap(), r#"{"owner":5}"#);
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_versions_are_not() {
        let (key, value) = LedgerRecord::Position(key(), Some(position(12))).encode().unwrap();
        let text = String::from_utf8(value.unwrap()).unwrap();
        let more = text.replacen("\"v\":1", "\"v\":1,\"later\":true", 1);
        assert!(LedgerRecord::decode(Some(&key), Some(more.as_bytes())).is_ok());
        let newer = text.replacen("\"v\":1", "\"v\":2", 1);
        assert_eq!(LedgerRecord::decode(Some(&key), Some(newer.as_bytes())), Err(Unreadable::Newer(2)));
        for (key, value) in [(None, None), (Some(&b"x"[..]), None), (Some(&key[..]), Some(&b"{}"[..]))] {
            assert!(matches!(LedgerRecord::decode(key, value), Err(Unreadable::Malformed(_))));
        }
    }
}
