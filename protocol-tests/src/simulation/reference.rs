//! What the target must hold, and whether it does: every partition of the target is held against all that its source ever
//! was, record by record as they are committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;
use kafka_bridge::broker::LogView;

use super::datums::EXPECTED;
use super::history::{Decided, History, LogReader, Timeline, same};
use super::letters::{Told, opened};
use crate::ledger::{Ledger, Place};
use crate::raw::records::ReadRecord;

/// A named invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl Violation {
    pub(super) fn new(invariant: &'static str, what: impl Into<String>) -> Violation {
        Violation { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.invariant, self.what)
    }
}

/// What is held against schemas.
pub(super) struct Checks {
    pub(super) topics: BTreeSet<String>,
    /// What does not pass stops its partition; else it goes to the dead letters.
    pub(super) stops: bool,
    /// Schemas' ids at the target, with those at the source; empty: they are kept.
    pub(super) mapped: BTreeMap<i32, i32>,
}

/// Where records of a source partition go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Copied,
    Filed,
}

/// A way, and which records go it.
#[derive(Clone, Copy, Debug)]
struct Course {
    way: Way,
    stops: bool,
}

/// Why the record does not pass its check.
fn fault(record: &ReadRecord) -> Option<&[u8]> {
    record.headers.iter().find(|it| it.0 == EXPECTED).and_then(|it| it.1.as_deref())
}

impl Course {
    fn takes(self, record: &ReadRecord) -> bool {
        match self.way {
            Way::Copied => fault(record).is_none(),
            Way::Filed => fault(record).is_some() && !self.stops,
        }
    }

    /// It goes the other way, and what comes behind it goes on.
    fn passes_by(self, record: &ReadRecord) -> bool {
        !(self.takes(record) || self.stops && self.way == Way::Copied)
    }
}

/// A record at the end of its way, as it was at the source.
struct Arrived {
    record: ReadRecord,
    /// What its dead letter says.
    told: Option<Told>,
}

impl Arrived {
    fn is(&self, source: &ReadRecord) -> bool {
        same(source, &self.record) && self.told.as_ref().is_none_or(|it| it.offset == source.offset)
    }

    fn is_told_of(&self, source: &ReadRecord) -> bool {
        self.told.as_ref().is_none_or(|it| Some(it.reason.as_bytes()) == fault(source))
    }
}

/// One way in which a copy may be right: so many records of one of the source's timelines are done with.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    timeline: usize,
    /// Everything before is copied, or rightly not.
    done: usize,
    has_copied: bool,
}

/// What of one partition went one way.
struct Copy {
    candidates: Vec<Candidate>,
    copied: u64,
}

impl Default for Copy {
    fn default() -> Self {
        let first = Candidate { timeline: 0, done: 0, has_copied: false };
        Self { candidates: vec![first], copied: 0 }
    }
}

#[derive(Default)]
pub(super) struct Reference {
    /// None: nothing is checked.
    checks: Option<Checks>,
    pub(super) sources: BTreeMap<Place, History>,
    /// Of the target's partitions.
    readers: BTreeMap<Place, LogReader>,
    copies: BTreeMap<Way, BTreeMap<Place, Copy>>,
    lanes: BTreeMap<i32, LogReader>,
    pub(super) ledger: Ledger,
    /// Of each lane: the producers that have committed, the present one last.
    producers: BTreeMap<i32, Vec<i64>>,
}

/// A partition after everything.
pub(super) struct Verdict<'a> {
    /// The typed incident's next offset, where there is one.
    pub(super) stopped_at: Option<i64>,
    pub(super) place: &'a Place,
}

impl Reference {
    pub(super) fn new(checks: Option<Checks>) -> Reference {
        Reference { checks, ..Reference::default() }
    }

    pub(super) fn copied(&self) -> u64 {
        self.arrived(Way::Copied)
    }

    pub(super) fn filed(&self) -> u64 {
        self.arrived(Way::Filed)
    }

    fn arrived(&self, way: Way) -> u64 {
        self.copies.get(&way).into_iter().flat_map(BTreeMap::values).map(|it| it.copied).sum()
    }

    fn copy(&self, way: Way, place: &Place) -> Option<&Copy> {
        self.copies.get(&way)?.get(place)
    }

    fn course(&self, way: Way) -> Course {
        Course { way, stops: self.checks.as_ref().is_some_and(|it| it.stops) }
    }

