//! Every state of a member with every event: a changed line is a changed transition.

use super::message::{Answer, Event, Failure, Fitness, GroupRequest, Input, JoinAnswer, Output, RequestId, Round};
use super::protocol;
use super::{Member, MemberSettings};
use bytes::Bytes;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const STATES: [&str; 4] = ["Joining", "Syncing", "Stable", "Revoking"];
const EVENTS: [&str; 21] = [
    "round 0",
    "round 14",
    "round 16",
    "round 22",
    "round 25",
    "round 26",
    "round 27",
    "round 79",
    "round 82",
    "round lost",
    "beat 0",
    "beat 22",
    "beat 25",
    "beat 27",
    "beat 82",
    "session ends",
    "unfit",
    "failing",
    "recovering",
    "fit",
    "leave",
];

struct Script {
    member: Member,
    now: Instant,
    outputs: Vec<Output>,
    round: Option<RequestId>,
    beat: Option<RequestId>,
}

impl Script {
    fn input(&mut self, input: Input) {
        self.member.handle(self.now, input);
        while let Some(output) = self.member.poll_output() {
            if let Output::Send { id, request } = &output {
                match request {
                    GroupRequest::JoinGroup { .. } | GroupRequest::SyncGroup { .. } => self.round = Some(*id),
                    _ => self.beat = Some(*id),
                }
            }
            self.outputs.push(output);
        }
    }

    fn round(&mut self, answer: Result<Answer, Failure>) {
        let id = self.round.take().unwrap();
        self.input(Input::Answered { id, answer });
    }

    fn joined(code: i16, generation_id: i32) -> Result<Answer, Failure> {
        let (member_id, leader) = ("m".into(), "other".into());
        let answer = JoinAnswer { error_code: code, generation_id, member_id, leader, ..JoinAnswer::default() };
        Ok(Answer::JoinGroup(answer))
    }

    fn synced(code: i16, lanes: &[u32]) -> Result<Answer, Failure> {
        let assignment = protocol::assignment(
            "l.ledger",
            &lanes.iter().copied().collect(),
            Round { members: 2, withheld: 0, is_unfit: false },
        );
        Ok(Answer::SyncGroup { error_code: code, assignment: if code == 0 { assignment } else { Bytes::new() } })
    }

    /// A member with two lanes, but for the first two states of its second round.
    fn in_state(state: &str) -> Self {
        let now = Instant::now();
        let settings = MemberSettings {
            group_id: "l".into(),
            topic: "l.ledger".into(),
            lanes: 4,
            instance_id: None,
            session_timeout: Duration::from_secs(6),
            rebalance_timeout: Duration::from_secs(10),
        };
        let member = Member::new(settings, now);
        let mut script = Self { member, now, outputs: Vec::new(), round: None, beat: None };
        script.input(Input::Join);
        script.round(Self::joined(0, 1));
        script.round(Self::synced(0, &[0, 1]));
        script.now += Duration::from_millis(500);
        script.input(Input::Timeout);
        if state != "Stable" {
            let id = script.beat.take().unwrap();
            script.input(Input::Answered { id, answer: Ok(Answer::Heartbeat { error_code: 27 }) });
            script.now += Duration::from_millis(500);
            script.input(Input::Timeout);
        }
        if matches!(state, "Syncing" | "Revoking") {
            script.round(Self::joined(0, 2));
        }
        if state == "Revoking" {
            script.round(Self::synced(0, &[0]));
        }
        assert_eq!(script.member.state(), state);
        script.outputs.clear();
        script
    }

    fn event(&mut self, event: &str) -> bool {
        let (kind, code) = event.split_once(' ').unwrap();
        match (kind, code.parse::<i16>().ok()) {
            ("round", code) if self.round.is_some() => {
                let is_joining = self.member.state() == "Joining";
                self.round(match code {
                    Some(code) if is_joining => Self::joined(code, 2),
                    Some(code) => Self::synced(code, &[0]),
                    None => Err(Failure),
                });
            }
            ("beat", Some(error_code)) if self.beat.is_some() => {
                let id = self.beat.take().unwrap();
                self.input(Input::Answered { id, answer: Ok(Answer::Heartbeat { error_code }) });
            }
            ("session", _) => {
                self.now += Duration::from_secs(60);
                self.input(Input::Timeout);
            }
            _ => return false,
        }
        true
    }
}

fn word(output: &Output) -> String {
    match output {
        Output::Send { request, .. } => request.api().to_string(),
        Output::Reconnect(channel) => format!("reconnect {channel:?}").to_lowercase(),
        Output::Event(Event::Entered(it)) => format!("ENTERED {}", it.generation_id),
        Output::Event(Event::Assigned { lanes, .. }) => format!("ASSIGNED {lanes:?}"),
        Output::Event(Event::Revoke(lanes)) => format!("REVOKE {lanes:?}"),
        Output::Event(Event::Lost { .. }) => "LOST".to_owned(),
        Output::Event(event) => format!("{event:?}").to_uppercase(),
    }
}

/// After a change that is meant, run `KAFKA_BRIDGE_SNAPSHOT=write cargo test group::transitions` and read the difference.
#[test]
fn transitions_are_the_reviewed_ones() {
    let mut table = String::new();
    for state in STATES {
        writeln!(table, "{state}").unwrap();
        for event in EVENTS {
            let mut script = Script::in_state(state);
            let input = match event {
                "unfit" => Some(Input::Fitness(Fitness::Unfit)),
                "failing" => Some(Input::Fitness(Fitness::Failing)),
                "recovering" => Some(Input::Fitness(Fitness::Recovering)),
                "fit" => Some(Input::Fitness(Fitness::Fit)),
                "leave" => Some(Input::Leave),
                _ => None,
            };
            let happened = match input {
                Some(input) => {
                    script.input(input);
                    true
                }
                None => script.event(event),
            };
            if happened {
                let words: Vec<_> = script.outputs.iter().map(word).collect();
                let line = format!("  {event:<16}{:<10}{}", script.member.state(), words.join(", "));
                writeln!(table, "{}", line.trim_end()).unwrap();
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/group/transitions.txt");
    if std::env::var_os("KAFKA_BRIDGE_SNAPSHOT").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(path).unwrap());
}
