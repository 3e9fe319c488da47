//! Bridges of one link between a source and a target that change and fail in random order, then heal; and the auditor.

use super::lane::{Input, Mutant, Phase};
use super::model::{MAX_MESSAGE_BYTES, Target, key, route, source};
use super::ownership::RETAKES_MAX;
use super::process::{Ended, Process, Question};
use crate::ledger::{Position, PositionKey};
use crate::source::model::Model;
use crate::source::{self, SourceRequest};
use crate::target::model::with_code;
use crate::target::{self, Answer, Destination, TransactionProtocol, TxnRequest};
use crate::types::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub(super) const PARTITIONS: u8 = 4;
const NODES: i32 = 2;
const PRODUCERS: i64 = 2;
/// Far above what a run with every fault needs; a run that reaches it goes round in circles.
const STEPS_MAX: usize = 10_000;
/// A lane that is fenced more often in five minutes, and not by a bridge, gives up.
const STEALS_MAX: usize = 2;
/// A batch of one record takes less.
const RECORD_BYTES_MIN: usize = 85;
/// From here on a choice changes nothing and breaks nothing.
pub(super) const QUIET: u8 = 200;

/// What happened, by its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Faults(pub(super) BTreeMap<&'static str, usize>);

impl Faults {
    pub(super) const NAMES: &[&str] = &[
        "lost fetch",
        "refused fetch",
        "lost answer",
        "lost request",
        "held",
        "refused",
        "too large",
        "forbidden",
        "smaller",
        "stolen",
        "protocol",
        "rerouted",
        "crashed",
        "second",
        "drain",
        "taken",
        "taken over",
        "committed",
        "aborted",
        "incident",
        "drained",
    ];

    fn count(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }
}

pub(super) struct World {
    pub(super) source: Model,
    pub(super) target: Target,
    protocol: TransactionProtocol,
    now: Instant,
    choices: Vec<u8>,
    turn: usize,
    /// The last one is the newest.
    pub(super) processes: Vec<Process>,
    started: u128,
    /// Whose InitProducerId fenced all others, which they may not know yet; 0: nobody's that is still there.
    owner: u128,
    /// Who took over from whom: never from each other.
    successors: BTreeMap<u128, u128>,
    /// Requests left behind in an old socket: after so many more requests they arrive all the same.
    floating: Vec<(u8, TxnRequest)>,
    routed: BTreeSet<TopicPartition>,
    /// `max.message.bytes` as the planner saw it last.
    described_bytes: usize,
    /// Sources of the targets that somebody forbade.
    pub(super) refused: BTreeSet<TopicPartition>,
    steals: usize,
    pub(super) faults: Faults,
    /// The first promise that was broken, and how.
    pub(super) broken: Option<String>,
    mutant: Option<Mutant>,
}

impl World {
    pub(super) fn new(protocol: TransactionProtocol, mutant: Option<Mutant>, mut choices: Vec<u8>) -> Self {
        choices.reverse();
        let mut world = Self {
            source: Model::new((0..PARTITIONS).map(source)),
            target: Target::new(),
            protocol,
            now: Instant::now(),
            choices,
            turn: 0,
            processes: Vec::new(),
            started: 0,
            owner: 0,
            successors: BTreeMap::new(),
            floating: Vec::new(),
            // The last one appears later.
            routed: (0..PARTITIONS - 1).map(source).collect(),
            described_bytes: MAX_MESSAGE_BYTES,
            refused: BTreeSet::new(),
            steals: 0,
            faults: Faults::default(),
            broken: None,
            mutant,
        };
        world.start();
        world
    }

    /// 0 is the choice without a fault; when the choices are used up the world has healed.
    fn choose(&mut self) -> u8 {
        self.choices.pop().unwrap_or(0)
    }

    pub(super) fn fail(&mut self, invariant: &str, what: impl std::fmt::Display) {
        self.broken.get_or_insert_with(|| format!("{invariant}: {what}"));
    }

    pub(super) fn start(&mut self) {
        self.started += 1;
        let mut process = Process::start(self.started, self.protocol, self.now);
        process.lane.mutant = self.mutant;
        self.processes.push(process);
        let at = self.processes.len() - 1;
        self.input(at, Input::Take);
        self.route(at);
    }

