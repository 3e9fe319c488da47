//! A running link: its lanes start and end as the roster says, and what they tell is counted and logged.

use super::error::RunError;
use super::event::LinkEvent;
use super::lane::{Event, LaneSettings};
use super::report::{Summary, Watcher};
use super::roster::{REVOCATION_PATIENCE, Roster};
use super::worker::{self, Shared};
use super::working::Working;
use crate::clock;
use crate::cluster::ClusterError;
use crate::group::{self, Round, Trouble};
use crate::target::AbortClass;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A shared lane that was fenced comes back when the group confirms it: at once, and later if that goes on.
const RETAKE_BACKOFF_FIRST: Duration = Duration::from_millis(500);
const RETAKE_BACKOFF_MAX: Duration = Duration::from_secs(10);
const RETAKES_WITHIN: Duration = Duration::from_secs(300);
/// Longer than a round that waits for everybody to end what was revoked.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The courtesy of saying good-bye; the session's end does the same.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Link<'a, S> {
    pub(super) name: String,
    pub(super) instance_id: String,
    pub(super) session_timeout: Duration,
    pub(super) summary: Summary,
    pub(super) watcher: &'a mut (dyn Watcher + Send),
    pub(super) working: Working,
    pub(super) roster: Roster,
    pub(super) shared: Shared,
    /// Of a lane.
    pub(super) settings: S,
    pub(super) lanes: u32,
    pub(super) began: Instant,
    /// What the roster gave.
    pub(super) own: BTreeSet<u32>,
    taken: BTreeSet<u32>,
    is_told: bool,
    /// Nobody was told yet what the group gives: when it is told that it gives nothing.
    silent_until: Option<Instant>,
    /// Revoked lanes that have not ended, and when they are dropped.
    revoked: BTreeMap<u32, Instant>,
    /// Fenced lanes, and when the group is asked whether they are to be taken back.
    doubted: BTreeMap<u32, Instant>,
    /// Those that it was asked for.
    asked: BTreeSet<u32>,
    fences: BTreeMap<u32, (u32, Instant)>,
    is_draining: bool,
}

/// What is new to a link.
pub(super) enum News {
    Lane(u32, Event),
    Roster(group::Event),
    Due,
}

impl<'a, S: Fn(u32) -> LaneSettings> Link<'a, S> {
    pub(super) fn new(
        (name, instance_id): (String, String),
        (lanes, session_timeout): (u32, Duration),
        watcher: &'a mut (dyn Watcher + Send),
        working: Working,
        roster: Roster,
        shared: Shared,
        settings: S,
    ) -> Self {
        let silent_until = roster.is_shared().then(|| clock::now() + SILENCE_MAX);
        Self {
            name,
            instance_id,
            session_timeout,
            summary: Summary::default(),
            watcher,
            working,
            roster,
            shared,
            settings,
            lanes,
            began: clock::now(),
            own: BTreeSet::new(),
            taken: BTreeSet::new(),
            is_told: false,
            silent_until,
            revoked: BTreeMap::new(),
            doubted: BTreeMap::new(),
            asked: BTreeSet::new(),
            fences: BTreeMap::new(),
            is_draining: false,
        }
    }

    /// Nothing is lost when the future is dropped before it is ready.
    pub(super) async fn news(&mut self) -> News {
        let due = self.revoked.values().chain(self.doubted.values()).chain(&self.silent_until).min().copied();
        tokio::select! {
            biased;
            event = self.roster.next() => News::Roster(event),
            () = clock::sleep_until(due) => News::Due,
            Some((lane, event)) = self.working.next() => News::Lane(lane, event),
        }
    }

    pub(super) fn learn(&mut self, news: News) -> Result<(), RunError> {
        match news {
            News::Lane(lane, event) => self.happened(lane, event),
            News::Roster(event) => self.rostered(event),
            News::Due => {
                self.due();
                Ok(())
            }
        }
    }

    pub(super) fn drain(&mut self) {
        self.tell(&LinkEvent::Draining);
        self.is_draining = true;
        self.silent_until = None;
        self.doubted.clear();
        self.asked.clear();
        self.working.drain_all();
    }

