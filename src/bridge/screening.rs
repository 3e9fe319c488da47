//! Holds a partition's records against the checks of its topic: what passes, what goes to the dead letters, and what has to
//! wait for a schema.

use super::lane::DeadLetterBox;
use crate::avro::Marker;
use crate::batch::{
    BatchBuilder, BatchError, Candidate, Compression, Payload, PrepareError, Prepared, Screen, Screened,
};
use crate::config::{OnInvalid, OnUnknownSchema};
use crate::dead_letters::{Letter, Part, Why};
use crate::schemas::{Expected, SchemaVerdict, TopicCheck, Unfit};
use crate::types::{TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A registry's schema, as a part of a topic's records is held against it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SchemaKey {
    pub(super) topic: TopicName,
    pub(super) part: Part,
    pub(super) id: i32,
}

/// Of one lane. Beyond it all are forgotten and asked for again: ids that nobody registered may be as many as records.
const KNOWN_MAX: usize = 4_096;
/// The registry is asked for so many at once; what is found on the way asks for the next.
const ASKED_MAX: usize = 32;
/// What is not so for ever is asked again after a while.
const PASSING: Duration = Duration::from_secs(10);

/// What a lane knows of schemas, and what it has asked for.
#[derive(Debug, Default)]
pub(super) struct KnownSchemas {
    known: BTreeMap<SchemaKey, (SchemaVerdict, Instant)>,
    asked: BTreeSet<SchemaKey>,
}

impl KnownSchemas {
    pub(super) fn learn(&mut self, key: SchemaKey, verdict: SchemaVerdict, now: Instant) {
        self.asked.remove(&key);
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(key, (verdict, now));
    }

    fn get(&self, key: &SchemaKey, now: Instant) -> Option<&SchemaVerdict> {
        let (verdict, since) = self.known.get(key)?;
        (verdict.is_final() || now < *since + PASSING).then_some(verdict)
    }

    /// True: it is to be asked for now.
    pub(super) fn ask(&mut self, key: &SchemaKey) -> bool {
        self.asked.len() < ASKED_MAX && self.asked.insert(key.clone())
    }
}

/// Where a record is, and what stands against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    pub offset: i64,
    pub why: Why,
}

pub(super) struct Screening<'a> {
    check: &'a TopicCheck,
    known: &'a KnownSchemas,
    now: Instant,
    time_ms: u64,
    cluster_id: Arc<str>,
    partition: &'a TopicPartition,
    /// Schemas that have to be known first.
    pub(super) needs: BTreeSet<SchemaKey>,
    /// The first record for which the partition has to stop.
    pub(super) objection: Option<Objection>,
    letters: Vec<(i64, Payload, i64)>,
    pub(super) reasons: BTreeMap<String, u64>,
}

enum Judged {
    Pass,
    /// Under another id.
    Renumbered(Vec<u8>),
    Wait(SchemaKey),
    Object(Why),
    Stop(Why),
}

impl<'a> Screening<'a> {
    pub(super) fn new(
        check: &'a TopicCheck,
        known: &'a KnownSchemas,
        partition: &'a TopicPartition,
        cluster_id: &Arc<str>,
        now: Instant,
        time_ms: u64,
    ) -> Self {
        Self {
            check,
            known,
            now,
            time_ms,
            cluster_id: Arc::clone(cluster_id),
            partition,
            needs: BTreeSet::new(),
            objection: None,
            letters: Vec::new(),
            reasons: BTreeMap::new(),
        }
    }