    fn input(&mut self, at: usize, input: Input) {
        let process = &mut self.processes[at];
        process.input(self.now, input);
        for name in std::mem::take(&mut process.events) {
            self.faults.count(name);
        }
        if let Some(broken) = process.broken.take() {
            self.broken.get_or_insert(broken);
        }
        if std::mem::take(&mut process.has_committed) && !self.target.broker.is_open() {
            self.audit();
        }
        self.ended(at);
    }

    /// An end must have its reason.
    fn ended(&mut self, at: usize) {
        let Process { number, ended, is_draining, .. } = &self.processes[at];
        let is_right = match ended {
            None => return,
            Some(Ended::TakenOver(by)) => {
                let mut by = by.as_u128();
                self.successors.insert(*number, by);
                while let Some(next) = self.successors.get(&by).filter(|_| by != *number) {
                    by = *next;
                }
                by != *number
            }
            Some(Ended::Drained) => *is_draining,
            // Bridges that come and die before they sign look like a program that is none.
            Some(Ended::Failed(reason)) => {
                let fences = usize::try_from(self.started).unwrap_or(0) + self.steals;
                reason.contains("was fenced") && fences > RETAKES_MAX
            }
        };
        let what = format!("bridge {number} of {}: {ended:?}", self.started);
        if !is_right {
            self.fail("EndHasReason", what);
        }
        let Process { number, ended, .. } = &self.processes[at];
        let is_owner = self.owner == *number && self.floating.is_empty();
        if *ended == Some(Ended::Drained) && is_owner {
            self.target.broker.finish_markers();
            if self.target.broker.is_open() {
                self.fail("DrainLeavesNothing", "a transaction is open");
            }
        }
        let process = self.processes.remove(at);
        self.leave(process);
    }

    /// Its requests may arrive all the same.
    fn leave(&mut self, process: Process) {
        for it in process.sending {
            let after = self.choose() % 24;
            if after > 0 {
                self.floating.push((after, it.request));
            }
        }
        if self.processes.iter().all(|it| it.is_draining) {
            self.start();
        }
    }

    fn route(&mut self, at: usize) {
        let ids = self.source.view();
        let routes = self
            .routed
            .iter()
            .map(|name| (name.clone(), route(name, ids[name].topic_id, self.described_bytes)))
            .collect();
        self.leaders(at);
        self.input(at, Input::Routes(routes));
    }

    fn leaders(&mut self, at: usize) {
        if let Some(process) = self.processes.get_mut(at) {
            process.wants_leaders = false;
            let view = self.source.view().into_iter().filter(|it| self.routed.contains(&it.0)).collect();
            self.input(at, Input::Leaders(view));
        }
    }

    fn change(&mut self, choice: u8) {
        let (name, how) = (source(self.choose() % PARTITIONS), self.choose());
        let log = &self.source.logs[&name];
        match choice {
            1..=80 => {
                let producer = (how % 3 == 0).then_some(i64::from(how) % PRODUCERS);
                self.source.produce(&name, 1 + i32::from(how) % 3, producer);
            }
            81..=100 => {
                for producer in log.open_producers() {
                    self.source.end_transaction(&name, producer, how.is_multiple_of(2));
                }
            }
            101..=106 => self.source.compact(&name, usize::from(how)),
            107..=108 if how < 100 => {
                let offset = log.log_start + i64::from(how) % 6;
                self.source.delete_before(&name, offset);
            }
            109..=116 => self.source.move_leader(&name, Some(i32::from(how) % NODES)),
            117 if how < 100 => self.source.recreate(&name),
            118..=127 => {
                self.faults.count("rerouted");
                if !self.routed.remove(&name) {
                    self.routed.insert(name);
                }
                for at in (0..self.processes.len()).rev() {
                    self.route(at);
                }
            }
            128..=132 => {
                self.faults.count("crashed");
                let process = self.processes.pop();
                process.into_iter().for_each(|it| self.leave(it));
            }
            133..=136 => {
                self.faults.count("second");
                self.start();
            }
            137..=139 => {
                self.faults.count("drain");
                let at = self.processes.len() - 1;
                self.input(at, Input::Drain);
                if self.processes.iter().all(|it| it.is_draining) {
                    self.start();
                }
            }
            140..=142 if self.steals < STEALS_MAX => {
                self.steals += 1;
                self.faults.count("stolen");
                self.target.broker.finish_markers();
                self.target.broker.steal();
                self.owner = 0;
            }
            143..=148 => {
                self.faults.count("smaller");
                self.target.max_message_bytes = RECORD_BYTES_MIN + usize::from(how);
                if how.is_multiple_of(3) {
                    self.described_bytes = self.target.max_message_bytes;
                    for at in (0..self.processes.len()).rev() {
                        self.route(at);
                    }
                }
            }
            149..=150 => {
                self.faults.count("protocol");
                let wanted = if how.is_multiple_of(2) { TransactionProtocol::V1 } else { TransactionProtocol::V2 };
                let at = self.processes.len() - 1;
                self.input(at, Input::Target(target::Input::SetProtocol(wanted)));
            }
            151.. => {
                for name in (0..PARTITIONS).map(source) {
                    self.source.produce(&name, 1 + i32::from(how) % 3, None);
                }
            }
            _ => {}
        }
    }

