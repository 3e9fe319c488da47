//! Every state of the transaction machine with every event, on both protocols: a changed line is a changed transition. Behind a
//! dash stands what changes nothing.

use super::Transactor;
use super::message::{
    CommitOffset, Destination, Event, Failure, Input, Output, RequestId, TransactionProtocol, TxnRequest,
};
use super::model::{Model, with_code};
use super::transcripts::{batch, ledger, offsets, settings, word};
use crate::types::TopicPartition;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const STATES: [&str; 15] = [
    "Unowned",
    "Taking, asking for the last transaction",
    "Taking",
    "Settling, taken",
    "Idle",
    "Open",
    "Committing",
    "Ending",
    "Settling, committed",
    "Settling, mending",
    "Aborting",
    "Bumping",
    "Fenced",
    "Unknown",
    "Stopped",
];

const EVENTS: [&str; 19] = [
    "take",
    "append",
    "commit",
    "abort",
    "settle a partition",
    "protocol changes",
    "time passes",
    "answer is good",
    "answer 3 UNKNOWN_TOPIC_OR_PARTITION",
    "answer 14 COORDINATOR_LOAD_IN_PROGRESS",
    "answer 16 NOT_COORDINATOR",
    "answer 29 TOPIC_AUTHORIZATION_FAILED",
    "answer 48 INVALID_TXN_STATE",
    "answer 51 CONCURRENT_TRANSACTIONS",
    "answer 53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "answer 90 PRODUCER_FENCED",
    "answer -1 UNKNOWN_SERVER_ERROR",
    "no answer, disconnected",
    "no answer, timed out",
];

struct Rig {
    machine: Transactor,
    model: Model,
    now: Instant,
    sent: VecDeque<(RequestId, TxnRequest)>,
    words: Vec<String>,
}

fn data() -> TopicPartition {
    TopicPartition::new("t", 0)
}

impl Rig {
    fn new(protocol: TransactionProtocol) -> Self {
        let now = Instant::now();
        let (machine, model) = (Transactor::new(settings(), protocol, now), Model::new(0));
        Self { machine, model, now, sent: VecDeque::new(), words: Vec::new() }
    }

