//! Holds one partition's two ends against each other, in step and in bounded memory. Pure: batches go in, differences come out.
//!
//! Where the ends agree, batches that were passed on are compared without unpacking them, others record by record. Where they
//! do not, some records of both are kept by their digests until a place is found from which the ends agree again.

use super::align::{align, altered_parts, between};
use super::compacted::Waiting;
use super::entry::{Chain, Digest, Entry, Mask, fingerprint};
use super::feed::{Feed, Passed};
use super::found::{Difference, Found, Kind, Lone};
use super::ids::{IdMap, Ids};
use super::letters::OfPartition;
use super::replays::{Judge, Replays};
use crate::batch::{BatchError, RawBatch};
use std::ops::Range;
use std::sync::Arc;

/// Records of each end that are looked at to find where they agree again: first few, for most differences are small.
const WINDOW_FIRST: usize = 64;
const WINDOW_FACTOR: usize = 8;
/// About ten megabytes for each end. A difference that is larger comes out as several.
const WINDOW_MAX: usize = 32_768;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Batches of this end, or its end, are needed.
    Want(End),
    Done,
}

#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Offsets of both ends.
    pub(super) source: Range<i64>,
    pub(super) target: Range<i64>,
    /// Source records from here on may be copied already.
    pub(super) due_before: i64,
    /// Source offsets that were left out by decision.
    pub(super) gaps: Vec<Range<i64>>,
    /// Source records that went to the dead letters instead.
    pub(super) letters: Arc<OfPartition>,
    /// Target records that were replayed from there.
    pub(super) replays: Arc<Replays>,
    /// Schemas' ids that are others in the copy.
    pub(super) mask: Mask,
    pub(super) is_compacted: bool,
    /// Of source topics with LogAppendTime: what their producers wrote was copied.
    pub(super) with_create_time: bool,
    /// The two beginnings may not belong together: what lies before the first agreement is not judged.
    pub(super) is_loose: bool,
    /// The ends do not: nothing later explains what is left at them.
    pub(super) is_part: bool,
}

/// Behind everything that was compared, both ends go on from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) source_offset: i64,
    pub(super) target_offset: i64,
}

pub(super) struct Comparer {
    rules: Rules,
    source: Feed,
    target: Feed,
    /// More than 0: the ends differ, and so many records are needed.
    window: usize,
    is_loose: bool,
    /// What the target lacks, and what the source lacks.
    at_source: Waiting,
    at_target: Waiting,
    /// Of mapped schemas.
    ids: IdMap,
    replayed: Judge,
    chain: Option<Chain>,
    found: Found,
    bytes: u64,
}

enum Progress {
    Equal,
    Differ,
    Want(End),
    Ended,
}

impl Comparer {
    pub(super) fn new(rules: Rules, chain: Option<Chain>, found: Found) -> Self {
        let mut source = Feed::new(rules.source.start, rules.source.end, rules.with_create_time, rules.mask);
        source.pass_over(&rules.letters);
        let mut target = Feed::new(rules.target.start, rules.target.end, false, rules.mask);
        target.pass_over_replays(&rules.replays);
        let replayed = Judge::new(&rules.replays);
        let is_loose = rules.is_loose;
        let (at_source, at_target) = (Waiting::default(), Waiting::default());
        Self {
            rules,
            source,
            target,
            window: 0,
            is_loose,
            at_source,
            at_target,
            ids: IdMap::default(),
            replayed,
            chain,
            found,
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, end: End, batches: Vec<RawBatch>) {
        // Only a cleaner makes holes.
        self.rules.is_compacted |= batches.iter().any(|it| it.header().has_gaps());
        if end == End::Target {
            self.bytes += batches.iter().map(|it| it.bytes().len() as u64).sum::<u64>();
        }
        self.feed(end).push(batches);
    }

    pub(super) fn end(&mut self, end: End) {
        self.feed(end).end();
    }

    fn feed(&mut self, end: End) -> &mut Feed {
        match end {
            End::Source => &mut self.source,
            End::Target => &mut self.target,
        }
    }

    /// As they were fetched from the target.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn records(&self) -> u64 {
        self.found.counts.records
    }

    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    /// By its settings, or by the holes in what was compared.
    pub(super) fn is_compacted(&self) -> bool {
        self.rules.is_compacted
    }

    pub(super) fn chain(&self) -> Option<Chain> {
        self.chain
    }

    /// Where a later comparison can go on. None: something is still to be explained.
    pub(super) fn point(&self) -> Option<Point> {
        let is_clear = self.window == 0 && self.source.ahead.is_empty() && self.target.ahead.is_empty();
        let is_explained = self.at_source.is_empty() && self.at_target.is_empty();
        let point = Point { source_offset: self.source.behind(), target_offset: self.target.behind() };
        (is_clear && is_explained && !self.is_loose).then_some(point)
    }

