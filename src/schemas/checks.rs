//! The config's `[[topics]]` as checks: files read, schemas parsed, rules compiled.

use crate::avro::{Check, FieldRule, Framing, Schema, SchemaText, Validator};
use crate::config::{self, Config, OnInvalid, OnRegistryDown, OnUnknownSchema, Place, SchemaIds, SchemaSource};
use crate::dead_letters::Part;
use crate::types::TopicName;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

const TOPIC: &str = "{topic}";

/// How the records of one topic are checked.
#[derive(Clone, Debug)]
pub struct TopicCheck {
    /// At the source.
    pub topic: TopicName,
    pub key: Option<PartCheck>,
    pub value: Option<PartCheck>,
    pub on_invalid: OnInvalid,
    pub on_unknown_schema: OnUnknownSchema,
    pub on_registry_down: OnRegistryDown,
    pub schema_ids: SchemaIds,
}

/// A topic's check never changes while a process runs.
impl PartialEq for TopicCheck {
    fn eq(&self, other: &Self) -> bool {
        self.topic == other.topic
    }
}

impl Eq for TopicCheck {}

impl TopicCheck {
    pub fn part(&self, part: Part) -> Option<&PartCheck> {
        match part {
            Part::Key => self.key.as_ref(),
            Part::Value => self.value.as_ref(),
        }
    }

    /// Its ids are the target registry's in the copy.
    pub fn renumbers(&self, part: Part) -> bool {
        let is_registered = |it: &PartCheck| matches!(it.expected, Expected::Registry { .. });
        self.schema_ids == SchemaIds::Map && self.part(part).is_some_and(is_registered)
    }
}

#[derive(Clone, Debug)]
pub struct PartCheck {
    pub framing: Framing,
    pub expected: Expected,
}

#[derive(Clone, Debug)]
pub enum Expected {
    /// One schema, whatever id a record names. Of single-object encoding the fingerprint must be the schema's.
    Fixed { schema: Schema, validator: Arc<Validator>, fingerprint: [u8; 8] },
    /// Whatever the source's registry has under the id.
    Registry {
        /// None: of any.
        subject: Option<String>,
        rules: Arc<[FieldRule]>,
        /// What every schema must be readable by.
        compatible_with: Option<Schema>,
    },
}

/// What of a `[[topics]]` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SchemaProblem {
    place: Option<Place>,
    /// As `topics[0].value_schema`.
    pub key: String,
    pub reason: String,
}

impl fmt::Display for SchemaProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// By the place of its rule in the config.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    rules: Vec<Option<TopicCheck>>,
}

impl Checks {
    /// Reads the schema files.
    pub fn load(config: &Config) -> Result<Self, SchemaProblem> {
        let of = |(at, rule): (usize, &config::TopicRule)| {
            let loader = Loader { config, at };
            rule.validation.as_ref().map(|it| loader.load(it)).transpose()
        };
        Ok(Self { rules: config.topics.iter().enumerate().map(of).collect::<Result<_, _>>()? })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.iter().all(Option::is_none)
    }

    pub fn needs_registry(&self) -> bool {
        let parts = self.rules.iter().flatten().flat_map(|it| [&it.key, &it.value]).flatten();
        parts.into_iter().any(|it| matches!(it.expected, Expected::Registry { .. }))
    }

    pub fn maps_ids(&self) -> bool {
        self.rules.iter().flatten().any(|it| it.schema_ids == SchemaIds::Map)
    }

    /// `rule`: which `[[topics]]` decides about the topic.
    pub fn of(&self, rule: usize, topic: &TopicName) -> Option<TopicCheck> {
        let mut check = self.rules.get(rule)?.clone()?;
        check.topic = Arc::clone(topic);
        for part in [&mut check.key, &mut check.value].into_iter().flatten() {
            if let Expected::Registry { subject: Some(subject), .. } = &mut part.expected {
                *subject = subject.replace(TOPIC, topic);
            }
        }
        Some(check)
    }
}

struct Loader<'a> {
    config: &'a Config,
    at: usize,
}

