//! The ledger's records: JSON, so that `kafka-console-consumer.sh --property print.key=true` shows where a link stands.

use super::anchor::{Anchor, MilestoneKey};
use crate::dead_letters::LetterId;
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
    /// None: no record of the partition ever went there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<DeadLetters>,
    /// An operator's word, where the position was set by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// The last one that is known. None: the position is of a kafka-bridge that had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
}

/// What went to the dead letters instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetters {
    /// Over the link's whole life, as `records`.
    pub records: u64,
    /// The last transaction that wrote some, and where their partition's log ended before it.
    pub transaction: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_offset: Option<i64>,
}

/// A point of the exact map, kept beyond the position that it was first written with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    #[serde(flatten)]
    pub anchor: Anchor,
    /// As in the position. A topic that was made anew begins at offset 0 again: an anchor of the one before is none of it.
    pub topic_id: Uuid,
    pub target_topic_id: Uuid,
}

/// Which dead letter a record of its delivery is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LetterKey {
    #[serde(flatten)]
    pub of: PositionKey,
    /// The source's.
    pub offset: i64,
    /// Of a dead letters' topic that was made anew, a place alone says nothing.
    pub letter: LetterId,
}

/// A dead letter that was replayed to the target after all: where its record landed, in the transaction that wrote both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    pub target_topic: TopicName,
    pub target_partition: i32,
    pub target_topic_id: Uuid,
    pub target_offset: i64,
    /// Where the first record of its transaction landed in the partition.
    pub from: i64,
    /// Of the record as it was written, with its timestamp: in hexadecimal digits.
    pub sha256: String,
    /// Its value is another one than that of the letter.
    #[serde(default, skip_serializing_if = "is_not")]
    pub corrected: bool,
    /// The lane's replays are numbered by themselves; the number only grows.
    pub transaction: u64,
    pub host: String,
    pub time_ms: u64,
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
    Milestone(MilestoneKey, Option<Milestone>),
    /// An operator's, about the gap that begins at this offset.
    Decision(PositionKey, i64, Option<Decision>),
    Proof(PositionKey, Option<Proof>),
    Delivered(LetterKey, Option<Delivered>),
}

/// What a partition was allowed to go on past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The incident's.
    pub kind: String,
    pub reason: String,
    /// Source offsets from the key's on and before this one are not copied.
    pub next_offset: i64,
    /// Of the source's topic, as it was before.
    pub topic_id: Uuid,
    pub host: String,
    pub time_ms: u64,
}

/// A statement: these records were read at both ends, and are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub target_topic: TopicName,
    pub target_partition: i32,
    pub topic_id: Uuid,
    pub target_topic_id: Uuid,
    /// Clusters and topics may bear the same names elsewhere.
    pub target_cluster_id: String,
    pub source_from: i64,
    /// Behind the last one.
    pub source_to: i64,
    pub target_from: i64,
    pub target_to: i64,
    /// Since the first proof, as the hash.
    pub records: u64,
    /// Source records that were found in the dead letters instead, since the first proof.
    #[serde(default, skip_serializing_if = "is_none")]
    pub dead_letters: u64,
    /// A chain of SHA-256 over all copied records in their order, in hexadecimal digits. Dead letters, and what was replayed
    /// of them, are counted and not hashed, so that whoever has the target's topic alone can compute it again; of schemas whose ids are mapped, the ids are
    /// zero.
    pub sha256: String,
    pub host: String,
    pub version: String,
    pub time_ms: u64,
}

/// Takes what serde gives.
fn is_none(count: &u64) -> bool {
    *count == 0
}

fn is_not(word: &bool) -> bool {
    !*word
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Key {
    Owner { owner: u32 },
    Position(PositionKey),
}

/// Keys of what a lane does not need to go on. Whoever does not know a kind passes over it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Beside {
    Anchor(MilestoneKey),
    Decision {
        #[serde(flatten)]
        of: PositionKey,
        from: i64,
    },
    Proof(PositionKey),
    Delivered(LetterKey),
}

/// How keys of a `Beside` begin: a replay passes over them without parsing them.
const BESIDE: &[u8] = br#"{"kind":"#;

