//! A transaction coordinator, a group and partition leaders, small enough to be believed: the judge of `properties`, and the
//! target of the lane's.

use crate::target::message::{Answer, LastTransaction, TransactionProtocol, TxnRequest};
use crate::types::{ProducerIdentity, TopicPartition};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

const NONE: i16 = 0;
const OUT_OF_ORDER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const CONCURRENT_TRANSACTIONS: i16 = 51;
const PRODUCER_FENCED: i16 = 90;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Empty,
    Ongoing,
    /// The markers are written after so many more requests.
    Prepare {
        commit: bool,
        left: u8,
    },
    Complete {
        commit: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    Open,
    Committed,
    Aborted,
}

pub(crate) struct Stored {
    /// The batch, header and all; one offset each.
    pub(crate) bytes: Bytes,
    pub(crate) fate: Fate,
    /// What its transaction was decided to be, while the marker that says so is lost.
    verdict: Option<bool>,
}

#[derive(Default)]
pub(crate) struct Leader {
    pub(crate) log: Vec<Stored>,
    producer_id: i64,
    epoch: i16,
    next_sequence: Option<i32>,
    /// (first sequence, base offset) of the last five batches.
    recent: Vec<(i32, i64)>,
    open: bool,
}

pub(crate) struct Model {
    pub(crate) identity: ProducerIdentity,
    previous: Option<ProducerIdentity>,
    phase: Phase,
    partitions: BTreeSet<TopicPartition>,
    group_added: bool,
    pending_offset: Option<i64>,
    pub(crate) committed_offset: Option<i64>,
    pub(crate) leaders: BTreeMap<TopicPartition, Leader>,
    next_producer_id: i64,
    /// How many requests the markers take.
    pub(crate) marker_delay: u8,
    /// Partitions without a leader when the next markers are written: theirs are left out.
    pub(crate) leaderless: BTreeSet<TopicPartition>,
}

impl Model {
    pub(crate) fn new(epoch: i16) -> Self {
        Self {
            identity: ProducerIdentity { producer_id: 1000, producer_epoch: epoch },
            previous: None,
            phase: Phase::Empty,
            partitions: BTreeSet::new(),
            group_added: false,
            pending_offset: None,
            committed_offset: None,
            leaders: BTreeMap::new(),
            next_producer_id: 1001,
            marker_delay: 0,
            leaderless: BTreeSet::new(),
        }
    }

    fn bump(&mut self) {
        self.previous = Some(self.identity);
        if self.identity.producer_epoch >= i16::MAX - 1 {
            self.identity = ProducerIdentity { producer_id: self.next_producer_id, producer_epoch: 0 };
            self.next_producer_id += 1;
        } else {
            self.identity.producer_epoch += 1;
        }
    }

    /// Lets the markers come nearer; called before every request.
    fn tick(&mut self) {
        if let Phase::Prepare { commit, left } = self.phase {
            if left == 0 {
                self.write_markers(commit);
            } else {
                self.phase = Phase::Prepare { commit, left: left - 1 };
            }
        }
    }

    pub(crate) fn finish_markers(&mut self) {
        while let Phase::Prepare { .. } = self.phase {
            self.tick();
        }
    }

    fn write_markers(&mut self, commit: bool) {
        let leaderless = std::mem::take(&mut self.leaderless);
        for partition in std::mem::take(&mut self.partitions) {
            let is_lost = leaderless.contains(&partition);
            let leader = self.leaders.entry(partition).or_default();
            if is_lost {
                for stored in leader.log.iter_mut().filter(|stored| stored.fate == Fate::Open) {
                    stored.verdict.get_or_insert(commit);
                }
                continue;
            }
            for stored in leader.log.iter_mut().filter(|stored| stored.fate == Fate::Open) {
                stored.fate = if commit { Fate::Committed } else { Fate::Aborted };
            }
            leader.open = false;
            if leader.producer_id == self.identity.producer_id && leader.epoch < self.identity.producer_epoch {
                leader.epoch = self.identity.producer_epoch;
                leader.next_sequence = None;
                leader.recent.clear();
            }
        }
        if let (true, Some(offset)) = (commit, self.pending_offset) {
            self.committed_offset = Some(offset);
        }
        self.pending_offset = None;
        self.group_added = false;
        self.phase = Phase::Complete { commit };
    }

    /// Another bridge takes the lane, and mends what it finds.
    pub(crate) fn steal(&mut self) {
        self.init(None);
        self.init(None);
        for leader in self.leaders.values_mut() {
            for stored in &mut leader.log {
                if let (Fate::Open, Some(commit)) = (stored.fate, stored.verdict) {
                    stored.fate = if commit { Fate::Committed } else { Fate::Aborted };
                    leader.open = false;
                    leader.epoch = self.identity.producer_epoch;
                    leader.next_sequence = None;
                    leader.recent.clear();
                }
            }
        }
    }

