//! What is registered. Pure.

use crate::avro::take_lenient_names;
use apache_avro::Schema as Avro;
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Of a demo or a trial. What comes beyond it is refused.
const SCHEMAS_MAX: usize = 10_000;

/// What a new version of a subject must keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compatibility {
    #[default]
    None,
    /// Readers with the new schema can read what was written with the newest one. Looked at where neither has references.
    Backward,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) version: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) text: String,
    pub(super) references: Vec<Named>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Full,
    Invalid(String),
    Incompatible(String),
    NoReference(Named),
}

#[derive(Default)]
pub(super) struct Store {
    /// By id, from 1.
    schemas: Vec<Entry>,
    ids: BTreeMap<Entry, i32>,
    /// Ids by version, from 1.
    subjects: BTreeMap<String, Vec<i32>>,
}

impl Store {
    pub(super) fn schema(&self, id: i32) -> Option<&Entry> {
        self.schemas.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    pub(super) fn subjects(&self) -> impl Iterator<Item = &String> {
        self.subjects.keys()
    }

    pub(super) fn subject(&self, subject: &str) -> Option<&Vec<i32>> {
        self.subjects.get(subject)
    }

    /// None is the latest. With the version's own number.
    pub(super) fn version(&self, subject: &str, version: Option<i32>) -> Option<(i32, i32)> {
        let versions = self.subjects.get(subject)?;
        let number = match version {
            Some(number) => usize::try_from(number).ok()?,
            None => versions.len(),
        };
        let id = *versions.get(number.checked_sub(1)?)?;
        Some((i32::try_from(number).ok()?, id))
    }

    /// Subject and version of each place where the schema stands.
    pub(super) fn places(&self, id: i32) -> Vec<(&str, i32)> {
        let mut places = Vec::new();
        for (subject, versions) in &self.subjects {
            let index = versions.iter().position(|it| *it == id);
            places.extend(index.and_then(|it| Some((subject.as_str(), i32::try_from(it + 1).ok()?))));
        }
        places
    }

    /// The id and version that it has in the subject.
    pub(super) fn find(&self, subject: &str, entry: &Entry) -> Option<(i32, i32)> {
        let id = *self.ids.get(entry)?;
        let version = self.subjects.get(subject)?.iter().position(|it| *it == id)?;
        Some((id, i32::try_from(version + 1).ok()?))
    }

    /// Its id: the old one where the subject has it already, and the same one in every subject.
    pub(super) fn register(&mut self, subject: &str, entry: Entry, compatibility: Compatibility) -> Result<i32, Wrong> {
        if let Some((id, _)) = self.find(subject, &entry) {
            return Ok(id);
        }
        if self.schemas.len() >= SCHEMAS_MAX {
            return Err(Wrong::Full);
        }
        let parsed = self.parse(&entry)?;
        if compatibility == Compatibility::Backward
            && let Some((_, newest)) = self.version(subject, None)
            && let Some(before) = self.schema(newest)
            && before.references.is_empty()
            && entry.references.is_empty()
        {
            let before = self.parse(before)?;
            SchemaCompatibility::can_read(&before, &parsed).map_err(|error| Wrong::Incompatible(error.to_string()))?;
        }
        let id = match self.ids.get(&entry) {
            Some(id) => *id,
            None => {
                self.schemas.push(entry.clone());
                let id = i32::try_from(self.schemas.len()).map_err(|_| Wrong::Full)?;
                self.ids.insert(entry, id);
                id
            }
        };
        self.subjects.entry(subject.to_owned()).or_default().push(id);
        Ok(id)
    }

    fn parse(&self, entry: &Entry) -> Result<Avro, Wrong> {
        // Whoever parses first in a process decides for all: a bridge beside this registry would find no schema usable.
        take_lenient_names();
        let mut texts = Vec::new();
        self.collect(entry, &mut BTreeSet::new(), &mut texts)?;
        let invalid = |error: apache_avro::Error| Wrong::Invalid(error.to_string());
        let (schema, _) = Avro::parse_str_with_list(&entry.text, &texts).map_err(invalid)?;
        Ok(schema)
    }

    /// What is registered refers to what was registered before it: there is an end.
    fn collect(&self, entry: &Entry, seen: &mut BTreeSet<i32>, texts: &mut Vec<String>) -> Result<(), Wrong> {
        for named in &entry.references {
            let version = (named.version >= 0).then_some(named.version);
            let found = self.version(&named.subject, version).and_then(|(_, id)| Some((id, self.schema(id)?)));
            let (id, found) = found.ok_or_else(|| Wrong::NoReference(named.clone()))?;
            if seen.insert(id) {
                self.collect(found, seen, texts)?;
                texts.push(found.text.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        Entry { text: text.to_owned(), references: Vec::new() }
    }

    fn record(name: &str, field: &str) -> String {
        format!(r#"{{"type":"record","name":"{name}","fields":[{{"name":"a","type":"int"}}{field}]}}"#)
    }

    #[test]
    fn ids_are_global_and_versions_count_per_subject() {
        let mut store = Store::default();
        let mut add = |subject: &str, text: &str| store.register(subject, entry(text), Compatibility::None);
        assert_eq!(add("a", "\"int\""), Ok(1));
        assert_eq!(add("b", "\"string\""), Ok(2));
        assert_eq!(add("b", "\"int\""), Ok(1));
        assert_eq!(add("b", "\"string\""), Ok(2));
        assert_eq!(store.version("b", None), Some((2, 1)));
        assert_eq!(store.version("b", Some(1)), Some((1, 2)));
        assert_eq!(
            (store.version("b", Some(0)), store.version("b", Some(3)), store.version("c", None)),
            (None, None, None)
        );
        assert_eq!(store.places(1), [("a", 1), ("b", 2)]);
    }

    #[test]
    fn what_no_parser_takes_is_refused() {
        let mut store = Store::default();
        assert!(matches!(store.register("a", entry("{"), Compatibility::None), Err(Wrong::Invalid(_))));
        assert!(matches!(store.register("a", entry("\"x.Y\""), Compatibility::None), Err(Wrong::Invalid(_))));
        assert_eq!(store.subjects().count(), 0);
    }

    #[test]
    fn references_are_followed() {
        let mut store = Store::default();
        let named = Named { name: "x.Y".to_owned(), subject: "y".to_owned(), version: 1 };
        let outer = Entry { text: record("Z", r#",{"name":"b","type":"x.Y"}"#), references: vec![named.clone()] };
        assert_eq!(store.register("z", outer.clone(), Compatibility::None), Err(Wrong::NoReference(named)));
        assert_eq!(store.register("y", entry(&record("x.Y", "")), Compatibility::None), Ok(1));
        assert_eq!(store.register("z", outer, Compatibility::None), Ok(2));
    }

    #[test]
    fn backward_is_kept_where_it_is_wanted() {
        let mut store = Store::default();
        let (plain, more) = (record("R", ""), record("R", r#",{"name":"b","type":"int"}"#));
        assert_eq!(store.register("a", entry(&plain), Compatibility::Backward), Ok(1));
        assert!(matches!(store.register("a", entry(&more), Compatibility::Backward), Err(Wrong::Incompatible(_))));
        let with_default = record("R", r#",{"name":"b","type":"int","default":1}"#);
        assert_eq!(store.register("a", entry(&with_default), Compatibility::Backward), Ok(2));
        assert_eq!(store.register("a", entry(&more), Compatibility::None), Ok(3));
    }
}
