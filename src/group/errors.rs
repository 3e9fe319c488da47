//! What a code means for a member: one table, (API, code) → [`Action`].
//!
//! Sources: `AbstractCoordinator` of Kafka 4.4, and the classic groups of its `GroupMetadataManager`.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    JoinGroup,
    SyncGroup,
    Heartbeat,
    LeaveGroup,
}

impl Api {
    pub const ALL: [Api; 4] = [Api::JoinGroup, Api::SyncGroup, Api::Heartbeat, Api::LeaveGroup];

    pub fn name(self) -> &'static str {
        match self {
            Api::JoinGroup => "JoinGroup",
            Api::SyncGroup => "SyncGroup",
            Api::Heartbeat => "Heartbeat",
            Api::LeaveGroup => "LeaveGroup",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Success,
    /// The same again, after a while.
    Retry,
    /// Find the coordinator anew first.
    RetryCoordinator,
    /// Join with the lanes that are held.
    Rejoin,
    /// The coordinator has named the member; it joins again by that name.
    TakeId,
    /// The group has gone on without this member, and others may have its lanes: all of them are lost.
    Lost,
    /// A newer process has this instance id.
    Superseded,
    /// The session timeout is not within the broker's limits.
    SessionTimeout,
    /// An operator must act.
    Operator,
    /// Leaving is a courtesy: the session's end does the same.
    Ignore,
}

/// No answer came: the connection died, or the client gave up waiting.
pub fn failed(api: Api) -> Action {
    match api {
        Api::LeaveGroup => Action::Ignore,
        // Whether the generation went on meanwhile is not known.
        Api::JoinGroup | Api::SyncGroup | Api::Heartbeat => Action::RetryCoordinator,
    }
}

pub fn action(api: Api, code: i16) -> Action {
    classified(api, code).unwrap_or_else(|| unclassified(api))
}

/// A code that Kafka does not answer to this API, or one younger than this table. The own session's end bounds how long a
/// heartbeat is tried.
fn unclassified(api: Api) -> Action {
    match api {
        Api::JoinGroup | Api::Heartbeat => Action::RetryCoordinator,
        Api::SyncGroup => Action::Rejoin,
        Api::LeaveGroup => Action::Ignore,
    }
}

fn classified(api: Api, code: i16) -> Option<Action> {
    use Api::{Heartbeat, JoinGroup, LeaveGroup, SyncGroup};
    Some(match (code, api) {
        (0, _) => Action::Success,
        (_, LeaveGroup) => return None,
        // COORDINATOR_LOAD_IN_PROGRESS; the coordinator answers a heartbeat by NONE then
        (14, JoinGroup | Heartbeat) => Action::Retry,
        (14, SyncGroup) => Action::Rejoin,
        // COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
        (15 | 16, _) => Action::RetryCoordinator,
        // ILLEGAL_GENERATION: the member is known, it only missed a round
        (22, SyncGroup | Heartbeat) => Action::Rejoin,
        // INCONSISTENT_GROUP_PROTOCOL, INVALID_GROUP_ID, GROUP_AUTHORIZATION_FAILED, GROUP_MAX_SIZE_REACHED
        (23 | 24 | 30 | 81, _) => Action::Operator,
        // UNKNOWN_MEMBER_ID
        (25, _) => Action::Lost,
        // INVALID_SESSION_TIMEOUT
        (26, JoinGroup) => Action::SessionTimeout,
        // REBALANCE_IN_PROGRESS
        (27, JoinGroup) => Action::Retry,
        (27, SyncGroup | Heartbeat) => Action::Rejoin,
        // UNSUPPORTED_VERSION, INVALID_REQUEST
        (35 | 42, _) => Action::Operator,
        // MEMBER_ID_REQUIRED
        (79, JoinGroup) => Action::TakeId,
        // FENCED_INSTANCE_ID
        (82, _) => Action::Superseded,
        _ => return None,
    })
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Action::Success => "success",
            Action::Retry => "retry",
            Action::RetryCoordinator => "coordinator",
            Action::Rejoin => "rejoin",
            Action::TakeId => "take-id",
            Action::Lost => "lost",
            Action::Superseded => "superseded",
            Action::SessionTimeout => "session-timeout",
            Action::Operator => "operator",
            Action::Ignore => "ignore",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn line(text: &mut String, label: &str, cell: impl Fn(Api) -> String) {
        write!(text, "{label:<5}").unwrap();
        for api in Api::ALL {
            write!(text, "{:<16}", cell(api)).unwrap();
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }

    /// After a change that is meant, run `KAFKA_BRIDGE_SNAPSHOT=write cargo test group::errors` and read the difference.
    #[test]
    fn table_is_the_reviewed_one() {
        let mut table = String::new();
        line(&mut table, "code", |api| api.to_string());
        line(&mut table, "none", |api| failed(api).to_string());
        line(&mut table, "else", |api| unclassified(api).to_string());
        for code in -1..=133 {
            if Api::ALL.iter().any(|api| classified(*api, code).is_some()) {
                line(&mut table, &code.to_string(), |api| action(api, code).to_string());
            }
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/group/errors.txt");
        if std::env::var_os("KAFKA_BRIDGE_SNAPSHOT").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        assert_eq!(table, std::fs::read_to_string(path).unwrap());
    }

    #[test]
    fn nothing_but_success_is_success() {
        for api in Api::ALL {
            for code in (-1..=133).chain([i16::MIN, i16::MAX]).filter(|code| *code != 0) {
                assert_ne!(action(api, code), Action::Success, "{api} {code}");
            }
        }
    }
}
