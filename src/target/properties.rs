//! The machine against the model: random faults in random order, then healing, then the promises.

use crate::target::Transactor;
use crate::target::message::{
    Answer, CommitOffset, Destination, Event, Failure, Input, Output, RequestId, TransactionProtocol, TxnRequest,
};
use crate::target::model::{Model, with_code};
use crate::target::transcripts::{batch, ledger, offsets, settings};
use crate::testing::config;
use crate::types::TopicPartition;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const PARTITIONS: usize = 3;
/// Far above what a run with every fault needs; a run that reaches it goes round in circles.
const STEPS_MAX: usize = 50_000;
/// The markers of a verdict that was held up take more requests than there are between two of a taker.
const MARKERS_OF_THE_LATE: u8 = 8;
/// Committed after the faults have ended, before the run is judged.
const HEALED_COMMITS: usize = 4;

#[derive(Clone, Debug, Default, PartialEq)]
struct Faults {
    lost_answers: usize,
    dropped: usize,
    held: usize,
    refused: usize,
    stolen: usize,
    aborted: usize,
    unknown: usize,
    fenced: usize,
    committed: usize,
    leaderless: usize,
    mended: usize,
}

struct InFlight {
    id: RequestId,
    to: Destination,
    request: TxnRequest,
}

/// What the lane would hold: the position of each partition, and the transaction that may move it.
struct World {
    machine: Transactor,
    model: Model,
    now: Instant,
    choices: Vec<u8>,
    in_flight: Vec<InFlight>,
    /// What the lane says next.
    settles: Vec<Input>,
    /// Requests left behind in an old socket: after so many more requests they arrive all the same.
    held: Vec<(u8, TxnRequest)>,
    /// (attempt, position) of the next record of each partition.
    positions: [u8; PARTITIONS],
    appended: [u8; PARTITIONS],
    attempt: u16,
    /// What each attempt appended beside its ledger record.
    attempts: BTreeMap<u16, usize>,
    /// Where each partition's log ended before an attempt: a part of its ledger record.
    ends: BTreeMap<u16, BTreeMap<TopicPartition, i64>>,
    open: bool,
    committing: bool,
    unacknowledged: BTreeSet<(TopicPartition, i32)>,
    verdict: Option<bool>,
    /// Requests before this one belong to an incarnation that was fenced.
    incarnation: RequestId,
    taking: bool,
    faults: Faults,
    healed_commits: usize,
    loses_markers: bool,
}

fn data(index: usize) -> TopicPartition {
    TopicPartition::new("t", index as i32)
}

fn sequence(request: &TxnRequest) -> Option<(TopicPartition, i32)> {
    let TxnRequest::Produce { partition, batch, .. } = request else { return None };
    let bytes = batch.to_bytes();
    Some((partition.clone(), i32::from_be_bytes([bytes[53], bytes[54], bytes[55], bytes[56]])))
}

impl World {
    fn new(protocol: TransactionProtocol, harden_v1: bool, epoch: i16, choices: Vec<u8>) -> Self {
        let now = Instant::now();
        let mut settings = settings();
        settings.harden_v1 = harden_v1;
        let mut choices = choices;
        choices.reverse();
        Self {
            machine: Transactor::new(settings, protocol, now),
            model: Model::new(epoch),
            now,
            choices,
            in_flight: Vec::new(),
            settles: Vec::new(),
            held: Vec::new(),
            positions: [0; PARTITIONS],
            appended: [0; PARTITIONS],
            attempt: 0,
            attempts: BTreeMap::new(),
            ends: BTreeMap::new(),
            open: false,
            committing: false,
            unacknowledged: BTreeSet::new(),
            verdict: None,
            incarnation: RequestId(0),
            taking: false,
            faults: Faults::default(),
            healed_commits: 0,
            // What an exhausted epoch has left open no later one can end.
            loses_markers: epoch == 0,
        }
    }

    /// 0 is the choice without a fault; when the choices are used up the world has healed.
    fn choose(&mut self) -> u8 {
        self.choices.pop().unwrap_or(0)
    }

