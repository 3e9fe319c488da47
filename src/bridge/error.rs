//! Why a link does not run.

use super::survey::MissingRights;
use super::weakness::Finding;
use crate::cluster::{ClusterError, EnsureError, GroupMember};
use crate::ledger::{LedgerError, Owner};
use crate::registry::RegistrySetupError;
use crate::schemas::SchemaProblem;
use crate::topics::plan::PlanErrors;
use crate::types::TopicName;
use crate::wire::SecurityError;
use std::fmt::Display;
use std::sync::Arc;

/// Several bridges of a link may start at once on a fresh target, and each makes what it finds missing.
const TOPIC_ALREADY_EXISTS: i16 = 36;

#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError {
    #[error("{end}.tls: {error}")]
    Security { end: &'static str, error: Arc<SecurityError> },
    #[error(transparent)]
    Schemas(#[from] SchemaProblem),
    #[error("{end}.registry: {error}")]
    Registry { end: &'static str, error: Arc<RegistrySetupError> },
    #[error("the dead letters' topic: {0}")]
    DeadLetters(EnsureError),
    #[error("{topic}: {fault}")]
    DeadLetterTopic { topic: TopicName, fault: &'static str },
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Plan(#[from] PlanErrors),
    #[error(
        "rights are missing:\n{}\nAn administrator grants them by:\n{}",
        listed(&.0.rights), .0.commands.join("\n")
    )]
    Rights(MissingRights),
    #[error(
        "the target can lose what is copied to it:\n{}\nMend the target, or accept each by name: delivery.accept_weak = [{}]",
        listed(.0), names(.0)
    )]
    Weak(Vec<Finding>),
    #[error(
        "source and target are the same cluster ({0}): a topic would be copied onto itself. Rename it, or correct bootstrap_servers"
    )]
    SameCluster(String),
    #[error(
        "link {link} was taken over by a newer kafka-bridge: host {}, pid {}, version {}. Two of one link cannot run at once, \
         unless delivery.sharing is \"group\" for both",
        owner.host, owner.pid, owner.version
    )]
    TakenOver { link: String, owner: Box<Owner> },
    #[error(
        "link {link} was taken over by a newer kafka-bridge with the same instance id, {instance_id:?}{}. Bridges that run at \
         once need ids of their own: delivery.instance_id",
        newer.as_ref().map(|it| format!(": {it}")).unwrap_or_default()
    )]
    Superseded {
        link: String,
        instance_id: String,
        /// None: the target did not say.
        newer: Option<Box<GroupMember>>,
    },
    #[error(
        "link {link} is shared by a group that has members: {}. With delivery.sharing = \"off\" this bridge would take all lanes \
         from them: set it to \"group\", or end the others first (one that has just ended counts until its session ends)",
        .members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Shared { link: String, members: Vec<GroupMember> },
    #[error(
        "the target does not take delivery.session_timeout_ms = {0} (INVALID_SESSION_TIMEOUT): choose one between its \
         group.min.session.timeout.ms and group.max.session.timeout.ms"
    )]
    SessionTimeout(u64),
    #[error("no lane is left that can work; the last one stopped because: {0}")]
    NoLane(String),
}

impl RunError {
    /// A broker or a topic that is just coming up: waiting may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Cluster(error)
            | Self::Ledger(LedgerError::Cluster(error))
            | Self::DeadLetters(EnsureError::Cluster(error)) => {
                !error.is_permanent() || error.code() == Some(TOPIC_ALREADY_EXISTS)
            }
            _ => false,
        }
    }
}

fn listed(all: &[impl Display]) -> String {
    all.iter().map(|it| format!("- {it}")).collect::<Vec<_>>().join("\n")
}

fn names(findings: &[Finding]) -> String {
    let mut names: Vec<_> = findings.iter().map(|it| format!("{:?}", it.weakness.name())).collect();
    names.sort();
    names.dedup();
    names.join(", ")
}
