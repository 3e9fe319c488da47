//! `[delivery]` and `[log]`: how the link works; everything has a default.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use super::pattern::{is_internal, topic_name_fault};
use super::reader::{Reader, Section, join};

/// Above this the ledger's partitions and their transactions cost the target more than parallelism gives.
const LANES_MAX: i64 = 1_024;
/// Partitions of one lane share requests and transactions, which is most of what a copy costs brokers.
const LANES_DEFAULT: NonZeroU32 = NonZeroU32::MIN;
/// One for each of two bridges.
const LANES_DEFAULT_SHARED: NonZeroU32 = NonZeroU32::new(2).expect("2 is not zero");
/// Cadence that no reader notices.
const COMMIT_INTERVAL_MS_DEFAULT: i64 = 10;
const COMMIT_INTERVAL_MS_MAX: i64 = 60_000;
/// Verdict, markers and positions cost the target the same for a large one as for a small one.
const TRANSACTION_BYTES_DEFAULT: i64 = 8 << 20;
const TRANSACTION_BYTES_MIN: i64 = 64 << 10;
const TRANSACTION_BYTES_MAX: i64 = 1 << 30;
/// What an open transaction of a dead bridge holds readers up for, at most.
const TRANSACTION_TIMEOUT_MS_DEFAULT: i64 = 15_000;
const TRANSACTION_TIMEOUT_MS_MIN: i64 = 1_000;
/// The broker's default of `transaction.max.timeout.ms`.
const TRANSACTION_TIMEOUT_MS_MAX: i64 = 900_000;
const REQUEST_TIMEOUT_MS_DEFAULT: i64 = 5_000;
const REQUEST_TIMEOUT_MS_MIN: i64 = 100;
/// A lane has room for a transaction and for the next one, and fetches go on meanwhile.
const MEMORY_BYTES_DEFAULT: i64 = 20 << 20;
/// Room for some of the largest records that brokers take by default (1 MB).
const MEMORY_BYTES_MIN: i64 = 8 << 20;
const MEMORY_BYTES_MAX: i64 = 64 << 30;
/// Well within the 30 s that Kubernetes leaves a pod.
const DRAIN_TIMEOUT_MS_DEFAULT: i64 = 10_000;
const DRAIN_TIMEOUT_MS_MAX: i64 = 600_000;
/// The broker's least by default (`group.min.session.timeout.ms`): a bridge that dies is missed for no longer.
const SESSION_TIMEOUT_MS_DEFAULT: i64 = 6_000;
const SESSION_TIMEOUT_MS_MIN: i64 = 1_000;
/// The broker's most by default (`group.max.session.timeout.ms`).
const SESSION_TIMEOUT_MS_MAX: i64 = 1_800_000;
/// As Kafka's own clients have it.
const INSTANCE_ID_LENGTH_MAX: usize = 249;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub lanes: NonZeroU32,
    pub commit_interval: Duration,
    pub transaction_bytes_max: usize,
    /// As the protocol's field: milliseconds.
    pub transaction_timeout_ms: i32,
    pub request_timeout: Duration,
    pub memory_bytes_max: usize,
    pub drain_timeout: Duration,
    pub transaction_protocol: ProtocolChoice,
    pub log_append_time: LogAppendTime,
    pub accept_weak: BTreeSet<Weakness>,
    /// None: named after the link.
    pub dead_letter_topic: Option<String>,
    pub sharing: Sharing,
    /// None: the host's name. Empty: a member without one.
    pub instance_id: Option<String>,
    pub session_timeout: Duration,
}

/// Who works the lanes of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One bridge has all of them.
    Off,
    /// The bridges of a consumer group at the target share them.
    Group,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// v2 where the target has finalized it, else v1.
    Auto,
    V1,
}

/// What the copy of a record has as its time when the source's topic is of `message.timestamp.type=LogAppendTime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAppendTime {
    /// The time at which the source's broker appended it, which is what its readers see there.
    Keep,
    /// The time that the producer gave it.
    CreateTime,
}