impl Loader<'_> {
    fn load(&self, it: &config::Validation) -> Result<TopicCheck, SchemaProblem> {
        if it.uses_registry() && self.config.source.registry.is_none() {
            let key =
                if matches!(it.value, Some(SchemaSource::Registry { .. })) { "value_schema" } else { "key_schema" };
            return Err(self.problem(key, "names a registry, and there is no [source.registry]"));
        }
        if it.schema_ids == SchemaIds::Map && self.config.target.end.registry.is_none() {
            return Err(self.problem("schema_ids", "maps to the target's registry, and there is no [target.registry]"));
        }
        let references =
            it.references.iter().map(|file| self.text("references", file)).collect::<Result<Vec<_>, _>>()?;
        let rules: Vec<FieldRule> = it.rules.iter().flat_map(rules).collect();
        let reader = it.compatible_with.as_deref();
        let reader = reader.map(|file| self.schema("compatible_with", file, &references)).transpose()?;
        let key = it.key.as_ref();
        let key = key.map(|source| self.part("key_schema", source, it.framing, &references, &[], None)).transpose()?;
        let value = it.value.as_ref();
        let value = value
            .map(|source| self.part("value_schema", source, it.framing, &references, &rules, reader))
            .transpose()?;
        let as_invalid = match it.on_invalid {
            OnInvalid::DeadLetter => OnUnknownSchema::DeadLetter,
            OnInvalid::Stop => OnUnknownSchema::Stop,
        };
        Ok(TopicCheck {
            topic: "".into(),
            key,
            value,
            on_invalid: it.on_invalid,
            on_unknown_schema: it.on_unknown_schema.unwrap_or(as_invalid),
            on_registry_down: it.on_registry_down,
            schema_ids: it.schema_ids,
        })
    }

    fn part(
        &self,
        key: &str,
        source: &SchemaSource,
        framing: Option<config::Framing>,
        references: &[String],
        rules: &[FieldRule],
        compatible_with: Option<Schema>,
    ) -> Result<PartCheck, SchemaProblem> {
        let expected = match source {
            SchemaSource::Registry { subject } => {
                Expected::Registry { subject: subject.clone(), rules: rules.into(), compatible_with }
            }
            SchemaSource::File(file) => {
                let schema = self.schema(key, file, references)?;
                if let Some(reader) = compatible_with {
                    crate::avro::resolve(&schema, &reader)
                        .map_err(|mismatch| self.problem("compatible_with", mismatch))?;
                }
                let validator = Validator::compile(&schema, rules).map_err(|error| self.problem(key, error))?;
                let fingerprint = schema.fingerprint();
                Expected::Fixed { schema, validator: Arc::new(validator), fingerprint }
            }
        };
        let framing = match (framing, source) {
            (Some(config::Framing::Confluent), _) | (None, SchemaSource::Registry { .. }) => Framing::Confluent,
            (Some(config::Framing::SingleObject), _) => Framing::SingleObject,
            (Some(config::Framing::Raw), _) | (None, SchemaSource::File(_)) => Framing::Raw,
        };
        Ok(PartCheck { framing, expected })
    }

    fn schema(&self, key: &str, file: &Path, references: &[String]) -> Result<Schema, SchemaProblem> {
        let text = SchemaText { text: self.text(key, file)?, references: references.to_vec() };
        Schema::parse(&text).map_err(|error| self.problem(key, format!("{}: {error}", file.display())))
    }

    fn text(&self, key: &str, file: &Path) -> Result<String, SchemaProblem> {
        super::read_file(file).map_err(|error| self.problem(key, error))
    }

    fn problem(&self, key: &str, reason: impl fmt::Display) -> SchemaProblem {
        let key = format!("topics[{}].{key}", self.at);
        SchemaProblem { place: self.config.place(&key).cloned(), key, reason: reason.to_string() }
    }
}

fn rules(rule: &config::FieldRule) -> impl Iterator<Item = FieldRule> {
    let range = Check::Range { min: rule.min.map(|it| it.0), max: rule.max.map(|it| it.0) };
    let checks = [
        rule.required.then_some(Check::Required),
        (rule.min.is_some() || rule.max.is_some()).then_some(range),
        (!rule.one_of.is_empty()).then(|| Check::OneOf(rule.one_of.clone())),
        rule.max_length.map(Check::MaxLength),
    ];
    let path = rule.field.clone();
    checks.into_iter().flatten().map(move |check| FieldRule { path: path.clone(), check })
}
