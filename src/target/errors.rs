//! What a code means for a transaction: one table, (API, code) → [`Row`].
//!
//! No row depends on the transaction protocol: codes that only one protocol can answer mean the same where they are impossible.
//! Sources: `TransactionManager` and `Sender` of Kafka 4.4, librdkafka's txnmgr, franz-go's txn.go, KIP-360, KIP-588, KIP-691, KIP-1050.

use std::fmt;

/// The requests of a transaction. The two verdicts of EndTxn are told apart, because an unclear commit must be arbitrated
/// by the ledger, while an unclear abort loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    InitProducerId,
    AddPartitionsToTxn,
    AddOffsetsToTxn,
    TxnOffsetCommit,
    EndTxnCommit,
    EndTxnAbort,
    Produce,
    /// What became of the last transaction of whoever had the lane before.
    DescribeTransactions,
    /// Per partition: a code of one says nothing of the others.
    ListOffsets,
}

impl Api {
    pub const ALL: [Api; 9] = [
        Api::InitProducerId,
        Api::AddPartitionsToTxn,
        Api::AddOffsetsToTxn,
        Api::TxnOffsetCommit,
        Api::EndTxnCommit,
        Api::EndTxnAbort,
        Api::Produce,
        Api::DescribeTransactions,
        Api::ListOffsets,
    ];
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Api::EndTxnCommit => "EndTxn(commit)",
            Api::EndTxnAbort => "EndTxn(abort)",
            Api::InitProducerId => "InitProducerId",
            Api::AddPartitionsToTxn => "AddPartitionsToTxn",
            Api::AddOffsetsToTxn => "AddOffsetsToTxn",
            Api::TxnOffsetCommit => "TxnOffsetCommit",
            Api::Produce => "Produce",
            Api::DescribeTransactions => "DescribeTransactions",
            Api::ListOffsets => "ListOffsets",
        })
    }
}

/// How long to wait before the same request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Doubles from 50 ms to 1 s: something is being repaired.
    Growing,
    /// 20 ms, always: the coordinator is still writing the markers of the transaction before (CONCURRENT_TRANSACTIONS).
    Markers,
}

/// Why a transaction is aborted, as far as the caller must react differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortClass {
    /// Rewind to the committed position and go on.
    Plain,
    /// The group moved on without this member: rejoin before going on.
    OwnershipLost,
    /// The batch as it is cannot be stored: re-encode it (smaller, other timestamps), else it needs an operator.
    Reencode,
    /// It will fail again until an operator changes a right or a topic.
    Operator,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Success,
    /// Send the identical request again.
    Retry(Backoff),
    /// Find the coordinator anew, then retry.
    RetryCoordinator,
    /// Fetch metadata anew, then retry.
    RefreshMetadata,
    /// Retry once; the second time it is a bug.
    RetryOnce,
    /// OUT_OF_ORDER_SEQUENCE: retry while an earlier batch of the partition is unacknowledged, else abort.
    RetryBehindEarlier,
    Abort(AbortClass),
    /// This incarnation of the producer is dead: take the lane anew and re-read the position.
    Fenced,
    /// The commit may or may not have happened: only the ledger, read after InitProducerId, knows.
    OutcomeUnknown,
    /// An operator must act: stop the lane.
    Operator,
    /// The bridge broke the protocol: stop the lane.
    Bug,
}

/// One cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub action: Action,
    /// The request, or a copy of it, may still take effect later (KAFKA-17754): on protocol v1 the epoch must be bumped
    /// before the next transaction begins.
    pub dirty: bool,
    /// How the transaction is aborted when the retries are used up.
    pub exhausted: AbortClass,
}

impl Row {
    const fn new(action: Action) -> Self {
        Self { action, dirty: false, exhausted: AbortClass::Plain }
    }

    const fn dirty(mut self) -> Self {
        self.dirty = true;
        self
    }

    /// Retries help only against stale metadata; what is still wrong at the end needs an operator.
    const fn then_operator(mut self) -> Self {
        self.exhausted = AbortClass::Operator;
        self
    }
}

const SUCCESS: Row = Row::new(Action::Success);
const RETRY: Row = Row::new(Action::Retry(Backoff::Growing));
const MARKERS: Row = Row::new(Action::Retry(Backoff::Markers));
const COORDINATOR: Row = Row::new(Action::RetryCoordinator);
const METADATA: Row = Row::new(Action::RefreshMetadata);
const ABORT: Row = Row::new(Action::Abort(AbortClass::Plain));
const OWNERSHIP_LOST: Row = Row::new(Action::Abort(AbortClass::OwnershipLost));
const REENCODE: Row = Row::new(Action::Abort(AbortClass::Reencode));
const ABORT_OPERATOR: Row = Row::new(Action::Abort(AbortClass::Operator));
const FENCED: Row = Row::new(Action::Fenced);
const UNKNOWN: Row = Row::new(Action::OutcomeUnknown).dirty();
const OPERATOR: Row = Row::new(Action::Operator);
const BUG: Row = Row::new(Action::Bug);

