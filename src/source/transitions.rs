//! Every state of a partition with every event: a changed line is a changed transition. Behind a dash stands what changes
//! nothing.

use crate::source::message::{
    Answer, EpochEnd, Failure, FetchedPartition, IncidentKind, Input, LeaderView, ListedOffset, Output, Position,
    RequestId, SourceRequest, StartAt,
};
use crate::source::samples::{Sample, join};
use crate::source::{Fetcher, FetcherSettings};
use crate::types::TopicPartition;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use uuid::Uuid;

const NODE: i32 = 1;
const OTHER_NODE: i32 = 2;
const EPOCH: i32 = 3;
/// Where the partition stands; records before it were read in this epoch.
const POSITION: Position = Position { offset: 5, leader_epoch: 2 };

const STATES: [&str; 7] =
    ["Resolving", "Validating", "Fetching", "Examining earliest", "Examining latest", "Confirming", "Stopped"];

const EVENTS: [&str; 21] = [
    "good answer",
    "bad answer",
    "empty answer",
    "answer with a gap",
    "damaged answer",
    "answer 1 OFFSET_OUT_OF_RANGE",
    "answer 6 NOT_LEADER_OR_FOLLOWER",
    "answer 7 REQUEST_TIMED_OUT",
    "answer 29 TOPIC_AUTHORIZATION_FAILED",
    "answer 35 UNSUPPORTED_VERSION",
    "answer about another partition",
    "no answer",
    "leader moves",
    "leader is lost",
    "epoch grows",
    "older epoch is named",
    "topic is recreated",
    "assigned anew",
    "budget that nobody asked for",
    "time passes",
    "removed",
];

struct Script {
    machine: Fetcher,
    now: Instant,
    outputs: Vec<Output>,
}

fn name() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn view(leader: Option<i32>, leader_epoch: i32, topic_id: u128) -> Input {
    Input::Metadata([(name(), LeaderView { leader, leader_epoch, topic_id: Uuid::from_u128(topic_id) })].into())
}

fn fetched(error_code: i16, samples: &[Sample]) -> FetchedPartition {
    FetchedPartition {
        error_code,
        high_watermark: 20,
        last_stable_offset: 20,
        log_start_offset: 0,
        diverging_epoch: None,
        aborted_transactions: Vec::new(),
        records: join(samples),
    }
}

impl Script {
    fn input(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        while let Some(output) = self.machine.poll_output() {
            self.outputs.push(output);
        }
    }

    /// A machine with one partition, which has just sent what its state asks for.
    fn in_state(state: &str) -> Self {
        let now = Instant::now();
        let mut script = Self { machine: Fetcher::new(FetcherSettings::default(), now), now, outputs: Vec::new() };
        let topic_id = Uuid::from_u128(1);
        script.input(match state {
            "Resolving" => Input::Resolve { partition: name(), topic_id, start: StartAt::Earliest },
            _ => Input::Assign { partition: name(), topic_id, position: POSITION },
        });
        script.input(view(Some(NODE), EPOCH, 1));
        if !matches!(state, "Resolving" | "Validating") {
            script.answer(epoch_end(20));
            script.input(Input::BudgetGranted { node: NODE, bytes: 1_000 });
        }
        match state {
            "Examining earliest" => script.answer(fetch(fetched(1, &[]))),
            "Examining latest" => {
                script.answer(fetch(fetched(1, &[])));
                script.answer(listed(0, 2));
            }
            "Confirming" => script.answer(fetch(fetched(0, &[Sample::data(8, 2)]))),
            "Stopped" => script.answer(fetch(fetched(29, &[]))),
            _ => {}
        }
        let found = script.machine.status(&name()).unwrap().state;
        assert!(state.starts_with(found), "{state} {found}");
        script.outputs.retain(|it| matches!(it, Output::Send { .. }));
        let asked = script.outputs.pop();
        script.outputs.clear();
        script.outputs.extend(asked);
        // Metadata may be asked for again.
        script.now += Duration::from_secs(1);
        script
    }