    pub(super) fn step(&mut self) {
        let choice = self.choose();
        if (1..QUIET).contains(&choice) {
            return self.change(choice);
        }
        self.now += Duration::from_millis(2);
        self.turn += 1;
        // Otherwise they come nearer with every request, and behind the last one there is none.
        if self.choices.is_empty() {
            self.target.broker.finish_markers();
        }
        let at = (self.turn + usize::from(self.choose())) % self.processes.len();
        let number = self.processes[at].number;
        type Act = fn(&mut World, usize);
        let acts: [Act; 5] = [World::grant, World::refresh, World::fetched, World::delivered, World::answered];
        // One of them may have to wait.
        let waits = usize::from(self.choose()) % 8;
        for (index, act) in acts.into_iter().enumerate() {
            match self.processes.iter().position(|it| it.number == number) {
                Some(at) if self.choices.is_empty() || index != waits => act(self, at),
                _ => {}
            }
        }
        let Some(at) = self.processes.iter().position(|it| it.number == number) else { return };
        let process = &self.processes[at];
        if let Some(due) = process.lane.poll_timeout() {
            if process.is_waiting() && self.turn.is_multiple_of(8) {
                self.now = self.now.max(due);
            }
            if due <= self.now {
                self.input(at, Input::Timeout);
            }
        }
    }

    fn grant(&mut self, at: usize) {
        self.processes[at].grant(self.now);
        // What came of it is looked at like every other input.
        self.input(at, Input::Timeout);
    }

    fn refresh(&mut self, at: usize) {
        if self.processes[at].wants_leaders {
            self.leaders(at);
        }
    }

    fn fetched(&mut self, at: usize) {
        let process = &self.processes[at];
        if process.fetching.is_empty() {
            return;
        }
        let index = usize::from(self.choose()) % self.processes[at].fetching.len();
        let mut it = self.processes[at].fetching.remove(index);
        let answer = match it.answer.take() {
            Some(answer) => answer,
            None => match self.choose() {
                1..=20 => {
                    self.faults.count("lost fetch");
                    Err(source::Failure::TimedOut)
                }
                21..=40 => {
                    self.faults.count("refused fetch");
                    Ok(refused(self.source.answer(it.node, &it.request)))
                }
                _ => Ok(self.source.answer(it.node, &it.request)),
            },
        };
        let is_idle = matches!(&answer, Ok(source::Answer::Fetch { partitions }) if
            partitions.iter().all(|it| it.1.error_code == 0 && it.1.records.is_empty()));
        if is_idle && matches!(it.request, SourceRequest::Fetch(_)) && self.processes[at].is_waiting() {
            self.now += Duration::from_millis(20);
        }
        self.input(at, Input::Source(source::Input::Answered { id: it.id, answer }));
    }

    /// Of this bridge; 0: nobody waits for the answer any more.
    fn apply(&mut self, number: u128, request: &TxnRequest) -> Answer {
        let answer = self.target.apply(request);
        if matches!(answer, Answer::InitProducerId { error_code: 0, .. }) {
            self.owner = number;
        }
        answer
    }

    fn release(&mut self) {
        for (left, _) in &mut self.floating {
            *left = left.saturating_sub(1);
        }
        while let Some(at) = self.floating.iter().position(|(left, _)| *left == 0) {
            let (_, request) = self.floating.remove(at);
            self.apply(0, &request);
        }
    }

