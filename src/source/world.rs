//! The machine, the model and the lane's part between them: the source changes and fails in random order, then heals.

use crate::batch::RawBatch;
use crate::source::fetcher::Mutant;
use crate::source::message::{
    Answer, Delivery, Failure, FetchedPartition, Incident, IncidentKind, Input, LeaderView, Output, Position,
    RequestId, SourceRequest, StartAt,
};
use crate::source::model::{Fate, Log, Model};
use crate::source::{Api, Fetcher, FetcherSettings};
use crate::types::{NodeId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use uuid::Uuid;

const PARTITIONS: i32 = 4;
const NODES: i32 = 3;
const PRODUCERS: i64 = 3;
/// Less than two answers: grants wait for one another.
const POOL_BYTES: usize = 900;
/// Far above what a run with every fault needs; a run that reaches it goes round in circles.
const STEPS_MAX: usize = 20_000;
/// From here on a choice changes nothing and breaks nothing.
pub(super) const QUIET: u8 = 200;
/// One more in a row would be an incident (`CORRUPT_REFETCHES_MAX`).
const DAMAGES_MAX: u32 = 3;

/// What happened, by its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Faults(pub(super) BTreeMap<&'static str, usize>);

impl Faults {
    pub(super) const NAMES: [&'static str; 15] = [
        "lost",
        "refused",
        "damaged",
        "late",
        "compacted",
        "deleted",
        "deleted in read",
        "moved",
        "unclean",
        "recreated",
        "rewound",
        "view",
        "incident",
        "aborted",
        "delivered",
    ];

    fn count(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }
}

struct InFlight {
    id: RequestId,
    node: NodeId,
    request: SourceRequest,
    answer: Option<Result<Answer, Failure>>,
}

/// What the lane would hold of one partition.
struct Consumer {
    topic_id: Uuid,
    /// None: not resolved.
    start: Option<Position>,
    position: Position,
    /// Where deliveries ended: places that a lane could go back to.
    ends: Vec<Position>,
    /// Offset and value of every record that was delivered.
    read: Vec<(i64, u64)>,
    /// Unclean elections before this one were an operator's matter.
    cuts_known: usize,
    stopped: Option<IncidentKind>,
    damages: u32,
}

pub(super) struct World {
    machine: Fetcher,
    model: Model,
    now: Instant,
    choices: Vec<u8>,
    in_flight: Vec<InFlight>,
    views: VecDeque<BTreeMap<TopicPartition, LeaderView>>,
    wants: VecDeque<(NodeId, usize)>,
    pool_bytes: usize,
    charged: VecDeque<usize>,
    consumers: BTreeMap<TopicPartition, Consumer>,
    pub(super) faults: Faults,
    /// The first promise that was broken, and how.
    pub(super) broken: Option<String>,
}

fn name(index: u8) -> TopicPartition {
    TopicPartition::new("t", i32::from(index) % PARTITIONS)
}

fn values(batch: &RawBatch) -> Vec<(i64, u64)> {
    let decoded = batch.decode(1 << 20).unwrap();
    let of = |record: crate::batch::RecordView<'_>| {
        (decoded.offset(&record), u64::from_be_bytes(record.value.unwrap().try_into().unwrap()))
    };
    decoded.records().map(|record| of(record.unwrap())).collect()
}

impl Consumer {
    /// What was read and is no longer in the source.
    fn lost<'a>(&'a self, log: &'a Log) -> impl Iterator<Item = u64> + 'a {
        let forgotten = log.forgotten_before(self.cuts_known);
        let read = self.read.iter().filter(move |it| it.0 >= forgotten).map(|it| it.1);
        read.filter(|value| log.written[value].fate == Fate::Lost)
    }
}

impl World {
    pub(super) fn new(mutant: Option<Mutant>, compares_epochs: bool, mut choices: Vec<u8>) -> Self {
        let now = Instant::now();
        let settings = FetcherSettings { max_bytes: 600, partition_max_bytes: 250, ..FetcherSettings::default() };
        let mut model = Model::new((0..PARTITIONS).map(|index| name(index as u8)));
        model.compares_epochs = compares_epochs;
        choices.reverse();
        let mut machine = Fetcher::new(settings, now);
        machine.mutant = mutant;
        let mut world = Self {
            machine,
            model,
            now,
            choices,
            in_flight: Vec::new(),
            views: VecDeque::new(),
            wants: VecDeque::new(),
            pool_bytes: POOL_BYTES,
            charged: VecDeque::new(),
            consumers: BTreeMap::new(),
            faults: Faults::default(),
            broken: None,
        };
        for (index, start) in [StartAt::Earliest, StartAt::Latest, StartAt::Timestamp(9)].into_iter().enumerate() {
            world.resolve(name(index as u8), start);
        }
        world.assign(name(3), Position { offset: 0, leader_epoch: -1 });
        world
    }

