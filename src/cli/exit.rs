//! Exit codes, after `sysexits.h`.

use crate::bridge::RunError;
use crate::cluster::ClusterError;
use crate::config::ConfigError;
use crate::ledger::LedgerError;
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    Failed = 1,
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

pub(super) fn code_of(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<ConfigError>().is_some() {
        return Exit::Config;
    }
    match error.downcast_ref::<RunError>() {
        Some(error) => of_run(error),
        None => Exit::Failed,
    }
}

pub(super) fn of_run(error: &RunError) -> Exit {
    match error {
        RunError::Security { .. } | RunError::Plan(_) | RunError::Weak(_) | RunError::SameCluster(_) => Exit::Config,
        RunError::Rights(_) => Exit::NotPermitted,
        RunError::Cluster(error) | RunError::Ledger(LedgerError::Cluster(error)) => of_cluster(error),
        RunError::Ledger(LedgerError::Topic { .. }) | RunError::SessionTimeout(_) => Exit::Config,
        RunError::Ledger(LedgerError::NotReady { .. }) => Exit::Unavailable,
        RunError::Ledger(_) | RunError::TakenOver { .. } | RunError::Superseded { .. } | RunError::NoLane(_) => {
            Exit::Failed
        }
    }
}

fn of_cluster(error: &ClusterError) -> Exit {
    match error {
        error if error.is_authorization() => Exit::NotPermitted,
        ClusterError::Unreachable { .. } | ClusterError::Wire { .. } => Exit::Unavailable,
        _ => Exit::Failed,
    }
}
