//! What a code means for a partition: one table, (API, code) → [`Action`].
//!
//! Sources: `FetchCollector`, `OffsetFetcherUtils` and `OffsetsForLeaderEpochUtils` of Kafka 4.4, KIP-207, KIP-320, KIP-516.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    Fetch,
    ListOffsets,
    OffsetForLeaderEpoch,
}

impl Api {
    pub const ALL: [Api; 3] = [Api::Fetch, Api::ListOffsets, Api::OffsetForLeaderEpoch];
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Api::Fetch => "Fetch",
            Api::ListOffsets => "ListOffsets",
            Api::OffsetForLeaderEpoch => "OffsetForLeaderEpoch",
        })
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Success,
    /// Ask again, later.
    Retry,
    /// Fetch metadata anew, then ask again. A changed topic id or leader epoch shows there.
    RefreshMetadata,
    /// The log does not reach the position: find out on which side it ends.
    OutOfRange,
    /// Fetch again, a few times.
    Corrupt,
    /// An operator must grant a right.
    Unauthorized,
    /// It will be refused for ever.
    Refused,
}

/// The action for an answer.
pub fn action(api: Api, code: i16) -> Action {
    // A code younger than this table: reading again harms nothing, and skipping is not an option.
    classified(api, code).unwrap_or(Action::Retry)
}

fn classified(api: Api, code: i16) -> Option<Action> {
    let action = match (code, api) {
        (0, _) => Action::Success,
        // UNKNOWN_SERVER_ERROR: a failed read of tiered storage among others
        (-1, _) => Action::Retry,
        // OFFSET_OUT_OF_RANGE
        (1, Api::Fetch) => Action::OutOfRange,
        // CORRUPT_MESSAGE
        (2, Api::Fetch) => Action::Corrupt,
        // UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID: deleted, recreated, or not yet known there
        (3 | 100 | 103, _) => Action::RefreshMetadata,
        // LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, BROKER_NOT_AVAILABLE, REPLICA_NOT_AVAILABLE, KAFKA_STORAGE_ERROR
        (5 | 6 | 8 | 9 | 56, _) => Action::RefreshMetadata,
        // REQUEST_TIMED_OUT, NETWORK_EXCEPTION, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE
        (7 | 13 | 14 | 15, _) => Action::Retry,
        // INVALID_TOPIC_EXCEPTION, UNSUPPORTED_VERSION, INVALID_REQUEST, UNSUPPORTED_FOR_MESSAGE_FORMAT
        (17 | 35 | 42 | 43, _) => Action::Refused,
        // TOPIC_AUTHORIZATION_FAILED, GROUP_…, CLUSTER_…, TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        (29 | 30 | 31 | 53, _) => Action::Unauthorized,
        // FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR: there is no session
        (70 | 71 | 106, Api::Fetch) => Action::Retry,
        // FENCED_LEADER_EPOCH: metadata is old. UNKNOWN_LEADER_EPOCH: the broker is, and metadata from elsewhere may know
        // a leader that is not.
        (74 | 75, _) => Action::RefreshMetadata,
        // UNSUPPORTED_COMPRESSION_TYPE
        (76, Api::Fetch) => Action::Refused,
        // OFFSET_NOT_AVAILABLE: a new leader's high watermark has not caught up (KIP-207)
        (78, _) => Action::Retry,
        _ => return None,
    };
    Some(action)
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Action::Success => "success",
            Action::Retry => "retry",
            Action::RefreshMetadata => "metadata",
            Action::OutOfRange => "out-of-range",
            Action::Corrupt => "corrupt",
            Action::Unauthorized => "unauthorized",
            Action::Refused => "refused",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn line(text: &mut String, label: &str, cell: impl Fn(Api) -> Action) {
        write!(text, "{label:<5}").unwrap();
        for api in Api::ALL {
            write!(text, "{:<15}", cell(api)).unwrap();
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }

    /// The whole table as a reviewed file: a changed cell is a changed line. After a change that is meant, run
    /// `KAFKA_BRIDGE_SNAPSHOT=write cargo test source::errors` and read the difference.
    #[test]
    fn table_is_the_reviewed_one() {
        let mut table = String::from("code ");
        for api in Api::ALL {
            write!(
                table,
                "{:<15}",
                if api == Api::OffsetForLeaderEpoch { "LeaderEpoch".into() } else { api.to_string() }
            )
            .unwrap();
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
        line(&mut table, "else", |api| action(api, i16::MAX));
        for code in -1..=133 {
            if Api::ALL.iter().any(|api| classified(*api, code).is_some()) {
                line(&mut table, &code.to_string(), |api| action(api, code));
            }
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/source/errors.txt");
        if std::env::var_os("KAFKA_BRIDGE_SNAPSHOT").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        assert_eq!(table, std::fs::read_to_string(path).unwrap());
    }

    /// No code is taken for data, and only a Fetch can be out of range or damaged.
    #[test]
    fn only_zero_is_a_success() {
        for api in Api::ALL {
            for code in (-1..=133).chain([i16::MIN, i16::MAX]) {
                let action = action(api, code);
                assert_eq!(action == Action::Success, code == 0, "{api} {code}");
                let of_fetch = matches!(action, Action::OutOfRange | Action::Corrupt);
                assert!(!of_fetch || api == Api::Fetch, "{api} {code}");
            }
        }
    }
}