    pub(super) fn step(&mut self) -> Result<Step, BatchError> {
        let step = self.stepped();
        self.see_letters(self.source.next);
        // Whoever looks at what was found finds what was passed over there too.
        self.judge_passed();
        step
    }

    fn stepped(&mut self) -> Result<Step, BatchError> {
        loop {
            if self.window > 0 {
                if let Some(end) = self.resynchronise()? {
                    return Ok(Step::Want(end));
                }
                continue;
            }
            let is_ahead = !self.source.ahead.is_empty() || !self.target.ahead.is_empty();
            match if is_ahead { self.by_digest()? } else { self.side_by_side()? } {
                Progress::Equal => self.is_loose = false,
                Progress::Differ => self.window = WINDOW_FIRST,
                Progress::Want(end) => return Ok(Step::Want(end)),
                Progress::Ended => {
                    self.finish();
                    return Ok(Step::Done);
                }
            }
        }
    }

    /// Record for record, until one of them has no more.
    fn side_by_side(&mut self) -> Result<Progress, BatchError> {
        if self.same_batch()? {
            return Ok(Progress::Equal);
        }
        if let Some(found) = self.unready()? {
            return Ok(found);
        }
        let explains = !self.at_source.is_empty() || !self.at_target.is_empty();
        while let (Some(ours), Some(theirs)) = (self.source.head()?, self.target.head()?) {
            let is_same = ours.timestamp == theirs.timestamp && self.rules.mask.is_same(&ours.record, &theirs.record);
            if !is_same {
                return Ok(Progress::Differ);
            }
            if let Some(chain) = &mut self.chain {
                chain.push(Digest::masked(theirs.timestamp, &theirs.record, self.rules.mask));
            }
            if explains {
                let key = fingerprint(self.rules.mask.key(&ours.record).as_deref());
                self.at_source.seen(key);
                self.at_target.seen(key);
            }
            let mask = self.rules.mask;
            let renumbered = self.ids.altered(Ids::of(&ours.record, mask), Ids::of(&theirs.record, mask));
            let (ours, theirs) = ((ours.offset, ours.behind), (theirs.offset, theirs.behind));
            self.renumbered((ours.0, theirs.0), &renumbered);
            self.source.took(ours.0, ours.1);
            self.target.took(theirs.0, theirs.1);
            if explains {
                self.see_letters(ours.0);
            }
            self.found.counts.records += 1;
        }
        Ok(Progress::Equal)
    }

    /// Why there are no two records to compare.
    fn unready(&mut self) -> Result<Option<Progress>, BatchError> {
        let ours = !self.source.ahead.is_empty() || self.source.ready()?;
        let theirs = !self.target.ahead.is_empty() || self.target.ready()?;
        Ok(match (ours, theirs) {
            (true, true) => None,
            (false, _) if !self.source.is_ended() => Some(Progress::Want(End::Source)),
            (_, false) if !self.target.is_ended() => Some(Progress::Want(End::Target)),
            (false, false) => Some(Progress::Ended),
            (true, false) => {
                let next = match self.source.ahead.front() {
                    Some(entry) => Some(entry.offset),
                    None => self.source.head()?.map(|it| it.offset),
                };
                // The rest is still to be copied.
                let is_due = next.is_some_and(|it| it < self.rules.due_before);
                // It may explain what the source has no more.
                let explains = !self.at_target.is_empty();
                Some(if is_due || explains { Progress::Differ } else { Progress::Ended })
            }
            (false, true) => Some(Progress::Differ),
        })
    }

    /// A batch that was passed on: what holds the records is the same, byte for byte. Where ids are mapped that is no proof: the
    /// copy's have to be the target's.
    fn same_batch(&mut self) -> Result<bool, BatchError> {
        let is_mapped = self.rules.mask != Mask::default();
        if is_mapped || self.chain.is_some() || !self.at_source.is_empty() || !self.at_target.is_empty() {
            return Ok(false);
        }
        let (Some(ours), Some(theirs)) = (self.source.whole(), self.target.whole()) else { return Ok(false) };
        let (a, b) = (ours.header(), theirs.header());
        let is_same = a.record_count == b.record_count
            && a.record_count > 0
            && a.base_timestamp == b.base_timestamp
            && a.compression() == b.compression()
            && !(a.has_gaps() || b.has_gaps() || a.has_delete_horizon() || b.has_delete_horizon())
            && !(self.source.stamps(ours) || self.target.stamps(theirs))
            && ours.body() == theirs.body();
        if is_same {
            self.found.counts.records += u64::from(a.record_count.unsigned_abs());
            self.source.took_whole();
            self.target.took_whole();
        }
        Ok(is_same)
    }