    /// 0 is the choice without a fault; when the choices are used up the world has healed.
    fn choose(&mut self) -> u8 {
        self.choices.pop().unwrap_or(0)
    }

    fn fail(&mut self, invariant: &str, what: impl std::fmt::Display) {
        self.broken.get_or_insert_with(|| format!("{invariant}: {what}"));
    }

    fn consumer(&self, name: &TopicPartition, start: Option<Position>) -> Consumer {
        let log = &self.model.logs[name];
        let position = start.unwrap_or(Position { offset: -1, leader_epoch: -1 });
        Consumer {
            topic_id: log.topic_id,
            start,
            position,
            ends: start.into_iter().collect(),
            read: Vec::new(),
            cuts_known: log.cuts.len(),
            stopped: None,
            damages: 0,
        }
    }

    fn resolve(&mut self, name: TopicPartition, start: StartAt) {
        let consumer = self.consumer(&name, None);
        let topic_id = consumer.topic_id;
        self.consumers.insert(name.clone(), consumer);
        self.input(Input::Resolve { partition: name, topic_id, start });
    }

    /// Where an operator says.
    fn assign(&mut self, name: TopicPartition, position: Position) {
        let consumer = self.consumer(&name, Some(position));
        let topic_id = consumer.topic_id;
        for view in &mut self.views {
            view.remove(&name);
        }
        self.consumers.insert(name.clone(), consumer);
        self.input(Input::Assign { partition: name, topic_id, position });
    }

    /// As a lane does that was fenced: from the ledger's position on.
    fn rewind(&mut self, name: TopicPartition, choice: u8) {
        let Some(consumer) = self.consumers.get_mut(&name).filter(|it| it.stopped.is_none()) else { return };
        if consumer.ends.is_empty() {
            return;
        }
        let at = usize::from(choice) % consumer.ends.len();
        let (position, topic_id) = (consumer.ends[at], consumer.topic_id);
        consumer.ends.truncate(at + 1);
        consumer.position = position;
        consumer.read.retain(|(offset, _)| *offset < position.offset);
        self.faults.count("rewound");
        if choice.is_multiple_of(2) {
            self.input(Input::Remove(name.clone()));
        }
        self.input(Input::Assign { partition: name, topic_id, position });
    }

