//! The config file: parsing, defaults, and errors that name file, line and key.
//!
//! A [`Config`] cannot be wrong: every name, pattern, address and number in it has been checked, once, here.

mod console;
mod delivery;
mod endpoint;
mod environment;
mod error;
mod keys;
mod pattern;
mod reader;
mod registry;
mod secret;
mod show;
mod topics;
mod validation;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use console::Console;
pub use delivery::{Delivery, Log, LogAppendTime, LogFormat, LogLevel, ProtocolChoice, Sharing, Weakness};
pub use endpoint::{ClientFiles, EndConfig, HostPort, HostPortError, TlsFiles};
pub use environment::Environment;
pub use error::{ConfigError, Place, Problem};
pub use keys::KEYS;
pub use pattern::{Pattern, TOPIC_NAME_LENGTH_MAX, is_internal, topic_name_fault};
pub use registry::{RegistryConfig, RegistryCredentials, RegistryUrl, RegistryUrlError};
pub use secret::Secret;
pub use topics::{Rename, Start, TopicRule};
pub use validation::{
    FieldRule, Framing, Number, OnInvalid, OnRegistryDown, OnUnknownSchema, SchemaIds, SchemaSource, Validation,
};

use error::{Show, Text};
use reader::{Reader, Section};

/// A config is a page of text; anything larger is the wrong file, and is not read into memory.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

const LEDGER_SUFFIX: &str = ".ledger";
const DEAD_LETTER_SUFFIX: &str = ".dead-letters";

/// The link's name, such that the names of topics made from it are such that Kafka takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkName(String);