    fn input(&mut self, input: Input) {
        self.machine.handle(self.now, input).unwrap();
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { id, to, request } => self.sent(id, to, request),
                Output::Event(event) => self.event(event),
                Output::RefreshMetadata(_) | Output::RefreshCoordinator(_) | Output::CloseConnection(_) => {}
            }
        }
    }

    fn sent(&mut self, id: RequestId, to: Destination, request: TxnRequest) {
        if let Some(key) = sequence(&request) {
            assert_eq!(self.verdict, None, "Produce behind EndTxn");
            self.unacknowledged.insert(key);
        }
        match &request {
            TxnRequest::TxnOffsetCommit { .. } => assert_eq!(self.verdict, None, "TxnOffsetCommit behind EndTxn"),
            TxnRequest::InitProducerId { identity: None, .. } => {
                self.incarnation = id;
                self.taking = true;
            }
            TxnRequest::InitProducerId { .. } => {
                assert!(!self.open || self.taking, "epoch bumped inside a transaction")
            }
            // Of a transaction that mends.
            TxnRequest::EndTxn { .. } if self.machine.state_name() == "Settling" => {}
            TxnRequest::EndTxn { commit, .. } => {
                assert!(!commit || self.unacknowledged.is_empty(), "EndTxn(commit) before all acks");
                let overtaken = |it: &&InFlight| it.to != to && it.id >= self.incarnation;
                let is_question = |it: &InFlight| matches!(it.request, TxnRequest::ListOffsets { .. });
                assert!(self.in_flight.iter().filter(overtaken).all(is_question), "EndTxn overtakes a request");
                assert!(self.verdict.is_none_or(|before| before == *commit), "two verdicts");
                self.verdict = Some(*commit);
            }
            _ => {}
        }
        self.in_flight.push(InFlight { id, to, request });
        for partition in (0..PARTITIONS).map(data) {
            let to = Destination::Leader(partition);
            assert!(
                self.in_flight.iter().filter(|it| it.to == to && it.id >= self.incarnation).count() <= 5,
                "more than five in flight"
            );
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Ready { .. } => {
                let was_taking = std::mem::take(&mut self.taking);
                if self.open {
                    // After Fenced or OutcomeUnknown: the ledger, read after InitProducerId, is the arbiter.
                    let record = self.attempt.to_be_bytes();
                    let committed = self.model.committed(&ledger()).contains(&record.as_slice());
                    self.resolved(committed);
                }
                if was_taking {
                    self.take_partitions();
                }
            }
            Event::Unsettled { .. } => {}
            Event::Mended { .. } => self.faults.mended += 1,
            Event::Undecided { partition } => panic!("nobody else writes to {partition}"),
            Event::Committed { offsets, .. } => {
                let expected = self.attempts[&self.attempt] + 1;
                assert_eq!(offsets.len(), expected);
                self.model.finish_markers();
                for (partition, offset) in offsets {
                    assert!(offset < 0 || self.model.leaders[&partition].log.len() > offset as usize);
                }
                self.faults.committed += 1;
                self.healed_commits += usize::from(self.choices.is_empty());
                self.resolved(true);
            }
            Event::Aborted { .. } => {
                self.faults.aborted += 1;
                self.resolved(false);
            }
            Event::Fenced { .. } => self.faults.fenced += 1,
            Event::OutcomeUnknown { .. } => self.faults.unknown += 1,
            Event::Stopped { cause } => panic!("stopped: {cause}"),
        }
    }

    /// As the lane does, with what the ledger says of each.
    fn take_partitions(&mut self) {
        let last = self.model.committed(&ledger()).last().map(|it| u16::from_be_bytes([it[0], it[1]]));
        let ends = last.and_then(|attempt| self.ends.get(&attempt)).cloned().unwrap_or_default();
        for partition in (0..PARTITIONS).map(data) {
            let committed_at = ends.get(&partition).copied();
            self.settles.push(Input::Settle { partition, committed_at });
        }
    }

    fn resolved(&mut self, committed: bool) {
        if committed {
            self.positions = self.appended;
        }
        self.appended = self.positions;
        self.open = false;
        self.committing = false;
        self.unacknowledged.clear();
        self.verdict = None;
    }

    fn append(&mut self) {
        if !self.open {
            self.attempt += 1;
            self.attempts.insert(self.attempt, 0);
            self.open = true;
        }
        let index = usize::from(self.choose()) % PARTITIONS;
        let end = self.machine.stable_offset(&data(index));
        if let Some(end) = end {
            self.ends.entry(self.attempt).or_default().entry(data(index)).or_insert(end);
        }
        for _ in 0..=self.choose() % 8 {
            let [high, low] = self.attempt.to_be_bytes();
            let batch = batch(2, &[high, low, self.appended[index]]);
            self.appended[index] += 1;
            *self.attempts.get_mut(&self.attempt).unwrap() += 1;
            self.input(Input::Append { partition: data(index), batch, records: 2 });
            if !self.open {
                return;
            }
        }
    }

    fn commit(&mut self) {
        let ledger_batch = batch(1, &self.attempt.to_be_bytes());
        self.committing = true;
        let (offsets, promised) = (Some(offsets(CommitOffset::LedgerBase)), Vec::new());
        self.input(Input::Commit { ledger_partition: ledger(), ledger_batch, offsets, promised });
    }

    fn release(&mut self) {
        for (left, _) in &mut self.held {
            *left = left.saturating_sub(1);
        }
        while let Some(at) = self.held.iter().position(|(left, _)| *left == 0) {
            let (_, request) = self.held.remove(at);
            // Two faults at once are more than v1 can bear: registered again behind its commit, a partition without its marker
            // is aborted by the very bump that fences the request.
            let registers =
                matches!(request, TxnRequest::AddPartitionsToTxn { .. } | TxnRequest::AddOffsetsToTxn { .. });
            let reopens = registers && (self.model.lacks_markers() || !self.model.leaderless.is_empty());
            // A verdict that comes between a taker's question and its InitProducerId, is carried out whole in that moment, and
            // whose marker the ledger never gets, is known to nobody: the README says so under "What is not".
            if matches!(request, TxnRequest::EndTxn { .. }) {
                self.model.marker_delay = MARKERS_OF_THE_LATE;
            }
            if !reopens {
                self.model.apply(&request);
            }
        }
    }

    fn answered(&mut self, id: RequestId, request: &TxnRequest, answer: Result<Answer, Failure>) {
        if let (Some(key), Ok(Answer::Produce { error_code: 0, .. })) = (sequence(request), &answer) {
            self.unacknowledged.remove(&key);
        }
        self.input(Input::Answered { id, answer });
    }

    /// Everything in flight to this destination is lost with its connection; the first of it that `arrives` still takes
    /// effect, as TCP delivers a prefix.
    fn cut(&mut self, to: &Destination, arrives: usize, failure: Failure) {
        let (lost, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|it| it.to == *to);
        self.in_flight = kept;
        for (index, it) in lost.iter().enumerate() {
            if index < arrives {
                self.model.apply(&it.request);
            }
        }
        for (index, it) in lost.into_iter().enumerate() {
            let failure = if index == 0 { failure } else { Failure::Disconnected };
            self.answered(it.id, &it.request, Err(failure));
        }
    }

    fn deliver(&mut self) {
        self.release();
        if self.choices.is_empty() || self.machine.state_name() == "Settling" {
            self.model.leaderless.clear();
        }
        let at = usize::from(self.choose()) % self.in_flight.len();
        let to = self.in_flight[at].to.clone();
        let first = self.in_flight.iter().position(|it| it.to == to).unwrap();
        let is_init = matches!(self.in_flight[first].request, TxnRequest::InitProducerId { identity: None, .. });
        match self.choose() {
            1..=8 => {
                self.faults.lost_answers += 1;
                let arrives = 1 + usize::from(self.choose() % 4);
                self.cut(&to, arrives, Failure::Disconnected);
            }
            9..=14 => {
                self.faults.dropped += 1;
                self.now += Duration::from_secs(5);
                self.cut(&to, 0, Failure::TimedOut);
            }
            // A held take-over would fence the taker itself again and again; that is the next fault's part.
            15..=34 if !is_init => {
                self.faults.held += 1;
                let after = self.choose() % 24;
                let requests: Vec<_> =
                    self.in_flight.iter().filter(|it| it.to == to).map(|it| it.request.clone()).collect();
                self.held.extend(requests.into_iter().map(|request| (after, request)));
                self.cut(&to, 0, Failure::TimedOut);
            }
            // The marker that mends is not lost again.
            50..=54 if self.loses_markers && self.machine.state_name() != "Settling" => {
                self.faults.leaderless += 1;
                let choice = usize::from(self.choose());
                let all = (0..PARTITIONS).map(data).chain([ledger()]);
                self.model.leaderless =
                    all.enumerate().filter(|(at, _)| choice >> at & 1 == 1).map(|it| it.1).collect();
            }
            35..=54 => {
                let it = self.in_flight.remove(first);
                let codes: &[i16] = match it.request {
                    TxnRequest::Produce { .. } => &[6, 19, 20, 7, 3, 10, 56, -1],
                    TxnRequest::EndTxn { .. } => &[14, 15, 16, 51, 13, -1],
                    TxnRequest::AddPartitionsToTxn { .. } => &[14, 15, 16, 51, 29, 3],
                    _ => &[14, 15, 16, 51, 7],
                };
                self.faults.refused += 1;
                let code = codes[usize::from(self.choose()) % codes.len()];
                let perhaps =
                    matches!(code, 7 | 13 | -1) || (code == 15 && matches!(it.request, TxnRequest::EndTxn { .. }));
                if code == 20 || (perhaps && self.choose() < 128) {
                    self.model.apply(&it.request);
                }
                self.answered(it.id, &it.request, Ok(with_code(&it.request, code)));
            }
            // Between the two requests that mend a commit a take-over would abort it: `settling` says so.
            55..=56 if self.machine.state_name() != "Settling" => {
                self.faults.stolen += 1;
                self.model.finish_markers();
                self.model.steal();
            }
            other => {
                self.model.marker_delay = other % 4;
                let it = self.in_flight.remove(first);
                let answer = self.model.apply(&it.request);
                self.answered(it.id, &it.request, Ok(answer));
            }
        }
    }

    fn step(&mut self) {
        if let Some(input) = self.settles.pop() {
            return self.input(input);
        }
        if matches!(self.machine.state_name(), "Unowned" | "Fenced" | "Unknown") {
            // The arbiter may be asked only when the lane is taken; requests of the dead incarnation stay under way.
            self.unacknowledged.clear();
            self.verdict = None;
            self.settles.clear();
            return self.input(Input::Take);
        }
        if self.machine.accepts_append() && !self.committing {
            match self.choose() {
                _ if !self.open => return self.append(),
                1..=80 => return self.append(),
                81..=90 => return self.input(Input::Abort),
                91..=160 if !self.in_flight.is_empty() => {}
                _ => return self.commit(),
            }
        }
        if self.committing && self.machine.state_name() == "Committing" && self.choose() == 255 {
            return self.input(Input::Abort);
        }
        if self.in_flight.is_empty() {
            let (at, _) = self.machine.poll_timeout().expect("nothing in flight and no timer: it hangs");
            self.now = self.now.max(at);
            return self.input(Input::Timeout);
        }
        if self.machine.poll_timeout().is_some_and(|(at, _)| at <= self.now) || self.choose() > 230 {
            if let Some((at, _)) = self.machine.poll_timeout() {
                self.now = self.now.max(at);
            }
            self.input(Input::Timeout);
        }
        if !self.in_flight.is_empty() {
            self.deliver();
        }
    }

    /// ProgressAfterHeal: after the last fault the lane commits again, in a bounded number of steps.
    fn drive_bounded(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.healed_commits >= HEALED_COMMITS && self.held.is_empty() && !self.open {
                return;
            }
            self.step();
        }
        panic!("no progress in {STEPS_MAX} steps: {}", self.machine.state_name());
    }

    fn judge(&mut self) -> Result<(), String> {
        self.model.finish_markers();
        let mut by_attempt: BTreeMap<u16, usize> = BTreeMap::new();
        for index in 0..PARTITIONS {
            let records = self.model.committed(&data(index));
            for (position, record) in records.iter().enumerate() {
                if usize::from(record[2]) != position {
                    return Err(format!("t-{index}: {} at {position}: lost, doubled or out of order", record[2]));
                }
                *by_attempt.entry(u16::from_be_bytes([record[0], record[1]])).or_default() += 1;
            }
            if records.len() != usize::from(self.positions[index]) {
                return Err(format!("t-{index}: {} records at position {}", records.len(), self.positions[index]));
            }
        }
        let ledger_records = self.model.committed(&ledger());
        let committed: BTreeSet<u16> = ledger_records.iter().map(|it| u16::from_be_bytes([it[0], it[1]])).collect();
        if committed.len() != ledger_records.len() {
            return Err("a ledger record twice".to_owned());
        }
        for (attempt, count) in &self.attempts {
            let found = by_attempt.get(attempt).copied().unwrap_or(0);
            let expected = if committed.contains(attempt) { *count } else { 0 };
            if found != expected {
                return Err(format!("transaction {attempt} is torn: {found} of {count}, expected {expected}"));
            }
        }
        let last =
            self.model.leaders[&ledger()].log.iter().rposition(|it| it.fate == crate::target::model::Fate::Committed);
        if self.model.committed_offset != last.map(|at| at as i64) {
            return Err(format!("group offset {:?}, ledger {last:?}", self.model.committed_offset));
        }
        Ok(())
    }
}