    /// The request that is under way, and the outputs so far are forgotten.
    fn asked(&mut self) -> Option<(RequestId, SourceRequest)> {
        let mut sent = self.outputs.drain(..).filter_map(|it| match it {
            Output::Send { id, request, .. } => Some((id, request)),
            _ => None,
        });
        sent.next_back()
    }

    fn answer(&mut self, answer: Answer) {
        let (id, _) = self.asked().unwrap();
        self.input(Input::Answered { id, answer: Ok(answer) });
    }

    /// False: the event cannot happen in this state.
    fn event(&mut self, event: &str) -> bool {
        let asked = self.asked();
        let of_broker = event.contains("answer");
        let Some((id, request)) = asked.filter(|_| of_broker) else {
            if !of_broker {
                self.input(from_outside(event));
                if event == "time passes" {
                    self.now += Duration::from_secs(60);
                    self.input(Input::Timeout);
                }
            }
            return !of_broker;
        };
        if event == "no answer" {
            self.input(Input::Answered { id, answer: Err(Failure::TimedOut) });
            return true;
        }
        let Some(answer) = from_broker(event, &request) else { return false };
        self.input(Input::Answered { id, answer: Ok(answer) });
        true
    }
}

fn from_outside(event: &str) -> Input {
    match event {
        "leader moves" => view(Some(OTHER_NODE), EPOCH + 1, 1),
        "leader is lost" => view(None, EPOCH, 1),
        "epoch grows" => view(Some(NODE), EPOCH + 1, 1),
        "older epoch is named" => view(Some(OTHER_NODE), EPOCH - 1, 1),
        "topic is recreated" => view(Some(NODE), 0, 2),
        "assigned anew" => Input::Assign {
            partition: name(),
            topic_id: Uuid::from_u128(1),
            position: Position { offset: 9, leader_epoch: -1 },
        },
        "budget that nobody asked for" => Input::BudgetGranted { node: OTHER_NODE, bytes: 7 },
        "removed" => Input::Remove(name()),
        _ => Input::Timeout,
    }
}

fn fetch(fetched: FetchedPartition) -> Answer {
    Answer::Fetch { partitions: vec![(name(), fetched)] }
}

fn listed(error_code: i16, offset: i64) -> Answer {
    Answer::ListOffsets { partitions: vec![(name(), ListedOffset { error_code, offset, leader_epoch: EPOCH })] }
}

fn epoch_end(end_offset: i64) -> Answer {
    ended(0, end_offset)
}

fn ended(error_code: i16, end_offset: i64) -> Answer {
    let end = EpochEnd { error_code, leader_epoch: POSITION.leader_epoch, end_offset };
    Answer::OffsetForLeaderEpoch { partitions: vec![(name(), end)] }
}

