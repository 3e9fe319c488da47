//! Exit codes, after `sysexits.h`.

use crate::bridge::{ProducerError, RunError};
use crate::cluster::{ClusterError, EnsureError};
use crate::config::ConfigError;
use crate::consume::ConsumeError;
use crate::incidents::IncidentsError;
use crate::ledger::LedgerError;
use crate::positions::PositionsError;
use crate::produce::{ProduceError, RegisterError};
use crate::reader::ReadError;
use crate::registry::{RegistryError, RegistrySetupError};
use crate::target::{Cause, Trouble};
use crate::undelivered::UndeliveredError;
use crate::verify::{LettersError, VerifyError};
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    Failed = 1,
    /// As for arguments that cannot be read.
    Usage = 2,
    /// EX_UNAVAILABLE: a cluster cannot be reached.
    Unavailable = 69,
    /// EX_NOPERM: a right is missing.
    NotPermitted = 77,
    /// EX_CONFIG
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Arguments that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) &'static str);

pub(super) fn code_of(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<ConfigError>().is_some() {
        return Exit::Config;
    }
    if let Some(error) = error.downcast_ref::<IncidentsError>() {
        return match error {
            IncidentsError::Run(error) => of_run(error),
            IncidentsError::NotWritten { reason } => of_cluster(reason),
            _ => Exit::Failed,
        };
    }
    if let Some(error) = error.downcast_ref::<PositionsError>() {
        return match error {
            PositionsError::Run(error) => of_run(error),
            PositionsError::Read(ReadError::Cluster(error))
            | PositionsError::Letters(LettersError::Read(ReadError::Cluster(error))) => of_cluster(error),
            _ => Exit::Failed,
        };
    }
    if let Some(error) = error.downcast_ref::<VerifyError>() {
        return match error {
            VerifyError::Run(error) => of_run(error),
            VerifyError::Read(ReadError::Cluster(error))
            | VerifyError::Letters(LettersError::Read(ReadError::Cluster(error))) => of_cluster(error),
            VerifyError::Read(_)
            | VerifyError::Letters(_)
            | VerifyError::StateUnknown { .. }
            | VerifyError::StateNotKept { .. }
            | VerifyError::Interrupted => Exit::Failed,
            VerifyError::NoTopic { .. } => Exit::Usage,
        };
    }
    if let Some(error) = error.downcast_ref::<UndeliveredError>() {
        return match error {
            UndeliveredError::Read(ReadError::Cluster(error)) => of_cluster(error),
            UndeliveredError::NoId(_) => Exit::Usage,
            UndeliveredError::Run(error) => of_run(error),
            UndeliveredError::Producer(ProducerError::Cluster(error)) => of_cluster(error),
            UndeliveredError::Registry(error) => of_registry(error),
            UndeliveredError::Refused { cause } | UndeliveredError::Producer(ProducerError::Stopped { cause, .. }) => {
                of_cause(cause)
            }
            UndeliveredError::Read(_)
            | UndeliveredError::NoSuch { .. }
            | UndeliveredError::Producer(_)
            | UndeliveredError::Batch(_)
            | UndeliveredError::Correction { .. } => Exit::Failed,
        };
    }
    if let Some(error) = error.downcast_ref::<ProduceError>() {
        return match error {
            ProduceError::Cluster(error) => of_cluster(error),
            ProduceError::NoTopic { .. } => Exit::Usage,
            ProduceError::Line { .. } | ProduceError::Batch(_) => Exit::Failed,
        };
    }
    if let Some(error) = error.downcast_ref::<ConsumeError>() {
        return match error {
            ConsumeError::Cluster(error) | ConsumeError::Read(ReadError::Cluster(error)) => of_cluster(error),
            ConsumeError::Registry(error) => of_registry(error),
            ConsumeError::NoTopic { .. } => Exit::Usage,
            ConsumeError::Read(_) | ConsumeError::Batch { .. } => Exit::Failed,
        };
    }
    if let Some(RegisterError::Registry(error)) = error.downcast_ref::<RegisterError>() {
        return of_registry(error);
    }
    if error.downcast_ref::<RegistrySetupError>().is_some() {
        return Exit::Config;
    }
    if error.downcast_ref::<Usage>().is_some() {
        return Exit::Usage;
    }
    match error.downcast_ref::<RunError>() {
        Some(error) => of_run(error),
        None => Exit::Failed,
    }
}

pub(super) fn of_run(error: &RunError) -> Exit {
    match error {
        RunError::Schemas(_) | RunError::Registry { .. } | RunError::DeadLetterTopic { .. } => Exit::Config,
        RunError::DeadLetters(EnsureError::Cluster(error)) => of_cluster(error),
        RunError::DeadLetters(EnsureError::NotReady { .. }) => Exit::Unavailable,
        RunError::Security { .. } | RunError::Plan(_) | RunError::Weak(_) | RunError::SameCluster(_) => Exit::Config,
        RunError::Rights(_) => Exit::NotPermitted,
        RunError::Cluster(error) | RunError::Ledger(LedgerError::Cluster(error)) => of_cluster(error),
        RunError::Ledger(LedgerError::Topic { .. }) | RunError::SessionTimeout(_) => Exit::Config,
        RunError::Ledger(LedgerError::NotReady { .. }) => Exit::Unavailable,
        RunError::Ledger(_)
        | RunError::TakenOver { .. }
        | RunError::Superseded { .. }
        | RunError::Shared { .. }
        | RunError::NoLane(_) => Exit::Failed,
    }
}

fn of_registry(error: &RegistryError) -> Exit {
    match error {
        RegistryError::Unreachable { .. } => Exit::Unavailable,
        RegistryError::Refused { .. } => Exit::NotPermitted,
        RegistryError::NotRegistry { .. } => Exit::Config,
        RegistryError::Unknown { .. } | RegistryError::Rejected { .. } | RegistryError::Unusable { .. } => Exit::Failed,
    }
}

fn of_cause(cause: &Cause) -> Exit {
    // TOPIC_, TRANSACTIONAL_ID_ and CLUSTER_AUTHORIZATION_FAILED
    match cause.trouble {
        Trouble::Answered { code: 29 | 31 | 53, .. } => Exit::NotPermitted,
        _ => Exit::Failed,
    }
}

fn of_cluster(error: &ClusterError) -> Exit {
    match error {
        error if error.is_authorization() => Exit::NotPermitted,
        ClusterError::Unreachable { .. } | ClusterError::Wire { .. } => Exit::Unavailable,
        _ => Exit::Failed,
    }
}