    /// Through what was looked at already.
    fn by_digest(&mut self) -> Result<Progress, BatchError> {
        if let Some(found) = self.unready()? {
            return Ok(found);
        }
        for feed in [&mut self.source, &mut self.target] {
            if feed.ahead.is_empty() {
                feed.look_ahead()?;
            }
        }
        let (Some(ours), Some(theirs)) = (self.source.ahead.front(), self.target.ahead.front()) else {
            return Ok(Progress::Equal);
        };
        if ours.digest != theirs.digest {
            return Ok(Progress::Differ);
        }
        let (ours, theirs) = (self.source.ahead.pop_front(), self.target.ahead.pop_front());
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            self.same(&ours, &theirs);
        }
        Ok(Progress::Equal)
    }

    fn same(&mut self, ours: &Entry, theirs: &Entry) {
        self.source.next = ours.offset + 1;
        self.target.next = theirs.offset + 1;
        self.at_source.seen(ours.key);
        self.at_target.seen(theirs.key);
        self.see_letters(ours.offset);
        let renumbered = self.ids.altered(ours.ids, theirs.ids);
        self.renumbered((ours.offset, theirs.offset), &renumbered);
        if let Some(chain) = &mut self.chain {
            chain.push(theirs.digest);
        }
        self.found.counts.records += 1;
    }

    /// Looks for the place where the ends agree again; the end that more records are needed of.
    fn resynchronise(&mut self) -> Result<Option<End>, BatchError> {
        for end in [End::Source, End::Target] {
            let window = self.window;
            let feed = self.feed(end);
            while feed.ahead.len() < window && feed.look_ahead()? {}
            if feed.ahead.len() < window && !feed.is_ended() {
                return Ok(Some(end));
            }
        }
        let ours = self.source.ahead.make_contiguous();
        let theirs = self.target.ahead.make_contiguous();
        let is_all = ours.len() < self.window && theirs.len() < self.window;
        let all = (ours.len(), theirs.len());
        let place = match align(ours, theirs, self.rules.is_compacted) {
            Some(place) => place,
            None if is_all || self.window >= WINDOW_MAX || ours.is_empty() || theirs.is_empty() => all,
            None => {
                self.window *= WINDOW_FACTOR;
                return Ok(None);
            }
        };
        self.window = 0;
        self.judge(place);
        Ok(None)
    }

    /// So many records of both ends lie between two places where these agree.
    fn judge(&mut self, (ours, theirs): (usize, usize)) {
        let is_loose = std::mem::take(&mut self.is_loose);
        self.see_letters(self.source.next);
        let ours: Vec<Entry> = self.source.ahead.drain(..ours).collect();
        let theirs: Vec<Entry> = self.target.ahead.drain(..theirs).collect();
        let behind = Point {
            source_offset: self.source.ahead.front().map_or(self.rules.source.end, |it| it.offset),
            target_offset: self.target.ahead.front().map_or(self.rules.target.end, |it| it.offset),
        };
        let between = between(&ours, &theirs, self.rules.is_compacted);
        let (mut only_ours, mut only_theirs) =
            (between.source_only.into_iter().peekable(), between.target_only.into_iter().peekable());
        // In their order: only what comes behind a record explains why it is gone. Where it should be: before that.
        let followers = between.same.iter().copied().map(Some).chain([None]);
        for follower in followers {
            let (s, t) = follower.unwrap_or((ours.len(), theirs.len()));
            while let Some(at) = only_ours.next_if(|at| *at < s) {
                let other_offset = theirs.get(t).map_or(behind.target_offset, |it| it.offset);
                self.only_at_source(&ours[at], other_offset, is_loose);
            }
            while let Some(at) = only_theirs.next_if(|at| *at < t) {
                let other_offset = ours.get(s).map_or(behind.source_offset, |it| it.offset);
                self.only_at_target(&theirs[at], other_offset, is_loose);
            }
            if follower.is_some() {
                self.same(&ours[s], &theirs[t]);
            }
        }
        for (s, t) in &between.reordered {
            self.differs(Kind::Reordered, (ours[*s].offset, theirs[*t].offset), String::new());
        }
        for (s, t) in between.altered {
            let (ours, theirs) = (&ours[s], &theirs[t]);
            self.found.counts.records += 1;
            let what = altered_parts(ours, theirs).join(", ");
            self.differs(Kind::Altered, (ours.offset, theirs.offset), what);
        }
        // Whatever was the same is before what comes next.
        let last = |all: &[Entry], next: i64| all.last().map_or(next, |it| next.max(it.offset + 1));
        self.source.next = last(&ours, self.source.next);
        self.target.next = last(&theirs, self.target.next);
    }

    /// Otherwise the two are the same.
    fn renumbered(&mut self, offsets: (i64, i64), parts: &[&str]) {
        if !parts.is_empty() {
            self.differs(Kind::Altered, offsets, parts.join(", "));
        }
    }

    fn differs(&mut self, kind: Kind, (ours, theirs): (i64, i64), what: String) {
        let (source_offset, target_offset) = (Some(ours), Some(theirs));
        self.found.difference(Difference { kind, source_offset, target_offset, dead_letter: None, what });
    }

    /// In a compacted topic a record that became a dead letter is a later record of its key too: the source's cleaner takes
    /// what it supersedes, and the target, which has no such record, keeps it.
    fn see_letters(&mut self, before: i64) {
        self.source.passed_keys(before).for_each(|key| self.at_target.seen(key));
        // And one that was replayed is a later record of its key at the target alone.
        let before = if before == i64::MAX { before } else { self.target.next };
        self.target.passed_keys(before).for_each(|key| self.at_source.seen(key));
    }

    /// In the dead letters once and as it is at the source, a record is where it should be.
    fn judge_passed(&mut self) {
        for Passed { offset, digest, masked, .. } in std::mem::take(&mut self.target.passed) {
            let Some(it) = self.rules.replays.get(&offset) else { continue };
            self.replayed.at_target((offset, it), digest.zip(masked), self.rules.is_compacted, &mut self.found);
        }
        for Passed { offset, digest, masked, filed } in std::mem::take(&mut self.source.passed) {
            if let Some(masked) = masked {
                self.replayed.at_source(offset, masked);
            }
            let mut tell = |kind, at: &super::letters::Filed, what: &str| {
                let (source_offset, dead_letter) = (Some(offset), Some(at.id()));
                let what = what.to_owned();
                self.found.difference(Difference { kind, source_offset, target_offset: None, dead_letter, what });
            };
            let Some(digest) = digest else {
                if self.rules.is_compacted {
                    self.found.counts.unknown += filed.len() as u64;
                } else {
                    filed.iter().for_each(|it| tell(Kind::Phantom, it, "the source has no such record"));
                }
                continue;
            };
            let mut is_there = false;
            for filed in &filed {
                match (filed.digest == digest, is_there) {
                    (true, false) => is_there = true,
                    (true, true) => tell(Kind::Doubled, filed, "there twice"),
                    (false, _) => tell(Kind::Altered, filed, "not the source's record"),
                }
            }
            self.found.counts.dead_lettered += u64::from(is_there);
        }
    }

    fn only_at_source(&mut self, entry: &Entry, other_offset: i64, is_loose: bool) {
        if entry.offset >= self.rules.due_before {
            return self.at_target.seen(entry.key);
        }
        if self.rules.gaps.iter().any(|it| it.contains(&entry.offset)) {
            self.found.counts.accepted += 1;
        } else if is_loose {
            self.found.counts.unknown += 1;
        } else if self.rules.is_compacted && entry.has_key {
            self.found.counts.superseded += 1;
            self.at_source.add(entry.clone());
        } else {
            self.found.missing(Lone { offset: entry.offset, other_offset, digest: entry.digest });
        }
    }

    fn only_at_target(&mut self, entry: &Entry, other_offset: i64, is_loose: bool) {
        if is_loose {
            self.found.counts.unknown += 1;
        } else if self.rules.is_compacted && entry.has_key {
            self.found.counts.superseded += 1;
            self.at_target.add(entry.clone());
        } else {
            self.found.surplus(Lone { offset: entry.offset, other_offset, digest: entry.digest });
        }
    }

    fn finish(&mut self) {
        for feed in [&mut self.source, &mut self.target] {
            let unmet = feed.unmet();
            feed.passed.extend(unmet);
        }
        self.judge_passed();
        self.replayed.finish(&mut self.found);
        self.see_letters(i64::MAX);
        let (ends, is_part) = ((self.source.next, self.target.next), self.rules.is_part);
        let counts = &mut self.found.counts;
        let (missing, surplus) = (self.at_source.finish(), self.at_target.finish());
        let unexplained = (missing.len() + surplus.len()) as u64;
        let unjudged = self.at_source.unjudged + self.at_target.unjudged;
        let unknown = unjudged + if is_part { unexplained } else { 0 };
        counts.superseded = counts.superseded.saturating_sub(unexplained + unjudged);
        counts.unknown += unknown;
        if !is_part {
            let lone = |entry: Entry, other_offset| Lone { offset: entry.offset, other_offset, digest: entry.digest };
            missing.into_iter().for_each(|it| self.found.missing(lone(it, ends.1)));
            surplus.into_iter().for_each(|it| self.found.surplus(lone(it, ends.0)));
        }
    }
}
