//! What a link's events come to.

use super::handovers::{Handovers, Reason};
use super::headroom::{self, Headroom};
use super::histogram::Histogram;
use super::lag::LagMeter;
use crate::bridge::{Beginning, Counts, Incident, KnownPosition, LaneEvent, LinkEvent, PartCounts, Summary, Watcher};
use crate::cluster::Keeper;
use crate::config::Config;
use crate::target::TransactionProtocol;
use crate::types::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A link that has nothing to do still says so.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Rates of so many looks, for a picture of the last two minutes.
const RATES_MAX: usize = 60;
/// Of the newest; the log has all.
pub(super) const INCIDENTS_MAX: usize = 1_000;

/// A link as others see it. Clones are the same one.
#[derive(Clone)]
pub struct Monitor(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It connects, and looks at both ends.
    Starting,
    Running,
    Draining,
}

pub(super) struct State {
    pub(super) link: String,
    pub(super) dead_letter_topic: String,
    /// The console shows contents.
    pub(super) shows_records: bool,
    pub(super) lane_count: u32,
    pub(super) phase: Phase,
    pub(super) started: SystemTime,
    /// When the link's own task was last seen at work.
    pub(super) beat: Instant,
    pub(super) both: Option<Both>,
    pub(super) budget: Option<Budget>,
    pub(super) own: BTreeSet<u32>,
    pub(super) taken: BTreeSet<u32>,
    pub(super) failed: BTreeMap<u32, String>,
    pub(super) generation_id: Option<i32>,
    pub(super) members: Option<u32>,
    pub(super) handovers: Handovers,
    pub(super) partitions: BTreeMap<TopicPartition, Row>,
    pub(super) incidents: Vec<Incident>,
    /// Partitions that stand still, each with its lane.
    pub(super) standing: BTreeMap<TopicPartition, u32>,
    /// In use at this moment.
    pub(super) certificates: Vec<InUse>,
    pub(super) transactions: Transactions,
    pub(super) batches: u64,
    pub(super) reencoded: BTreeMap<&'static str, u64>,
    pub(super) dead_lettered: BTreeMap<String, u64>,
    pub(super) latency: Histogram,
}

/// What is known once both ends have answered.
pub(super) struct Both {
    pub(super) source: Keeper,
    pub(super) target: Keeper,
    pub(super) protocol: TransactionProtocol,
}

/// `delivery.memory_bytes_max`, and what is left of it.
pub(super) struct Budget {
    pub(super) free_bytes: Box<dyn Fn() -> usize + Send + Sync>,
    pub(super) bytes_max: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transactions {
    pub(super) committed: u64,
    pub(super) aborted: u64,
    pub(super) fenced: u64,
    pub(super) ambiguous: u64,
    /// Whose markers the target had left out.
    pub(super) mended: u64,
}

/// Offsets of one end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndOffsets {
    pub(super) log_start: i64,
    pub(super) last_stable: i64,
    pub(super) high_watermark: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InUse {
    /// `source` or `target`.
    pub(super) end: &'static str,
    /// `bridge` or `broker`.
    pub(super) whose: &'static str,
    pub(super) subject: String,
    pub(super) not_after: SystemTime,
}

/// A source partition of a lane that is worked here.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) lane: u32,
    pub(super) target: TopicPartition,
    pub(super) next_offset: i64,
    /// Since this process began; `copied` and `letters` over the link's whole life.
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) dead_lettered: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    pub(super) copied: u64,
    pub(super) letters: u64,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) at_source: Option<EndOffsets>,
    pub(super) at_target: Option<EndOffsets>,
    pub(super) lag: LagMeter,
    pub(super) headroom: Headroom,
    /// Of the source's topic, in seconds.
    pub(super) retention: Option<f64>,
    /// Records a second, by look.
    pub(super) rates: Vec<f64>,
    pub(super) rated: (u64, u64),
}

impl Row {
    fn new(lane: u32, target: TopicPartition, next_offset: i64) -> Self {
        Self {
            lane,
            target,
            next_offset,
            read: 0,
            written: 0,
            dead_lettered: 0,
            bytes_read: 0,
            bytes_written: 0,
            copied: 0,
            letters: 0,
            timestamp_ms: None,
            at_source: None,
            at_target: None,
            lag: LagMeter::default(),
            headroom: Headroom::default(),
            retention: None,
            rates: Vec::new(),
            rated: (0, 0),
        }
    }

    fn count(&mut self, lane: u32, part: &PartCounts) {
        self.lane = lane;
        self.target = part.target.clone();
        self.next_offset = part.next_offset;
        self.read += part.read;
        self.written += part.written;
        self.dead_lettered += part.dead_lettered;
        self.bytes_read += part.bytes_read;
        self.bytes_written += part.bytes_written;
        self.copied += part.written;
        self.letters += part.dead_lettered;
        self.timestamp_ms = part.timestamp_ms.or(self.timestamp_ms);
    }