    fn init(&mut self, expected: Option<ProducerIdentity>) -> i16 {
        if let Some(expected) = expected
            && expected != self.identity
        {
            return if self.previous == Some(expected) && self.phase != Phase::Ongoing {
                NONE
            } else {
                PRODUCER_FENCED
            };
        }
        match self.phase {
            Phase::Prepare { .. } => CONCURRENT_TRANSACTIONS,
            Phase::Ongoing => {
                // With `expected` too: a transaction that a delayed AddPartitionsToTxn has opened. The retry is then fenced
                // (`TransactionMetadata.prepareFenceProducerEpoch` forgets the last epoch).
                self.bump();
                self.previous = None;
                self.write_markers(false);
                CONCURRENT_TRANSACTIONS
            }
            Phase::Empty | Phase::Complete { .. } => {
                self.bump();
                if expected.is_none() {
                    self.previous = None;
                }
                self.phase = Phase::Empty;
                NONE
            }
        }
    }

    /// A request that adds to the transaction, or opens it.
    fn enter(&mut self, identity: ProducerIdentity) -> i16 {
        if identity != self.identity {
            return PRODUCER_FENCED;
        }
        if let Phase::Prepare { .. } = self.phase {
            return CONCURRENT_TRANSACTIONS;
        }
        self.phase = Phase::Ongoing;
        NONE
    }

    fn end(&mut self, identity: ProducerIdentity, commit: bool, protocol: TransactionProtocol) -> i16 {
        let retry = protocol == TransactionProtocol::V2 && self.previous == Some(identity);
        if identity != self.identity && !retry {
            return PRODUCER_FENCED;
        }
        match self.phase {
            Phase::Ongoing if !retry => {
                if protocol == TransactionProtocol::V2 {
                    self.bump();
                }
                self.phase = Phase::Prepare { commit, left: self.marker_delay };
                NONE
            }
            Phase::Prepare { commit: before, .. } if before == commit => CONCURRENT_TRANSACTIONS,
            Phase::Complete { commit: before }
                if before == commit && (retry || protocol == TransactionProtocol::V1) =>
            {
                NONE
            }
            Phase::Empty | Phase::Complete { .. } if protocol == TransactionProtocol::V2 && !commit && !retry => {
                self.bump();
                self.phase = Phase::Complete { commit };
                NONE
            }
            _ => INVALID_TXN_STATE,
        }
    }

    fn produce(&mut self, partition: &TopicPartition, bytes: &[u8], protocol: TransactionProtocol) -> (i16, i64) {
        let field =
            |at: usize, len: usize| bytes[at..at + len].iter().fold(0i64, |value, byte| value << 8 | i64::from(*byte));
        let identity = ProducerIdentity { producer_id: field(43, 8), producer_epoch: field(51, 2) as i16 };
        let (sequence, records) = (field(53, 4) as i32, field(57, 4) as i32);
        let leader = self.leaders.entry(partition.clone()).or_default();
        let known = leader.producer_id == identity.producer_id;
        if known
            && leader.epoch == identity.producer_epoch
            && let Some((_, offset)) = leader.recent.iter().find(|(first, _)| *first == sequence)
        {
            return (NONE, *offset);
        }
        if known && leader.epoch > identity.producer_epoch {
            return (INVALID_PRODUCER_EPOCH, -1);
        }
        let expected = if known && leader.epoch == identity.producer_epoch { leader.next_sequence } else { None };
        if sequence != expected.unwrap_or(0) {
            return (OUT_OF_ORDER, -1);
        }
        // The leader asks the coordinator only while it knows of no transaction of this producer epoch (KIP-890 part 1,
        // `ProducerStateManager`).
        if !(leader.open && known && leader.epoch == identity.producer_epoch) {
            let code = match protocol {
                TransactionProtocol::V2 => self.enter(identity),
                TransactionProtocol::V1 if identity != self.identity => PRODUCER_FENCED,
                TransactionProtocol::V1 if self.phase == Phase::Ongoing && self.partitions.contains(partition) => NONE,
                TransactionProtocol::V1 => INVALID_TXN_STATE,
            };
            if code != NONE {
                return (if code == PRODUCER_FENCED { INVALID_PRODUCER_EPOCH } else { code }, -1);
            }
            self.partitions.insert(partition.clone());
        }
        let leader = self.leaders.entry(partition.clone()).or_default();
        let offset = leader.log.len() as i64;
        leader.log.push(Stored { bytes: Bytes::copy_from_slice(bytes), fate: Fate::Open, verdict: None });
        if !known || leader.epoch != identity.producer_epoch {
            leader.recent.clear();
        }
        leader.producer_id = identity.producer_id;
        leader.epoch = identity.producer_epoch;
        leader.next_sequence = Some(sequence + records);
        leader.recent.push((sequence, offset));
        if leader.recent.len() > 5 {
            leader.recent.remove(0);
        }
        leader.open = true;
        (NONE, offset)
    }

