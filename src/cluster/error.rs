//! What can go wrong between the bridge and a cluster.

use crate::types::NodeId;
use crate::wire::WireError;
use kafka_protocol::ResponseError;

pub(super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const GROUP_AUTHORIZATION_FAILED: i16 = 30;
const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

/// Names the end (`source`, `target`) first: an operator must know which network to look at.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{end}: no broker can be reached at {addresses}: {last}{}", hint(last))]
    Unreachable { end: &'static str, addresses: String, last: WireError },
    #[error("{end}: {error}")]
    Wire { end: &'static str, error: WireError },
    #[error("{end}: broker {node} is not part of the cluster any more")]
    NoSuchNode { end: &'static str, node: NodeId },
    #[error("{end}: {api} answered {}", describe(*code))]
    Answered { end: &'static str, api: &'static str, code: i16 },
    #[error(
        "{end}: {api} for {what} answered {}{}{message}{}",
        describe(*code),
        if message.is_empty() { "" } else { ": " },
        grant(api, *code)
    )]
    Refused { end: &'static str, api: &'static str, what: String, code: i16, message: String },
    #[error(
        "{end}: the addresses now lead to cluster {found}, but the link began with {expected}. \
         Correct bootstrap_servers; a link belongs to one pair of clusters"
    )]
    OtherCluster { end: &'static str, expected: String, found: String },
}

impl ClusterError {
    /// The broker's code, where it gave one.
    pub fn code(&self) -> Option<i16> {
        match self {
            ClusterError::Answered { code, .. } | ClusterError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Waiting does not help: a certificate, an address, a version or a right must be mended.
    pub fn is_permanent(&self) -> bool {
        match self {
            ClusterError::Unreachable { last: error, .. } | ClusterError::Wire { error, .. } => error.is_permanent(),
            ClusterError::OtherCluster { .. } => true,
            ClusterError::NoSuchNode { .. } => false,
            ClusterError::Answered { code, .. } | ClusterError::Refused { code, .. } => !passes(*code),
        }
    }

    /// A right is missing: an operator must grant it, retrying does not help.
    pub fn is_authorization(&self) -> bool {
        matches!(
            self.code(),
            Some(
                TOPIC_AUTHORIZATION_FAILED
                    | GROUP_AUTHORIZATION_FAILED
                    | CLUSTER_AUTHORIZATION_FAILED
                    | TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            )
        )
    }
}

/// Kafka's `RetriableException`; and UNKNOWN_SERVER_ERROR, which says nothing, so not that waiting is in vain.
fn passes(code: i16) -> bool {
    code == -1 || ResponseError::try_from_code(code).is_some_and(|error| error.is_retriable())
}

/// Where the last attempt's own error does not say what to do.
fn hint(last: &WireError) -> &'static str {
    match last {
        WireError::Connect { .. } | WireError::ConnectTimeout { .. } => ". Check the addresses and the network",
        _ => "",
    }
}

/// What `KafkaApis` asked the authorizer for, where only a right is missing.
fn grant(api: &str, code: i16) -> &'static str {
    match (code, api) {
        (TOPIC_AUTHORIZATION_FAILED, "Fetch" | "OffsetCommit") => ". Grant READ on it",
        (GROUP_AUTHORIZATION_FAILED, "OffsetCommit") => ". Grant READ on it",
        (
            GROUP_AUTHORIZATION_FAILED | TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            "FindCoordinator" | "OffsetFetch" | "DescribeGroups" | "ConsumerGroupDescribe",
        ) => ". Grant DESCRIBE on it",
        (TOPIC_AUTHORIZATION_FAILED, "ConsumerGroupDescribe") => ". Grant DESCRIBE on all topics that it reads",
        _ => "",
    }
}

/// A broker's error code with its name, as Kafka's `Errors` spells it.
pub fn describe(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        Some(error) => format!("{error:?} ({code})"),
        None => format!("error code {code}"),
    }
}