/// Good: as the machine hopes. Bad: the answer that means a loss.
fn from_broker(event: &str, request: &SourceRequest) -> Option<Answer> {
    let is_latest = matches!(request, SourceRequest::ListOffsets { partitions, .. } if partitions[0].timestamp == -1);
    let is_first =
        matches!(request, SourceRequest::ListOffsets { isolation: crate::source::Isolation::ReadCommitted, .. });
    let code = event.strip_prefix("answer ").and_then(|it| it.split(' ').next()).and_then(|it| it.parse().ok());
    let answer = match (event, code) {
        (_, Some(code)) => match request {
            SourceRequest::Fetch(_) => fetch(fetched(code, &[])),
            SourceRequest::ListOffsets { .. } => listed(code, -1),
            SourceRequest::OffsetForLeaderEpoch { .. } => ended(code, -1),
        },
        ("good answer", _) => match request {
            SourceRequest::Fetch(_) => fetch(fetched(0, &[Sample::data(5, 3)])),
            SourceRequest::ListOffsets { .. } => listed(0, if is_latest { 20 } else { 2 }),
            SourceRequest::OffsetForLeaderEpoch { .. } => epoch_end(20),
        },
        ("bad answer", _) => match request {
            SourceRequest::Fetch(_) => {
                let end = EpochEnd { error_code: 0, leader_epoch: 2, end_offset: 4 };
                fetch(FetchedPartition { diverging_epoch: Some(end), ..fetched(0, &[]) })
            }
            SourceRequest::ListOffsets { .. } if is_first => return None,
            SourceRequest::ListOffsets { .. } => listed(0, if is_latest { 4 } else { 7 }),
            SourceRequest::OffsetForLeaderEpoch { .. } => epoch_end(4),
        },
        ("answer about another partition", _) => match request {
            SourceRequest::Fetch(_) => Answer::Fetch { partitions: Vec::new() },
            SourceRequest::ListOffsets { .. } => Answer::ListOffsets { partitions: Vec::new() },
            SourceRequest::OffsetForLeaderEpoch { .. } => Answer::OffsetForLeaderEpoch { partitions: Vec::new() },
        },
        _ if !matches!(request, SourceRequest::Fetch(_)) => return None,
        ("empty answer", _) => fetch(fetched(0, &[])),
        ("answer with a gap", _) => fetch(fetched(0, &[Sample::data(8, 2)])),
        ("damaged answer", _) => fetch(fetched(0, &[Sample::data(5, 3).damaged()])),
        _ => return None,
    };
    Some(answer)
}

fn word(output: &Output) -> String {
    match output {
        Output::WantBudget { .. } => "want budget".to_owned(),
        Output::ReturnBudget { bytes } => format!("return {bytes}"),
        Output::Send { request: SourceRequest::ListOffsets { partitions, .. }, .. } => {
            format!("ListOffsets({})", partitions[0].timestamp)
        }
        Output::Send { request, .. } => request.api().to_string(),
        Output::RefreshMetadata => "metadata".to_owned(),
        Output::CloseConnection(_) => "close".to_owned(),
        Output::Resolved { offset, .. } => format!("resolved {offset}"),
        Output::Deliver(it) => format!("deliver {} to {}", it.position.offset, it.next_position.offset),
        Output::Incident(it) => match &it.kind {
            IncidentKind::Retention { .. } => "INCIDENT retention",
            IncidentKind::Truncation { .. } => "INCIDENT truncation",
            IncidentKind::Recreated { .. } => "INCIDENT recreated",
            IncidentKind::Unauthorized { .. } => "INCIDENT unauthorized",
            IncidentKind::Refused { .. } => "INCIDENT refused",
            IncidentKind::Corrupt { .. } => "INCIDENT corrupt",
            IncidentKind::Oversized { .. } => "INCIDENT oversized",
        }
        .to_owned(),
    }
}

/// After a change that is meant, run `KAFKA_BRIDGE_SNAPSHOT=write cargo test source::transitions` and read the difference.
#[test]
fn transitions_are_the_reviewed_ones() {
    let mut table = String::new();
    for state in STATES {
        writeln!(table, "{state}").unwrap();
        let mut ignored = Vec::new();
        for event in EVENTS {
            let mut script = Script::in_state(state);
            if !script.event(event) {
                continue;
            }
            let after = script.machine.status(&name()).map_or("-", |it| it.state);
            let mut words: Vec<_> = script.outputs.iter().map(word).collect();
            words.extend(script.machine.poll_timeout().map(|_| "back off".to_owned()));
            if words.is_empty() && state.starts_with(after) {
                ignored.push(event);
                continue;
            }
            let line = format!("  {event:<38}{after:<12}{}", words.join(", "));
            writeln!(table, "{}", line.trim_end()).unwrap();
        }
        for events in ignored.chunks(4) {
            writeln!(table, "  - {}", events.join("; ")).unwrap();
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/source/transitions.txt");
    if std::env::var_os("KAFKA_BRIDGE_SNAPSHOT").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(path).unwrap());
}