    /// Everything under way to this destination is lost with its connection; the first of it that `arrives` still takes
    /// effect, as TCP delivers a prefix.
    fn cut(&mut self, at: usize, to: &Destination, arrives: usize, failure: target::Failure) {
        let number = self.processes[at].number;
        let all = std::mem::take(&mut self.processes[at].sending);
        let (lost, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.to == *to);
        self.processes[at].sending = kept;
        for it in lost.iter().take(arrives) {
            self.apply(number, &it.request);
        }
        for (index, it) in lost.into_iter().enumerate() {
            let failure = if index == 0 { failure } else { target::Failure::Disconnected };
            let Some(at) = self.processes.iter().position(|it| it.number == number) else { return };
            self.input(at, Input::Target(target::Input::Answered { id: it.id, answer: Err(failure) }));
        }
    }

    fn delivered(&mut self, at: usize) {
        let destinations = self.processes[at].destinations();
        if destinations.is_empty() {
            return;
        }
        self.release();
        let to = destinations[usize::from(self.choose()) % destinations.len()].clone();
        let first = self.processes[at].sending.iter().position(|it| it.to == to).unwrap();
        let is_init =
            matches!(self.processes[at].sending[first].request, TxnRequest::InitProducerId { identity: None, .. });
        match self.choose() {
            1..=20 => {
                self.faults.count("lost answer");
                let arrives = 1 + usize::from(self.choose() % 4);
                self.cut(at, &to, arrives, target::Failure::Disconnected);
            }
            21..=32 => {
                self.faults.count("lost request");
                self.now += Duration::from_secs(5);
                self.cut(at, &to, 0, target::Failure::TimedOut);
            }
            // A held take-over would fence the taker itself again and again.
            33..=60 if !is_init => {
                self.faults.count("held");
                let after = self.choose() % 24;
                let sending = self.processes[at].sending.iter();
                self.floating.extend(sending.filter(|it| it.to == to).map(|it| (after, it.request.clone())));
                self.cut(at, &to, 0, target::Failure::TimedOut);
            }
            61..=80 => self.refuse(at, first),
            81..=82 => {
                let sending = &self.processes[at].sending[first];
                if let (Destination::Leader(partition), TxnRequest::Produce { .. }) = (&sending.to, &sending.request)
                    && &*partition.topic == "copy"
                {
                    self.faults.count("forbidden");
                    self.refused.insert(source(partition.partition as u8));
                    let sending = self.processes[at].sending.remove(first);
                    let answer = Ok(with_code(&sending.request, 29));
                    self.input(at, Input::Target(target::Input::Answered { id: sending.id, answer }));
                }
            }
            other => {
                self.target.broker.marker_delay = if self.choices.is_empty() { 0 } else { other % 4 };
                let it = self.processes[at].sending.remove(first);
                let answer = self.apply(self.processes[at].number, &it.request);
                if matches!(answer, Answer::Produce { error_code: 10, .. }) {
                    self.faults.count("too large");
                }
                self.input(at, Input::Target(target::Input::Answered { id: it.id, answer: Ok(answer) }));
            }
        }
    }

    fn refuse(&mut self, at: usize, first: usize) {
        let it = self.processes[at].sending.remove(first);
        let codes: &[i16] = match it.request {
            TxnRequest::Produce { .. } => &[6, 19, 20, 7, 56, -1, 47],
            TxnRequest::EndTxn { .. } => &[14, 15, 16, 51, 13, -1, 120],
            TxnRequest::AddPartitionsToTxn { .. } => &[14, 15, 16, 51],
            _ => &[14, 15, 16, 51, 7],
        };
        self.faults.count("refused");
        let code = codes[usize::from(self.choose()) % codes.len()];
        let perhaps = matches!(code, 7 | 13 | -1) || (code == 15 && matches!(it.request, TxnRequest::EndTxn { .. }));
        if code == 20 || (perhaps && self.choose() < 128) {
            self.apply(self.processes[at].number, &it.request);
        }
        self.input(at, Input::Target(target::Input::Answered { id: it.id, answer: Ok(with_code(&it.request, code)) }));
    }

    fn answered(&mut self, at: usize) {
        if self.processes[at].questions.is_empty() {
            return;
        }
        let question = self.processes[at].questions.remove(0);
        match question {
            Question::TargetEnd { partition, target } => {
                let end_offset = self.target.end(&target) as i64;
                self.input(at, Input::TargetEnd { partition, end_offset });
            }
            Question::Ledger { owner, from, to } => self.read(at, owner, from, to),
        }
    }