    fn input(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::WantBudget { node, bytes } => self.wants.push_back((node, bytes)),
                Output::ReturnBudget { bytes } => self.pool_bytes += bytes,
                Output::Send { id, node, request } => self.in_flight.push(InFlight { id, node, request, answer: None }),
                Output::RefreshMetadata => self.views.push_back(self.model.view()),
                Output::CloseConnection(node) => {
                    for it in self.in_flight.iter_mut().filter(|it| it.node == node) {
                        it.answer = Some(Err(Failure::Disconnected));
                    }
                }
                Output::Resolved { partition, topic_id, offset, leader_epoch } => {
                    let consumer = self.consumers.get_mut(&partition).unwrap();
                    consumer.topic_id = topic_id;
                    let position = Position { offset, leader_epoch };
                    (consumer.start, consumer.position, consumer.ends) = (Some(position), position, vec![position]);
                }
                Output::Deliver(delivery) => self.delivered(delivery),
                Output::Incident(incident) => self.incident(incident),
            }
        }
        let charged: usize = self.charged.iter().sum();
        if self.pool_bytes + self.machine.held_bytes() + charged != POOL_BYTES {
            let held = self.machine.held_bytes();
            self.fail("BytesBounded", format!("{} in the pool, {held} held, {charged} charged", self.pool_bytes));
        }
    }

    fn delivered(&mut self, delivery: Delivery) {
        self.faults.count("delivered");
        self.charged.push_back(delivery.charged_bytes);
        let Some(consumer) = self.consumers.get_mut(&delivery.partition) else { return };
        consumer.damages = 0;
        let (position, next) = (delivery.position, delivery.next_position);
        let log = &self.model.logs[&delivery.partition];
        let mut broken = Vec::new();
        if consumer.stopped.is_some() {
            broken.push(("GoesOnAfterIncident", format!("{delivery:?}")));
        }
        if position != consumer.position || next.offset <= position.offset {
            broken.push(("PartitionOrder", format!("{position:?} to {next:?} at {:?}", consumer.position)));
        }
        let known: BTreeSet<_> = consumer.read.iter().map(|it| it.1).collect();
        for (offset, value) in delivery.batches.iter().flat_map(values).filter(|it| it.0 >= position.offset) {
            let written = log.written[&value];
            if !written.was_visible {
                broken.push(("AbortedInvisible", format!("{value} at {offset}")));
            }
            if written.topic_id != consumer.topic_id || delivery.topic_id != consumer.topic_id {
                broken.push(("OneIncarnation", format!("{value} at {offset} is of another topic")));
            }
            if known.contains(&value) || consumer.read.last().is_some_and(|it| it.0 >= offset) {
                broken.push(("NoDuplicate", format!("{value} at {offset}")));
            }
            consumer.read.push((offset, value));
        }
        consumer.position = next;
        consumer.ends.push(next);
        for (invariant, what) in broken {
            self.fail(invariant, what);
        }
    }

    /// An incident stops a partition until somebody comes, so it must be true.
    fn incident(&mut self, incident: Incident) {
        self.faults.count("incident");
        let Incident { partition, position, kind } = incident;
        let consumer = self.consumers.get_mut(&partition).unwrap();
        let log = &self.model.logs[&partition];
        let is_recreated = log.topic_id != consumer.topic_id;
        let is_true = match &kind {
            IncidentKind::Retention { first_lost, last_lost } => {
                let is_gone = is_recreated || *last_lost < log.log_start;
                *first_lost == position.offset && first_lost <= last_lost && is_gone
            }
            IncidentKind::Truncation { .. } => {
                is_recreated || log.cuts[consumer.cuts_known..].iter().any(|cut| *cut < position.offset)
            }
            IncidentKind::Recreated { old, .. } => *old == consumer.topic_id && is_recreated,
            IncidentKind::Unauthorized { code: 29, .. } => true,
            _ => false,
        };
        let is_placed = position == consumer.position && consumer.stopped.is_none();
        consumer.stopped = Some(kind.clone());
        if !(is_true && is_placed) {
            self.fail("IncidentIsTrue", format!("{partition} {kind:?} at {position:?}"));
        }
    }

    fn grant(&mut self) {
        if let Some((node, bytes)) = self.wants.front().copied()
            && bytes <= self.pool_bytes
        {
            self.wants.pop_front();
            self.pool_bytes -= bytes;
            self.input(Input::BudgetGranted { node, bytes });
        }
    }

    fn give_back(&mut self) {
        if let Some(bytes) = self.charged.pop_front() {
            self.pool_bytes += bytes;
        }
    }

    fn change(&mut self, choice: u8) {
        let (name, how) = (name(self.choose()), self.choose());
        let log = &self.model.logs[&name];
        match choice {
            1..=70 => {
                let producer = (how % 4 > 0).then_some(i64::from(how) % PRODUCERS);
                self.model.produce(&name, 1 + i32::from(how) % 3, producer);
            }
            71..=100 => {
                let open = log.open_producers();
                let Some(producer) = open.get(usize::from(how) % open.len().max(1)) else { return };
                if how % 2 == 1 {
                    self.faults.count("aborted");
                }
                self.model.end_transaction(&name, *producer, how.is_multiple_of(2));
            }
            101..=112 => {
                self.faults.count("compacted");
                self.model.compact(&name, usize::from(how));
            }
            113..=124 => {
                let offset = log.log_start + 1 + i64::from(how) % 12;
                self.faults.count("deleted");
                if how.is_multiple_of(2) && offset < log.end {
                    self.faults.count("deleted in read");
                    self.model.delete_during_read(&name, offset);
                } else {
                    self.model.delete_before(&name, offset);
                }
            }
            125..=140 => {
                self.faults.count("moved");
                let leader = (how < 240).then_some(i32::from(how) % NODES);
                self.model.move_leader(&name, leader);
            }
            141..=146 => {
                self.faults.count("unclean");
                let end = log.end - i64::from(how) % 8;
                self.model.elect_uncleanly(&name, i32::from(how) % NODES, end);
            }
            147..=148 => {
                self.faults.count("recreated");
                self.model.recreate(&name);
            }
            149..=164 => self.rewind(name, how),
            165..=172 => self.decide(name),
            173..=180 => {
                self.faults.count("view");
                self.views.push_back(self.model.view());
            }
            _ => self.give_back(),
        }
    }

    /// The operator's word on a partition that has stopped.
    fn decide(&mut self, name: TopicPartition) {
        if self.consumers[&name].stopped.is_some() {
            let offset = self.model.logs[&name].log_start;
            self.assign(name, Position { offset, leader_epoch: -1 });
        }
    }

    /// A broker has a request: it takes effect, or something goes wrong on the way there or back.
    fn arrive(&mut self, at: usize) {
        let (node, request) = (self.in_flight[at].node, self.in_flight[at].request.clone());
        let choice = self.choose();
        let answer = match choice {
            1..=20 => {
                self.faults.count("lost");
                let failure = if choice.is_multiple_of(2) { Failure::TimedOut } else { Failure::Disconnected };
                Err(failure)
            }
            21..=70 => {
                self.faults.count("refused");
                let how = self.choose();
                Ok(refused(&request, how, self.model.answer(node, &request)))
            }
            71..=90 => Ok(self.damaged(&request, node)),
            _ => Ok(self.model.answer(node, &request)),
        };
        self.in_flight[at].answer = Some(answer);
    }

    fn damaged(&mut self, request: &SourceRequest, node: NodeId) -> Answer {
        let mut answer = self.model.answer(node, request);
        if let Answer::Fetch { partitions } = &mut answer {
            for (name, fetched) in partitions.iter_mut().filter(|it| !it.1.records.is_empty()) {
                let consumer = self.consumers.get_mut(name).unwrap();
                if consumer.damages < DAMAGES_MAX {
                    consumer.damages += 1;
                    self.faults.count("damaged");
                    let mut bytes = fetched.records.to_vec();
                    bytes[60] ^= 0x40;
                    fetched.records = bytes.into();
                }
            }
        }
        answer
    }

    fn step(&mut self) {
        let choice = self.choose();
        if (1..QUIET).contains(&choice) {
            return self.change(choice);
        }
        self.now += Duration::from_millis(1);
        if self.choices.is_empty() {
            while !self.charged.is_empty() {
                self.give_back();
            }
        }
        self.grant();
        if self.choose() < 128
            && let Some(view) = self.views.pop_front()
        {
            let view = if self.choices.is_empty() { self.model.view() } else { view };
            self.input(Input::Metadata(view));
        }
        if !self.in_flight.is_empty() {
            let at = usize::from(self.choose()) % self.in_flight.len();
            if self.in_flight[at].answer.is_none() {
                self.arrive(at);
                // The answer may be overtaken by everything else.
                if self.choose() > 230 {
                    self.faults.count("late");
                    return;
                }
            }
            let InFlight { id, answer, .. } = self.in_flight.swap_remove(at);
            return self.input(Input::Answered { id, answer: answer.unwrap() });
        }
        if let Some((at, _)) = self.machine.poll_timeout() {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
        }
    }

    /// The record that `heal` wrote has been read: at the end of the log alone a partition may stand by chance.
    fn is_done(&self) -> bool {
        let done = |(name, it): (&TopicPartition, &Consumer)| {
            let log = &self.model.logs[name];
            let began_behind = it.read.is_empty() && it.start.is_some_and(|start| start.offset == log.end);
            it.stopped.is_some() || began_behind || it.read.last().map(|it| &it.1) == log.written.keys().last()
        };
        self.consumers.iter().all(done)
    }

    fn heal(&mut self) {
        for index in 0..PARTITIONS {
            let name = name(index as u8);
            if self.model.logs[&name].leader.is_none() {
                self.model.move_leader(&name, Some(0));
            }
            for producer in self.model.logs[&name].open_producers() {
                self.model.end_transaction(&name, producer, true);
            }
            self.model.produce(&name, 1, None);
        }
    }

    /// ProgressAfterHeal: after the last fault every partition reaches the end of its log or stands still for a reason, in
    /// a bounded number of steps.
    pub(super) fn drive_bounded(&mut self) {
        while !self.choices.is_empty() && self.broken.is_none() {
            self.step();
        }
        self.heal();
        for _ in 0..STEPS_MAX {
            if self.broken.is_some() || self.is_done() {
                return;
            }
            self.step();
        }
        let stuck: Vec<_> = self.consumers.keys().map(|it| self.machine.status(it)).collect();
        self.fail("ProgressAfterHeal", format!("{stuck:?}"));
    }

    /// Everything is taken away: what was granted must come back.
    pub(super) fn close(&mut self) {
        for name in self.consumers.keys().cloned().collect::<Vec<_>>() {
            self.input(Input::Remove(name));
        }
        for it in std::mem::take(&mut self.in_flight) {
            self.input(Input::Answered { id: it.id, answer: Err(Failure::Disconnected) });
        }
        while !self.charged.is_empty() {
            self.give_back();
        }
        if self.pool_bytes != POOL_BYTES {
            self.fail("BytesBounded", format!("{} of {POOL_BYTES} bytes came back", self.pool_bytes));
        }
    }

    pub(super) fn judge(&mut self) {
        let mut lost = Vec::new();
        for (name, consumer) in &self.consumers {
            let Some(start) = consumer.start else { continue };
            let log = &self.model.logs[name];
            // What an unclean leader wrote where the old one had been read is the operator's matter.
            let cut = log.cuts[consumer.cuts_known..].iter().min().filter(|_| consumer.stopped.is_some());
            let end = consumer.position.offset.min(cut.copied().unwrap_or(i64::MAX));
            let start = start.offset.max(log.forgotten_before(consumer.cuts_known));
            let read: BTreeSet<_> = consumer.read.iter().map(|it| it.1).collect();
            for (value, it) in &log.written {
                let is_due = it.topic_id == consumer.topic_id
                    && it.is_visible
                    && !it.was_aborted
                    && matches!(it.fate, Fate::Kept | Fate::Deleted)
                    && (start..end).contains(&it.offset);
                if is_due && !read.contains(value) {
                    lost.push(("NoLoss", format!("{name}: {value} at {} was passed over", it.offset)));
                }
            }
            if consumer.stopped.is_none()
                && let Some(value) = consumer.lost(log).next()
            {
                lost.push(("GapIsIncident", format!("{name}: the source lost {value}, and nobody said so")));
            }
        }
        for (invariant, what) in lost {
            self.fail(invariant, what);
        }
    }
}