    fn ways(&self, place: &Place) -> &'static [Way] {
        let is_checked = self.checks.as_ref().is_some_and(|it| it.topics.contains(&place.0));
        if is_checked { &[Way::Copied, Way::Filed] } else { &[Way::Copied] }
    }

    /// A record that does not pass its check may have stopped the partition.
    pub(super) fn objects(&self, place: &Place) -> bool {
        let records = self.sources.get(place).into_iter().flat_map(|it| &it.timelines).flat_map(|it| &it.records);
        self.checks.as_ref().is_some_and(|it| it.stops) && { records }.any(|it| fault(it).is_some())
    }

    /// Whether the record there stops its partition for that reason.
    pub(super) fn expects(&self, place: &Place, offset: i64, reason: &str) -> bool {
        let mut records = self.sources.get(place).into_iter().flat_map(|it| &it.timelines).flat_map(|it| &it.records);
        self.checks.as_ref().is_some_and(|it| it.stops)
            && records.any(|it| it.offset == offset && fault(it) == Some(reason.as_bytes()))
    }

    pub(super) fn source_aborted(&self) -> u64 {
        self.sources.values().flat_map(|it| &it.timelines).map(|it| it.aborted.len() as u64).sum()
    }

    pub(super) fn next_at_source(&self, place: &Place) -> i64 {
        self.sources.get(place).map_or(0, History::next)
    }

    pub(super) fn next_at_target(&self, place: &Place) -> i64 {
        self.readers.get(place).map_or(0, LogReader::next)
    }

    pub(super) fn next_in_ledger(&self, lane: i32) -> i64 {
        self.lanes.get(&lane).map_or(0, LogReader::next)
    }

    pub(super) fn source(&mut self, place: &Place) -> &mut History {
        self.sources.entry(place.clone()).or_default()
    }

    /// NoLoss, NoDuplicate, PartitionOrder, AbortedInvisible and ByteForByte, for what is newly committed.
    pub(super) fn observe_copy(&mut self, place: &Place, view: &LogView) -> Result<Option<Violation>> {
        let decided = self.readers.entry(place.clone()).or_default().read(view)?;
        let mapped = self.checks.as_ref().filter(|it| it.topics.contains(&place.0)).map(|it| &it.mapped);
        let records = decided.into_iter().filter(|it| it.committed).flat_map(|it| it.batch.records);
        let arrived = records.map(|mut record| {
            if let Some(mapped) = mapped.filter(|it| !it.is_empty()) {
                unmap(&mut record, mapped);
            }
            Arrived { record, told: None }
        });
        let arrived = arrived.collect();
        if self.ways(place).contains(&Way::Filed) {
            // It learns of the source's newer lives though no letter comes.
            self.arrive(Way::Filed, place, Vec::new());
        }
        Ok(self.arrive(Way::Copied, place, arrived))
    }

    /// The same of what went to the dead letters, and that each says what is so.
    pub(super) fn observe_letters(&mut self, topic: &str, lane: i32, view: &LogView) -> Result<Option<Violation>> {
        let decided = self.readers.entry((topic.to_owned(), lane)).or_default().read(view)?;
        for letter in decided.into_iter().filter(|it| it.committed).flat_map(|it| it.batch.records) {
            let offset = letter.offset;
            let violation = match opened(letter) {
                Ok((place, record, told)) if self.ways(&place).contains(&Way::Filed) => {
                    self.arrive(Way::Filed, &place, vec![Arrived { record, told: Some(told) }])
                }
                Ok((place, ..)) => Some(Violation::new("LettersTrue", format!("{place:?} is not checked"))),
                Err(error) => Some(Violation::new("LettersTrue", format!("{topic}-{lane} at {offset}: {error:#}"))),
            };
            if violation.is_some() {
                return Ok(violation);
            }
        }
        Ok(None)
    }

    fn arrive(&mut self, way: Way, place: &Place, arrived: Vec<Arrived>) -> Option<Violation> {
        let course = self.course(way);
        let copy = self.copies.entry(way).or_default().entry(place.clone()).or_default();
        let history = self.sources.get(place)?;
        for timeline in copy.candidates.iter().map(|it| it.timeline + 1).max().unwrap_or(0)..history.timelines.len() {
            // A later life is copied from its beginning, or goes on where an earlier one was: nobody was told of it yet.
            copy.candidates.push(Candidate { timeline, done: 0, has_copied: false });
            let ongoing: Vec<_> = copy.candidates.iter().filter(|it| it.timeline + 1 == timeline).copied().collect();
            for old in ongoing.iter().filter(|it| it.has_copied) {
                let offset = last_offset(&history.timelines[old.timeline], old);
                let done = history.timelines[timeline].records.partition_point(|it| it.offset <= offset);
                let is_same =
                    history.timelines[timeline].records[..done].iter().rev().take(1).all(|it| {
                        it.offset == offset && same(it, &history.timelines[old.timeline].records[old.done - 1])
                    });
                if is_same {
                    copy.candidates.push(Candidate { timeline, done, has_copied: true });
                }
            }
        }
        for it in &arrived {
            let next: Vec<_> = copy.candidates.iter().filter_map(|old| follow(history, *old, it, course)).collect();
            if next.is_empty() {
                return Some(explain(place, history, &copy.candidates, it, course));
            }
            copy.candidates = next;
            copy.copied += 1;
        }
        None
    }

    /// The ledger's chain, and ZombieFenced.
    pub(super) fn observe_ledger(&mut self, lane: i32, view: &LogView) -> Result<Option<Violation>> {
        let decided = self.lanes.entry(lane).or_default().read(view)?;
        for Decided { batch, committed } in decided {
            if let Err(error) = self.ledger.feed(lane, &batch, Some(committed)) {
                return Ok(Some(Violation::new("PositionMatchesData", format!("{error:#}"))));
            }
            if let Some(first) = self.ledger.breaks.first() {
                return Ok(Some(Violation::new("PositionMatchesData", format!("a break in the ledger: {first}"))));
            }
            let producers = self.producers.entry(lane).or_default();
            match producers.iter().position(|it| *it == batch.producer_id) {
                _ if !committed => {}
                None => producers.push(batch.producer_id),
                Some(index) if index + 1 == producers.len() => {}
                Some(_) => {
                    let what = format!("lane {lane}: producer {} commits after another one", batch.producer_id);
                    return Ok(Some(Violation::new("ZombieFenced", what)));
                }
            }
        }
        Ok(None)
    }

    /// Everything that is to be copied has been, as far as the ledger's positions say.
    pub(super) fn is_done(&self, place: &Place) -> bool {
        let Some(history) = self.sources.get(place) else { return true };
        let is_done = |way: &Way| {
            let course = self.course(*way);
            let is_there =
                |it: &Candidate| it.timeline + 1 == history.timelines.len() && is_complete(history.now(), it, course);
            self.copy(*way, place).map_or(history.now().records.is_empty(), |copy| copy.candidates.iter().any(is_there))
        };
        history.is_settled() && self.ways(place).iter().all(is_done)
    }

    /// The end: complete, or stopped exactly where the incident says, and the position as the data.
    pub(super) fn judge(&self, verdict: &Verdict<'_>) -> Option<Violation> {
        self.ways(verdict.place).iter().find_map(|way| self.judge_way(self.course(*way), verdict))
    }

    fn judge_way(&self, course: Course, verdict: &Verdict<'_>) -> Option<Violation> {
        let place = verdict.place;
        let (topic, partition) = place;
        let history = self.sources.get(place)?;
        let copy = self.copy(course.way, place);
        let none = [Candidate { timeline: 0, done: 0, has_copied: false }];
        let candidates = copy.map_or(&none[..], |it| &it.candidates);
        let copied = copy.map_or(0, |it| it.copied);
        let position = self.ledger.positions.get(place);
        let said = position.map(|it| if course.way == Way::Copied { it.records } else { it.dead_letters });
        if let Some(said) = said
            && said != copied
        {
            let what = format!("{topic}-{partition}: {copied} records are {:?}, its position says {said}", course.way);
            return Some(Violation::new("PositionMatchesData", what));
        }
        let fits = |it: &&Candidate| match verdict.stopped_at {
            None => {
                let timeline = history.now();
                it.timeline + 1 == history.timelines.len()
                    && is_complete(timeline, it, course)
                    && position.is_none_or(|position| {
                        timeline.records.last().is_none_or(|last| position.next_offset > last.offset)
                    })
            }
            Some(next_offset) => {
                let timeline = &history.timelines[it.timeline];
                let before = timeline.records.partition_point(|record| record.offset < next_offset);
                // What compaction took, or what lay before the first position, may be missing.
                let left = timeline.records.get(it.done..before).unwrap_or_default();
                it.done <= before && left.iter().all(|record| is_excused(timeline, it, record, course))
            }
        };
        if candidates.iter().any(|it| fits(&it)) {
            return None;
        }
        let timeline = history.now();
        let what = format!(
            "{topic}-{partition}: {copied} records are {:?} of {} (in {} timelines), stopped at {:?}, position {:?}",
            course.way,
            timeline.records.len(),
            history.timelines.len(),
            verdict.stopped_at,
            position.map(|it| it.next_offset),
        );
        Some(Violation::new("NoLoss", what))
    }
}