    pub(crate) fn apply(&mut self, request: &TxnRequest) -> Answer {
        self.tick();
        match request {
            TxnRequest::InitProducerId { identity, .. } => {
                let error_code = self.init(*identity);
                Answer::InitProducerId { error_code, identity: self.identity }
            }
            TxnRequest::AddPartitionsToTxn { identity, partitions, .. } => {
                let code = self.enter(*identity);
                if code == NONE {
                    self.partitions.extend(partitions.iter().cloned());
                }
                Answer::AddPartitionsToTxn { partitions: partitions.iter().map(|it| (it.clone(), code)).collect() }
            }
            TxnRequest::AddOffsetsToTxn { identity, .. } => {
                let error_code = self.enter(*identity);
                self.group_added |= error_code == NONE;
                Answer::AddOffsetsToTxn { error_code }
            }
            TxnRequest::TxnOffsetCommit { identity, offset, protocol, .. } => {
                let error_code = match protocol {
                    TransactionProtocol::V2 => self.enter(*identity),
                    TransactionProtocol::V1 if *identity != self.identity => INVALID_PRODUCER_EPOCH,
                    TransactionProtocol::V1 if self.phase == Phase::Ongoing && self.group_added => NONE,
                    TransactionProtocol::V1 => INVALID_TXN_STATE,
                };
                if error_code == NONE {
                    self.pending_offset = Some(*offset);
                }
                Answer::TxnOffsetCommit { error_code }
            }
            TxnRequest::EndTxn { identity, commit, protocol, .. } => {
                let error_code = self.end(*identity, *commit, *protocol);
                let answered = (*protocol == TransactionProtocol::V2 && error_code == NONE).then_some(self.identity);
                Answer::EndTxn { error_code, identity: answered }
            }
            TxnRequest::Produce { partition, batch, protocol, .. } => {
                let (error_code, base_offset) = self.produce(partition, &batch.to_bytes(), *protocol);
                Answer::Produce { error_code, base_offset, log_append_time_ms: -1 }
            }
            TxnRequest::DescribeTransactions { .. } => {
                let state = match self.phase {
                    Phase::Prepare { commit: true, .. } => LastTransaction::Committing,
                    Phase::Complete { commit: true } => LastTransaction::Committed,
                    Phase::Empty => LastTransaction::Forgotten,
                    _ => LastTransaction::Other,
                };
                Answer::DescribeTransactions { error_code: NONE, state }
            }
            TxnRequest::ListOffsets { partitions, committed } => {
                let offset = |partition: &TopicPartition| {
                    let log = self.log(partition);
                    let open = log.iter().position(|stored| stored.fate == Fate::Open).filter(|_| *committed);
                    open.unwrap_or(log.len()) as i64
                };
                Answer::ListOffsets { offsets: partitions.iter().map(|it| (it.clone(), NONE, offset(it))).collect() }
            }
        }
    }

    pub(crate) fn log(&self, partition: &TopicPartition) -> &[Stored] {
        self.leaders.get(partition).map(|leader| leader.log.as_slice()).unwrap_or_default()
    }

    /// A transaction has not been ended, or its markers are not written yet.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Ongoing | Phase::Prepare { .. })
    }

    /// A transaction is complete, and open somewhere.
    pub(crate) fn lacks_markers(&self) -> bool {
        self.leaders.values().flat_map(|leader| &leader.log).any(|it| it.fate == Fate::Open && it.verdict.is_some())
    }

    /// The bodies a read_committed consumer sees.
    pub(crate) fn committed(&self, partition: &TopicPartition) -> Vec<&[u8]> {
        let log = self.log(partition).iter();
        log.filter(|stored| stored.fate == Fate::Committed).map(|stored| &stored.bytes[61..]).collect()
    }
}

/// The answer of a broker that did nothing.
pub(crate) fn with_code(request: &TxnRequest, code: i16) -> Answer {
    match request {
        TxnRequest::InitProducerId { .. } => {
            let identity = ProducerIdentity { producer_id: -1, producer_epoch: -1 };
            Answer::InitProducerId { error_code: code, identity }
        }
        TxnRequest::AddPartitionsToTxn { partitions, .. } => {
            Answer::AddPartitionsToTxn { partitions: partitions.iter().map(|it| (it.clone(), code)).collect() }
        }
        TxnRequest::AddOffsetsToTxn { .. } => Answer::AddOffsetsToTxn { error_code: code },
        TxnRequest::Produce { .. } => Answer::Produce { error_code: code, base_offset: -1, log_append_time_ms: -1 },
        TxnRequest::TxnOffsetCommit { .. } => Answer::TxnOffsetCommit { error_code: code },
        TxnRequest::EndTxn { .. } => Answer::EndTxn { error_code: code, identity: None },
        TxnRequest::DescribeTransactions { .. } => {
            Answer::DescribeTransactions { error_code: code, state: LastTransaction::Other }
        }
        TxnRequest::ListOffsets { partitions, .. } => {
            Answer::ListOffsets { offsets: partitions.iter().map(|it| (it.clone(), code, -1)).collect() }
        }
    }
}
