//! `[[topics]]`: which topics, under which names, from where on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use toml::de::DeValue;

use super::pattern::{Pattern, is_internal, topic_name_fault};
use super::reader::{Reader, Section, article, join};
use super::validation::Validation;

const PLACEHOLDER: &str = "{topic}";

/// One `[[topics]]` entry. The first entry that includes a topic, and does not exclude it, decides about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule {
    /// Never empty.
    pub include: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
    pub rename: Rename,
    pub start: Start,
    /// None: records pass unchecked.
    pub validation: Option<Validation>,
}

/// The name at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rename {
    /// The source's name between a prefix and a suffix; both empty is the default.
    Around { prefix: String, suffix: String },
    /// One topic under a name of its own.
    Fixed(String),
    /// By table; a topic that is not in it keeps its name.
    Map(BTreeMap<String, String>),
}

impl Rename {
    pub fn same() -> Self {
        Self::Around { prefix: String::new(), suffix: String::new() }
    }

    pub fn target_name(&self, topic: &str) -> String {
        match self {
            Self::Around { prefix, suffix } => format!("{prefix}{topic}{suffix}"),
            Self::Fixed(name) => name.clone(),
            Self::Map(names) => names.get(topic).map_or(topic, String::as_str).to_owned(),
        }
    }
}

/// Where a partition without a position begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    Time(SystemTime),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Time(time) => write!(f, "{}", humantime::format_rfc3339(*time)),
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>, folder: &Path) -> Vec<TopicRule> {
    const REMEDY: &str = "add `[[topics]]` with `include = [\"orders.*\"]`";
    let problems = reader.problems.len();
    let sections = reader.sections(root, "topics").unwrap_or_default();
    if sections.is_empty() && reader.problems.len() == problems {
        reader.missing(root, "topics", REMEDY);
    }
    let mut rules: Vec<TopicRule> = Vec::new();
    for section in &sections {
        reader.refuse_unknown(section);
        let include = patterns(reader, section, "include", &rules);
        let exclude = patterns(reader, section, "exclude", &[]).unwrap_or_default();
        let rename = rename(reader, section, include.as_deref().unwrap_or_default());
        let start = start(reader, section).unwrap_or(Start::Earliest);
        let validation = Validation::read(reader, section, folder);
        if let (Some(include), Some(rename)) = (include, rename) {
            rules.push(TopicRule { include, exclude, rename, start, validation });
        }
    }
    rules
}

fn patterns(reader: &mut Reader<'_>, section: &Section<'_>, key: &str, earlier: &[TopicRule]) -> Option<Vec<Pattern>> {
    let problems = reader.problems.len();
    let values = reader.strings(section, key);
    let mut patterns = Vec::new();
    for value in values.iter().flatten() {
        let pattern = match Pattern::parse(&value.text) {
            Ok(pattern) => pattern,
            Err(why) => {
                let remedy = "take a topic's name, a glob as \"orders.*\", or \"regex:…\" for a regular expression";
                reader.wrong(value, why, remedy);
                continue;
            }
        };
        if earlier.iter().any(|rule| rule.exclude.is_empty() && rule.include.contains(&pattern)) {
            let what = "stands in an earlier [[topics]] already, which decides about all its topics";
            reader.wrong(value, what, "take it out of one of the two");
        }
        patterns.push(pattern);
    }
    if patterns.is_empty() && key == "include" {
        if reader.problems.len() == problems {
            reader.missing(section, key, "add at least one pattern: `include = [\"orders.*\"]`");
        }
        return None;
    }
    Some(patterns)
}

fn rename(reader: &mut Reader<'_>, section: &Section<'_>, include: &[Pattern]) -> Option<Rename> {
    const KEY: &str = "rename";
    let Some(entry) = reader.entry(section, KEY) else { return Some(Rename::same()) };
    let path = join(&section.path, KEY);
    match entry.get_ref() {
        DeValue::String(_) => {
            let value = reader.text_of(entry, path)?;
            let rename = template(&value.text, include);
            rename.map_err(|(what, remedy)| reader.wrong(&value, what, remedy)).ok()
        }
        DeValue::Table(table) => {
            let mut names: BTreeMap<String, String> = BTreeMap::new();
            for (topic, name) in table {
                let path = join(&path, topic.get_ref());
                let Some(name) = reader.text_of(name, path) else { continue };
                if let Some(fault) = topic_name_fault(topic.get_ref()) {
                    let what = format!("the source topic's name {fault}");
                    reader.problem(&topic.span(), &name.key, what, "write the name as the source has it");
                }
                if let Some(what) = target_fault(&name.text) {
                    reader.wrong(&name, what, "choose another name");
                } else if names.values().any(|other| *other == name.text) {
                    reader.wrong(&name, "is the name of two topics", "give each its own: topics are not merged");
                }
                names.insert(topic.get_ref().to_string(), name.text);
            }
            Some(Rename::Map(names))
        }
        other => {
            let what = format!("is {}, neither a template nor a table", article(other));
            reader.problem(
                &entry.span(),
                &path,
                what,
                "write `rename = \"dmz.{topic}\"` or `rename = { old = \"new\" }`",
            );
            None
        }
    }
}