fn run(protocol: TransactionProtocol, harden: bool, epoch: i16, choices: Vec<u8>) -> (Result<(), String>, Faults) {
    let mut world = World::new(protocol, harden, epoch, choices);
    world.drive_bounded();
    (world.judge(), world.faults)
}

/// Byte strings of which most bytes choose no fault.
fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![2 => 57u8.., 1 => 0u8..57], 0..600)
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn v1_keeps_its_promises(choices in choices()) {
        let (verdict, _) = run(TransactionProtocol::V1, true, 0, choices);
        prop_assert_eq!(verdict, Ok(()));
    }

    #[test]
    fn v2_keeps_its_promises(choices in choices()) {
        let (verdict, _) = run(TransactionProtocol::V2, true, 0, choices);
        prop_assert_eq!(verdict, Ok(()));
    }

    #[test]
    fn epoch_exhaustion_keeps_the_promises(choices in choices(), v1: bool) {
        let protocol = if v1 { TransactionProtocol::V1 } else { TransactionProtocol::V2 };
        let (verdict, _) = run(protocol, true, 32_740, choices);
        prop_assert_eq!(verdict, Ok(()));
    }
}

fn seeded(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..500).map(|_| if random.u8(..3) == 0 { random.u8(..57) } else { random.u8(57..) }).collect()
}