/// Nothing that a lane goes on from.
pub(super) fn is_beside(key: Option<&[u8]>) -> bool {
    key.is_some_and(|it| it.starts_with(BESIDE))
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
    /// A newer kafka-bridge's, and nothing that a lane needs.
    UnknownKind,
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
            Self::Milestone(key, value) => {
                (serde_json::to_vec(&Beside::Anchor(key.clone()))?, value.as_ref().map(json).transpose()?)
            }
            Self::Decision(of, from, value) => {
                let key = Beside::Decision { of: of.clone(), from: *from };
                (serde_json::to_vec(&key)?, value.as_ref().map(json).transpose()?)
            }
            Self::Proof(of, value) => {
                (serde_json::to_vec(&Beside::Proof(of.clone()))?, value.as_ref().map(json).transpose()?)
            }
            Self::Delivered(of, value) => {
                (serde_json::to_vec(&Beside::Delivered(of.clone()))?, value.as_ref().map(json).transpose()?)
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
        if is_beside(Some(key)) {
            let key = serde_json::from_slice(key).map_err(|_| Unreadable::UnknownKind)?;
            return Ok(match key {
                Beside::Anchor(key) => Self::Milestone(key, parsed(value)?),
                Beside::Decision { of, from } => Self::Decision(of, from, parsed(value)?),
                Beside::Proof(of) => Self::Proof(of, parsed(value)?),
                Beside::Delivered(of) => Self::Delivered(of, parsed(value)?),
            });
        }
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
            dead_letters: None,
            decision: None,
            anchor: None,
        }
    }

    fn milestone() -> Milestone {
        let anchor = Anchor { records: 9_000, source_offset: 9_400, target_offset: 9_100 };
        Milestone { anchor, topic_id: Uuid::from_u128(7), target_topic_id: Uuid::nil() }
    }

    fn decision() -> Decision {
        Decision {
            kind: "retention".into(),
            reason: "known".into(),
            next_offset: 9,
            topic_id: Uuid::from_u128(7),
            host: "h".into(),
            time_ms: 3,
        }
    }

    fn proof() -> Proof {
        Proof {
            target_topic: "copy".into(),
            target_partition: 1,
            topic_id: Uuid::from_u128(7),
            target_topic_id: Uuid::nil(),
            target_cluster_id: "t".into(),
            source_from: 0,
            source_to: 9,
            target_from: 1,
            target_to: 8,
            records: 7,
            dead_letters: 2,
            sha256: "00".into(),
            host: "h".into(),
            version: "0.1.0".into(),
            time_ms: 3,
        }
    }

    fn letter() -> (LetterKey, Delivered) {
        let key = LetterKey { of: key(), offset: 77, letter: LetterId { partition: 3, offset: 1_200 } };
        let delivered = Delivered {
            target_topic: "copy".into(),
            target_partition: 1,
            target_topic_id: Uuid::nil(),
            target_offset: 91,
            from: 90,
            sha256: "00".into(),
            corrected: true,
            transaction: 2,
            host: "h".into(),
            time_ms: 3,
        };
        (key, delivered)
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
            LedgerRecord::Position(
                key(),
                Some(Position {
                    dead_letters: Some(DeadLetters { records: 3, transaction: 8, target_offset: Some(70) }),
                    ..position(4)
                }),
            ),
            LedgerRecord::Position(key(), None),
            LedgerRecord::Position(key(), Some(Position { anchor: Some(milestone().anchor), ..position(4) })),
            LedgerRecord::Owner(5, Some(owner)),
            LedgerRecord::Milestone(MilestoneKey { of: key(), level: 1, slot: 5 }, Some(milestone())),
            LedgerRecord::Decision(key(), 4, Some(decision())),
            LedgerRecord::Proof(key(), Some(proof())),
            LedgerRecord::Delivered(letter().0, Some(letter().1)),
            LedgerRecord::Delivered(letter().0, None),
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
        let of = MilestoneKey { of: super::tests::key(), level: 1, slot: 5 };
        let (key, value) = LedgerRecord::Milestone(of, Some(milestone())).encode().unwrap();
        assert_eq!(
            String::from_utf8(key).unwrap(),
            r#"{"kind":"anchor","source":"c","topic":"orders","partition":1,"level":1,"slot":5}"#
        );
        assert_eq!(
            String::from_utf8(value.unwrap()).unwrap(),
            r#"{"v":1,"records":9000,"source_offset":9400,"target_offset":9100,"topic_id":"00000000-0000-0000-0000-000000000007","target_topic_id":"00000000-0000-0000-0000-000000000000"}"#
        );
        for (record, kind) in [
            (LedgerRecord::Decision(super::tests::key(), 4, None), r#"{"kind":"decision","source":"c""#),
            (LedgerRecord::Proof(super::tests::key(), None), r#"{"kind":"proof","source":"c""#),
            (
                LedgerRecord::Delivered(letter().0, None),
                r#"{"kind":"delivered","source":"c","topic":"orders","partition":1,"offset":77,"letter":"3-1200"}"#,
            ),
        ] {
            let (key, _) = record.encode().unwrap();
            assert!(is_beside(Some(&key)) && String::from_utf8(key).unwrap().starts_with(kind), "{record:?}");
        }
    }

    #[test]
    fn the_form_of_a_delivery_is_fixed() {
        let (key, delivered) = letter();
        let (_, value) = LedgerRecord::Delivered(key, Some(delivered)).encode().unwrap();
        assert_eq!(
            String::from_utf8(value.unwrap()).unwrap(),
            r#"{"v":1,"target_topic":"copy","target_partition":1,"target_topic_id":"00000000-0000-0000-0000-000000000000","target_offset":91,"from":90,"sha256":"00","corrected":true,"transaction":2,"host":"h","time_ms":3}"#
        );
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_versions_are_not() {
        let (key, value) = LedgerRecord::Position(key(), Some(position(12))).encode().unwrap();
        let text = String::from_utf8(value.unwrap()).unwrap();
        let more = text.replacen("\"v\":1", "\"v\":1,\"later\":true", 1);
        assert!(LedgerRecord::decode(Some(&key), Some(more.as_bytes())).is_ok());
        let newer = text.replacen("\"v\":1", "\"v\":2", 1);
        assert_eq!(LedgerRecord::decode(Some(&key), Some(newer.as_bytes())), Err(Unreadable::Newer(2)));
        let later = br#"{"kind":"later","x":1}"#;
        assert_eq!(LedgerRecord::decode(Some(later), Some(b"x")), Err(Unreadable::UnknownKind));
        for (key, value) in [(None, None), (Some(&b"x"[..]), None), (Some(&key[..]), Some(&b"{}"[..]))] {
            assert!(matches!(LedgerRecord::decode(key, value), Err(Unreadable::Malformed(_))));
        }
    }
}