fn last_offset(timeline: &Timeline, candidate: &Candidate) -> i64 {
    candidate.done.checked_sub(1).and_then(|it| timeline.records.get(it)).map_or(-1, |it| it.offset)
}

/// The source's id in place of the target's; one that is not mapped stands for none.
fn unmap(record: &mut ReadRecord, mapped: &BTreeMap<i32, i32>) {
    if let Some(value) = &mut record.value
        && let Some(id) = value.get_mut(1..5)
    {
        let at_target = i32::from_be_bytes([id[0], id[1], id[2], id[3]]);
        id.copy_from_slice(&mapped.get(&at_target).unwrap_or(&-1).to_be_bytes());
    }
}

/// Whether a record may be missing there.
fn is_excused(timeline: &Timeline, candidate: &Candidate, record: &ReadRecord, course: Course) -> bool {
    course.passes_by(record)
        || timeline.compacted.contains(&record.offset)
        || !candidate.has_copied && timeline.starts.last().is_some_and(|start| record.offset < *start)
}

fn is_complete(timeline: &Timeline, candidate: &Candidate, course: Course) -> bool {
    timeline.records[candidate.done..].iter().all(|it| is_excused(timeline, candidate, it, course))
}

/// The candidate after one more record; None: this is not what comes next.
fn follow(history: &History, candidate: Candidate, arrived: &Arrived, course: Course) -> Option<Candidate> {
    let timeline = &history.timelines[candidate.timeline];
    let mut done = candidate.done;
    loop {
        let next = timeline.records.get(done)?;
        if arrived.is(next) && course.takes(next) && arrived.is_told_of(next) {
            return Some(Candidate { done: done + 1, has_copied: true, ..candidate });
        }
        if !is_excused(timeline, &candidate, next, course) {
            return None;
        }
        done += 1;
    }
}