impl LinkName {
    pub const LENGTH_MAX: usize = TOPIC_NAME_LENGTH_MAX - DEAD_LETTER_SUFFIX.len();

    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            Err("is empty".to_owned())
        } else if !name.chars().all(pattern::is_topic_letter) {
            Err("holds something besides a-z, A-Z, 0-9, `.`, `_` and `-`".to_owned())
        } else if name.len() > Self::LENGTH_MAX {
            Err(format!("is longer than {} letters", Self::LENGTH_MAX))
        } else if is_internal(name) {
            Err("begins with `__`, as Kafka's own topics do".to_owned())
        } else {
            Ok(Self(name.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn ledger_topic(&self) -> String {
        format!("{}{LEDGER_SUFFIX}", self.0)
    }

    fn dead_letter_topic(&self) -> String {
        format!("{}{DEAD_LETTER_SUFFIX}", self.0)
    }

    pub fn group_id(&self) -> &str {
        &self.0
    }

    pub fn transactional_id(&self, lane: u32) -> String {
        format!("{}{lane}", self.transactional_id_prefix())
    }

    /// Of whoever replays a lane's dead letters: no lane of any link has such a name, for it would end with a number.
    pub fn replay_id(&self, lane: u32) -> String {
        format!("{}.replay", self.transactional_id(lane))
    }

    /// Of all lanes: rights are granted by it.
    pub fn transactional_id_prefix(&self) -> String {
        format!("{}.", self.0)
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    pub end: EndConfig,
    /// None is the target's own `default.replication.factor`.
    pub replication_factor: Option<i16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub link: LinkName,
    pub source: EndConfig,
    pub target: TargetConfig,
    /// Never empty.
    pub topics: Vec<TopicRule>,
    pub delivery: Delivery,
    pub log: Log,
    /// None: nothing is served.
    pub console: Option<Console>,
    file: PathBuf,
    places: BTreeMap<String, Place>,
}

impl Config {
    /// Reads the file and the process's environment, and checks that the files it names can be opened.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = read_text(file)?;
        let config = Self::parse(file, &text, &|name| std::env::var(name).ok())?;
        let missing = config.unreadable_files(&text);
        if missing.is_empty() { Ok(config) } else { Err(ConfigError::new(missing)) }
    }

    /// Pure: `file` names the text in errors, and its folder is what relative paths count from.
    pub fn parse(file: &Path, text: &str, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let source_text = Text { file, text };
        let (table, faults) = DeTable::parse_recoverable(text);
        if !faults.is_empty() {
            let problem = |fault: &toml::de::Error| {
                let span = fault.span().unwrap_or_default();
                let remedy =
                    "mend the syntax (https://toml.io): strings need quotation marks, a table or key stands once";
                let message = fault.message().lines().collect::<Vec<_>>().join(", ");
                source_text.problem(span, "", format!("not TOML: {message}"), remedy.to_owned(), Show::Line)
            };
            return Err(ConfigError::new(faults.iter().map(problem).collect()));
        }
        let reader = &mut Reader { text: source_text, environment, problems: Vec::new(), places: BTreeMap::new() };
        // A key that is missing at the top is reported at the file's first line.
        let root = Section { path: String::new(), table: Some(table.get_ref()), span: 0..0 };
        let folder = file.parent().unwrap_or(Path::new(""));

        reader.refuse_unknown(&root);
        let link = link(reader, &root);
        let source = reader.section(&root, "source");
        reader.refuse_unknown(&source);
        let source = EndConfig::read(reader, &source, folder);
        let target = reader.section(&root, "target");
        reader.refuse_unknown(&target);
        let target_end = EndConfig::read(reader, &target, folder);
        let replication_factor =
            reader.integer(&target, "replication_factor", 1..=i64::from(i16::MAX)).and_then(|n| i16::try_from(n).ok());
        let topics = topics::read(reader, &root, folder);
        let delivery = Delivery::read(reader, &root);
        if let (Some(link), Some(topic)) = (&link, &delivery.dead_letter_topic)
            && topic.replace('.', "_") == link.ledger_topic().replace('.', "_")
        {
            let key = "delivery.dead_letter_topic";
            let start = reader.places.get(key).map_or(0, |place| offset_of(text, place));
            let what = "is the name of the link's own ledger, or differs from it only in `.` and `_`";
            reader.problem(&(start..start + 1), key, what, "choose another name");
        }
        let log = Log::read(reader, &root);
        let console = Console::read(reader, &root);

        let problems = std::mem::take(&mut reader.problems);
        let places = std::mem::take(&mut reader.places);
        match (link, source, target_end) {
            (Some(link), Some(source), Some(end)) if problems.is_empty() => {
                let target = TargetConfig { end, replication_factor };
                let file = file.to_owned();
                Ok(Self { link, source, target, topics, delivery, log, console, file, places })
            }
            _ => Err(ConfigError::new(problems)),
        }
    }

    /// Where the file sets `key` (as `source.tls.ca_file`), so that an error found later can name the line.
    pub fn place(&self, key: &str) -> Option<&Place> {
        self.places.get(key)
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// At the target; made when some topic's records are checked.
    pub fn dead_letter_topic(&self) -> String {
        self.delivery.dead_letter_topic.clone().unwrap_or_else(|| self.link.dead_letter_topic())
    }

    fn unreadable_files(&self, text: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let tables = [("source", &self.source), ("target", &self.target.end)].into_iter().flat_map(|(name, end)| {
            let registry = end.registry.as_ref().and_then(|it| it.tls.as_ref());
            [(name.to_owned(), end.tls.as_ref()), (format!("{name}.registry"), registry)]
        });
        for (name, tls) in tables {
            let Some(tls) = tls else { continue };
            let mut files = vec![("ca_file", &tls.ca_file)];
            if let Some(client) = &tls.client {
                files.extend([("cert_file", &client.cert_file), ("key_file", &client.key_file)]);
            }
            for (key, path) in files {
                problems.extend(self.unreadable(text, &format!("{name}.tls.{key}"), path));
            }
        }
        for (at, rule) in self.topics.iter().enumerate() {
            for (key, path) in rule.validation.iter().flat_map(Validation::files) {
                problems.extend(self.unreadable(text, &format!("topics[{at}].{key}"), path));
            }
        }
        problems
    }

    fn unreadable(&self, text: &str, key: &str, path: &Path) -> Option<Problem> {
        // A folder can be opened, but not read.
        let error = File::open(path).and_then(|mut file| file.read(&mut [0])).err()?;
        let what = format!("cannot read {}: {error}", path.display());
        let remedy = "mend the path (relative ones count from the config's folder) or the file's rights";
        Some(self.problem(text, key, what, remedy.to_owned()))
    }

    fn problem(&self, text: &str, key: &str, what: String, remedy: String) -> Problem {
        let source = Text { file: &self.file, text };
        let start = self.places.get(key).map_or(0, |place| offset_of(text, place));
        source.problem(start..start + 1, key, what, remedy, Show::Line)
    }
}

fn offset_of(text: &str, place: &Place) -> usize {
    let before: usize = text.split_inclusive('\n').take(place.line - 1).map(str::len).sum();
    let line = text.get(before..).unwrap_or_default();
    before + line.char_indices().nth(place.column - 1).map_or(0, |(offset, _)| offset)
}

fn link(reader: &mut Reader<'_>, root: &Section<'_>) -> Option<LinkName> {
    let problems = reader.problems.len();
    let Some(value) = reader.string(root, "link") else {
        if reader.problems.len() == problems {
            reader.missing(root, "link", "add a name above the tables, as `link = \"orders-dmz\"`");
        }
        return None;
    };
    let name = LinkName::new(&value.text);
    name.map_err(|why| {
        let remedy =
            "it names the ledger topic, the group and the transactional ids: take a short name as \"orders-dmz\"";
        reader.wrong(&value, why, remedy);
    })
    .ok()
}

fn read_text(file: &Path) -> Result<String, ConfigError> {
    let fail = |what: String, remedy: &str| ConfigError::file(file, what, remedy.to_owned());
    let mut bytes = Vec::new();
    File::open(file).and_then(|opened| opened.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(|error| {
        fail(format!("cannot read it: {error}"), "name the config with --config, and check the file's rights")
    })?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(fail(format!("is larger than {CONFIG_BYTES_MAX} bytes"), "this is no config: check the path"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let end = valid.len();
        let text = Text { file, text: &valid };
        let remedy = "save the file as UTF-8".to_owned();
        ConfigError::new(vec![text.problem(end..end, "", "is not UTF-8 here".to_owned(), remedy, Show::Line)])
    })
}
