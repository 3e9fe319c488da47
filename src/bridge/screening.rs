//! Holds a partition's records against the checks of its topic: what passes, what goes to the dead letters, and what has to
//! wait for a schema.

use super::lane::DeadLetterBox;
use crate::avro::{Marker, Validator};
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

/// Of one lane. Beyond it all are forgotten, and asked for again where they come again.
const KNOWN_MAX: usize = 4_096;
/// The registry is asked for so many at once.
const ASKED_MAX: usize = 32;
/// That one batch may ask for. So many schemas in one batch are none: somebody writes noise, and each is a request.
const NEEDS_MAX: usize = 1_000;
/// What is not so for ever is asked again after a while.
const PASSING: Duration = Duration::from_secs(10);

/// What a batch has waited for. It is kept until the batch has passed: forgotten or expired before that, it would be asked for
/// again, and a batch with many ids might wait for ever.
pub(super) type Verdicts = BTreeMap<SchemaKey, SchemaVerdict>;

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

    pub(super) fn asks_enough(&self) -> bool {
        self.asked.len() >= ASKED_MAX
    }

    /// False: it is asked for already.
    pub(super) fn ask(&mut self, key: &SchemaKey) -> bool {
        self.asked.insert(key.clone())
    }
}

/// What is known of schemas when a batch is looked at.
#[derive(Clone, Copy)]
pub(super) struct Knowledge<'a> {
    pub(super) known: &'a KnownSchemas,
    pub(super) told: &'a Verdicts,
    pub(super) now: Instant,
}

impl<'a> Knowledge<'a> {
    fn get(&self, key: &SchemaKey) -> Option<&'a SchemaVerdict> {
        self.told.get(key).or_else(|| self.known.get(key, self.now))
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
    knowledge: Knowledge<'a>,
    time_ms: u64,
    cluster_id: Arc<str>,
    partition: &'a TopicPartition,
    /// Of each part: the id that was looked up last, and what is known of it.
    last: BTreeMap<Part, (i32, &'a SchemaVerdict)>,
    /// Schemas that have to be known first.
    pub(super) needs: BTreeSet<SchemaKey>,
    /// The first record for which the partition has to stop.
    pub(super) objection: Option<Objection>,
    letters: Vec<(i64, Payload, i64)>,
    pub(super) reasons: BTreeMap<String, u64>,
}

/// Why a record does not pass now.
enum Held {
    Wait(SchemaKey),
    Object(Why),
    Stop(Why),
}

/// What a datum is held against.
struct Against<'a> {
    validator: &'a Validator,
    /// Where the id is to be another.
    target_id: Option<i32>,
}

/// One part of one record.
#[derive(Clone, Copy)]
struct Datum {
    part: Part,
    schema_id: Option<i32>,
}

impl Datum {
    fn why(self, reason: &'static str, error: String, path: String) -> Why {
        let Self { part, schema_id } = self;
        Why { reason: reason.into(), error, part, path, schema_id }
    }
}

impl<'a> Screening<'a> {
    pub(super) fn new(
        check: &'a TopicCheck,
        knowledge: Knowledge<'a>,
        partition: &'a TopicPartition,
        cluster_id: &Arc<str>,
        time_ms: u64,
    ) -> Self {
        Self {
            check,
            knowledge,
            time_ms,
            cluster_id: Arc::clone(cluster_id),
            partition,
            last: BTreeMap::new(),
            needs: BTreeSet::new(),
            objection: None,
            letters: Vec::new(),
            reasons: BTreeMap::new(),
        }
    }

    fn invalid(&self, why: Why) -> Held {
        match self.check.on_invalid {
            OnInvalid::DeadLetter => Held::Object(why),
            OnInvalid::Stop => Held::Stop(why),
        }
    }

    /// Gives the bytes that are to take the place of these; None: they pass as they are.
    fn judge(&mut self, part: Part, bytes: &[u8]) -> Result<Option<Vec<u8>>, Held> {
        let Some(check) = self.check.part(part) else { return Ok(None) };
        let (marker, datum) = check.framing.split(bytes).map_err(|fault| {
            self.invalid(Datum { part, schema_id: None }.why(fault.name(), fault.to_string(), String::new()))
        })?;
        let schema_id = if let Marker::Id(id) = marker { Some(id) } else { None };
        let of = Datum { part, schema_id };
        let Against { validator, target_id } = match (&check.expected, marker) {
            (Expected::Fixed { fingerprint, .. }, Marker::Fingerprint(found)) if found != *fingerprint => {
                let error = format!("{marker} is not that of the schema");
                return Err(self.invalid(of.why("other_schema", error, String::new())));
            }
            (Expected::Fixed { validator, .. }, _) => Against { validator, target_id: None },
            (Expected::Registry { .. }, Marker::Fingerprint(_) | Marker::None) => {
                let error = "it names no schema of a registry".to_owned();
                return Err(self.invalid(of.why("unknown_schema", error, String::new())));
            }
            (Expected::Registry { .. }, Marker::Id(id)) => match self.registered(of, id)? {
                Some(against) => against,
                None => return Ok(None),
            },
        };
        validator
            .check(datum)
            .map_err(|fault| self.invalid(of.why(fault.kind.name(), fault.to_string(), fault.path)))?;
        Ok(target_id.map(|id| [&Marker::Id(id).header()[..], datum].concat()))
    }

