//! Looks schemas up in the registries, as patiently as the config says.

use super::checks::{Expected, TopicCheck};
use super::verdict::{SchemaVerdict, Unfit};
use crate::avro::{Schema, SchemaText, Validator, resolve};
use crate::clock;
use crate::cluster::Backoff;
use crate::config::{OnRegistryDown, OnUnknownSchema, SchemaIds};
use crate::dead_letters::Part;
use crate::planted::{Bug, planted};
use crate::registry::{Registered, Registry, RegistryError};
use crate::types::TopicName;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A registry that restarts is back by then.
const PATIENCE: Duration = Duration::from_secs(20);
/// Final verdicts are kept: lanes ask for the same schemas. As many as a registry's client keeps texts.
const KEPT_MAX: usize = 2_000;

type Kept = BTreeMap<(TopicName, Part, i32), SchemaVerdict>;

/// Both ends' registries, as far as there are any. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Finder {
    pub source: Option<Registry>,
    pub target: Option<Registry>,
    /// Everybody who waits would say the same.
    is_told: Arc<AtomicBool>,
    kept: Arc<Mutex<Kept>>,
}

impl Finder {
    pub fn new(source: Option<Registry>, target: Option<Registry>) -> Self {
        Self { source, target, ..Self::default() }
    }

    /// Waits where the config says so: for a registry that is down, or a schema that is not registered yet.
    pub async fn find(&self, check: &TopicCheck, part: Part, id: i32) -> SchemaVerdict {
        let key = (Arc::clone(&check.topic), part, id);
        if let Some(verdict) = self.kept().get(&key) {
            return verdict.clone();
        }
        let (mut backoff, mut has_waited) = (Backoff::default(), false);
        loop {
            match self.look(check, part, id).await {
                Ok(SchemaVerdict::Unknown(unfit)) if check.on_unknown_schema == OnUnknownSchema::Wait => {
                    if !std::mem::replace(&mut has_waited, true) {
                        tracing::warn!(topic = %check.topic, id, error = unfit.error, "a partition waits for a schema");
                    }
                }
                Ok(verdict) => {
                    if self.is_told.swap(false, Ordering::Relaxed) {
                        tracing::info!("the schema registry answers again");
                    }
                    if verdict.is_final() {
                        let mut kept = self.kept();
                        if kept.len() >= KEPT_MAX {
                            kept.clear();
                        }
                        kept.insert(key, verdict.clone());
                    }
                    return verdict;
                }
                Err(error)
                    if check.on_registry_down == OnRegistryDown::PassUnchecked || planted(Bug::UncheckedWhileDown) =>
                {
                    self.tell(&error, "records pass unchecked, as the config says");
                    return SchemaVerdict::Unchecked;
                }
                Err(error) => self.tell(&error, "partitions with schemas that are not known yet wait for it"),
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    /// One look, for whoever only asks: nothing is waited for, and nothing registered.
    pub async fn peek(&self, check: &TopicCheck, part: Part, id: i32) -> Result<SchemaVerdict, RegistryError> {
        self.look(&TopicCheck { schema_ids: SchemaIds::Keep, ..check.clone() }, part, id).await
    }

    /// What there is to say now, for a command: the registry's next answer is waited for while that can come, a schema that is
    /// not registered is not. `registers`: where ids are mapped.
    pub async fn ask(
        &self,
        check: &TopicCheck,
        part: Part,
        id: i32,
        registers: bool,
    ) -> Result<SchemaVerdict, RegistryError> {
        let (began, mut backoff) = (clock::now(), Backoff::default());
        loop {
            let looked = if registers { self.look(check, part, id).await } else { self.peek(check, part, id).await };
            match looked {
                Err(error) if check.on_registry_down == OnRegistryDown::PassUnchecked => {
                    self.tell(&error, "records pass unchecked, as the config says");
                    return Ok(SchemaVerdict::Unchecked);
                }
                Err(error) if error.is_retriable() && clock::now() - began < PATIENCE => {
                    tracing::debug!(%error, "the registry is asked again");
                }
                other => return other,
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, error: &RegistryError, consequence: &str) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "{consequence}");
        }
    }

    /// An error says that the registry has not answered the question.
    async fn look(&self, check: &TopicCheck, part: Part, id: i32) -> Result<SchemaVerdict, RegistryError> {
        let unfit = |reason, error: String| Ok(SchemaVerdict::Unfit(Unfit { reason, error }));
        let unknown = |reason, error: String| Ok(SchemaVerdict::Unknown(Unfit { reason, error }));
        let (Some(registry), Some(part)) = (&self.source, check.part(part)) else {
            return Ok(SchemaVerdict::Unchecked);
        };
        let Expected::Registry { subject, rules, compatible_with } = &part.expected else {
            return Ok(SchemaVerdict::Unchecked);
        };
        let registered = match registry.by_id(id).await {
            Ok(registered) => registered,
            Err(error @ RegistryError::Unknown { .. }) => return unknown("unknown_schema", error.to_string()),
            Err(error @ RegistryError::Unusable { .. }) => return unknown("unusable_schema", error.to_string()),
            Err(error) => return Err(error),
        };
        let mapped_subject = match (subject, check.schema_ids) {
            (None, SchemaIds::Keep) => None,
            (subject, _) => {
                let subjects = match registry.subjects_of(id).await {
                    // Its subjects were deleted: the registry has answered, and knows none for it.
                    Err(error @ RegistryError::Unknown { .. }) => return unknown("unknown_schema", error.to_string()),
                    subjects => subjects?,
                };
                let wanted = |it: &&(String, i32)| subject.as_ref().is_none_or(|subject| *subject == it.0);
                match subjects.iter().find(wanted) {
                    Some(found) => Some(found.0.clone()),
                    None => {
                        let names = subjects.iter().map(|it| it.0.as_str()).collect::<Vec<_>>().join(", ");
                        let wanted = subject.as_deref().unwrap_or("any subject");
                        return unfit(
                            "other_subject",
                            format!("schema id {id} is not one of {wanted}, but of: {names}"),
                        );
                    }
                }
            }
        };
        let text = SchemaText { text: registered.text.clone(), references: registered.reference_texts() };
        let schema = match Schema::parse(&text) {
            Ok(schema) => schema,
            Err(error) => return unknown("unusable_schema", format!("schema id {id}: {error}")),
        };
        if let Some(reader) = compatible_with
            && let Err(mismatch) = resolve(&schema, reader)
        {
            return unfit(
                "incompatible_schema",
                format!("schema id {id} cannot be read by compatible_with: {mismatch}"),
            );
        }
        let validator = match Validator::compile(&schema, rules) {
            Ok(validator) => Arc::new(validator),
            // What the rule speaks of is not in it: nobody can say that a record keeps the rule.
            Err(error) => return unfit("rule_path", format!("schema id {id}: {error}")),
        };
        let target_id = match (check.schema_ids, mapped_subject) {
            (SchemaIds::Map, Some(subject)) => match self.map(&subject, &registered).await {
                Ok(id) => Some(id),
                Err(error @ RegistryError::Rejected { .. }) => return unfit("unmapped_schema", error.to_string()),
                Err(error) => return Err(error),
            },
            _ => None,
        };
        Ok(SchemaVerdict::Check { validator, target_id })
    }

    /// The schema's id at the target, which gets it under the same subject.
    async fn map(&self, subject: &str, registered: &Registered) -> Result<i32, RegistryError> {
        let Some(target) = &self.target else { return Ok(registered.id) };
        target.copy_from(subject, registered).await
    }
}