    pub(super) fn lag_seconds(&self, now_ms: u64) -> Option<f64> {
        self.lag.seconds(now_ms, self.next_offset, self.timestamp_ms)
    }

    fn paced(&self, now_ms: u64) -> Option<headroom::Look> {
        let log_start = self.at_source?.log_start;
        let lag_seconds = self.lag_seconds(now_ms)?;
        Some(headroom::Look { time_ms: now_ms, log_start, next_offset: self.next_offset, lag_seconds })
    }

    /// None: never, as things stand.
    pub(super) fn headroom_seconds(&self, now_ms: u64) -> Option<f64> {
        self.headroom.seconds(self.paced(now_ms)?, self.retention)
    }

    /// After a look at the source.
    pub(super) fn looked_at(&mut self, now_ms: u64, found: EndOffsets) {
        self.lag.look(now_ms, found.last_stable, self.next_offset);
        self.at_source = Some(found);
        if let Some(look) = self.paced(now_ms) {
            self.headroom.look(look);
        }
        let (records, since) = self.rated;
        if since > 0 && now_ms > since {
            self.rates.push(self.written.saturating_sub(records) as f64 * 1e3 / (now_ms - since) as f64);
            let surplus = self.rates.len().saturating_sub(RATES_MAX);
            self.rates.drain(..surplus);
        }
        self.rated = (self.written, now_ms);
    }
}