    /// None: it passes unchecked, as the config says.
    fn registered(&mut self, of: Datum, id: i32) -> Result<Option<Against<'a>>, Held> {
        // Most records have the id of the one before.
        let last = self.last.get(&of.part).filter(|it| it.0 == id).map(|it| it.1);
        let verdict = match last {
            Some(verdict) => verdict,
            None => {
                let key = self.key(of.part, id);
                let Some(verdict) = self.knowledge.get(&key) else { return Err(self.wait(of, key)) };
                self.last.insert(of.part, (id, verdict));
                verdict
            }
        };
        match verdict {
            SchemaVerdict::Check { validator, target_id } => {
                Ok(Some(Against { validator, target_id: target_id.filter(|it| *it != id) }))
            }
            SchemaVerdict::Unchecked => Ok(None),
            SchemaVerdict::Unfit(Unfit { reason, error }) => {
                Err(self.invalid(of.why(reason, error.clone(), String::new())))
            }
            SchemaVerdict::Unknown(Unfit { reason, error }) => {
                let why = of.why(reason, error.clone(), String::new());
                match self.check.on_unknown_schema {
                    OnUnknownSchema::DeadLetter => Err(Held::Object(why)),
                    OnUnknownSchema::Stop => Err(Held::Stop(why)),
                    OnUnknownSchema::PassUnchecked => Ok(None),
                    // The one who looks it up waits; it is not told.
                    OnUnknownSchema::Wait => Err(Held::Wait(self.key(of.part, id))),
                }
            }
        }
    }

    fn key(&self, part: Part, id: i32) -> SchemaKey {
        SchemaKey { topic: Arc::clone(&self.partition.topic), part, id }
    }

    fn wait(&self, of: Datum, key: SchemaKey) -> Held {
        if self.needs.contains(&key) || self.knowledge.told.len() + self.needs.len() < NEEDS_MAX {
            return Held::Wait(key);
        }
        let error = format!("its batch names more than {NEEDS_MAX} schemas that are not known");
        self.invalid(of.why("too_many_schemas", error, String::new()))
    }

    /// Of the first record that did not pass.
    pub(super) fn why(&self) -> Option<Why> {
        let (_, payload, _) = self.letters.first()?;
        Some(Letter::read(&payload.view()?)?.why)
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

    /// Batches for the dead letters, in the order of their records. Without a place for them the first is an error: dropped, it
    /// would be lost.
    pub(super) fn letters(self, into: Option<&DeadLetterBox>) -> Result<Vec<Prepared>, PrepareError> {
        let max_message_bytes = into.map_or(0, |it| it.max_message_bytes);
        let mut batches = Vec::new();
        let mut pieces = vec![&self.letters[..]];
        while let Some(piece) = pieces.pop() {
            let (Some(first), Some(last)) = (piece.first(), piece.last()) else { continue };
            let batch = pack(piece)?;
            let (bytes, record_count) = (batch.bytes().len(), batch.header().record_count.unsigned_abs());
            if bytes > max_message_bytes {
                if let [(_, _, offset)] = piece {
                    return Err(PrepareError::DeadLetterTooLarge { offset: *offset, bytes, max_message_bytes });
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
        // Nothing behind it has its turn before an operator has mended something.
        if self.objection.is_some() {
            return Screened::Await;
        }
        let record = &candidate.record;
        let (mut replaced, mut waits) = ([None, None], false);
        // A record without a value deletes its key, and is checked by its key alone.
        for (at, part, bytes) in [(0, Part::Key, record.key), (1, Part::Value, record.value)] {
            let Some(bytes) = bytes else { continue };
            match self.judge(part, bytes) {
                Ok(bytes) => replaced[at] = bytes,
                // What the other part needs is asked for at once.
                Err(Held::Wait(key)) => {
                    self.needs.insert(key);
                    waits = true;
                }
                Err(Held::Object(why)) if !waits => return self.object(candidate, why),
                Err(Held::Stop(why)) if !waits => {
                    self.objection = Some(Objection { offset: candidate.offset, why });
                    return Screened::Await;
                }
                // It is judged when the other part is known.
                Err(Held::Object(_) | Held::Stop(_)) => {}
            }
        }
        match replaced {
            _ if waits => Screened::Await,
            [None, None] => Screened::Pass,
            [key, value] => {
                let (key, value) = (key.as_deref().or(record.key), value.as_deref().or(record.value));
                Screened::Replace(Payload::of(record, key, value, &[]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::avro::{FaultKind, Framing, FramingFault};
    use std::collections::BTreeSet;

    /// Filters and alerts are made of them.
    #[test]
    fn the_readme_lists_every_reason_and_no_other() {
        const README: &str = include_str!("../../README.md");
        let row = README.lines().find(|it| it.starts_with("| `dead-letter.reason`")).unwrap();
        let words = regex::Regex::new("`([a-z0-9_]+)`").unwrap();
        let listed: BTreeSet<&str> = words.captures_iter(row).map(|it| it.get(1).unwrap().as_str()).collect();
        let sources = [include_str!("screening.rs"), include_str!("../schemas/finder.rs")];
        let told = regex::Regex::new(r#"(?:why|unfit|unknown)\(\s*"([a-z_]+)""#).unwrap();
        let mut reasons: BTreeSet<&str> =
            sources.iter().flat_map(|it| told.captures_iter(it)).map(|it| it.get(1).unwrap().as_str()).collect();
        assert!(reasons.len() >= 7, "{reasons:?}");
        reasons.extend(FaultKind::ALL.map(FaultKind::name));
        let framing = Framing::Confluent;
        let faults = [
            FramingFault::TooShort { framing, bytes: 0 },
            FramingFault::Magic { framing, found: [0; 2] },
            FramingFault::NegativeId(-1),
        ];
        reasons.extend(faults.map(FramingFault::name));
        assert_eq!(listed, reasons);
    }
}
