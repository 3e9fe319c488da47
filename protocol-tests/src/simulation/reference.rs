//! What the target must hold, and whether it does: every partition of the target is held against all that its source ever
//! was, record by record as they are committed.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use kafka_bridge::broker::LogView;

use super::history::{Decided, History, LogReader, Timeline, same};
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

/// One way in which a copy may be right: so many records of one of the source's timelines are done with.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    timeline: usize,
    /// Everything before is copied, or rightly not.
    done: usize,
    has_copied: bool,
}

/// One partition's copy.
struct Copy {
    reader: LogReader,
    candidates: Vec<Candidate>,
    copied: u64,
}

impl Default for Copy {
    fn default() -> Self {
        let first = Candidate { timeline: 0, done: 0, has_copied: false };
        Self { reader: LogReader::default(), candidates: vec![first], copied: 0 }
    }
}

#[derive(Default)]
pub(super) struct Reference {
    pub(super) sources: BTreeMap<Place, History>,
    copies: BTreeMap<Place, Copy>,
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
    pub(super) fn copied(&self) -> u64 {
        self.copies.values().map(|it| it.copied).sum()
    }

    pub(super) fn source_aborted(&self) -> u64 {
        self.sources.values().flat_map(|it| &it.timelines).map(|it| it.aborted.len() as u64).sum()
    }

    pub(super) fn next_at_source(&self, place: &Place) -> i64 {
        self.sources.get(place).map_or(0, History::next)
    }

    pub(super) fn next_at_target(&self, place: &Place) -> i64 {
        self.copies.get(place).map_or(0, |it| it.reader.next())
    }

    pub(super) fn next_in_ledger(&self, lane: i32) -> i64 {
        self.lanes.get(&lane).map_or(0, LogReader::next)
    }

    pub(super) fn source(&mut self, place: &Place) -> &mut History {
        self.sources.entry(place.clone()).or_default()
    }

    /// NoLoss, NoDuplicate, PartitionOrder, AbortedInvisible and ByteForByte, for what is newly committed.
    pub(super) fn observe_copy(&mut self, place: &Place, view: &LogView) -> Result<Option<Violation>> {
        let copy = self.copies.entry(place.clone()).or_default();
        let decided = copy.reader.read(view)?;
        let Some(history) = self.sources.get(place) else { return Ok(None) };
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
        for Decided { batch, .. } in decided.into_iter().filter(|it| it.committed) {
            for record in &batch.records {
                let next: Vec<_> = copy.candidates.iter().filter_map(|it| follow(history, *it, record)).collect();
                if next.is_empty() {
                    return Ok(Some(explain(place, history, &copy.candidates, record)));
                }
                copy.candidates = next;
                copy.copied += 1;
            }
        }
        Ok(None)
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
        let is_there = |it: &Candidate| it.timeline + 1 == history.timelines.len() && is_complete(history.now(), it);
        history.is_settled()
            && self
                .copies
                .get(place)
                .map_or(history.now().records.is_empty(), |copy| copy.candidates.iter().any(is_there))
    }

    /// The end: complete, or stopped exactly where the incident says, and the position as the data.
    pub(super) fn judge(&self, verdict: &Verdict<'_>) -> Option<Violation> {
        let place = verdict.place;
        let (topic, partition) = place;
        let history = self.sources.get(place)?;
        let copy = self.copies.get(place);
        let none = [Candidate { timeline: 0, done: 0, has_copied: false }];
        let candidates = copy.map_or(&none[..], |it| &it.candidates);
        let copied = copy.map_or(0, |it| it.copied);
        let position = self.ledger.positions.get(place);
        if let Some(position) = position
            && position.records != copied
        {
            let what =
                format!("{topic}-{partition}: {copied} records are copied, its position says {}", position.records);
            return Some(Violation::new("PositionMatchesData", what));
        }
        let fits = |it: &&Candidate| match verdict.stopped_at {
            None => {
                let timeline = history.now();
                it.timeline + 1 == history.timelines.len()
                    && is_complete(timeline, it)
                    && position.is_none_or(|position| {
                        timeline.records.last().is_none_or(|last| position.next_offset > last.offset)
                    })
            }
            Some(next_offset) => {
                let timeline = &history.timelines[it.timeline];
                let before = timeline.records.partition_point(|record| record.offset < next_offset);
                // What compaction took, or what lay before the first position, may be missing.
                let left = timeline.records.get(it.done..before).unwrap_or_default();
                it.done <= before && left.iter().all(|record| is_excused(timeline, it, record))
            }
        };
        if candidates.iter().any(|it| fits(&it)) {
            return None;
        }
        let timeline = history.now();
        let what = format!(
            "{topic}-{partition}: {copied} records are copied of {} (in {} timelines), stopped at {:?}, position {:?}",
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

/// Whether a record may be missing from the copy.
fn is_excused(timeline: &Timeline, candidate: &Candidate, record: &ReadRecord) -> bool {
    timeline.compacted.contains(&record.offset)
        || !candidate.has_copied && timeline.starts.last().is_some_and(|start| record.offset < *start)
}

fn is_complete(timeline: &Timeline, candidate: &Candidate) -> bool {
    timeline.records[candidate.done..].iter().all(|it| is_excused(timeline, candidate, it))
}

/// The candidate after one more record; None: this is not what comes next.
fn follow(history: &History, candidate: Candidate, record: &ReadRecord) -> Option<Candidate> {
    let timeline = &history.timelines[candidate.timeline];
    let mut done = candidate.done;
    loop {
        let next = timeline.records.get(done)?;
        if same(next, record) {
            return Some(Candidate { done: done + 1, has_copied: true, ..candidate });
        }
        if !is_excused(timeline, &candidate, next) {
            return None;
        }
        done += 1;
    }
}

/// Which invariant a record breaks that does not come next.
fn explain(place: &Place, history: &History, candidates: &[Candidate], record: &ReadRecord) -> Violation {
    let (topic, partition) = place;
    let told = |invariant, why: String| {
        let what = format!("{topic}-{partition}: the record at the target's offset {} {why}", record.offset);
        Violation::new(invariant, what)
    };
    for candidate in candidates {
        let timeline = &history.timelines[candidate.timeline];
        if let Some(index) = timeline.records.iter().position(|it| same(it, record)) {
            let offset = timeline.records[index].offset;
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