impl Monitor {
    pub fn new(config: &Config) -> Self {
        Self(Arc::new(Mutex::new(State {
            link: config.link.as_str().to_owned(),
            dead_letter_topic: config.dead_letter_topic(),
            shows_records: config.console.as_ref().is_some_and(|it| it.records),
            lane_count: config.delivery.lanes.get(),
            phase: Phase::Starting,
            started: SystemTime::now(),
            beat: Instant::now(),
            both: None,
            budget: None,
            own: BTreeSet::new(),
            taken: BTreeSet::new(),
            failed: BTreeMap::new(),
            generation_id: None,
            members: None,
            handovers: Handovers::default(),
            partitions: BTreeMap::new(),
            incidents: Vec::new(),
            standing: BTreeMap::new(),
            certificates: Vec::new(),
            transactions: Transactions::default(),
            batches: 0,
            reencoded: BTreeMap::new(),
            dead_lettered: BTreeMap::new(),
            latency: Histogram::default(),
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks, and lets somebody else look too.
    pub fn beside<W>(&self, other: W) -> Monitored<W> {
        Monitored { monitor: self.clone(), interval: BEAT_INTERVAL, told: Instant::now(), other }
    }
}

impl State {
    fn begins(&mut self, beginning: Beginning<'_>) {
        let Beginning { source, target, protocol, free_bytes, budget_bytes } = beginning;
        let (source, target) = (source.clone(), target.clone());
        self.both = Some(Both { source, target, protocol });
        self.budget = Some(Budget { free_bytes, bytes_max: budget_bytes });
        // Of a bridge that was killed and is started again within this process, and could not say that it lost them.
        self.own.clear();
        self.leave(Reason::Ended, Some("without a word".to_owned()));
        self.taken.clear();
        self.failed.clear();
        self.phase = Phase::Running;
    }

    pub(super) fn happened(&mut self, event: &LinkEvent<'_>) {
        match event {
            LinkEvent::Lane { lane, event } => self.lane_told(*lane, event),
            LinkEvent::Assigned { lanes, generation_id, is_unfit } => {
                self.generation_id = (*generation_id >= 0).then_some(*generation_id);
                let detail = self.generation_id.map(|it| format!("generation {it}"));
                let reason = if detail.is_some() { Reason::Assigned } else { Reason::Started };
                self.handovers.promise(lanes.difference(&self.own).copied(), reason, detail.as_deref());
                self.own.clone_from(lanes);
                self.leave(if *is_unfit { Reason::SourceUnreachable } else { Reason::Reassigned }, detail);
                self.forget_others();
            }
            LinkEvent::Settled { generation_id, members, .. } => {
                self.generation_id = (*generation_id >= 0).then_some(*generation_id);
                self.members = *members;
            }
            LinkEvent::Lost { reason } => {
                self.own.clear();
                self.leave(Reason::SessionLost, Some((*reason).to_owned()));
                self.forget_others();
            }
            LinkEvent::IncidentAgain { lane, incident } => {
                self.standing.insert(incident.partition.clone(), *lane);
            }
            LinkEvent::Draining => self.phase = Phase::Draining,
            LinkEvent::Overdue { lane, .. } => self.ended(*lane),
            LinkEvent::TakenBack { lane } => {
                self.handovers.promise([*lane].into_iter(), Reason::Confirmed, None);
            }
            LinkEvent::AllTaken { .. } | LinkEvent::Silent { .. } | LinkEvent::Doubted { .. } => {}
        }
    }

    fn lane_told(&mut self, lane: u32, event: &LaneEvent) {
        match event {
            LaneEvent::Taken { positions, .. } => {
                if self.taken.insert(lane) {
                    self.handovers.taken(now_ms(), lane);
                }
                for KnownPosition { partition, target, next_offset, records, dead_letters } in positions {
                    let new = || Row::new(lane, target.clone(), *next_offset);
                    let row = self.partitions.entry(partition.clone()).or_insert_with(new);
                    (row.lane, row.next_offset) = (lane, *next_offset);
                    (row.copied, row.letters) = (*records, *dead_letters);
                }
            }
            LaneEvent::Committed(counts) => self.committed(lane, counts),
            LaneEvent::Aborted(_) => self.transactions.aborted += 1,
            LaneEvent::OutcomeUnknown(_) => self.transactions.ambiguous += 1,
            LaneEvent::Mended { .. } => self.transactions.mended += 1,
            LaneEvent::Incident(incident) => {
                let surplus = (self.incidents.len() + 1).saturating_sub(INCIDENTS_MAX);
                self.incidents.drain(..surplus);
                self.incidents.push(incident.clone());
                self.standing.insert(incident.partition.clone(), lane);
            }
            LaneEvent::Fenced => {
                self.transactions.fenced += 1;
                self.left(lane, Reason::Fenced, None);
                self.ended(lane);
            }
            LaneEvent::TakenOver(owner) => {
                self.transactions.fenced += 1;
                self.left(lane, Reason::TakenOver, Some(format!("by process {} on {}", owner.pid, owner.host)));
            }
            // Its partitions stay, and what they lag behind can be seen.
            LaneEvent::Failed(reason) => {
                self.left(lane, Reason::Failed, Some(reason.clone()));
                self.taken.remove(&lane);
                self.failed.insert(lane, reason.clone());
            }
            LaneEvent::Drained => {
                if self.phase == Phase::Draining {
                    self.left(lane, Reason::Ended, None);
                }
                self.ended(lane);
            }
            LaneEvent::Unsettled(_) | LaneEvent::Undecided(_) => {}
        }
    }

    fn committed(&mut self, lane: u32, counts: &Counts) {
        self.transactions.committed += 1;
        self.batches += counts.batches;
        self.latency.observe(counts.latency);
        for (reason, count) in &counts.reencoded {
            *self.reencoded.entry(reason).or_default() += count;
        }
        for (reason, count) in &counts.dead_lettered {
            *self.dead_lettered.entry(reason.clone()).or_default() += count;
        }
        for part in &counts.parts {
            // An incident is told when everything before it is committed: it goes on.
            self.standing.remove(&part.partition);
            let new = || Row::new(lane, part.target.clone(), part.next_offset);
            self.partitions.entry(part.partition.clone()).or_insert_with(new).count(lane, part);
        }
    }

    /// Lanes that were worked and are this bridge's no more.
    fn leave(&mut self, reason: Reason, detail: Option<String>) {
        let lanes = self.taken.difference(&self.own).copied().collect();
        self.handovers.left(now_ms(), lanes, reason, detail);
    }

    /// One that was worked.
    fn left(&mut self, lane: u32, reason: Reason, detail: Option<String>) {
        let lanes = self.taken.get(&lane).copied().into_iter().collect();
        self.handovers.left(now_ms(), lanes, reason, detail);
    }

    /// Whoever works it now tells of its partitions.
    fn ended(&mut self, lane: u32) {
        self.taken.remove(&lane);
        if !self.own.contains(&lane) {
            self.partitions.retain(|_, row| row.lane != lane);
            self.standing.retain(|_, of| *of != lane);
        }
    }

    fn forget_others(&mut self) {
        let Self { own, taken, partitions, standing, .. } = self;
        taken.retain(|lane| own.contains(lane));
        standing.retain(|_, lane| own.contains(lane));
        partitions.retain(|_, row| own.contains(&row.lane));
    }
}

/// Forwards to another watcher what the monitor sees.
pub struct Monitored<W> {
    monitor: Monitor,
    interval: Duration,
    told: Instant,
    other: W,
}

impl<W: Watcher> Watcher for Monitored<W> {
    fn interval(&self) -> Duration {
        self.interval.min(self.other.interval())
    }

    fn tell(&mut self, summary: &Summary) {
        self.monitor.state().beat = Instant::now();
        if self.told.elapsed() + self.interval / 2 >= self.other.interval() {
            self.told = Instant::now();
            self.other.tell(summary);
        }
    }

    fn begins(&mut self, beginning: Beginning<'_>) {
        self.monitor.state().begins(beginning);
    }

    fn happened(&mut self, event: &LinkEvent<'_>) {
        self.monitor.state().happened(event);
        self.other.happened(event);
    }
}

pub(super) fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn now_ms() -> u64 {
    ms(SystemTime::now())
}
