//! What `check` found: the keys of its JSON, which scripts rely on, and what its text is made of.

use crate::config::{ConfigError, Problem};
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything that could be found out; what could not is null or empty.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub link: Option<String>,
    /// The file.
    pub config: String,
    pub verdict: Verdict,
    pub config_errors: Vec<ConfigProblem>,
    pub source: Option<EndReport>,
    pub target: Option<EndReport>,
    pub transaction_protocol: Option<ProtocolReport>,
    pub missing_rights: Vec<RightReport>,
    pub plan: Option<PlanReport>,
    pub positions: Option<PositionsReport>,
    /// The gravest first.
    pub notes: Vec<Note>,
}

#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// The code that `check` exits with: that of a `run` which would not begin, 69 where some broker cannot be reached,
    /// 1 where a partition would stand still, else 0.
    pub exit_code: u8,
    pub would_run: bool,
    pub text: String,
}

#[derive(Debug, Serialize)]
pub struct ConfigProblem {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub key: String,
    pub what: String,
    pub remedy: String,
}

impl ConfigProblem {
    pub fn all(error: &ConfigError) -> Vec<Self> {
        let of = |problem: &Problem| Self {
            file: problem.place.file.display().to_string(),
            line: problem.place.line,
            column: problem.place.column,
            key: problem.key.clone(),
            what: problem.what.clone(),
            remedy: problem.remedy.clone(),
        };
        error.problems().iter().map(of).collect()
    }
}

#[derive(Debug, Default, Serialize)]
pub struct EndReport {
    pub bootstrap_servers: Vec<String>,
    /// Why nothing could be asked.
    pub error: Option<String>,
    pub cluster_id: Option<String>,
    pub brokers: Vec<BrokerReport>,
    pub security: SecurityReport,
    /// Whom the brokers take us for, unless they map names.
    pub principal: String,
}

#[derive(Debug, Serialize)]
pub struct BrokerReport {
    pub node: i32,
    pub address: String,
    /// As far as its API versions show; null where it cannot be reached.
    pub kafka: Option<String>,
    pub error: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct SecurityReport {
    /// `plaintext`, `tls` or `mutual_tls`.
    pub kind: &'static str,
    pub version: Option<&'static str>,
    pub client_certificate: Option<CertificateReport>,
    pub broker_certificate: Option<CertificateReport>,
}

#[derive(Debug, Serialize)]
pub struct CertificateReport {
    pub subject: String,
    pub not_after: String,
    /// Negative: it has expired.
    pub days_left: i64,
}

#[derive(Debug, Serialize)]
pub struct ProtocolReport {
    pub version: u8,
    pub reason: &'static str,
}

#[derive(Debug, Serialize)]
pub struct RightReport {
    pub end: &'static str,
    pub resource: &'static str,
    pub name: String,
    pub operations: Vec<String>,
    /// Whether `run` refuses to begin without it.
    pub is_required: bool,
    pub why: &'static str,
    /// For an administrator.
    pub command: String,
}

#[derive(Debug, Serialize)]
pub struct PlanReport {
    pub topics: Vec<TopicReport>,
    pub unmatched_patterns: Vec<UnmatchedReport>,
    pub ledger: LedgerReport,
    /// Null: no topic's records are checked.
    pub dead_letters: Option<LedgerReport>,
}

#[derive(Debug, Serialize)]
pub struct TopicReport {
    pub source: String,
    pub target: String,
    pub partitions: i32,
    /// The entry of `include` that matched, and its `[[topics]]`, from 1.
    pub pattern: String,
    pub rule: usize,
    pub start: String,
    pub action: Action,
    /// Those that are there now.
    pub target_partitions: i32,
    pub replication_factor: Option<i16>,
    /// That it is created with, besides the target's defaults.
    pub configs: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    None,
    Create,
    Grow,
}

#[derive(Debug, Serialize)]
pub struct UnmatchedReport {
    pub pattern: String,
    pub rule: usize,
}

#[derive(Debug, Serialize)]
pub struct LedgerReport {
    pub topic: String,
    pub lanes: u32,
    pub action: Action,
    pub replication_factor: Option<i16>,
}

#[derive(Debug, Default, Serialize)]
pub struct PositionsReport {
    /// Partitions that have one.
    pub known: usize,
    /// Records that are still to be copied, as far as it is known.
    pub lag: i64,
    /// Who signed the ledger last; it may be running.
    pub owner: Option<OwnerReport>,
    pub partitions: Vec<PartitionReport>,
}

#[derive(Debug, Serialize)]
pub struct OwnerReport {
    pub host: String,
    pub pid: u32,
    pub version: String,
    pub started: String,
}

#[derive(Debug, Serialize)]
pub struct PartitionReport {
    pub topic: String,
    pub partition: i32,
    pub lane: u32,
    /// Null: it has no position yet.
    pub next_offset: Option<i64>,
    pub log_start_offset: Option<i64>,
    /// The last stable offset at the source.
    pub end_offset: Option<i64>,
    pub lag: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// `run` does not begin.
    Refused,
    /// `run` begins, and something of the plan is not copied.
    Stopped,
    Warning,
    /// A weakness that the config accepts by name.
    Accepted,
    Info,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Stopped => "stopped",
            Self::Warning => "warning",
            Self::Accepted => "accepted",
            Self::Info => "info",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub level: Level,
    /// For scripts: a weakness' name in `accept_weak`, an incident's kind, or one of the words in the README.
    pub name: &'static str,
    /// Topic or partition; null where it is of an end or of the whole link.
    pub subject: Option<String>,
    pub text: String,
}

impl Note {
    pub(super) fn new(level: Level, name: &'static str, subject: Option<&str>, text: impl Into<String>) -> Self {
        Self { level, name, subject: subject.map(str::to_owned), text: text.into() }
    }
}