/// Which invariant a record breaks that does not come next.
fn explain(place: &Place, history: &History, candidates: &[Candidate], arrived: &Arrived, course: Course) -> Violation {
    let (topic, partition) = place;
    let record = &arrived.record;
    let told = |invariant, why: String| {
        let (way, offset) = (course.way, record.offset);
        let what = format!("{topic}-{partition}: the record {way:?} at the target's offset {offset} {why}");
        Violation::new(invariant, what)
    };
    for candidate in candidates {
        let timeline = &history.timelines[candidate.timeline];
        if let Some(index) = timeline.records.iter().position(|it| arrived.is(it)) {
            let offset = timeline.records[index].offset;
            let fault = fault(&timeline.records[index]).map(String::from_utf8_lossy);
            if !course.takes(&timeline.records[index]) {
                return told("OnlyValidPass", format!("is that of source offset {offset}, whose fault is {fault:?}"));
            }
            if !arrived.is_told_of(&timeline.records[index]) {
                let reason = arrived.told.as_ref().map(|it| &it.reason);
                return told("LettersTrue", format!("is said to be {reason:?}; its fault is {fault:?}"));
            }
            return if index < candidate.done {
                told("NoDuplicate", format!("is that of source offset {offset} again"))
            } else {
                let due = timeline.records.get(candidate.done).map(|it| it.offset);
                told("NoLoss", format!("is that of source offset {offset}, where {due:?} was due"))
            };
        }
        if let Some(aborted) = timeline.aborted.iter().find(|it| same(it, record)) {
            return told("AbortedInvisible", format!("is the aborted one of source offset {}", aborted.offset));
        }
    }
    told("ByteForByte", "is none of the source's".to_owned())
}