/// The control: what `harden_v1` prevents does happen without it, so the faults do occur and the model can show them.
#[test]
fn without_hardening_v1_breaks_its_promises() {
    let verdicts = (0..400).map(|seed| run(TransactionProtocol::V1, false, 0, seeded(seed)).0);
    let broken: Vec<_> = verdicts.filter_map(Result::err).collect();
    println!("{} of 400: {broken:?}", broken.len());
    assert!(broken.iter().any(|it| it.contains("torn") || it.contains("lost")), "{broken:?}");
}

#[test]
fn every_fault_occurs() {
    for protocol in [TransactionProtocol::V1, TransactionProtocol::V2] {
        let mut sum = Faults::default();
        for seed in 0..200 {
            let (verdict, faults) = run(protocol, true, 0, seeded(seed));
            assert_eq!(verdict, Ok(()), "seed {seed}");
            sum.lost_answers += faults.lost_answers;
            sum.dropped += faults.dropped;
            sum.held += faults.held;
            sum.refused += faults.refused;
            sum.stolen += faults.stolen;
            sum.aborted += faults.aborted;
            sum.unknown += faults.unknown;
            sum.fenced += faults.fenced;
            sum.committed += faults.committed;
            sum.leaderless += faults.leaderless;
            sum.mended += faults.mended;
        }
        let all = [
            sum.lost_answers,
            sum.dropped,
            sum.held,
            sum.refused,
            sum.stolen,
            sum.aborted,
            sum.unknown,
            sum.fenced,
            sum.committed,
            sum.leaderless,
            sum.mended,
        ];
        println!("{protocol:?} {sum:?}");
        assert!(all.iter().all(|count| *count > 0), "{sum:?}");
    }
}
