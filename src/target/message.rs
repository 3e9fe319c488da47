//! What goes into the machine and what comes out.

use crate::batch::{RawBatch, StampedBatch};
use crate::target::errors::{AbortClass, Api};
use crate::types::{ProducerIdentity, TopicPartition};
use std::fmt;
use std::sync::Arc;

/// Transaction protocol: V2 (KIP-890) only where `transaction.version` ≥ 2 is finalized. The coordinator picks V2 by the
/// request version alone, so on V1 the driver caps Produce ≤ 11, TxnOffsetCommit ≤ 4, EndTxn ≤ 4, AddPartitionsToTxn ≤ 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionProtocol {
    V1,
    V2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    TransactionCoordinator,
    GroupCoordinator,
    Leader(TopicPartition),
    /// Of each partition that the request names: the driver splits it, and every part is answered by itself.
    Leaders,
}

#[derive(Clone, Debug)]
pub enum Input {
    /// Become the owner of the transactional id, whatever was before.
    Take,
    Append {
        partition: TopicPartition,
        batch: RawBatch,
        records: u32,
    },
    /// The ledger record goes with the data, then the offset, then the verdict.
    Commit {
        ledger_partition: TopicPartition,
        ledger_batch: RawBatch,
        /// None: the group's offset stays as it is.
        offsets: Option<OffsetCommit>,
        /// Where the ledger record says that the first records of a partition land. Landed elsewhere, for somebody else has
        /// written there meanwhile, the transaction is aborted: found open one day, it would be taken for another.
        promised: Vec<(TopicPartition, i64)>,
    },
    Abort,
    /// Before this partition is first written to: nothing may be open there. `committed_at`: where, by the ledger, the last
    /// committed transaction began there.
    Settle {
        partition: TopicPartition,
        committed_at: Option<i64>,
    },
    Answered {
        id: RequestId,
        answer: Result<Answer, Failure>,
    },
    /// Takes effect between transactions.
    SetProtocol(TransactionProtocol),
    Timeout,
}

/// The group's offset of the ledger partition, committed inside the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    pub offset: CommitOffset,
    /// The fence of KIP-447 exists only if generation and member are set; −1 and "" are for a bridge without a group.
    pub generation_id: i32,
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOffset {
    /// Where the ledger batch of this transaction lands.
    LedgerBase,
    Fixed(i64),
}

#[derive(Clone, Debug)]
pub enum Output {
    Send { id: RequestId, to: Destination, request: TxnRequest },
    RefreshMetadata(Vec<TopicPartition>),
    RefreshCoordinator(Destination),
    CloseConnection(Destination),
    Event(Event),
}

/// The requests, without their encoding.
#[derive(Clone, Debug)]
pub enum TxnRequest {
    /// `identity` None is (−1, −1): take over. Some is KIP-360: bump the epoch of exactly this incarnation.
    InitProducerId {
        transactional_id: Arc<str>,
        transaction_timeout_ms: i32,
        identity: Option<ProducerIdentity>,
    },
    AddPartitionsToTxn {
        transactional_id: Arc<str>,
        identity: ProducerIdentity,
        partitions: Vec<TopicPartition>,
    },
    AddOffsetsToTxn {
        transactional_id: Arc<str>,
        identity: ProducerIdentity,
        group_id: Arc<str>,
    },
    /// acks = all.
    Produce {
        transactional_id: Arc<str>,
        partition: TopicPartition,
        batch: StampedBatch,
        protocol: TransactionProtocol,
    },
    TxnOffsetCommit {
        transactional_id: Arc<str>,
        identity: ProducerIdentity,
        group_id: Arc<str>,
        partition: TopicPartition,
        offset: i64,
        generation_id: i32,
        member_id: Arc<str>,
        group_instance_id: Option<Arc<str>>,
        protocol: TransactionProtocol,
    },
    EndTxn {
        transactional_id: Arc<str>,
        identity: ProducerIdentity,
        commit: bool,
        protocol: TransactionProtocol,
    },
    DescribeTransactions {
        transactional_id: Arc<str>,
    },
    /// `committed`: the last stable offsets, else the high watermarks.
    ListOffsets {
        partitions: Vec<TopicPartition>,
        committed: bool,
    },
}

impl TxnRequest {
    pub fn api(&self) -> Api {
        match self {
            TxnRequest::InitProducerId { .. } => Api::InitProducerId,
            TxnRequest::AddPartitionsToTxn { .. } => Api::AddPartitionsToTxn,
            TxnRequest::AddOffsetsToTxn { .. } => Api::AddOffsetsToTxn,
            TxnRequest::Produce { .. } => Api::Produce,
            TxnRequest::TxnOffsetCommit { .. } => Api::TxnOffsetCommit,
            TxnRequest::EndTxn { commit: true, .. } => Api::EndTxnCommit,
            TxnRequest::EndTxn { commit: false, .. } => Api::EndTxnAbort,
            TxnRequest::DescribeTransactions { .. } => Api::DescribeTransactions,
            TxnRequest::ListOffsets { .. } => Api::ListOffsets,
        }
    }
}

