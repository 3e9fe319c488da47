//! Every state of a connection with every event: a changed line is a changed transition. Behind a dash stands what changes
//! nothing.

use super::error::WireError;
use super::in_flight::{IN_FLIGHT_MAX, InFlight};
use crate::testing::config;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const STATES: [&str; 5] = ["Idle", "One waits", "Several wait", "Full", "Dead"];

const EVENTS: [&str; 12] = [
    "a request",
    "a length that can come",
    "the largest that can come",
    "a length one larger",
    "a length without a correlation id",
    "a negative length",
    "a TLS alert as length",
    "the answer that is due",
    "the answer to the next one",
    "the answer to nobody",
    "the broker closes",
    "the owner closes",
];

const BYTES_MAX: i32 = 1_000;
const NOBODY: i32 = -7;

/// What the machine is, and what the connection does with its words: after an error it fails.
struct Connection {
    machine: InFlight<u32>,
    next: u32,
    /// The correlation id that is due.
    due: i32,
    told: Vec<String>,
    /// Waiters, by what became of them.
    answered: Vec<u32>,
    failed: Vec<u32>,
    refused: Vec<u32>,
}

impl Connection {
    fn new() -> Self {
        let machine = InFlight::new("broker:9092".into());
        let (answered, failed, refused) = (Vec::new(), Vec::new(), Vec::new());
        Self { machine, next: 0, due: 0, told: Vec::new(), answered, failed, refused }
    }

    fn in_state(state: &str) -> Self {
        let mut connection = Self::new();
        let waiting = match state {
            "One waits" => 1,
            "Several wait" => 2,
            "Full" => IN_FLIGHT_MAX,
            _ => 0,
        };
        (0..waiting).for_each(|_| connection.request());
        if state == "Dead" {
            connection.fail(&WireError::closed("broker:9092", "it was unplugged"));
        }
        connection.told.clear();
        assert_eq!(connection.state(), state);
        connection
    }

    fn state(&self) -> &'static str {
        match self.machine.waiting() {
            _ if self.machine.is_dead() => "Dead",
            0 => "Idle",
            1 => "One waits",
            IN_FLIGHT_MAX => "Full",
            _ => "Several wait",
        }
    }

    fn request(&mut self) {
        let waiter = self.next;
        self.next += 1;
        match self.machine.queue("Metadata", BYTES_MAX as usize, waiter) {
            Ok(id) => self.told.push(format!("send {id}")),
            Err(error) => {
                self.refused.push(waiter);
                self.told.push(format!("refused, {}", word(&error)));
            }
        }
    }

    fn length(&mut self, length: i32) {
        match self.machine.length(length.to_be_bytes()) {
            Ok(length) => self.told.push(format!("read {length}")),
            Err(error) => self.fail(&error),
        }
    }

    fn answer(&mut self, correlation_id: i32) {
        match self.machine.answered(correlation_id) {
            Ok(waiter) => {
                self.due += 1;
                self.answered.push(waiter);
                self.told.push(format!("answer to waiter {waiter}"));
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &WireError) {
        let was_dead = self.machine.is_dead();
        let (error, waiters) = self.machine.fail(error);
        let waiters: Vec<_> = waiters.collect();
        if !was_dead || !waiters.is_empty() {
            self.told.push(format!("{}: fails {}", word(&error), waiters.len()));
        }
        self.failed.extend(waiters);
    }

    fn event(&mut self, event: &str) {
        match event {
            "a request" => self.request(),
            "a length that can come" => self.length(100),
            "the largest that can come" => self.length(BYTES_MAX),
            "a length one larger" => self.length(BYTES_MAX + 1),
            "a length without a correlation id" => self.length(3),
            "a negative length" => self.length(-1),
            "a TLS alert as length" => self.length(0x1503_0300),
            "the answer that is due" => self.answer(self.due),
            "the answer to the next one" => self.answer(self.due + 1),
            "the answer to nobody" => self.answer(NOBODY),
            "the broker closes" => self.fail(&WireError::closed("broker:9092", "the broker closed it")),
            _ => self.fail(&WireError::closed("broker:9092", "its owner let it go")),
        }
    }
}

fn word(error: &WireError) -> String {
    match error {
        WireError::NotKafka { reason, .. } => format!("NOT KAFKA ({reason})"),
        WireError::Closed { reason, .. } => format!("CLOSED ({reason})"),
        WireError::Full { .. } => "FULL".to_owned(),
        other => other.to_string(),
    }
}

/// After a change that is meant, run `KAFKA_BRIDGE_SNAPSHOT=write cargo test wire::transitions` and read the difference.
#[test]
fn transitions_are_the_reviewed_ones() {
    let mut table = String::new();
    let mut ways_out = BTreeSet::new();
    for state in STATES {
        writeln!(table, "{state}").unwrap();
        let mut ignored = Vec::new();
        for event in EVENTS {
            let mut connection = Connection::in_state(state);
            connection.event(event);
            let after = connection.state();
            if after != state {
                ways_out.insert(state);
            }
            if connection.told.is_empty() && after == state {
                ignored.push(event);
                continue;
            }
            let line = format!("  {event:<36}{after:<14}{}", connection.told.join(", "));
            writeln!(table, "{}", line.trim_end()).unwrap();
        }
        for events in ignored.chunks(4) {
            writeln!(table, "  - {}", events.join("; ")).unwrap();
        }
    }
    // Of a dead connection only its owner can make another; until then it keeps nobody waiting.
    assert!(STATES.iter().all(|it| *it == "Dead" || ways_out.contains(it)), "{ways_out:?}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/wire/transitions.txt");
    if std::env::var_os("KAFKA_BRIDGE_SNAPSHOT").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(path).unwrap());
}

proptest! {
    #![proptest_config(config(200))]

    /// Whatever happens, each request has one outcome, answers come in the order of the requests, and in the end nobody waits.
    #[test]
    fn every_request_has_one_outcome(events in prop::collection::vec((0..EVENTS.len(), 0..4usize), 0..60)) {
        let mut connection = Connection::new();
        for (event, weight) in events {
            // Mostly requests and their answers: else it is dead at once.
            connection.event(match weight { 0 => EVENTS[event], 1 => "the answer that is due", _ => "a request" });
            if connection.machine.is_dead() {
                prop_assert_eq!(connection.machine.waiting(), 0);
            }
        }
        connection.event("the owner closes");
        prop_assert!(connection.answered.is_sorted());
        let mut outcomes = [connection.answered, connection.failed, connection.refused].concat();
        outcomes.sort_unstable();
        prop_assert_eq!(outcomes, (0..connection.next).collect::<Vec<_>>());
    }
}
