//! What a topic's records are checked against: schemas, rules beyond them, and what becomes of a record that does not keep them.

use std::path::{Path, PathBuf};

use super::reader::{Reader, Section, join};

const REGISTRY: &str = "registry";
/// Besides the schemas.
const KEYS: [&str; 8] = [
    "framing",
    "references",
    "compatible_with",
    "on_invalid",
    "on_unknown_schema",
    "on_registry_down",
    "schema_ids",
    "rules",
];
/// Each is a look at every record.
const RULES_MAX: usize = 100;

/// Of one `[[topics]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    pub key: Option<SchemaSource>,
    pub value: Option<SchemaSource>,
    /// None: `confluent` with a registry, `raw` with a file.
    pub framing: Option<Framing>,
    /// Schema files that the others name types of; those that are needed first stand first.
    pub references: Vec<PathBuf>,
    /// Every value's schema must be readable by it.
    pub compatible_with: Option<PathBuf>,
    pub on_invalid: OnInvalid,
    /// None: as an invalid record.
    pub on_unknown_schema: Option<OnUnknownSchema>,
    pub on_registry_down: OnRegistryDown,
    pub schema_ids: SchemaIds,
    /// Of the values.
    pub rules: Vec<FieldRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaSource {
    File(PathBuf),
    /// The source's; None: whatever schema it knows. `{topic}` stands for the topic's name.
    Registry {
        subject: Option<String>,
    },
}

/// What stands before a datum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A zero byte and the id of a registry.
    Confluent,
    /// Avro's single-object encoding: two bytes and a fingerprint.
    SingleObject,
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    DeadLetter,
    /// The partition waits for an operator.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnknownSchema {
    DeadLetter,
    Stop,
    /// Until the registry knows it.
    Wait,
    PassUnchecked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRegistryDown {
    Wait,
    PassUnchecked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaIds {
    Keep,
    /// The target's registry gets the schema, and the record that registry's id.
    Map,
}

/// Beyond the schema. At least one check is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldRule {
    /// As `customer.address.zip`, `items[].price`.
    pub field: String,
    pub required: bool,
    pub min: Option<Number>,
    pub max: Option<Number>,
    pub one_of: Vec<String>,
    pub max_length: Option<u64>,
}

/// Finite.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub f64);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Number {}