/// A property of the target that can lose acknowledged data; `run` refuses it unless it is accepted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weakness {
    TargetMinInsyncReplicas,
    TargetUncleanLeaderElection,
    TargetRetention,
    TargetMaxMessageBytes,
    TargetCleanupPolicy,
}

impl Weakness {
    pub const ALL: [Self; 5] = [
        Self::TargetMinInsyncReplicas,
        Self::TargetUncleanLeaderElection,
        Self::TargetRetention,
        Self::TargetMaxMessageBytes,
        Self::TargetCleanupPolicy,
    ];

    /// As it stands in `accept_weak`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TargetMinInsyncReplicas => "target_min_insync_replicas",
            Self::TargetUncleanLeaderElection => "target_unclean_leader_election",
            Self::TargetRetention => "target_retention",
            Self::TargetMaxMessageBytes => "target_max_message_bytes",
            Self::TargetCleanupPolicy => "target_cleanup_policy",
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Self::TargetMinInsyncReplicas => {
                "min.insync.replicas is 1: a record acknowledged by one broker can be lost with it"
            }
            Self::TargetUncleanLeaderElection => {
                "unclean.leader.election.enable: a broker that missed records can become leader"
            }
            Self::TargetRetention => {
                "retention is shorter than the age of the data that is to be copied: copied records expire at once"
            }
            Self::TargetMaxMessageBytes => {
                "max.message.bytes is smaller than the source's: a large record cannot be copied"
            }
            Self::TargetCleanupPolicy => {
                "cleanup.policy compacts, and the source's does not: older records of a key vanish, and records without one are refused"
            }
        }
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Delivery {
    /// A transaction that is open longer is not the link's, or its coordinator would have aborted it.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(u64::from(self.transaction_timeout_ms.unsigned_abs())) + self.request_timeout
    }

    pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>) -> Self {
        let section = reader.section(root, "delivery");
        reader.refuse_unknown(&section);
        let sharings = [("off", Sharing::Off), ("group", Sharing::Group)];
        let sharing = reader.choice(&section, "sharing", &sharings).unwrap_or(Sharing::Off);
        let lanes_default = if sharing == Sharing::Off { LANES_DEFAULT } else { LANES_DEFAULT_SHARED };
        let mut number = |key: &str, range, default: i64| reader.integer(&section, key, range).unwrap_or(default);
        let lanes = number("lanes", 1..=LANES_MAX, i64::from(lanes_default.get()));
        let commit_interval = number("commit_interval_ms", 1..=COMMIT_INTERVAL_MS_MAX, COMMIT_INTERVAL_MS_DEFAULT);
        let transaction_bytes =
            number("transaction_bytes_max", TRANSACTION_BYTES_MIN..=TRANSACTION_BYTES_MAX, TRANSACTION_BYTES_DEFAULT);
        let transaction_timeout = number(
            "transaction_timeout_ms",
            TRANSACTION_TIMEOUT_MS_MIN..=TRANSACTION_TIMEOUT_MS_MAX,
            TRANSACTION_TIMEOUT_MS_DEFAULT,
        );
        let request_timeout = number(
            "request_timeout_ms",
            REQUEST_TIMEOUT_MS_MIN..=TRANSACTION_TIMEOUT_MS_MAX,
            REQUEST_TIMEOUT_MS_DEFAULT,
        );
        let memory = number("memory_bytes_max", MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX, MEMORY_BYTES_DEFAULT);
        let drain = number("drain_timeout_ms", 0..=DRAIN_TIMEOUT_MS_MAX, DRAIN_TIMEOUT_MS_DEFAULT);
        let session =
            number("session_timeout_ms", SESSION_TIMEOUT_MS_MIN..=SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_DEFAULT);
        if commit_interval + request_timeout >= transaction_timeout {
            let what = format!(
                "commit_interval_ms {commit_interval} + request_timeout_ms {request_timeout} reach transaction_timeout_ms \
                 {transaction_timeout}: the target would abort transactions that are still being committed"
            );
            let keys = ["commit_interval_ms", "request_timeout_ms", "transaction_timeout_ms"];
            contradiction(reader, &section, &keys, &what, "raise transaction_timeout_ms, or lower the others");
        }
        if transaction_bytes > memory {
            let what = format!("transaction_bytes_max {transaction_bytes} is more than memory_bytes_max {memory}");
            let remedy = "a transaction is held in memory until it is committed: raise the one or lower the other";
            contradiction(reader, &section, &["transaction_bytes_max", "memory_bytes_max"], &what, remedy);
        }
        let protocols = [("auto", ProtocolChoice::Auto), ("v1", ProtocolChoice::V1)];
        let times = [("keep", LogAppendTime::Keep), ("create_time", LogAppendTime::CreateTime)];
        Self {
            lanes: u32::try_from(lanes).ok().and_then(NonZeroU32::new).unwrap_or(lanes_default),
            commit_interval: milliseconds(commit_interval),
            transaction_bytes_max: usize::try_from(transaction_bytes).unwrap_or(usize::MAX),
            transaction_timeout_ms: i32::try_from(transaction_timeout).unwrap_or(i32::MAX),
            request_timeout: milliseconds(request_timeout),
            memory_bytes_max: usize::try_from(memory).unwrap_or(usize::MAX),
            drain_timeout: milliseconds(drain),
            transaction_protocol: reader
                .choice(&section, "transaction_protocol", &protocols)
                .unwrap_or(ProtocolChoice::Auto),
            log_append_time: reader.choice(&section, "log_append_time", &times).unwrap_or(LogAppendTime::Keep),
            accept_weak: weaknesses(reader, &section),
            dead_letter_topic: topic(reader, &section, "dead_letter_topic"),
            sharing,
            instance_id: instance_id(reader, &section),
            session_timeout: milliseconds(session),
        }
    }
}