    fn judge(&self, part: Part, bytes: &[u8]) -> Judged {
        let Some(check) = self.check.part(part) else { return Judged::Pass };
        let invalid = |reason: &'static str, error: String, path: String, schema_id| {
            let why = Why { reason: reason.into(), error, part, path, schema_id };
            match self.check.on_invalid {
                OnInvalid::DeadLetter => Judged::Object(why),
                OnInvalid::Stop => Judged::Stop(why),
            }
        };
        let (marker, datum) = match check.framing.split(bytes) {
            Ok(split) => split,
            Err(fault) => return invalid(fault.name(), fault.to_string(), String::new(), None),
        };
        let schema_id = if let Marker::Id(id) = marker { Some(id) } else { None };
        let (validator, target_id) = match (&check.expected, marker) {
            (Expected::Fixed { fingerprint, .. }, Marker::Fingerprint(found)) if found != *fingerprint => {
                return invalid("other_schema", format!("{marker} is not that of the schema"), String::new(), None);
            }
            (Expected::Fixed { validator, .. }, _) => (validator, None),
            (Expected::Registry { .. }, Marker::Fingerprint(_) | Marker::None) => {
                return invalid("no_schema_id", "it names no schema of a registry".to_owned(), String::new(), None);
            }
            (Expected::Registry { .. }, Marker::Id(id)) => {
                let key = SchemaKey { topic: Arc::clone(&self.partition.topic), part, id };
                match self.known.get(&key, self.now) {
                    None => return Judged::Wait(key),
                    Some(SchemaVerdict::Check { validator, target_id }) => (validator, *target_id),
                    Some(SchemaVerdict::Unchecked) => return Judged::Pass,
                    Some(SchemaVerdict::Unfit(Unfit { reason, error })) => {
                        return invalid(reason, error.clone(), String::new(), schema_id);
                    }
                    Some(SchemaVerdict::Unknown(Unfit { reason, error })) => {
                        let why = Why {
                            reason: (*reason).into(),
                            error: error.clone(),
                            part,
                            path: String::new(),
                            schema_id,
                        };
                        return match self.check.on_unknown_schema {
                            OnUnknownSchema::DeadLetter => Judged::Object(why),
                            OnUnknownSchema::Stop => Judged::Stop(why),
                            OnUnknownSchema::PassUnchecked => Judged::Pass,
                            OnUnknownSchema::Wait => Judged::Wait(key),
                        };
                    }
                }
            }
        };
        match validator.check(datum) {
            Err(fault) => invalid(fault.kind.name(), fault.to_string(), fault.path, schema_id),
            Ok(()) => match target_id.filter(|id| Some(*id) != schema_id) {
                Some(id) => Judged::Renumbered([&Marker::Id(id).header()[..], datum].concat()),
                None => Judged::Pass,
            },
        }
    }

    fn object(&mut self, candidate: &Candidate<'_>, why: Why) -> Screened {
        *self.reasons.entry(why.reason.to_string()).or_default() += 1;
        let letter = Letter {
            cluster_id: Arc::clone(&self.cluster_id),
            source: self.partition.clone(),
            offset: candidate.offset,
            why,
            time_ms: self.time_ms,
        };
        self.letters.push((candidate.timestamp, letter.write(&candidate.record), candidate.offset));
        Screened::Divert
    }

    /// Batches for the dead letters, in the order of their records.
    pub(super) fn letters(self, into: &DeadLetterBox) -> Result<Vec<Prepared>, PrepareError> {
        let mut batches = Vec::new();
        let mut pieces = vec![&self.letters[..]];
        while let Some(piece) = pieces.pop() {
            let (Some(first), Some(last)) = (piece.first(), piece.last()) else { continue };
            let batch = pack(piece)?;
            let (bytes, record_count) = (batch.bytes().len(), batch.header().record_count.unsigned_abs());
            if bytes > into.max_message_bytes {
                if let [(_, _, offset)] = piece {
                    let max_message_bytes = into.max_message_bytes;
                    return Err(PrepareError::RecordTooLarge { offset: *offset, bytes, max_message_bytes });
                }
                let (left, right) = piece.split_at(piece.len() / 2);
                pieces.extend([right, left]);
                continue;
            }
            let (first_offset, next_offset) = (first.2, last.2 + 1);
            batches.push(Prepared { batch, first_offset, next_offset, record_count, reencoded: Vec::new() });
        }
        Ok(batches)
    }
}

/// Dead letters of one transaction compress well: they say the same of most records.
fn pack(piece: &[(i64, Payload, i64)]) -> Result<crate::batch::RawBatch, BatchError> {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for (timestamp, payload, _) in piece {
        builder.push_payload(*timestamp, payload);
    }
    builder.build()
}

impl Screen for Screening<'_> {
    fn screen(&mut self, candidate: &Candidate<'_>) -> Screened {
        let record = &candidate.record;
        let mut renumbered = [None, None];
        // A record without a value deletes its key, and is checked by its key alone.
        for (at, part, bytes) in [(0, Part::Key, record.key), (1, Part::Value, record.value)] {
            let Some(bytes) = bytes else { continue };
            match self.judge(part, bytes) {
                Judged::Pass => {}
                Judged::Renumbered(bytes) => renumbered[at] = Some(bytes),
                Judged::Wait(key) => {
                    self.needs.insert(key);
                    return Screened::Await;
                }
                Judged::Object(why) => return self.object(candidate, why),
                Judged::Stop(why) => {
                    self.objection.get_or_insert(Objection { offset: candidate.offset, why });
                    return Screened::Await;
                }
            }
        }
        match renumbered {
            [None, None] => Screened::Pass,
            [key, value] => {
                let (key, value) = (key.as_deref().or(record.key), value.as_deref().or(record.value));
                Screened::Replace(Payload::of(record, key, value, &[]))
            }
        }
    }
}