fn target_fault(name: &str) -> Option<String> {
    match topic_name_fault(name) {
        Some(fault) => Some(format!("is no topic name: it {fault}")),
        None if is_internal(name) => Some("would write into a topic of Kafka's own".to_owned()),
        None => None,
    }
}

fn template(text: &str, include: &[Pattern]) -> Result<Rename, (String, &'static str)> {
    let Some((prefix, suffix)) = text.split_once(PLACEHOLDER) else {
        if let Some(what) = target_fault(text) {
            return Err((what, "take letters that Kafka allows; the only placeholder is `{topic}`"));
        }
        return match include {
            [one] if one.is_literal() => Ok(Rename::Fixed(text.to_owned())),
            _ => Err((
                "gives every topic the same name, and topics are not merged".to_owned(),
                "put `{topic}` into it, as \"dmz.{topic}\", or use a table `{ old = \"new\" }`",
            )),
        };
    };
    // One letter stands for the topic's name: what is around it must be legal whatever the name is.
    match target_fault(&format!("{prefix}t{suffix}")) {
        Some(what) => Err((what, "take letters that Kafka allows; `{topic}` may stand in it once")),
        None => Ok(Rename::Around { prefix: prefix.to_owned(), suffix: suffix.to_owned() }),
    }
}

fn start(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Start> {
    const KEY: &str = "start";
    const REMEDY: &str = "take \"earliest\", \"latest\" or a time with its zone, as \"2026-01-31T00:00:00Z\"";
    let entry = reader.entry(section, KEY)?;
    let path = join(&section.path, KEY);
    let time = match entry.get_ref() {
        // TOML has times of its own; a user who leaves the quotation marks out means the same.
        DeValue::Datetime(time) => time.to_string(),
        _ => reader.text_of(entry, path.clone())?.text,
    };
    match time.as_str() {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        time => {
            let parsed = parse_time(time).filter(|time| *time >= SystemTime::UNIX_EPOCH).map(Start::Time);
            if parsed.is_none() {
                reader.problem(&entry.span(), &path, "is no start", REMEDY);
            }
            parsed
        }
    }
}

/// RFC 3339 with any offset; `humantime` itself knows UTC alone.
fn parse_time(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    if !text.is_ascii() {
        return None;
    }
    let text = text.to_ascii_uppercase().replacen(' ', "T", 1);
    if let Some(utc) = text.strip_suffix('Z') {
        return humantime::parse_rfc3339(&format!("{utc}Z")).ok();
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |digits: &str, max: u64| {
        let all = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| all && *number <= max)
    };
    let offset_length = Duration::from_secs(number(hours, 23)? * 3_600 + number(minutes, 59)? * 60);
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    match offset.as_bytes().first()? {
        b'+' => time.checked_sub(offset_length),
        b'-' => time.checked_add(offset_length),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_any_offset() {
        let noon = parse_time("2026-01-31T12:00:00Z").expect("UTC");
        for same in [
            "2026-01-31T14:00:00+02:00",
            "2026-01-31T06:30:00-05:30",
            "2026-01-31 12:00:00z",
            "2026-01-31T12:00:00+00:00",
        ] {
            assert_eq!(parse_time(same), Some(noon), "{same}");
        }
        for bad in
            ["2026-01-31T12:00:00", "2026-01-31", "", "+02:00", "2026-13-01T00:00:00Z", "2026-01-31T12:00:00+2:00", "ä"]
        {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn templates() {
        let glob = [Pattern::parse("*").expect("a glob")];
        let one = [Pattern::parse("orders").expect("a name")];
        assert_eq!(template("{topic}", &glob), Ok(Rename::same()));
        assert_eq!(template("dmz.{topic}-v1", &glob).expect("legal").target_name("a"), "dmz.a-v1");
        assert_eq!(template("copy", &one), Ok(Rename::Fixed("copy".to_owned())));
        for bad in ["copy", "{topic}{topic}", "{partition}", "dmz/{topic}", "__{topic}"] {
            assert!(template(bad, &glob).is_err(), "{bad}");
        }
        assert!(template("__consumer_offsets", &one).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_time_panics(text in "[-+0-9TZ:. äé]{0,40}") {
            let _ = parse_time(&text);
        }
    }
}
