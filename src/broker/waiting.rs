//! What waits: requests that a fault holds, answers that come late, fetches for data, produces for replication.

use super::apis;
use super::cluster::{Action, Cluster, ConnectionId, Output};
use super::faults::RuleId;
use super::request::Caller;
use super::settings::Millis;
use bytes::Bytes;
use kafka_protocol::messages::{FetchRequest, ProduceRequest, ProduceResponse};
use std::collections::BTreeMap;

/// One request of each connection waits at most, and what faults hold for connections that are gone.
const PARKED_MAX: usize = 100_000;

/// When it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    At(Millis),
    Release(RuleId),
}

#[derive(Clone, Debug)]
pub(crate) enum Parked {
    /// Not looked at yet.
    Request(Caller, Bytes),
    Answer(Output),
    /// Until there is enough data, or its time is up.
    Fetch(Caller, FetchRequest),
    /// Protocol v2: the markers of the transaction before are not written yet. Tried again until the second time.
    Produce(Caller, ProduceRequest, Millis),
    /// Appended; until every replica has it: partitions and the offset that each high watermark must reach.
    Replication(Caller, ProduceResponse, Vec<(String, i32, i64)>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    parked: BTreeMap<u64, (Due, Parked)>,
    next_ticket: u64,
}

impl Waiting {
    pub(crate) fn next_due(&self) -> Option<Millis> {
        let due = self.parked.values().filter_map(|(due, _)| match due {
            Due::At(at) => Some(*at),
            Due::Release(_) => None,
        });
        due.min()
    }

    /// How many requests and answers a rule holds.
    pub(crate) fn held_by(&self, rule: RuleId) -> usize {
        self.parked.values().filter(|(due, _)| *due == Due::Release(rule)).count()
    }

    fn take(&mut self, mut wanted: impl FnMut(&Due, &Parked) -> bool) -> Vec<Parked> {
        let tickets: Vec<u64> =
            self.parked.iter().filter(|(_, (due, parked))| wanted(due, parked)).map(|(ticket, _)| *ticket).collect();
        tickets.into_iter().filter_map(|ticket| self.parked.remove(&ticket)).map(|(_, parked)| parked).collect()
    }

    /// Answers have nobody to go to any more. Requests that are held still arrive: they left the client long ago.
    pub(crate) fn disconnected(&mut self, connection: ConnectionId) {
        self.parked.retain(|_, (_, parked)| match parked {
            Parked::Request(..) => true,
            Parked::Answer(output) => output.connection != connection,
            Parked::Fetch(caller, _) | Parked::Produce(caller, ..) | Parked::Replication(caller, ..) => {
                caller.connection != connection
            }
        });
    }
}

impl Cluster {
    pub(crate) fn park(&mut self, due: Due, parked: Parked) {
        if self.waiting.parked.len() >= PARKED_MAX {
            if let Parked::Request(caller, _) | Parked::Fetch(caller, _) | Parked::Produce(caller, ..) = &parked {
                self.close(caller);
            }
            return;
        }
        let ticket = self.waiting.next_ticket;
        self.waiting.next_ticket += 1;
        self.waiting.parked.insert(ticket, (due, parked));
    }

    /// What is due by the clock.
    pub(crate) fn run_parked(&mut self) {
        let now_ms = self.now_ms;
        for parked in self.waiting.take(|due, _| matches!(due, Due::At(at) if *at <= now_ms)) {
            self.unpark(parked, true);
        }
    }

    pub(crate) fn run_released(&mut self, rule: RuleId) {
        for parked in self.waiting.take(|due, _| *due == Due::Release(rule)) {
            self.unpark(parked, true);
        }
    }

    /// Logs have changed: those who wait for data look again.
    pub(crate) fn run_watchers(&mut self) {
        while std::mem::take(&mut self.logs_changed) {
            let mut again = Vec::new();
            let tickets: Vec<u64> = self.waiting.parked.keys().copied().collect();
            for ticket in tickets {
                let ready = match self.waiting.parked.get(&ticket) {
                    Some((_, Parked::Fetch(caller, request))) => self.fetch_is_ready(caller, request),
                    Some((_, Parked::Replication(_, _, awaited))) => self.is_replicated(awaited),
                    _ => false,
                };
                if ready && let Some((_, parked)) = self.waiting.parked.remove(&ticket) {
                    again.push(parked);
                }
            }
            for parked in again {
                self.unpark(parked, false);
            }
        }
    }

    fn unpark(&mut self, parked: Parked, time_is_up: bool) {
        match parked {
            Parked::Request(caller, body) => {
                if !self.is_alive(caller.node) {
                    return;
                }
                let Some(api) = apis::find(caller.api()) else { return };
                let connection = caller.connection;
                if (api.resume)(self, caller, &body).is_err() {
                    self.output(Output { connection, action: Action::Close });
                }
            }
            Parked::Answer(output) => self.output(output),
            Parked::Fetch(caller, request) => self.answer_fetch(caller, &request),
            Parked::Produce(caller, request, until_ms) => self.produce(caller, request, Some(until_ms)),
            Parked::Replication(caller, response, awaited) => {
                self.answer_replicated(caller, response, &awaited, time_is_up);
            }
        }
    }
}