/// The answers, without their encoding. A request for one partition has that partition's code as `error_code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    InitProducerId {
        error_code: i16,
        identity: ProducerIdentity,
    },
    /// A top-level code goes to every partition.
    AddPartitionsToTxn {
        partitions: Vec<(TopicPartition, i16)>,
    },
    AddOffsetsToTxn {
        error_code: i16,
    },
    Produce {
        error_code: i16,
        base_offset: i64,
        log_append_time_ms: i64,
    },
    TxnOffsetCommit {
        error_code: i16,
    },
    /// `identity`: of EndTxn v5 (V2).
    EndTxn {
        error_code: i16,
        identity: Option<ProducerIdentity>,
    },
    DescribeTransactions {
        error_code: i16,
        state: LastTransaction,
    },
    /// (partition, its code, offset).
    ListOffsets {
        offsets: Vec<(TopicPartition, i16, i64)>,
    },
}

/// What the coordinator knows of a transactional id's last transaction (`TransactionState` of Kafka, as far as it matters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastTransaction {
    /// PrepareCommit
    Committing,
    /// CompleteCommit
    Committed,
    /// Empty: InitProducerId came behind it.
    Forgotten,
    /// Every other state ends, or has ended, with an abort; or the broker does not tell (before Kafka 3.0).
    Other,
}

/// A request that got no answer. It may have taken effect, or may do so later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Disconnected,
    TimedOut,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A transaction may begin: after Take, and after every Committed and Aborted.
    Ready { identity: ProducerIdentity },
    /// Base offsets: of one partition in the order of its appends, −1 where the broker no longer knew.
    Committed { transaction: u64, offsets: Vec<(TopicPartition, i64)> },
    /// Nothing of the transaction will be visible. Rewind to the committed position.
    Aborted { cause: Cause },
    /// The incarnation is dead: Take, then re-read the ledger.
    Fenced { cause: Cause },
    /// Nobody but the ledger knows whether the transaction was committed: Take, then re-read it.
    OutcomeUnknown { cause: Cause },
    /// Nobody can say yet whether the last transaction is decided there: the next one waits. Told again while it lasts.
    Unsettled { partitions: Vec<TopicPartition> },
    /// The target had left a transaction open that it calls complete; it has been ended as it should have been.
    Mended { partitions: Vec<TopicPartition>, commit: bool },
    /// A transaction of somebody else is open there. It does not keep the lane, but its readers.
    Undecided { partition: TopicPartition },
    /// An operator is needed (or a bug was met): the lane stands still.
    Stopped { cause: Cause },
}

/// What went wrong, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub trouble: Trouble,
    pub partition: Option<TopicPartition>,
    /// Of an abort: how the caller must react.
    pub class: AbortClass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The caller asked for the abort.
    Requested,
    Answered {
        api: Api,
        code: i16,
    },
    NoAnswer {
        api: Api,
        failure: Failure,
    },
    /// The driver paired a request with the answer of another API.
    WrongAnswer {
        api: Api,
    },
    /// The transaction could not be finished before `transaction_timeout_ms` minus the margin.
    Deadline,
    /// DUPLICATE_SEQUENCE hid the offset of the ledger batch, which the group's offset needs.
    LedgerOffsetUnknown,
    /// Somebody else has written to the partition: the records did not land where the ledger record says.
    Displaced,
}

impl Cause {
    pub(super) fn new(trouble: Trouble) -> Self {
        Self { trouble, partition: None, class: AbortClass::Plain }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.trouble {
            Trouble::Requested => write!(f, "abort requested")?,
            Trouble::Answered { api, code } => match kafka_protocol::ResponseError::try_from_code(code) {
                Some(name) => write!(f, "{api} answered {name:?} ({code})")?,
                None => write!(f, "{api} answered code {code}")?,
            },
            Trouble::NoAnswer { api, failure } => write!(f, "{api} got no answer ({failure:?})")?,
            Trouble::WrongAnswer { api } => write!(f, "{api} was given the answer of another request")?,
            Trouble::Deadline => write!(f, "the transaction did not finish within its timeout")?,
            Trouble::Displaced => write!(f, "somebody else wrote to the partition meanwhile")?,
            Trouble::LedgerOffsetUnknown => write!(f, "the broker no longer knew where the ledger record landed")?,
        }
        if let Some(partition) = &self.partition {
            write!(f, " for {partition}")?;
        }
        match self.class {
            AbortClass::Plain => Ok(()),
            AbortClass::OwnershipLost => write!(f, "; the member must rejoin its group"),
            AbortClass::Reencode => write!(f, "; the batch must be re-encoded"),
            AbortClass::Operator => write!(f, "; check the topic and the rights at the target"),
        }
    }
}

/// Which timer is the earliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    Retry,
    TransactionDeadline,
}

/// The caller used the machine in a way its state forbids. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    #[error("{input} refused while {state}: wait for Event::Ready")]
    NotReady { input: &'static str, state: &'static str },
    #[error("the verdict has been sent and cannot be changed: wait for its event")]
    VerdictSent,
    #[error("the transaction already holds {max} batches: commit it first")]
    Full { max: usize },
    #[error("the batch's header counts {header} records, the caller {caller}: pass the prepared batch's own count")]
    RecordCount { header: i64, caller: i64 },
    #[error("generation_id and member_id must both be set or both be unset: half a fence is none")]
    HalfFence,
}
