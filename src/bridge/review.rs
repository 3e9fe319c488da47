//! Holds a record against the check of its topic once more, as a lane would hold it now.

use super::screening::{Knowledge, KnownSchemas, SchemaKey, Screening, Verdicts};
use crate::batch::{Candidate, Payload, RecordView, Screen, Screened};
use crate::clock;
use crate::config::{OnInvalid, OnUnknownSchema};
use crate::dead_letters::{Letter, Why};
use crate::registry::RegistryError;
use crate::schemas::{Finder, TopicCheck};

/// Beyond it all are forgotten, and asked for again where they come again.
const TOLD_MAX: usize = 4_096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reviewed {
    /// As the target gets it.
    Passes(Payload),
    Fails(Why),
}

/// What was asked of the registries is asked once.
pub struct Reviewer {
    finder: Finder,
    /// Schemas are registered at the target where ids are mapped.
    registers: bool,
    known: KnownSchemas,
    told: Verdicts,
}

impl Reviewer {
    /// `registers`: without it, ids of mapped schemas stay as they are.
    pub fn new(finder: Finder, registers: bool) -> Self {
        Self { finder, registers, known: KnownSchemas::default(), told: Verdicts::new() }
    }

    /// `check` None: the topic is not checked any more. `record`: of the letter, its own headers alone. An error says that a
    /// registry has not answered.
    pub async fn review(
        &mut self,
        check: Option<&TopicCheck>,
        letter: &Letter,
        timestamp: i64,
        record: &RecordView<'_>,
    ) -> Result<Reviewed, RegistryError> {
        let as_it_is = || Payload::of(record, record.key, record.value, &[]);
        let Some(check) = check else { return Ok(Reviewed::Passes(as_it_is())) };
        // Nothing waits, and nothing stops here: what does not pass stays where it is.
        let on_unknown_schema = match check.on_unknown_schema {
            OnUnknownSchema::PassUnchecked => OnUnknownSchema::PassUnchecked,
            _ => OnUnknownSchema::DeadLetter,
        };
        let check = TopicCheck { on_invalid: OnInvalid::DeadLetter, on_unknown_schema, ..check.clone() };
        loop {
            let needs = {
                let knowledge = Knowledge { known: &self.known, told: &self.told, now: clock::now() };
                let cluster_id = &letter.cluster_id;
                let mut screening = Screening::new(&check, knowledge, &letter.source, cluster_id, letter.time_ms);
                match screening.screen(&Candidate { offset: letter.offset, timestamp, record: *record }) {
                    Screened::Pass => return Ok(Reviewed::Passes(as_it_is())),
                    Screened::Replace(payload) => return Ok(Reviewed::Passes(payload)),
                    Screened::Divert => {
                        let why = screening.why().unwrap_or_else(|| letter.why.clone());
                        return Ok(Reviewed::Fails(why));
                    }
                    Screened::Await => screening.needs,
                }
            };
            if self.told.len() + needs.len() > TOLD_MAX {
                self.told.clear();
            }
            for key in needs {
                let SchemaKey { part, id, .. } = key;
                let verdict = self.finder.ask(&check, part, id, self.registers).await?;
                self.told.insert(key, verdict);
            }
        }
    }
}