impl Validation {
    /// None: nothing is checked.
    pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>, folder: &Path) -> Option<Self> {
        let key = schema(reader, section, "key_schema", folder);
        let value = schema(reader, section, "value_schema", folder);
        let framing = reader.choice(
            section,
            "framing",
            &[("confluent", Framing::Confluent), ("single_object", Framing::SingleObject), ("raw", Framing::Raw)],
        );
        let references = reader.strings(section, "references").unwrap_or_default();
        let references = references.into_iter().map(|it| folder.join(it.text)).collect();
        let compatible_with = reader.string(section, "compatible_with").map(|it| folder.join(it.text));
        let on_invalid =
            reader.choice(section, "on_invalid", &[("dead_letter", OnInvalid::DeadLetter), ("stop", OnInvalid::Stop)]);
        let on_unknown_schema = reader.choice(
            section,
            "on_unknown_schema",
            &[
                ("dead_letter", OnUnknownSchema::DeadLetter),
                ("stop", OnUnknownSchema::Stop),
                ("wait", OnUnknownSchema::Wait),
                ("pass_unchecked", OnUnknownSchema::PassUnchecked),
            ],
        );
        let on_registry_down = reader.choice(
            section,
            "on_registry_down",
            &[("wait", OnRegistryDown::Wait), ("pass_unchecked", OnRegistryDown::PassUnchecked)],
        );
        let schema_ids = reader.choice(section, "schema_ids", &[("keep", SchemaIds::Keep), ("map", SchemaIds::Map)]);
        let rules = rules(reader, section);
        let found = Self {
            key,
            value,
            framing,
            references,
            compatible_with,
            on_invalid: on_invalid.unwrap_or(OnInvalid::DeadLetter),
            on_unknown_schema,
            on_registry_down: on_registry_down.unwrap_or(OnRegistryDown::Wait),
            schema_ids: schema_ids.unwrap_or(SchemaIds::Keep),
            rules,
        };
        found.refuse_what_has_no_effect(reader, section);
        (found.key.is_some() || found.value.is_some()).then_some(found)
    }

    fn refuse_what_has_no_effect(&self, reader: &mut Reader<'_>, section: &Section<'_>) {
        let mut refuse = |key: &str, what: &str, remedy: &str| {
            if let Some(entry) = reader.entry(section, key) {
                reader.problem(&entry.span(), &join(&section.path, key), what, remedy);
            }
        };
        if self.value.is_none() {
            let remedy = "add `value_schema = \"order.avsc\"` or `value_schema = \"registry\"`";
            for key in KEYS {
                let is_of_values = matches!(key, "rules" | "compatible_with");
                if self.key.is_none() || is_of_values {
                    refuse(key, "has no effect: no schema is named", remedy);
                }
            }
        }
        if !self.uses_registry() {
            for key in ["on_unknown_schema", "on_registry_down", "schema_ids"] {
                refuse(key, "has no effect without a registry", "take it out, or name the schema by \"registry\"");
            }
        } else if self.framing.is_some_and(|it| it != Framing::Confluent) {
            refuse("framing", "carries no id that a registry knows", "take \"confluent\", or a schema file");
        }
    }

    pub fn uses_registry(&self) -> bool {
        [&self.key, &self.value].into_iter().flatten().any(|it| matches!(it, SchemaSource::Registry { .. }))
    }

    /// With the keys that name them.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let sources = [("key_schema", &self.key), ("value_schema", &self.value)];
        let schemas = sources.into_iter().filter_map(|(key, source)| match source {
            Some(SchemaSource::File(file)) => Some((key, file)),
            _ => None,
        });
        let references = self.references.iter().map(|file| ("references", file));
        schemas.chain(references).chain(self.compatible_with.iter().map(|file| ("compatible_with", file)))
    }
}

fn schema(reader: &mut Reader<'_>, section: &Section<'_>, key: &str, folder: &Path) -> Option<SchemaSource> {
    let value = reader.string(section, key)?;
    if value.text == REGISTRY {
        return Some(SchemaSource::Registry { subject: None });
    }
    let Some(subject) = value.text.strip_prefix("registry:") else {
        return Some(SchemaSource::File(folder.join(value.text)));
    };
    if subject.is_empty() {
        reader.wrong(&value, "names no subject", "write \"registry:{topic}-value\", or \"registry\" for any");
        return None;
    }
    Some(SchemaSource::Registry { subject: Some(subject.to_owned()) })
}

fn rules(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<FieldRule> {
    let sections = reader.sections(section, "rules").unwrap_or_default();
    if sections.len() > RULES_MAX {
        let remedy = format!("take at most {RULES_MAX}");
        reader.problem(&section.span, &join(&section.path, "rules"), "has too many entries", remedy);
    }
    let mut rules = Vec::new();
    for section in sections.iter().take(RULES_MAX) {
        reader.refuse_unknown(section);
        let field = reader.string(section, "field");
        if field.is_none() {
            reader.missing(section, "field", "name the field, as `field = \"customer.email\"`");
        }
        let rule = FieldRule {
            field: field.map(|it| it.text).unwrap_or_default(),
            required: reader.flag(section, "required").unwrap_or(false),
            min: reader.number(section, "min").map(Number),
            max: reader.number(section, "max").map(Number),
            one_of: reader.strings(section, "one_of").unwrap_or_default().into_iter().map(|it| it.text).collect(),
            max_length: reader.integer(section, "max_length", 0..=i64::MAX).map(i64::unsigned_abs),
        };
        let is_empty = FieldRule { field: rule.field.clone(), ..FieldRule::default() } == rule;
        if is_empty {
            let remedy = "add `required = true`, `min`, `max`, `one_of` or `max_length`";
            reader.problem(&section.span, &section.path, "checks nothing", remedy);
        }
        if let (Some(min), Some(max)) = (rule.min, rule.max)
            && min.0 > max.0
        {
            reader.problem(&section.span, &section.path, "no number is within min and max", "swap them");
        }
        rules.push(rule);
    }
    rules
}