/// The answer, with a code for some or all partitions, or without some, or with some of them twice.
fn refused(request: &SourceRequest, how: u8, mut answer: Answer) -> Answer {
    let codes: &[i16] = match request.api() {
        Api::Fetch => &[-1, 1, 3, 6, 7, 29, 56, 74, 75, 78, 100, 103],
        _ => &[-1, 3, 5, 6, 7, 15, 74, 75, 78, 100],
    };
    let code = codes[usize::from(how / 4) % codes.len()];
    let is_hit = |index: usize| how.is_multiple_of(4) || index % 2 == usize::from(how % 2);
    match &mut answer {
        Answer::Fetch { partitions } if how % 16 == 3 => partitions.truncate(1),
        Answer::Fetch { partitions } if how % 16 == 7 => partitions.extend_from_within(..),
        Answer::Fetch { partitions } => {
            for (_, it) in partitions.iter_mut().enumerate().filter(|it| is_hit(it.0)).map(|it| it.1) {
                let empty = FetchedPartition { records: bytes::Bytes::new(), diverging_epoch: None, ..it.clone() };
                *it = FetchedPartition { error_code: code, aborted_transactions: Vec::new(), ..empty };
            }
        }
        Answer::ListOffsets { partitions } => {
            partitions.iter_mut().enumerate().filter(|it| is_hit(it.0)).for_each(|(_, it)| it.1.error_code = code);
        }
        Answer::OffsetForLeaderEpoch { partitions } => {
            partitions.iter_mut().enumerate().filter(|it| is_hit(it.0)).for_each(|(_, it)| it.1.error_code = code);
        }
    }
    answer
}
