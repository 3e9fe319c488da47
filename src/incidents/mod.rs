//! What stands still, and an operator's word that lets it go on.

mod accept;

pub use accept::{Accepted, accept};

use crate::bridge::check::{Standing, standing};
use crate::bridge::{Incident, IncidentKind, RunError};
use crate::cluster::ClusterError;
use crate::ledger::Decision;
use crate::positions::Link;
use crate::types::TopicPartition;
use serde::Serialize;
use std::time::{Duration, UNIX_EPOCH};

#[derive(Debug, thiserror::Error)]
pub enum IncidentsError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{id}: there is no such incident. `kafka-bridge incidents` lists those that there are")]
    NoSuch { id: String },
    #[error("{id}: {kind} cannot be accepted: {remedy}")]
    NotToAccept { id: String, kind: &'static str, remedy: &'static str },
    #[error("{id}: say from which source offset on it is to be copied: --next-offset")]
    NoOffset { id: String },
    #[error(
        "{id}: the partition has moved on meanwhile: it stands at offset {next_offset} now. List the incidents again"
    )]
    Moved { id: String, next_offset: i64 },
    #[error("the decision was not written: {reason}. A transaction that is left open ends by itself; try again")]
    NotWritten { reason: ClusterError },
    #[error(
        "{ledger}: it cannot be read to its end: a transaction in it is still open after {seconds} s, or its broker does not \
         answer. Nothing was decided. Does something else write to this topic?"
    )]
    NotReadable { ledger: TopicPartition, seconds: u64 },
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct IncidentsReport {
    pub link: String,
    pub incidents: Vec<IncidentRow>,
    pub decisions: Vec<DecisionRow>,
}

#[derive(Clone, Debug, Serialize)]
pub struct IncidentRow {
    /// Names it for `accept`, as long as the partition stands where it stands.
    pub id: String,
    pub kind: &'static str,
    pub topic: String,
    pub partition: i32,
    pub lane: u32,
    /// −1: the partition has no position.
    pub next_offset: i64,
    pub first_lost: Option<i64>,
    pub last_lost: Option<i64>,
    /// Where it goes on when it is accepted. None: it cannot be, or the operator has to say it.
    pub resume_at: Option<i64>,
    pub text: String,
}

/// One that was accepted.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionRow {
    pub topic: String,
    pub partition: i32,
    pub kind: String,
    pub reason: String,
    /// Source offsets from the first on and before the second are not copied.
    pub from_offset: i64,
    pub next_offset: i64,
    pub host: String,
    pub time: String,
}

/// Names an incident, as long as its partition stands where it stands.
pub fn id(incident: &Incident) -> String {
    format!("{}:{}:{}", incident.kind.name(), incident.partition, incident.next_offset)
}

/// An operator's word lets the partition go on; else it begins again when the cause is gone.
pub fn is_acceptable(kind: &IncidentKind) -> bool {
    remedy(kind).is_none()
}

pub async fn incidents(link: &Link<'_>) -> Result<IncidentsReport, IncidentsError> {
    let (source, target) = link.metadata();
    let found = standing(link.config(), link.ends(), link.histories(), source, target).await?;
    let row = |it: &Standing| {
        let (first_lost, last_lost) = it.incident.lost();
        IncidentRow {
            id: id(&it.incident),
            kind: it.incident.kind.name(),
            topic: it.key.topic.to_string(),
            partition: it.key.partition,
            lane: it.lane,
            next_offset: it.incident.next_offset,
            first_lost,
            last_lost,
            resume_at: it.resume.filter(|_| is_acceptable(&it.incident.kind)).map(|it| it.next_offset),
            text: it.incident.to_string(),
        }
    };
    let of_source = link.histories().values().flat_map(|it| &it.decisions);
    let decisions = of_source.map(|((key, from), it)| DecisionRow {
        topic: key.topic.to_string(),
        partition: key.partition,
        kind: it.kind.clone(),
        reason: it.reason.clone(),
        from_offset: *from,
        next_offset: it.next_offset,
        host: it.host.clone(),
        time: time(it),
    });
    Ok(IncidentsReport {
        link: link.config().link.as_str().to_owned(),
        incidents: found.iter().map(row).collect(),
        decisions: decisions.collect(),
    })
}

fn time(decision: &Decision) -> String {
    /// The last year that the form has room for; a ledger says what somebody wrote into it.
    const YEAR_9999_MS: u64 = 253_402_300_799_000;
    let time = UNIX_EPOCH + Duration::from_millis(decision.time_ms.min(YEAR_9999_MS));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// What else is to be done where accepting would not help.
fn remedy(kind: &IncidentKind) -> Option<&'static str> {
    match kind.name() {
        "other_source" => Some("correct source.bootstrap_servers, or take a new link"),
        "unauthorized" | "source_refused" | "target_refused" => Some("grant the right, or restore the topic"),
        // Passed over it would be in neither place.
        "invalid" => Some(
            "set on_invalid = \"dead_letter\" for its topic, or mend its schema or rule, and start the bridge again",
        ),
        _ => None,
    }
}