    /// Until every lane has ended.
    pub(super) async fn drained(&mut self) -> Result<(), RunError> {
        while !self.working.is_idle() {
            let news = self.news().await;
            self.learn(news)?;
        }
        Ok(())
    }

    pub(super) async fn leave(&mut self) {
        if !self.roster.is_shared() {
            return;
        }
        self.roster.leave();
        let left = async { while !matches!(self.roster.next().await, group::Event::Left) {} };
        // Whoever did not hear it finds out by the session.
        let _ = tokio::time::timeout(LEAVE_PATIENCE, left).await;
    }

    fn start(&mut self, lane: u32) {
        if !self.is_draining && !self.summary.failed_lanes.contains_key(&lane) {
            let settings = (self.settings)(lane);
            let shared = self.shared.clone();
            self.working.start(lane, |job| worker::run(settings, shared, job));
        }
    }

    fn rostered(&mut self, event: group::Event) -> Result<(), RunError> {
        match event {
            group::Event::Assigned { lanes, generation_id, round } => {
                let is_new = self.own != lanes;
                for lane in lanes.difference(&self.own.clone()) {
                    self.start(*lane);
                }
                self.own = lanes;
                if is_new {
                    let own = self.own.clone();
                    let is_unfit = round.is_some_and(|it| it.is_unfit);
                    self.tell(&LinkEvent::Assigned { lanes: &own, generation_id, is_unfit });
                }
                self.taken.retain(|lane| self.own.contains(lane));
                self.doubted.retain(|lane, _| self.own.contains(lane));
                self.asked.retain(|lane| self.own.contains(lane));
                if is_new {
                    self.expect_lanes();
                }
                // Whose share somebody else is to give back first is no spare, and has it in the next generation.
                let is_settled = !self.own.is_empty() || round.is_none_or(|it| it.withheld == 0);
                if is_settled && self.silent_until.take().is_some() {
                    self.introduce(generation_id, round);
                }
            }
            group::Event::Revoke(lanes) => {
                let until = clock::now() + REVOCATION_PATIENCE;
                for lane in lanes {
                    if self.working.drain(lane) {
                        self.revoked.insert(lane, until);
                    } else {
                        self.roster.ended(lane);
                    }
                }
            }
            group::Event::Lost { reason } => {
                self.tell(&LinkEvent::Lost { reason });
                self.working.stop_all();
                self.expect_lanes();
                self.own.clear();
                self.taken.clear();
                self.revoked.clear();
                self.doubted.clear();
                self.asked.clear();
            }
            group::Event::Confirmed => self.take_back(),
            group::Event::Superseded => {
                // They are another's; who that is may take a while to find out.
                self.working.stop_all();
                let (link, instance_id) = (self.name.clone(), self.instance_id.clone());
                return Err(RunError::Superseded { link, instance_id, newer: None });
            }
            group::Event::Failed(Trouble::SessionTimeout) => {
                let ms = u64::try_from(self.session_timeout.as_millis()).unwrap_or(u64::MAX);
                return Err(RunError::SessionTimeout(ms));
            }
            group::Event::Failed(Trouble::Refused { api, code }) => {
                return Err(ClusterError::Answered { end: "target", api: api.name(), code }.into());
            }
            group::Event::Entered(_) | group::Event::Left => {}
        }
        Ok(())
    }

    fn expect_lanes(&mut self) {
        if self.roster.is_shared() && !self.is_draining {
            self.silent_until.get_or_insert_with(|| clock::now() + SILENCE_MAX);
        }
    }

    fn introduce(&mut self, generation_id: i32, round: Option<Round>) {
        let (own, of) = (self.own.clone(), self.lanes);
        let (members, is_unfit) = (round.map(|it| it.members), round.is_some_and(|it| it.is_unfit));
        self.tell(&LinkEvent::Settled { lanes: &own, of, generation_id, members, is_unfit });
    }