    fn read(&mut self, at: usize, owner: bool, from: Option<usize>, to: Option<usize>) {
        let ledger = super::model::ledger();
        // Markers come nearer with every request.
        self.target.broker.finish_markers();
        let (from, to) = match (from, to) {
            (None, _) => (Some(self.target.broker.committed_offset.unwrap_or(0) as usize), None),
            (from, None) => (from, Some(self.target.end(&ledger))),
            (from, Some(to)) if owner && !self.target.is_stable(&ledger, to) => (from, Some(to)),
            (Some(from), Some(to)) => {
                let read = self.target.replay(from, to);
                return match read {
                    Ok(read) if owner => self.input(at, Input::Ledger(read)),
                    Ok(read) => self.input(at, Input::Owner(read.owner().cloned())),
                    Err(error) => self.fail("LedgerIsReadable", error),
                };
            }
        };
        self.processes[at].questions.push(Question::Ledger { owner, from, to });
    }

    fn heal(&mut self) {
        for name in (0..PARTITIONS).map(source) {
            for producer in self.source.logs[&name].open_producers() {
                self.source.end_transaction(&name, producer, true);
            }
            self.source.produce(&name, 1, None);
            self.routed.insert(name);
        }
        for at in (0..self.processes.len()).rev() {
            self.route(at);
        }
    }

    /// The position stands behind the record that `heal` wrote, or the partition stands still for a reason.
    fn is_copied(&self, name: &TopicPartition, positions: &BTreeMap<PositionKey, Position>) -> bool {
        let log = &self.source.logs[name];
        let is_stopped = self.processes.last().is_some_and(|it| it.incidents.contains_key(name));
        let is_at_end = |it: &Position| it.topic_id == log.topic_id && it.next_offset == log.end;
        is_stopped || positions.get(&key(name)).is_some_and(is_at_end)
    }

    fn is_done(&self) -> bool {
        let Some(newest) = self.processes.last() else { return false };
        let is_alone = self.processes.len() == 1 || newest.incidents.len() == usize::from(PARTITIONS);
        let positions = self.target.positions();
        let all_copied = (0..PARTITIONS).map(source).all(|name| self.is_copied(&name, &positions));
        all_copied && is_alone && newest.is_working() && newest.lane.in_flight.is_none()
    }

    /// ProgressAfterHeal: after the last fault the newest bridge alone copies everything, in a bounded number of steps.
    pub(super) fn drive_bounded(&mut self) {
        while !self.choices.is_empty() && self.broken.is_none() {
            self.step();
        }
        self.heal();
        for step in 0..STEPS_MAX {
            if self.broken.is_some() || (step.is_multiple_of(50) && self.is_done()) {
                return;
            }
            // A bridge that has nothing to do does not notice that it was fenced.
            if step % 500 == 499 && self.processes.len() > 1 {
                self.source.produce(&source((step / 500) as u8 % PARTITIONS), 1, None);
            }
            self.step();
        }
        let of = |it: &Process| format!("{} {:?} {} {:?}", it.number, it.lane.phase, it.is_draining, it.incidents);
        let states: Vec<_> = self.processes.iter().map(of).collect();
        self.fail("ProgressAfterHeal", format!("{states:?}"));
    }

    /// And then a drain ends.
    pub(super) fn drain(&mut self) {
        let newest = self.started;
        for name in (0..PARTITIONS).map(source) {
            self.source.produce(&name, 2, None);
        }
        for step in 0..STEPS_MAX {
            if step == 40 {
                self.input(0, Input::Drain);
            }
            if self.broken.is_some() || self.started > newest {
                return;
            }
            self.step();
        }
        let phases: Vec<Phase> = self.processes.iter().map(|it| it.lane.phase).collect();
        self.fail("DrainEnds", format!("{phases:?}"));
    }
}

fn refused(mut answer: source::Answer) -> source::Answer {
    match &mut answer {
        source::Answer::Fetch { partitions } => {
            for (_, it) in partitions {
                it.error_code = 6;
                it.records = bytes::Bytes::new();
            }
        }
        source::Answer::ListOffsets { partitions } => partitions.iter_mut().for_each(|it| it.1.error_code = 78),
        source::Answer::OffsetForLeaderEpoch { partitions } => {
            partitions.iter_mut().for_each(|it| it.1.error_code = 75);
        }
    }
    answer
}
