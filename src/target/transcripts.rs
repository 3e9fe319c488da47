//! Whole transactions as readable transcripts: what is sent, in which order, for which answer.

mod beside;

use crate::batch::{RawBatch, split};
use crate::target::message::{
    Answer, CommitOffset, Destination, Event, Failure, Input, LastTransaction, Misuse, OffsetCommit, Output, RequestId,
    TransactionProtocol, TxnRequest,
};
use crate::target::{Transactor, TransactorSettings};
use crate::types::{ProducerIdentity, TopicPartition};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// One uncompressed batch with `records` records; only the header and the length of the body matter here.
pub(super) fn batch(records: i32, body: &[u8]) -> RawBatch {
    let mut bytes = vec![0u8; 61];
    bytes[8..12].copy_from_slice(&((49 + body.len()) as i32).to_be_bytes());
    bytes[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[43..57].fill(0xff);
    bytes[57..61].copy_from_slice(&records.to_be_bytes());
    bytes.extend_from_slice(body);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    split(Bytes::from(bytes)).next().unwrap().unwrap()
}

pub(super) fn settings() -> TransactorSettings {
    TransactorSettings {
        transactional_id: "link.3".into(),
        group_id: "link".into(),
        ledger_partition: Some(ledger()),
        transaction_timeout: Duration::from_secs(15),
        abort_margin: Duration::from_secs(6),
        max_in_flight: 5,
        harden_v1: true,
    }
}

pub(super) fn ledger() -> TopicPartition {
    TopicPartition::new("link.ledger", 3)
}

pub(super) fn offsets(offset: CommitOffset) -> OffsetCommit {
    OffsetCommit { offset, generation_id: 4, member_id: "m".into(), group_instance_id: None }
}

struct Script {
    machine: Transactor,
    now: Instant,
    next: u64,
    /// Shown id → the machine's: what is answered at once, because everything is settled, has none.
    ids: Vec<RequestId>,
    settles: bool,
}

pub(super) fn word(request: &TxnRequest) -> String {
    match request {
        TxnRequest::InitProducerId { identity: None, .. } => "InitProducerId(-1, -1)".to_owned(),
        TxnRequest::InitProducerId { identity: Some(it), .. } => {
            format!("InitProducerId({}, {})", it.producer_id, it.producer_epoch)
        }
        TxnRequest::AddPartitionsToTxn { partitions, .. } => format!("AddPartitionsToTxn{partitions:?}"),
        TxnRequest::AddOffsetsToTxn { group_id, .. } => format!("AddOffsetsToTxn({group_id})"),
        TxnRequest::Produce { partition, batch, .. } => {
            let bytes = batch.to_bytes();
            let epoch = i16::from_be_bytes([bytes[51], bytes[52]]);
            let sequence = i32::from_be_bytes([bytes[53], bytes[54], bytes[55], bytes[56]]);
            format!("Produce({partition} epoch {epoch} seq {sequence})")
        }
        TxnRequest::TxnOffsetCommit { partition, offset, .. } => format!("TxnOffsetCommit({partition} {offset})"),
        TxnRequest::EndTxn { commit, identity, .. } => format!("EndTxn({commit} epoch {})", identity.producer_epoch),
        TxnRequest::DescribeTransactions { .. } => "DescribeTransactions".to_owned(),
        TxnRequest::ListOffsets { partitions, committed: true } => format!("last stable offsets{partitions:?}"),
        TxnRequest::ListOffsets { partitions, committed: false } => format!("high watermarks{partitions:?}"),
    }
}

impl Script {
    fn new(protocol: TransactionProtocol) -> Self {
        let now = Instant::now();
        Self { machine: Transactor::new(settings(), protocol, now), now, next: 0, ids: Vec::new(), settles: true }
    }

    /// Taken, at epoch 7.
    fn ready(protocol: TransactionProtocol) -> Self {
        let mut script = Self::new(protocol);
        script.input(Input::Take, &["0 InitProducerId(-1, -1)"]);
        script.answer(0, init(0, 7), &["Ready(7)"]);
        script
    }

    #[track_caller]
    fn input(&mut self, input: Input, expected: &[&str]) {
        let mut lines = Vec::new();
        self.give(input, &mut lines);
        while self.settles && self.machine.state_name() == "Settling" {
            self.now = self.machine.poll_timeout().unwrap().0;
            self.give(Input::Timeout, &mut lines);
        }
        assert_eq!(lines, expected);
    }

    fn give(&mut self, input: Input, lines: &mut Vec<String>) {
        self.machine.handle(self.now, input).unwrap();
        while let Some(output) = self.machine.poll_output() {
            let line = match output {
                Output::Send { id, request: TxnRequest::ListOffsets { partitions, .. }, .. } if self.settles => {
                    self.answer_at_once(id, stand(partitions, FAR));
                    continue;
                }
                Output::Send { id, request: TxnRequest::DescribeTransactions { .. }, .. } if self.settles => {
                    self.answer_at_once(id, described(LastTransaction::Other));
                    continue;
                }
                Output::Send { id, request, .. } => {
                    self.ids.push(id);
                    self.next = self.ids.len() as u64;
                    format!("{} {}", self.ids.len() - 1, word(&request))
                }
                Output::RefreshMetadata(partitions) => format!("metadata{partitions:?}"),
                Output::RefreshCoordinator(Destination::GroupCoordinator) => "group coordinator".to_owned(),
                Output::RefreshCoordinator(_) => "coordinator".to_owned(),
                Output::CloseConnection(Destination::Leader(partition)) => format!("close {partition}"),
                Output::CloseConnection(_) => "close coordinator".to_owned(),
                Output::Event(Event::Ready { identity }) => format!("Ready({})", identity.producer_epoch),
                Output::Event(Event::Committed { transaction, offsets }) => {
                    format!("Committed {transaction} {offsets:?}")
                }
                Output::Event(Event::Aborted { cause }) => format!("Aborted: {cause}"),
                Output::Event(Event::Fenced { cause }) => format!("Fenced: {cause}"),
                Output::Event(Event::OutcomeUnknown { cause }) => format!("OutcomeUnknown: {cause}"),
                Output::Event(Event::Mended { partitions, commit }) => format!("Mended {partitions:?} {commit}"),
                Output::Event(Event::Unsettled { partitions }) => format!("Unsettled {partitions:?}"),
                Output::Event(Event::Undecided { partition }) => format!("Undecided {partition}"),
                Output::Event(Event::Stopped { cause }) => format!("Stopped: {cause}"),
            };
            lines.push(line);
        }
    }

    fn answer_at_once(&mut self, id: RequestId, answer: Answer) {
        self.machine.handle(self.now, Input::Answered { id, answer: Ok(answer) }).unwrap();
    }

    #[track_caller]
    fn answer(&mut self, id: u64, answer: Answer, expected: &[&str]) {
        self.input(Input::Answered { id: self.ids[id as usize], answer: Ok(answer) }, expected);
    }

    #[track_caller]
    fn fail(&mut self, id: u64, failure: Failure, expected: &[&str]) {
        self.input(Input::Answered { id: self.ids[id as usize], answer: Err(failure) }, expected);
    }

    #[track_caller]
    fn timeout(&mut self, expected: &[&str]) {
        self.now = self.machine.poll_timeout().unwrap().0;
        self.input(Input::Timeout, expected);
    }

    #[track_caller]
    fn append(&mut self, partition: i32, records: i32, expected: &[&str]) {
        let partition = TopicPartition::new("t", partition);
        self.input(Input::Append { partition, batch: batch(records, b"x"), records: records as u32 }, expected);
    }

    #[track_caller]
    fn commit(&mut self, offset: CommitOffset, expected: &[&str]) {
        let input = Input::Commit {
            ledger_partition: ledger(),
            ledger_batch: batch(1, b"l"),
            offsets: Some(offsets(offset)),
            promised: Vec::new(),
        };
        self.input(input, expected);
    }
}

/// Beyond everything that is written here.
const FAR: i64 = 10_000;

fn stand(partitions: Vec<TopicPartition>, offset: i64) -> Answer {
    Answer::ListOffsets { offsets: partitions.into_iter().map(|it| (it, 0, offset)).collect() }
}

fn described(state: LastTransaction) -> Answer {
    Answer::DescribeTransactions { error_code: 0, state }
}

fn init(error_code: i16, epoch: i16) -> Answer {
    Answer::InitProducerId { error_code, identity: identity(epoch) }
}

fn identity(producer_epoch: i16) -> ProducerIdentity {
    ProducerIdentity { producer_id: 9, producer_epoch }
}

fn added(code: i16) -> Answer {
    Answer::AddPartitionsToTxn {
        partitions: vec![(ledger(), code), (TopicPartition::new("t", 0), code), (TopicPartition::new("t", 1), code)],
    }
}

fn stored(base_offset: i64) -> Answer {
    Answer::Produce { error_code: 0, base_offset, log_append_time_ms: -1 }
}

fn refused(error_code: i16) -> Answer {
    Answer::Produce { error_code, base_offset: -1, log_append_time_ms: -1 }
}

fn end(error_code: i16, epoch: Option<i16>) -> Answer {
    Answer::EndTxn { error_code, identity: epoch.map(identity) }
}

#[test]
fn v1_commits_and_sequences_go_on() {
    let mut s = Script::ready(TransactionProtocol::V1);
    s.append(0, 3, &["1 AddPartitionsToTxn[link.ledger-3, t-0]"]);
    s.append(0, 2, &[]);
    s.answer(1, added(0), &["2 Produce(t-0 epoch 7 seq 0)"]);
    s.answer(2, stored(100), &["3 Produce(t-0 epoch 7 seq 3)"]);
    s.commit(CommitOffset::LedgerBase, &["4 Produce(link.ledger-3 epoch 7 seq 0)", "5 AddOffsetsToTxn(link)"]);
    s.answer(5, Answer::AddOffsetsToTxn { error_code: 0 }, &[]);
    s.answer(4, stored(55), &["6 TxnOffsetCommit(link.ledger-3 55)"]);
    s.answer(6, Answer::TxnOffsetCommit { error_code: 0 }, &[]);
    s.answer(3, stored(103), &["7 EndTxn(true epoch 7)"]);
    s.answer(7, end(0, None), &["Committed 1 [(link.ledger-3, 55), (t-0, 100), (t-0, 103)]", "Ready(7)"]);
    s.append(0, 1, &["8 AddPartitionsToTxn[link.ledger-3, t-0]"]);
    s.answer(8, added(51), &[]);
    s.timeout(&["9 AddPartitionsToTxn[link.ledger-3, t-0]"]);
    s.answer(9, added(0), &["10 Produce(t-0 epoch 7 seq 5)"]);
}

#[test]
fn v1_bumps_the_epoch_after_an_ambiguous_commit() {
    let mut s = Script::ready(TransactionProtocol::V1);
    s.commit(CommitOffset::Fixed(40), &["1 AddPartitionsToTxn[link.ledger-3]"]);
    s.answer(1, added(0), &["2 Produce(link.ledger-3 epoch 7 seq 0)", "3 AddOffsetsToTxn(link)"]);
    s.answer(2, stored(55), &[]);
    s.answer(3, Answer::AddOffsetsToTxn { error_code: 0 }, &["4 TxnOffsetCommit(link.ledger-3 40)"]);
    s.answer(4, Answer::TxnOffsetCommit { error_code: 0 }, &["5 EndTxn(true epoch 7)"]);
    s.fail(5, Failure::TimedOut, &["close coordinator", "coordinator"]);
    assert_eq!(s.machine.handle(s.now, Input::Abort), Err(Misuse::VerdictSent));
    s.timeout(&["6 EndTxn(true epoch 7)"]);
    s.answer(6, end(0, None), &["Committed 1 [(link.ledger-3, 55)]", "7 InitProducerId(9, 7)"]);
    s.answer(7, init(0, 8), &["Ready(8)"]);
    s.append(0, 1, &["8 AddPartitionsToTxn[link.ledger-3, t-0]"]);
    s.answer(8, added(0), &["9 Produce(t-0 epoch 8 seq 0)"]);
}

#[test]
fn v2_takes_its_identity_from_the_verdict() {
    let mut s = Script::ready(TransactionProtocol::V2);
    s.append(0, 3, &["1 Produce(t-0 epoch 7 seq 0)"]);
    for _ in 0..6 {
        s.append(0, 1, &[]);
    }
    s.answer(
        1,
        stored(10),
        &[
            "2 Produce(t-0 epoch 7 seq 3)",
            "3 Produce(t-0 epoch 7 seq 4)",
            "4 Produce(t-0 epoch 7 seq 5)",
            "5 Produce(t-0 epoch 7 seq 6)",
            "6 Produce(t-0 epoch 7 seq 7)",
        ],
    );
    s.answer(2, stored(13), &["7 Produce(t-0 epoch 7 seq 8)"]);
    // The connection dies: nothing is resent before the last of them is back, then all, in order.
    s.fail(3, Failure::Disconnected, &["metadata[t-0]"]);
    s.fail(4, Failure::Disconnected, &["metadata[t-0]"]);
    s.fail(5, Failure::Disconnected, &["metadata[t-0]"]);
    s.fail(6, Failure::Disconnected, &["metadata[t-0]"]);
    assert!(s.machine.poll_timeout().unwrap().0 > s.now + Duration::from_secs(1));
    s.now += Duration::from_secs(1);
    s.input(Input::Timeout, &[]);
    s.fail(7, Failure::TimedOut, &["close t-0", "metadata[t-0]"]);
    s.timeout(&[
        "8 Produce(t-0 epoch 7 seq 4)",
        "9 Produce(t-0 epoch 7 seq 5)",
        "10 Produce(t-0 epoch 7 seq 6)",
        "11 Produce(t-0 epoch 7 seq 7)",
        "12 Produce(t-0 epoch 7 seq 8)",
    ]);
    for (id, offset) in (8..13).zip(14..) {
        s.answer(id, stored(offset), &[]);
    }
    s.commit(CommitOffset::LedgerBase, &["13 Produce(link.ledger-3 epoch 7 seq 0)"]);
    s.answer(13, stored(5), &["14 TxnOffsetCommit(link.ledger-3 5)"]);
    s.answer(14, Answer::TxnOffsetCommit { error_code: 51 }, &[]);
    s.timeout(&["15 TxnOffsetCommit(link.ledger-3 5)"]);
    s.answer(15, Answer::TxnOffsetCommit { error_code: 0 }, &["16 EndTxn(true epoch 7)"]);
    s.fail(16, Failure::Disconnected, &["coordinator"]);
    s.timeout(&["17 EndTxn(true epoch 7)"]);
    let landed =
        "Committed 1 [(link.ledger-3, 5), (t-0, 10), (t-0, 13), (t-0, 14), (t-0, 15), (t-0, 16), (t-0, 17), (t-0, 18)]";
    s.answer(17, end(0, Some(8)), &[landed, "Ready(8)"]);
    s.append(0, 1, &["18 Produce(t-0 epoch 8 seq 0)"]);
}

#[test]
fn abort_of_nothing_sends_nothing() {
    for protocol in [TransactionProtocol::V1, TransactionProtocol::V2] {
        let mut s = Script::ready(protocol);
        s.input(Input::Abort, &[]);
        assert!(s.machine.is_idle());
    }
    let mut s = Script::ready(TransactionProtocol::V1);
    s.append(0, 1, &["1 AddPartitionsToTxn[link.ledger-3, t-0]"]);
    s.answer(
        1,
        added(29),
        &[
            "Aborted: AddPartitionsToTxn answered TopicAuthorizationFailed (29) for link.ledger-3; check the topic and the rights at the target",
            "Ready(7)",
        ],
    );
}

#[test]
fn abort_waits_for_requests_under_way_and_bumps_on_v1() {
    let mut s = Script::ready(TransactionProtocol::V1);
    s.append(0, 1, &["1 AddPartitionsToTxn[link.ledger-3, t-0]"]);
    s.answer(1, added(0), &["2 Produce(t-0 epoch 7 seq 0)"]);
    s.input(Input::Abort, &[]);
    s.append(0, 1, &[]);
    s.fail(2, Failure::TimedOut, &["close t-0", "3 EndTxn(false epoch 7)"]);
    s.answer(3, end(51, None), &[]);
    s.timeout(&["4 EndTxn(false epoch 7)"]);
    s.answer(4, end(0, None), &["Aborted: abort requested", "5 InitProducerId(9, 7)"]);
    s.answer(5, init(0, 8), &["Ready(8)"]);
}

#[test]
fn v1_abort_of_a_registration_that_never_arrived() {
    let mut s = Script::ready(TransactionProtocol::V1);
    s.append(0, 1, &["1 AddPartitionsToTxn[link.ledger-3, t-0]"]);
    s.fail(1, Failure::Disconnected, &["coordinator"]);
    s.input(Input::Abort, &["2 EndTxn(false epoch 7)"]);
    s.answer(2, end(48, None), &["Aborted: abort requested", "3 InitProducerId(9, 7)"]);
}

fn ending(protocol: TransactionProtocol) -> Script {
    let mut s = Script::ready(protocol);
    match protocol {
        TransactionProtocol::V1 => {
            s.commit(CommitOffset::Fixed(40), &["1 AddPartitionsToTxn[link.ledger-3]"]);
            s.answer(1, added(0), &["2 Produce(link.ledger-3 epoch 7 seq 0)", "3 AddOffsetsToTxn(link)"]);
            s.answer(3, Answer::AddOffsetsToTxn { error_code: 0 }, &["4 TxnOffsetCommit(link.ledger-3 40)"]);
            s.answer(2, stored(55), &[]);
        }
        TransactionProtocol::V2 => {
            s.commit(CommitOffset::LedgerBase, &["1 Produce(link.ledger-3 epoch 7 seq 0)"]);
            s.answer(1, stored(1), &["2 TxnOffsetCommit(link.ledger-3 1)"]);
        }
    }
    let last = s.next - 1;
    let sent = format!("{} EndTxn(true epoch 7)", last + 1);
    s.answer(last, Answer::TxnOffsetCommit { error_code: 0 }, &[&sent]);
    s
}

#[test]
fn refusal_of_the_only_commit_aborts_but_after_an_ambiguous_one_nobody_knows() {
    let mut s = ending(TransactionProtocol::V2);
    s.answer(3, end(120, None), &["4 EndTxn(false epoch 7)"]);
    s.answer(4, end(0, Some(8)), &["Aborted: EndTxn(commit) answered TransactionAbortable (120)", "Ready(8)"]);

    let mut s = ending(TransactionProtocol::V1);
    s.fail(5, Failure::Disconnected, &["coordinator"]);
    s.timeout(&["6 EndTxn(true epoch 7)"]);
    s.answer(6, end(120, None), &["OutcomeUnknown: EndTxn(commit) answered TransactionAbortable (120)"]);
    s.input(Input::Take, &["7 InitProducerId(-1, -1)"]);
}

#[test]
fn commit_that_nobody_answers_ends_unknown() {
    let mut s = ending(TransactionProtocol::V1);
    for id in 5.. {
        s.now += Duration::from_secs(5);
        s.fail(id, Failure::TimedOut, &["close coordinator", "coordinator"]);
        s.now = s.machine.poll_timeout().unwrap().0;
        if id == 7 {
            return s.input(Input::Timeout, &["OutcomeUnknown: EndTxn(commit) got no answer (TimedOut)"]);
        }
        s.input(Input::Timeout, &[&format!("{} EndTxn(true epoch 7)", id + 1)]);
    }
}

#[test]
fn fence_is_decided_by_the_coordinator() {
    let mut s = Script::ready(TransactionProtocol::V2);
    s.append(0, 1, &["1 Produce(t-0 epoch 7 seq 0)"]);
    s.answer(1, refused(47), &["2 EndTxn(false epoch 7)"]);
    s.answer(2, end(90, None), &["Fenced: EndTxn(abort) answered ProducerFenced (90)"]);
    assert!(s.machine.handle(s.now, Input::Append { partition: ledger(), batch: batch(1, b""), records: 1 }).is_err());
}

#[test]
fn deadline_aborts_with_the_trouble_that_used_the_time_up() {
    let mut s = Script::ready(TransactionProtocol::V2);
    s.append(0, 1, &["1 Produce(t-0 epoch 7 seq 0)"]);
    let deadline = s.now + Duration::from_secs(9);
    let mut id = 1;
    loop {
        s.answer(id, refused(3), &["metadata[t-0]"]);
        if s.machine.poll_timeout().unwrap().0 >= deadline {
            break;
        }
        id += 1;
        s.timeout(&[&format!("{id} Produce(t-0 epoch 7 seq 0)")]);
    }
    s.timeout(&[&format!("{} EndTxn(false epoch 7)", id + 1)]);
    let aborted =
        "Aborted: Produce answered UnknownTopicOrPartition (3) for t-0; check the topic and the rights at the target";
    s.answer(id + 1, end(0, Some(8)), &[aborted, "Ready(8)"]);
}

#[test]
fn epoch_is_drilled_while_idle_and_only_as_oneself() {
    let mut s = Script::new(TransactionProtocol::V2);
    s.input(Input::Take, &["0 InitProducerId(-1, -1)"]);
    s.answer(0, init(0, 32_765), &["1 InitProducerId(9, 32765)"]);
    s.answer(1, init(0, 32_766), &["2 InitProducerId(9, 32766)"]);
    s.answer(2, init(0, 0), &["Ready(0)"]);
}

#[test]
fn protocol_changes_between_transactions_with_a_bump() {
    let mut s = Script::ready(TransactionProtocol::V1);
    s.append(0, 1, &["1 AddPartitionsToTxn[link.ledger-3, t-0]"]);
    s.input(Input::SetProtocol(TransactionProtocol::V2), &[]);
    assert_eq!(s.machine.protocol(), TransactionProtocol::V1);
    s.answer(1, added(0), &["2 Produce(t-0 epoch 7 seq 0)"]);
    s.input(Input::Abort, &[]);
    s.answer(2, stored(1), &["3 EndTxn(false epoch 7)"]);
    s.answer(3, end(0, None), &["Aborted: abort requested", "4 InitProducerId(9, 7)"]);
    s.answer(4, init(0, 8), &["Ready(8)"]);
    assert_eq!(s.machine.protocol(), TransactionProtocol::V2);
}

#[test]
fn out_of_order_is_retried_only_behind_an_unacknowledged_batch() {
    let mut s = Script::ready(TransactionProtocol::V2);
    s.append(0, 1, &["1 Produce(t-0 epoch 7 seq 0)"]);
    s.append(0, 1, &[]);
    s.append(0, 1, &[]);
    s.answer(1, stored(0), &["2 Produce(t-0 epoch 7 seq 1)", "3 Produce(t-0 epoch 7 seq 2)"]);
    s.answer(2, refused(19), &[]);
    s.answer(3, refused(45), &[]);
    s.timeout(&["4 Produce(t-0 epoch 7 seq 1)", "5 Produce(t-0 epoch 7 seq 2)"]);
    s.answer(4, stored(1), &[]);
    s.answer(5, refused(45), &["6 EndTxn(false epoch 7)"]);
}

#[test]
fn half_a_fence_and_a_wrong_count_are_refused() {
    let mut s = Script::ready(TransactionProtocol::V2);
    let mut half = offsets(CommitOffset::LedgerBase);
    half.member_id = "".into();
    let input = Input::Commit {
        ledger_partition: ledger(),
        ledger_batch: batch(1, b""),
        offsets: Some(half),
        promised: Vec::new(),
    };
    assert_eq!(s.machine.handle(s.now, input), Err(Misuse::HalfFence));
    let input = Input::Append { partition: ledger(), batch: batch(2, b""), records: 1 };
    assert_eq!(s.machine.handle(s.now, input), Err(Misuse::RecordCount { header: 2, caller: 1 }));
}

fn data(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// The commit is answered, and nothing is known of its markers.
fn committed() -> Script {
    let mut s = Script::ready(TransactionProtocol::V2);
    s.settles = false;
    s.append(0, 3, &["1 Produce(t-0 epoch 7 seq 0)"]);
    s.answer(1, stored(10), &[]);
    s.commit(CommitOffset::LedgerBase, &["2 Produce(link.ledger-3 epoch 7 seq 0)"]);
    s.answer(2, stored(5), &["3 TxnOffsetCommit(link.ledger-3 5)"]);
    s.answer(3, Answer::TxnOffsetCommit { error_code: 0 }, &["4 EndTxn(true epoch 7)"]);
    s.answer(4, end(0, Some(8)), &["Committed 1 [(link.ledger-3, 5), (t-0, 10)]"]);
    s.timeout(&["5 last stable offsets[link.ledger-3, t-0]"]);
    s
}

#[test]
fn the_next_transaction_waits_until_the_last_is_visible() {
    let mut s = committed();
    assert!(!s.machine.accepts_append());
    s.answer(5, stand(vec![ledger()], 7), &[]);
    s.answer(5, stand(vec![data(0)], 10), &[]);
    s.timeout(&["6 last stable offsets[t-0]"]);
    // The log's end behind the marker.
    s.answer(6, stand(vec![data(0)], 14), &["Ready(8)"]);
    assert_eq!((s.machine.stable_offset(&data(0)), s.machine.stable_offset(&ledger())), (Some(14), Some(7)));
}

#[test]
fn a_marker_that_is_left_out_is_written_by_a_transaction_of_its_own() {
    let mut s = committed();
    s.answer(5, stand(vec![ledger()], 7), &[]);
    s.answer(5, stand(vec![data(0)], 10), &[]);
    s.now += Duration::from_secs(1);
    s.input(Input::Timeout, &["6 last stable offsets[t-0]"]);
    s.answer(6, stand(vec![data(0)], 10), &["7 AddPartitionsToTxn[t-0]"]);
    let registered = Answer::AddPartitionsToTxn { partitions: vec![(data(0), 0)] };
    s.answer(7, registered, &["8 EndTxn(true epoch 8)"]);
    s.answer(8, end(0, None), &["Mended [t-0] true", "9 InitProducerId(9, 8)"]);
    s.answer(9, init(0, 9), &[]);
    s.timeout(&["10 last stable offsets[t-0]"]);
    s.answer(10, stand(vec![data(0)], 14), &["Ready(9)"]);
}

#[test]
fn a_partition_that_nobody_leads_is_waited_for() {
    let mut s = committed();
    s.answer(5, stand(vec![ledger()], 7), &[]);
    s.fail(5, Failure::Disconnected, &["metadata[t-0]"]);
    let nobody = Answer::ListOffsets { offsets: vec![(data(0), 6, -1)] };
    s.now += Duration::from_secs(60);
    s.input(Input::Timeout, &["Unsettled [t-0]", "6 last stable offsets[t-0]"]);
    s.answer(6, nobody, &["metadata[t-0]"]);
    s.timeout(&["7 last stable offsets[t-0]"]);
    s.answer(7, stand(vec![data(0)], 14), &["Ready(8)"]);
}

/// What the ledger says decides how an open transaction ends that the lane found there.
#[test]
fn an_open_transaction_that_was_found_ends_as_the_ledger_says() {
    for (committed_at, commit) in [(Some(10), true), (Some(4), false), (None, false)] {
        let mut s = Script::ready(TransactionProtocol::V2);
        s.settles = false;
        s.input(Input::Settle { partition: data(0), committed_at }, &["1 high watermarks[t-0]"]);
        s.answer(1, stand(vec![data(0)], 12), &["2 last stable offsets[t-0]"]);
        s.answer(2, stand(vec![data(0)], 10), &[]);
        s.now += Duration::from_secs(1);
        s.input(Input::Timeout, &["3 last stable offsets[t-0]"]);
        s.answer(3, stand(vec![data(0)], 10), &["4 AddPartitionsToTxn[t-0]"]);
        let registered = Answer::AddPartitionsToTxn { partitions: vec![(data(0), 0)] };
        s.answer(4, registered, &[&format!("5 EndTxn({commit} epoch 7)")]);
    }
}

#[test]
fn somebody_elses_transaction_does_not_keep_the_lane() {
    let mut s = Script::ready(TransactionProtocol::V1);
    s.settles = false;
    s.input(Input::Settle { partition: data(0), committed_at: None }, &["1 high watermarks[t-0]"]);
    s.answer(1, stand(vec![data(0)], 12), &["2 last stable offsets[t-0]"]);
    let mut id = 2;
    for epoch in 7..12 {
        let is_last = epoch == 11;
        s.answer(id, stand(vec![data(0)], 10), &[]);
        s.now += Duration::from_secs(1);
        s.input(Input::Timeout, &[&format!("{} last stable offsets[t-0]", id + 1)]);
        s.answer(id + 1, stand(vec![data(0)], 10), &[&format!("{} AddPartitionsToTxn[t-0]", id + 2)]);
        let registered = Answer::AddPartitionsToTxn { partitions: vec![(data(0), 0)] };
        s.answer(id + 2, registered, &[&format!("{} EndTxn(false epoch {epoch})", id + 3)]);
        let bump = format!("{} InitProducerId(9, {epoch})", id + 4);
        let told = ["Undecided t-0", "Mended [t-0] false", &bump];
        s.answer(id + 3, end(0, None), if is_last { &told } else { &told[1..] });
        s.answer(id + 4, init(0, epoch + 1), if is_last { &["Ready(12)"] } else { &[] });
        if !is_last {
            s.timeout(&[&format!("{} last stable offsets[t-0]", id + 5)]);
        }
        id += 5;
    }
    s.append(0, 1, &["27 AddPartitionsToTxn[link.ledger-3, t-0]"]);
}

#[test]
fn the_former_owners_commit_is_not_taken_back() {
    for (state, commit) in [(LastTransaction::Committed, true), (LastTransaction::Other, false)] {
        let mut s = Script::new(TransactionProtocol::V2);
        s.settles = false;
        s.input(Input::Take, &["0 DescribeTransactions"]);
        s.answer(0, described(LastTransaction::Committing), &[]);
        s.timeout(&["1 DescribeTransactions"]);
        s.answer(1, described(state), &["2 InitProducerId(-1, -1)"]);
        s.answer(2, init(0, 7), &["3 high watermarks[link.ledger-3]"]);
        s.answer(3, stand(vec![ledger()], 9), &["4 last stable offsets[link.ledger-3]"]);
        s.answer(4, stand(vec![ledger()], 8), &[]);
        s.now += Duration::from_secs(1);
        s.input(Input::Timeout, &["5 last stable offsets[link.ledger-3]"]);
        s.answer(5, stand(vec![ledger()], 8), &["6 AddPartitionsToTxn[link.ledger-3]"]);
        let registered = Answer::AddPartitionsToTxn { partitions: vec![(ledger(), 0)] };
        s.answer(6, registered, &[&format!("7 EndTxn({commit} epoch 7)")]);
    }
}