    fn due(&mut self) {
        let now = clock::now();
        if self.silent_until.is_some_and(|until| until <= now) {
            self.silent_until = Some(now + SILENCE_MAX);
            self.tell(&LinkEvent::Silent { since: SILENCE_MAX });
        }
        let late: Vec<_> = self.revoked.iter().filter(|(_, until)| **until <= now).map(|(lane, _)| *lane).collect();
        for lane in late {
            self.tell(&LinkEvent::Overdue { lane, patience: REVOCATION_PATIENCE });
            self.working.stop(lane);
            self.revoked.remove(&lane);
            self.roster.ended(lane);
        }
        let ripe: Vec<_> = self.doubted.iter().filter(|(_, due)| **due <= now).map(|(lane, _)| *lane).collect();
        if !ripe.is_empty() {
            self.doubted.retain(|lane, _| !ripe.contains(lane));
            self.asked.extend(ripe);
            self.roster.doubt();
        }
    }

    fn take_back(&mut self) {
        for lane in std::mem::take(&mut self.asked) {
            if self.own.contains(&lane) && !self.working.works(lane) {
                self.tell(&LinkEvent::TakenBack { lane });
                self.start(lane);
            }
        }
    }

    /// Whoever fenced it may have it by right: it comes back when a heartbeat that was sent after now says so.
    fn fenced(&mut self, lane: u32) {
        self.taken.remove(&lane);
        if self.revoked.remove(&lane).is_some() {
            return self.roster.ended(lane);
        }
        if !self.own.contains(&lane) || self.is_draining {
            return;
        }
        let now = clock::now();
        let (count, since) =
            self.fences.get(&lane).copied().filter(|it| it.1 + RETAKES_WITHIN > now).unwrap_or((0, now));
        self.fences.insert(lane, (count + 1, since));
        let backoff = match count {
            0 => Duration::ZERO,
            _ => RETAKE_BACKOFF_FIRST.saturating_mul(1 << count.min(8)).min(RETAKE_BACKOFF_MAX),
        };
        self.tell(&LinkEvent::Doubted { lane, backoff });
        self.doubted.insert(lane, now + backoff);
    }

    fn taken(&mut self, lane: u32) {
        self.taken.insert(lane);
        let is_all = self.taken.len() == self.own.len();
        if is_all && !self.is_told && self.own.len() == self.lanes as usize {
            self.is_told = true;
            self.tell(&LinkEvent::AllTaken { lanes: self.lanes, elapsed: clock::now() - self.began });
        }
    }

    fn happened(&mut self, lane: u32, event: Event) -> Result<(), RunError> {
        match &event {
            Event::Incident(incident) if !self.summary.incident(incident.clone()) => {
                self.tell(&LinkEvent::IncidentAgain { lane, incident });
            }
            event => self.tell(&LinkEvent::Lane { lane, event }),
        }
        match event {
            Event::Taken { .. } => self.taken(lane),
            Event::Committed(counts) => self.summary.committed(&counts),
            Event::Aborted(cause) => {
                self.summary.aborted += 1;
                if cause.class == AbortClass::OwnershipLost {
                    self.roster.doubt();
                }
            }
            Event::OutcomeUnknown(_)
            | Event::Mended { .. }
            | Event::Unsettled(_)
            | Event::Undecided(_)
            | Event::Incident(_) => {}
            Event::TakenOver(owner) => {
                return Err(RunError::TakenOver { link: self.name.clone(), owner: Box::new(owner) });
            }
            Event::Fenced => self.fenced(lane),
            Event::Failed(reason) => {
                self.summary.failed_lanes.insert(lane, reason.clone());
                if self.revoked.remove(&lane).is_some() {
                    self.roster.ended(lane);
                } else if self.own.iter().all(|lane| self.summary.failed_lanes.contains_key(lane)) {
                    return Err(RunError::NoLane(reason));
                }
            }
            Event::Drained => {
                self.taken.remove(&lane);
                if self.revoked.remove(&lane).is_some() {
                    self.roster.ended(lane);
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, event: &LinkEvent<'_>) {
        event.log(&self.name);
        self.watcher.happened(event);
    }
}
