//! Why a partition stands still until an operator decides.

use super::screening::Objection;
use crate::batch::PrepareError;
use crate::source;
use crate::target::Cause;
use crate::types::TopicPartition;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

#[derive(Clone, Debug)]
pub struct Incident {
    /// Of the source.
    pub partition: TopicPartition,
    pub target: TopicPartition,
    /// Everything before it is copied; −1: the partition had no position.
    pub next_offset: i64,
    pub time_ms: u64,
    pub kind: IncidentKind,
}

impl Incident {
    /// The first and the last source offset that are gone, at the source or from the copy; None where nobody can know it.
    pub fn lost(&self) -> (Option<i64>, Option<i64>) {
        match &self.kind {
            IncidentKind::Source(incident) => incident.lost(),
            IncidentKind::TargetRecreated { .. } => (None, Some(self.next_offset - 1)),
            _ => (None, None),
        }
    }
}

#[derive(Clone, Debug)]
pub enum IncidentKind {
    Source(source::Incident),
    /// The ledger does not know the partition, yet its target holds records: copying might double them.
    NoPosition {
        end_offset: i64,
    },
    /// The ledger knows the partition as one of another source cluster.
    OtherSource {
        cluster_id: Arc<str>,
    },
    /// The target was deleted and created again: what was copied is gone.
    TargetRecreated {
        old: Uuid,
        new: Uuid,
    },
    /// The position was made for another target.
    TargetChanged {
        was: TopicPartition,
    },
    /// What was read cannot be turned into what the target takes.
    Batch(PrepareError),
    /// A record does not pass the check of its topic, and the config says to stop.
    Invalid(Objection),
    /// The target does not take it.
    Refused(Cause),
}

impl IncidentKind {
    /// For logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Source(incident) => match incident.kind {
                source::IncidentKind::Retention { .. } => "retention",
                source::IncidentKind::Truncation { .. } => "truncation",
                source::IncidentKind::Recreated { .. } => "recreated",
                source::IncidentKind::Corrupt { .. } => "corrupt",
                source::IncidentKind::Oversized { .. } => "oversized",
                source::IncidentKind::Unauthorized { .. } => "unauthorized",
                source::IncidentKind::Refused { .. } => "source_refused",
            },
            Self::NoPosition { .. } => "no_position",
            Self::OtherSource { .. } => "other_source",
            Self::TargetRecreated { .. } => "target_recreated",
            Self::TargetChanged { .. } => "target_changed",
            Self::Invalid(_) => "invalid",
            Self::Batch(PrepareError::RecordTooLarge { .. } | PrepareError::DeadLetterTooLarge { .. }) => {
                "record_too_large"
            }
            Self::Batch(_) => "corrupt",
            Self::Refused(_) => "target_refused",
        }
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, target, next_offset, kind, .. } = self;
        match kind {
            IncidentKind::Source(incident) => write!(f, "{incident}"),
            IncidentKind::NoPosition { end_offset } => write!(
                f,
                "{partition} was not started: the ledger has no position for it, and {target} at the target already holds \
                 records (its log ends at {end_offset}). Copying from the start could double them. Delete the target topic, \
                 rename it, or restore the ledger"
            ),
            IncidentKind::OtherSource { cluster_id } => write!(
                f,
                "{partition} was not started: in the ledger it is a partition of the source cluster {cluster_id}, whose records \
                 {target} holds. Correct source.bootstrap_servers, or take a new link for the new source"
            ),
            IncidentKind::TargetRecreated { old, new } => write!(
                f,
                "{partition} stopped at offset {next_offset}: {target} was deleted at the target and created again (its id was \
                 {old} and is {new}), so that what was copied before that offset is gone. Take a new link to copy everything again"
            ),
            IncidentKind::TargetChanged { was } => write!(
                f,
                "{partition} was not started: it was copied to {was} up to offset {next_offset}, and the config now says \
                 {target}. Restore the name, or take a new link for the new one"
            ),
            IncidentKind::Batch(error) => write!(f, "{partition} stopped at offset {next_offset}: {error}"),
            IncidentKind::Invalid(Objection { offset, why }) => {
                let (part, path) = (why.part, if why.path.is_empty() { "" } else { ", field " });
                write!(
                    f,
                    "{partition} stopped at offset {next_offset}: the {part} of the record at offset {offset}{path}{} is not \
                     valid: {} ({})",
                    why.path, why.error, why.reason
                )
            }
            IncidentKind::Refused(cause) => {
                write!(f, "{partition} stopped at offset {next_offset}: the target refused it: {cause}")
            }
        }
    }
}