/// A broker takes any, Kafka's own clients do not.
fn instance_id(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<String> {
    if reader.is_empty(section, "instance_id") {
        return Some(String::new());
    }
    let value = reader.string(section, "instance_id")?;
    let is_legal = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
    if value.text.len() > INSTANCE_ID_LENGTH_MAX || !value.text.chars().all(is_legal) {
        let remedy = format!("use up to {INSTANCE_ID_LENGTH_MAX} letters, digits, `.`, `_` and `-`, or \"\" for none");
        reader.wrong(&value, "this cannot be an instance id", remedy);
        return None;
    }
    Some(value.text)
}

fn milliseconds(number: i64) -> Duration {
    Duration::from_millis(number.unsigned_abs())
}

/// Told at the first of the keys that the file sets.
fn contradiction(reader: &mut Reader<'_>, section: &Section<'_>, keys: &[&str], what: &str, remedy: &str) {
    let set = keys.iter().find_map(|key| Some((*key, section.table?.get(*key)?.span())));
    let (key, span) = set.unwrap_or((keys[0], section.span.clone()));
    reader.problem(&span, &join(&section.path, key), what, remedy);
}

fn topic(reader: &mut Reader<'_>, section: &Section<'_>, key: &str) -> Option<String> {
    let value = reader.string(section, key)?;
    let fault = match topic_name_fault(&value.text) {
        Some(fault) => Some(format!("is no topic name: it {fault}")),
        None => is_internal(&value.text).then(|| "is the name of a topic of Kafka's own".to_owned()),
    };
    if let Some(what) = fault {
        reader.wrong(&value, what, "choose another name");
    }
    Some(value.text)
}

fn weaknesses(reader: &mut Reader<'_>, section: &Section<'_>) -> BTreeSet<Weakness> {
    let names = Weakness::ALL.map(|weakness| (weakness.name(), weakness));
    let values = reader.strings(section, "accept_weak").unwrap_or_default();
    values.iter().filter_map(|value| reader.word(value, &names)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    const ALL: [(&'static str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// As a directive of `tracing_subscriber::EnvFilter`.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, level)| *level == self).map_or("info", |(name, _)| name)
    }
}

impl Log {
    pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>) -> Self {
        let section = reader.section(root, "log");
        reader.refuse_unknown(&section);
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Self {
            format: reader.choice(&section, "format", &formats).unwrap_or(LogFormat::Text),
            level: reader.choice(&section, "level", &LogLevel::ALL).unwrap_or(LogLevel::Info),
        }
    }
}