    fn state(&self) -> &'static str {
        self.machine.state_name()
    }

    fn give(&mut self, input: Input) {
        if let Err(misuse) = self.machine.handle(self.now, input) {
            self.words.push(format!("refused: {misuse}"));
        }
        while let Some(output) = self.machine.poll_output() {
            self.words.push(match output {
                Output::Send { id, request, .. } => {
                    let word = word(&request);
                    self.sent.push_back((id, request));
                    word
                }
                Output::RefreshMetadata(_) => "metadata".to_owned(),
                Output::RefreshCoordinator(_) => "coordinator".to_owned(),
                Output::CloseConnection(Destination::Leader(partition)) => format!("close {partition}"),
                Output::CloseConnection(_) => "close coordinator".to_owned(),
                Output::Event(event) => match event {
                    Event::Ready { .. } => "READY",
                    Event::Committed { .. } => "COMMITTED",
                    Event::Aborted { .. } => "ABORTED",
                    Event::Fenced { .. } => "FENCED",
                    Event::OutcomeUnknown { .. } => "OUTCOME UNKNOWN",
                    Event::Unsettled { .. } => "UNSETTLED",
                    Event::Mended { .. } => "MENDED",
                    Event::Undecided { .. } => "UNDECIDED",
                    Event::Stopped { .. } => "STOPPED",
                }
                .to_owned(),
            });
        }
    }

    fn append(&mut self) {
        self.give(Input::Append { partition: data(), batch: batch(1, b"x"), records: 1 });
    }

    fn commit(&mut self) {
        let ledger_batch = batch(1, b"l");
        let offsets = offsets(CommitOffset::LedgerBase);
        let (offsets, promised) = (Some(offsets), Vec::new());
        self.give(Input::Commit { ledger_partition: ledger(), ledger_batch, offsets, promised });
    }

    fn answer(&mut self) {
        if let Some((id, request)) = self.sent.pop_front() {
            let answer = Ok(self.model.apply(&request));
            self.give(Input::Answered { id, answer });
        } else if let Some((at, _)) = self.machine.poll_timeout() {
            self.now = self.now.max(at);
            self.give(Input::Timeout);
        }
    }

    fn run(&mut self, until: impl Fn(&Self) -> bool) {
        for _ in 0..500 {
            if until(self) {
                return;
            }
            self.answer();
        }
        panic!("it does not come to that: {}", self.state());
    }

    fn refuse(&mut self, code: i16) {
        let (id, request) = self.sent.pop_front().unwrap();
        self.give(Input::Answered { id, answer: Ok(with_code(&request, code)) });
    }

    fn asks(&self, is: impl Fn(&TxnRequest) -> bool) -> bool {
        self.sent.front().is_some_and(|it| is(&it.1))
    }

    fn idle(protocol: TransactionProtocol) -> Self {
        let mut rig = Self::new(protocol);
        rig.give(Input::Take);
        rig.run(|it| it.state() == "Idle");
        rig
    }

    /// A request of the state is under way, where it has one.
    fn in_state(protocol: TransactionProtocol, state: &str) -> Self {
        let mut rig = if state.starts_with("Unowned") || state.starts_with("Taking") || state.ends_with("taken") {
            Self::new(protocol)
        } else {
            Self::idle(protocol)
        };
        match state {
            "Taking, asking for the last transaction" => rig.give(Input::Take),
            "Taking" | "Settling, taken" | "Stopped" => {
                rig.give(Input::Take);
                let is_init = |it: &TxnRequest| matches!(it, TxnRequest::InitProducerId { .. });
                rig.run(|it| it.asks(is_init));
                match state {
                    "Stopped" => rig.refuse(53),
                    "Settling, taken" => rig.run(|it| it.state() == "Settling"),
                    _ => {}
                }
            }
            "Open" => rig.append(),
            "Aborting" => {
                rig.append();
                rig.run(|it| it.asks(|it| matches!(it, TxnRequest::Produce { .. })));
                rig.answer();
                rig.give(Input::Abort);
            }
            "Bumping" => rig.give(Input::SetProtocol(other(protocol))),
            "Committing" | "Ending" | "Settling, committed" | "Settling, mending" | "Fenced" | "Unknown" => {
                rig.append();
                rig.commit();
                if state != "Committing" {
                    rig.run(|it| it.state() == "Ending");
                }
                match state {
                    "Fenced" => rig.refuse(90),
                    "Unknown" => rig.refuse(48),
                    "Settling, committed" => {
                        rig.run(|it| it.asks(|it| matches!(it, TxnRequest::ListOffsets { .. })));
                    }
                    "Settling, mending" => {
                        rig.model.leaderless.insert(data());
                        let is_registration = |it: &TxnRequest| matches!(it, TxnRequest::AddPartitionsToTxn { .. });
                        rig.run(|it| it.asks(is_registration));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        assert!(state.starts_with(rig.state()), "{state}: {}", rig.state());
        rig.words.clear();
        rig
    }

    /// False: the event cannot happen.
    fn event(&mut self, event: &str) -> bool {
        if event.contains("answer") && self.sent.is_empty() {
            return false;
        }
        match event {
            "take" => self.give(Input::Take),
            "append" => self.append(),
            "commit" => self.commit(),
            "abort" => self.give(Input::Abort),
            "settle a partition" => {
                let partition = TopicPartition::new("t", 9);
                self.give(Input::Settle { partition, committed_at: None });
            }
            "protocol changes" => self.give(Input::SetProtocol(other(self.machine.protocol()))),
            "time passes" => {
                self.now += Duration::from_secs(30);
                self.give(Input::Timeout);
            }
            "answer is good" => self.answer(),
            "no answer, disconnected" | "no answer, timed out" => {
                let (id, _) = self.sent.pop_front().unwrap();
                let failure = if event.ends_with("out") { Failure::TimedOut } else { Failure::Disconnected };
                self.give(Input::Answered { id, answer: Err(failure) });
            }
            _ => self.refuse(event.split(' ').nth(1).unwrap().parse().unwrap()),
        }
        true
    }
}

fn other(protocol: TransactionProtocol) -> TransactionProtocol {
    match protocol {
        TransactionProtocol::V1 => TransactionProtocol::V2,
        TransactionProtocol::V2 => TransactionProtocol::V1,
    }
}

/// After a change that is meant, run `KAFKA_BRIDGE_SNAPSHOT=write cargo test target::transitions` and read the difference.
#[test]
fn transitions_are_the_reviewed_ones() {
    let mut table = String::new();
    for protocol in [TransactionProtocol::V1, TransactionProtocol::V2] {
        for state in STATES {
            writeln!(table, "{protocol:?} {state}").unwrap();
            let (mut ignored, mut has_way_out) = (Vec::new(), false);
            for name in EVENTS {
                let mut rig = Rig::in_state(protocol, state);
                let before = rig.state();
                if !rig.event(name) {
                    continue;
                }
                has_way_out |= rig.state() != before;
                if rig.words.is_empty() && rig.state() == before {
                    ignored.push(name);
                    continue;
                }
                let line = format!("  {name:<49}{:<11}{}", rig.state(), rig.words.join(", "));
                writeln!(table, "{}", line.trim_end()).unwrap();
            }
            for names in ignored.chunks(4) {
                writeln!(table, "  - {}", names.join("; ")).unwrap();
            }
            assert!(has_way_out, "{protocol:?} {state} has no way out:\n{table}");
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/target/transitions.txt");
    if std::env::var_os("KAFKA_BRIDGE_SNAPSHOT").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(path).unwrap());
}