/// The row of a request that got no answer: the connection died, or the client gave up waiting.
pub fn failure_row(api: Api) -> Row {
    match api {
        Api::Produce => METADATA.dirty(),
        Api::ListOffsets => METADATA,
        Api::DescribeTransactions => COORDINATOR,
        _ => COORDINATOR.dirty(),
    }
}

/// The row of an answer.
pub fn action(api: Api, code: i16) -> Row {
    classified(api, code).unwrap_or_else(|| unclassified(api))
}

/// A code that Kafka does not answer to this API, or one younger than this table. Whether it took effect is not known, so
/// nothing is retried: the transaction ends by the way that is safe without knowing.
fn unclassified(api: Api) -> Row {
    match api {
        Api::InitProducerId | Api::EndTxnAbort | Api::DescribeTransactions => FENCED,
        Api::EndTxnCommit => UNKNOWN,
        Api::ListOffsets => METADATA,
        Api::AddPartitionsToTxn | Api::AddOffsetsToTxn | Api::TxnOffsetCommit | Api::Produce => ABORT.dirty(),
    }
}

fn classified(api: Api, code: i16) -> Option<Row> {
    use Api::{
        AddOffsetsToTxn as AddOffsets, AddPartitionsToTxn as AddPartitions, DescribeTransactions as Describe,
        EndTxnAbort, EndTxnCommit, InitProducerId as Init, ListOffsets, Produce, TxnOffsetCommit,
    };
    let row = match (code, api) {
        (0, _) => SUCCESS,
        // TOPIC_AUTHORIZATION_FAILED: whoever may not look may not write there either, and is told so by that.
        (29, ListOffsets) => ABORT_OPERATOR,
        // UNKNOWN_TOPIC_OR_PARTITION
        (3, ListOffsets) => METADATA.then_operator(),
        // A question changes nothing: whatever else the answer is, it is asked again, of whoever leads by then.
        (_, ListOffsets) => return None,
        // UNKNOWN_SERVER_ERROR, REQUEST_TIMED_OUT, NETWORK_EXCEPTION
        (-1 | 7 | 13, Describe) => RETRY,
        // COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
        (15 | 16, Describe) => COORDINATOR,
        // TRANSACTIONAL_ID_NOT_FOUND: nobody had it before.
        (105, Describe) => SUCCESS,
        // UNKNOWN_SERVER_ERROR
        (-1, Init) => RETRY,
        (-1, AddPartitions | AddOffsets | TxnOffsetCommit | Produce) => ABORT.dirty(),
        (-1, EndTxnCommit) => UNKNOWN,
        (-1, EndTxnAbort) => FENCED,
        // CORRUPT_MESSAGE
        (2, Produce) => Row::new(Action::RetryOnce),
        // UNKNOWN_TOPIC_OR_PARTITION
        (3, AddPartitions | Produce) => METADATA.then_operator(),
        (3, TxnOffsetCommit) => RETRY.then_operator(),
        // LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR
        (5 | 6 | 56, Produce) => METADATA,
        // REQUEST_TIMED_OUT
        (7, Init) => RETRY,
        (7, TxnOffsetCommit) => COORDINATOR.dirty(),
        (7, _) => RETRY.dirty(),
        // MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE
        (10 | 18, Produce) => REENCODE,
        // OFFSET_METADATA_TOO_LARGE
        (12, TxnOffsetCommit) => BUG,
        // NETWORK_EXCEPTION: a proxy or a broker's own client made it, so the request may still be under way.
        (13, Init) => RETRY,
        (13, _) => RETRY.dirty(),
        // COORDINATOR_LOAD_IN_PROGRESS (to a producer it arrives as NOT_ENOUGH_REPLICAS)
        (14, _) => RETRY,
        // COORDINATOR_NOT_AVAILABLE may hide a written PREPARE; NOT_COORDINATOR
        (15 | 16, Init) => COORDINATOR,
        (15 | 16, Produce) => METADATA.dirty(),
        (15 | 16, _) => COORDINATOR.dirty(),
        // INVALID_TOPIC_EXCEPTION
        (17, Produce) => OPERATOR,
        // INVALID_TOPIC_EXCEPTION, INVALID_REQUIRED_ACKS, UNSUPPORTED_VERSION, INVALID_REQUEST
        (17 | 21 | 35 | 42, _) => BUG,
        // NOT_ENOUGH_REPLICAS, and …_AFTER_APPEND, where the resend is dropped by its sequence
        (19, Produce) => RETRY,
        (20, Produce) => RETRY.dirty(),
        // ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, GROUP_ID_NOT_FOUND, FENCED_INSTANCE_ID, STALE_MEMBER_EPOCH
        (22 | 25 | 69 | 82 | 113, TxnOffsetCommit) => OWNERSHIP_LOST,
        // TOPIC_AUTHORIZATION_FAILED
        (29, AddPartitions | TxnOffsetCommit | Produce) => ABORT_OPERATOR,
        // GROUP_AUTHORIZATION_FAILED
        (30, AddOffsets | TxnOffsetCommit) => ABORT_OPERATOR,
        // CLUSTER_AUTHORIZATION_FAILED, TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        (31 | 53, _) => OPERATOR,
        // INVALID_TIMESTAMP, POLICY_VIOLATION, UNSUPPORTED_COMPRESSION_TYPE, INVALID_RECORD
        (32 | 44 | 76 | 87, Produce) => REENCODE,
        // UNSUPPORTED_FOR_MESSAGE_FORMAT
        (43, TxnOffsetCommit | Produce) => OPERATOR,
        // OUT_OF_ORDER_SEQUENCE_NUMBER, DUPLICATE_SEQUENCE_NUMBER
        (45, Produce) => Row::new(Action::RetryBehindEarlier),
        (46, Produce) => SUCCESS,
        // INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE: a leader's word alone does not prove a fence (KAFKA-19690), the
        // coordinator's answer to the abort does.
        (47 | 48, Produce) => ABORT,
        (47, _) => FENCED,
        (48, EndTxnCommit) => UNKNOWN,
        (48, _) => FENCED,
        // INVALID_PRODUCER_ID_MAPPING
        (49, _) => FENCED,
        // INVALID_TRANSACTION_TIMEOUT
        (50, Init) => OPERATOR,
        // CONCURRENT_TRANSACTIONS; kafka-protocol's is_retriable says false, Kafka says true
        (51, _) => MARKERS,
        // OPERATION_NOT_ATTEMPTED: another partition of the request is the cause
        (55, AddPartitions) => ABORT,
        // The coordinator does not know yet another partition of the same request.
        (55, Produce) => METADATA,
        // UNKNOWN_PRODUCER_ID
        (59, AddPartitions | AddOffsets | EndTxnCommit | Produce) => ABORT,
        (59, EndTxnAbort) => FENCED,
        // PRODUCER_FENCED
        (90, _) => FENCED,
        // UNKNOWN_TOPIC_ID
        (100, TxnOffsetCommit) => OPERATOR,
        (100, Produce) => METADATA.then_operator(),
        // TRANSACTION_ABORTABLE
        (120, Init | EndTxnAbort) => FENCED,
        (120, _) => ABORT,
        _ => return None,
    };
    Some(row)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.action {
            Action::Success => "success",
            Action::Retry(Backoff::Growing) => "retry",
            Action::Retry(Backoff::Markers) => "retry-20ms",
            Action::RetryCoordinator => "coordinator",
            Action::RefreshMetadata => "metadata",
            Action::RetryOnce => "retry-once",
            Action::RetryBehindEarlier => "behind-earlier",
            Action::Abort(AbortClass::Plain) => "abort",
            Action::Abort(AbortClass::OwnershipLost) => "abort-rejoin",
            Action::Abort(AbortClass::Reencode) => "abort-reencode",
            Action::Abort(AbortClass::Operator) => "abort-operator",
            Action::Fenced => "fenced",
            Action::OutcomeUnknown => "unknown",
            Action::Operator => "operator",
            Action::Bug => "bug",
        };
        let dirty = if self.dirty { "+dirty" } else { "" };
        let exhausted = if self.exhausted == AbortClass::Operator { "/operator" } else { "" };
        f.pad(&format!("{word}{exhausted}{dirty}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn line(text: &mut String, label: &str, cell: impl Fn(Api) -> Row) {
        write!(text, "{label:<5}").unwrap();
        for api in Api::ALL {
            write!(text, "{:<21}", cell(api)).unwrap();
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }

    /// The whole table as a reviewed file: a changed cell is a changed line. After a change that is meant, run
    /// `KAFKA_BRIDGE_SNAPSHOT=write cargo test errors` and read the difference.
    #[test]
    fn table_is_the_reviewed_one() {
        let mut table = String::from("code ");
        for api in Api::ALL {
            write!(table, "{:<21}", api.to_string()).unwrap();
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
        line(&mut table, "none", failure_row);
        line(&mut table, "else", unclassified);
        for code in -1..=133 {
            if Api::ALL.iter().any(|api| classified(*api, code).is_some()) {
                line(&mut table, &code.to_string(), |api| action(api, code));
            }
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/target/errors.txt");
        if std::env::var_os("KAFKA_BRIDGE_SNAPSHOT").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        assert_eq!(table, std::fs::read_to_string(path).unwrap());
    }

    /// Every pair has a row, and a row that is not classified is exactly the default.
    #[test]
    fn every_pair_has_a_row() {
        for api in Api::ALL {
            for code in (-1..=133).chain([i16::MIN, i16::MAX]) {
                let row = action(api, code);
                assert_eq!(row, classified(api, code).unwrap_or(unclassified(api)));
                assert!(matches!(code, 0 | 46 | 105) || row.action != Action::Success, "{api} {code}");
            }
        }
    }

    /// Only a commit can have an unknown outcome, and no answer to it but a success may be read as one.
    #[test]
    fn unknown_outcome_belongs_to_commit_alone() {
        for code in -1..=133 {
            for api in Api::ALL {
                let unknown = action(api, code).action == Action::OutcomeUnknown;
                assert!(!unknown || api == Api::EndTxnCommit, "{api} {code}");
            }
        }
    }
}
