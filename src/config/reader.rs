//! Reads typed values out of the parsed TOML and collects every problem instead of stopping at the first.
//!
//! The tree with its spans is walked by hand: serde gives up at the first wrong value, and the user would mend one line per attempt.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::{Environment, substitute};
use super::error::{Place, Problem, Show, Text};
use super::keys;

/// One table of the file; `table` is none when the file leaves it out, so that its defaults are read all the same.
#[derive(Clone)]
pub(super) struct Section<'a> {
    pub(super) path: String,
    pub(super) table: Option<&'a DeTable<'a>>,
    pub(super) span: Range<usize>,
}

/// A string value: after substitution, and as written, because messages must not repeat what came from the environment.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) raw: String,
    pub(super) key: String,
    pub(super) span: Range<usize>,
}

pub(super) struct Reader<'a> {
    pub(super) text: Text<'a>,
    pub(super) environment: Environment<'a>,
    pub(super) problems: Vec<Problem>,
    pub(super) places: BTreeMap<String, Place>,
}

impl Reader<'_> {
    pub(super) fn problem(&mut self, span: &Range<usize>, key: &str, what: impl Display, remedy: impl Display) {
        let problem = self.text.problem(span.clone(), key, what.to_string(), remedy.to_string(), Show::Line);
        self.problems.push(problem);
    }

    pub(super) fn wrong(&mut self, value: &Value, what: impl Display, remedy: impl Display) {
        self.problem(&value.span, &value.key, format_args!("{:?} {what}", value.raw), remedy);
    }

    /// A table below `parent`; a value of another type is a problem and counts as left out.
    pub(super) fn section<'s>(&mut self, parent: &Section<'s>, key: &str) -> Section<'s> {
        let path = join(&parent.path, key);
        match self.entry(parent, key) {
            None => Section { path, table: None, span: parent.span.clone() },
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => Section { path, table: Some(table), span: value.span() },
                other => {
                    let what = format!("is {}, not a table", article(other));
                    let remedy = format!("write a table `[{path}]`");
                    self.problem(&value.span(), &path, what, remedy);
                    Section { path, table: None, span: value.span() }
                }
            },
        }
    }

    /// The tables of a `[[key]]`.
    pub(super) fn sections<'s>(&mut self, parent: &Section<'s>, key: &str) -> Option<Vec<Section<'s>>> {
        let path = join(&parent.path, key);
        let value = self.entry(parent, key)?;
        let DeValue::Array(items) = value.get_ref() else {
            let remedy = format!("write it with double brackets: `[[{path}]]`");
            self.problem(
                &value.span(),
                &path,
                format!("is {}, not a list of tables", article(value.get_ref())),
                remedy,
            );
            return None;
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item.get_ref() {
                DeValue::Table(table) => sections.push(Section { path, table: Some(table), span: item.span() }),
                other => self.problem(
                    &item.span(),
                    &path,
                    format!("is {}, not a table", article(other)),
                    format!("write it as `[[{key}]]`"),
                ),
            }
        }
        Some(sections)
    }

    pub(super) fn entry<'s>(&mut self, section: &Section<'s>, key: &str) -> Option<&'s Spanned<DeValue<'s>>> {
        debug_assert!(keys::is_known(&strip(&section.path), key), "{}.{key} is missing in KEYS", section.path);
        let value = section.table?.get(key)?;
        self.places.insert(join(&section.path, key), self.text.place(value.span().start));
        Some(value)
    }

    pub(super) fn missing(&mut self, section: &Section<'_>, key: &str, remedy: &str) {
        let span = section.span.clone();
        let what = if section.table.is_none() && !section.path.is_empty() {
            "is missing, as is its table"
        } else {
            "is missing"
        };
        let problem =
            self.text.problem(span, &join(&section.path, key), what.to_owned(), remedy.to_owned(), Show::UpToSpan);
        self.problems.push(problem);
    }

    pub(super) fn string(&mut self, section: &Section<'_>, key: &str) -> Option<Value> {
        let value = self.entry(section, key)?;
        self.text_of(value, join(&section.path, key))
    }

    /// Of the few keys where "" is a value.
    pub(super) fn is_empty(&mut self, section: &Section<'_>, key: &str) -> bool {
        let value = self.entry(section, key);
        value.is_some_and(|it| matches!(it.get_ref(), DeValue::String(text) if text.is_empty()))
    }

    /// A list of strings; empty entries are problems, an empty list is the caller's business.
    pub(super) fn strings(&mut self, section: &Section<'_>, key: &str) -> Option<Vec<Value>> {
        let path = join(&section.path, key);
        let value = self.entry(section, key)?;
        let DeValue::Array(items) = value.get_ref() else {
            let what = format!("is {}, not a list", article(value.get_ref()));
            self.problem(&value.span(), &path, what, format!("write `{key} = [\"…\"]`"));
            return None;
        };
        let items: Vec<_> = items.iter().enumerate().collect();
        let values: Vec<Option<Value>> =
            items.into_iter().map(|(index, item)| self.text_of(item, format!("{path}[{index}]"))).collect();
        let values: Vec<Value> = values.into_iter().flatten().collect();
        for (index, value) in values.iter().enumerate() {
            if values[..index].iter().any(|earlier| earlier.text == value.text) {
                self.wrong(value, "stands twice in this list", "take one of them out");
            }
        }
        Some(values)
    }

    pub(super) fn text_of(&mut self, value: &Spanned<DeValue<'_>>, key: String) -> Option<Value> {
        let span = value.span();
        let DeValue::String(raw) = value.get_ref() else {
            let what = format!("is {}, not a string", article(value.get_ref()));
            self.problem(&span, &key, what, "put it in quotation marks");
            return None;
        };
        match substitute(raw, self.environment) {
            Ok(text) if text.trim().is_empty() => {
                self.problem(&span, &key, "is empty", "write a value, or take the entry out");
                None
            }
            Ok(text) => Some(Value { text, raw: raw.to_string(), key, span }),
            Err(error) => {
                self.problem(&span, &key, &error, error.remedy());
                None
            }
        }
    }

    /// A whole number within `range`; also a string whose text comes from the environment.
    pub(super) fn integer(&mut self, section: &Section<'_>, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let path = join(&section.path, key);
        let value = self.entry(section, key)?;
        let span = value.span();
        let number = match value.get_ref() {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            DeValue::String(raw) if raw.contains("${") => self.text_of(value, path.clone())?.text.trim().parse().ok(),
            other => {
                let what = format!("is {}, not a whole number", article(other));
                self.problem(&span, &path, what, format!("write `{key} = {}`", range.start()));
                return None;
            }
        };
        match number {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let remedy = format!("take a whole number from {} to {}", range.start(), range.end());
                self.problem(&span, &path, "is out of range", remedy);
                None
            }
        }
    }

    /// A finite number, with a fraction or without.
    pub(super) fn number(&mut self, section: &Section<'_>, key: &str) -> Option<f64> {
        let path = join(&section.path, key);
        let value = self.entry(section, key)?;
        let number = match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|it: &f64| it.is_finite());
        if number.is_none() {
            let what = format!("is {}, not a finite decimal number", article(value.get_ref()));
            self.problem(&value.span(), &path, what, format!("write `{key} = 1` or `{key} = 0.5`"));
        }
        number
    }

    pub(super) fn flag(&mut self, section: &Section<'_>, key: &str) -> Option<bool> {
        let path = join(&section.path, key);
        let value = self.entry(section, key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(*flag);
        }
        let what = format!("is {}, not true or false", article(value.get_ref()));
        self.problem(&value.span(), &path, what, format!("write `{key} = true`"));
        None
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, section: &Section<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.string(section, key)?;
        self.word(&value, words)
    }

    pub(super) fn word<T: Copy>(&mut self, value: &Value, words: &[(&str, T)]) -> Option<T> {
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == value.text) {
            return Some(*meant);
        }
        let near = keys::nearest(&value.text, words.iter().map(|(word, _)| *word));
        let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let remedy = near
            .map_or_else(|| format!("take one of {list}"), |near| format!("did you mean \"{near}\"? One of {list}"));
        self.wrong(value, "is not known here", remedy);
        None
    }

    /// Keys of the table that nobody knows: a typing mistake must not pass as a default.
    pub(super) fn refuse_unknown(&mut self, section: &Section<'_>) {
        let path = strip(&section.path);
        for key in section.table.into_iter().flat_map(DeTable::keys) {
            if !keys::is_known(&path, key.get_ref()) {
                let full = join(&section.path, key.get_ref());
                let remedy = keys::remedy(&path, key.get_ref());
                let problem = self.text.problem(key.span(), &full, "unknown key".to_owned(), remedy, Show::UpToSpan);
                self.problems.push(problem);
            }
        }
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The path without list positions.
fn strip(path: &str) -> String {
    path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join(".")
}

pub(super) fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
