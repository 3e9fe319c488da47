//! Compares the two ends of one partition while both grow. Pure: what each end shows goes in, differences are counted.
//!
//! The source is the truth: its committed records, in their order. A record is known by its number, and everything else in it
//! by a digest. Each has one place at the target: its topic, or, where the producer has planted a fault in it, the dead letters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Numbers that the source never showed (aborted records), kept to tell a phantom from a double, and those of planted faults,
/// kept to tell a misplaced record from a double. Beyond this the oldest are forgotten, and would count as doubles.
const NUMBERS_MAX: usize = 1_000_000;

/// A reason that nothing is planted for.
pub(super) const UNFORESEEN: &str = "unforeseen";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) number: u64,
    /// Over key, value, headers in order, and timestamp.
    pub(super) digest: u64,
    /// The word for why it is no event: at the source the one that it should get, in the dead letters the one that it got.
    pub(super) reason: Option<&'static str>,
}

/// `lost` counts only after `finish`; until then a record that is missing may still come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) produced: u64,
    pub(super) copied: u64,
    /// By reason.
    pub(super) dead_lettered: BTreeMap<&'static str, u64>,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    pub(super) altered: u64,
    /// At the target, though the source aborted it or never had it.
    pub(super) phantom: u64,
    /// In the topic, though it is no event, or in the dead letters, though it is one.
    pub(super) misplaced: u64,
    /// In the dead letters for another reason than was planted.
    pub(super) misjudged: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.produced += other.produced;
        self.copied += other.copied;
        for (reason, count) in &other.dead_lettered {
            *self.dead_lettered.entry(reason).or_default() += count;
        }
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.altered += other.altered;
        self.phantom += other.phantom;
        self.misplaced += other.misplaced;
        self.misjudged += other.misjudged;
    }

    pub(super) fn letters(&self) -> u64 {
        self.dead_lettered.values().sum()
    }

    pub(super) fn differences(&self) -> u64 {
        let Self { lost, doubled, reordered, altered, phantom, misplaced, misjudged, .. } = self;
        lost + doubled + reordered + altered + phantom + misplaced + misjudged
    }

    /// Read = written + dead-lettered.
    pub(super) fn adds_up(&self) -> bool {
        self.produced == self.copied + self.letters()
    }

    pub(super) fn is_clean(&self) -> bool {
        self.adds_up() && self.differences() == 0
    }
}

/// What one place at the target should show, and in which order.
#[derive(Debug, Default)]
struct Place {
    /// Shown by the source and not yet here.
    waiting: VecDeque<Seen>,
    /// Passed over here: lost, unless they come late.
    skipped: BTreeMap<u64, Seen>,
    /// Shown here before the source was read so far.
    early: VecDeque<Seen>,
}

impl Place {
    /// What was expected of this number, and whether it comes late.
    fn take(&mut self, number: u64) -> Option<(Seen, bool)> {
        if let Some(expected) = self.skipped.remove(&number) {
            return Some((expected, true));
        }
        let index = self.waiting.binary_search_by_key(&number, |it| it.number).ok()?;
        self.skipped.extend(self.waiting.drain(..index).map(|passed| (passed.number, passed)));
        self.waiting.pop_front().map(|it| (it, false))
    }

    fn behind(&self) -> usize {
        self.waiting.len() + self.skipped.len()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Topic,
    DeadLetters,
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    counts: Counts,
    topic: Place,
    dead_letters: Place,
    gaps: BTreeSet<u64>,
    /// Numbers of records that belong to the dead letters.
    planted: BTreeSet<u64>,
    next_number: u64,
}

impl Checker {
    pub(super) fn at_source(&mut self, seen: Seen) {
        self.counts.produced += 1;
        self.gaps.extend(self.next_number..seen.number);
        self.next_number = self.next_number.max(seen.number + 1);
        let place = if seen.reason.is_some() {
            self.planted.insert(seen.number);
            At::DeadLetters
        } else {
            At::Topic
        };
        for numbers in [&mut self.gaps, &mut self.planted] {
            while numbers.len() > NUMBERS_MAX {
                numbers.pop_first();
            }
        }
        self.place(place).waiting.push_back(seen);
        for at in [At::Topic, At::DeadLetters] {
            while let Some(early) = self.place(at).early.front().copied().filter(|it| it.number < self.next_number) {
                self.place(at).early.pop_front();
                self.judge(at, early);
            }
        }
    }

    pub(super) fn at_target(&mut self, seen: Seen) {
        self.arrived(At::Topic, seen);
    }

    pub(super) fn in_dead_letters(&mut self, seen: Seen) {
        self.arrived(At::DeadLetters, seen);
    }

    /// Records of the source that the target has not shown yet.
    pub(super) fn behind(&self) -> usize {
        self.topic.behind() + self.dead_letters.behind()
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Both ends were read to their end.
    pub(super) fn finish(mut self) -> Counts {
        for at in [At::Topic, At::DeadLetters] {
            for early in std::mem::take(&mut self.place(at).early) {
                self.judge(at, early);
            }
        }
        self.counts.lost = self.behind() as u64;
        self.counts
    }

    fn place(&mut self, at: At) -> &mut Place {
        match at {
            At::Topic => &mut self.topic,
            At::DeadLetters => &mut self.dead_letters,
        }
    }

    fn arrived(&mut self, at: At, seen: Seen) {
        if self.place(at).early.is_empty() && seen.number < self.next_number {
            self.judge(at, seen);
        } else {
            self.place(at).early.push_back(seen);
        }
    }

    fn judge(&mut self, at: At, seen: Seen) {
        let Seen { number, digest, reason } = seen;
        let Some((expected, is_late)) = self.place(at).take(number) else {
            if number >= self.next_number || self.gaps.contains(&number) {
                self.counts.phantom += 1;
            } else if self.planted.contains(&number) == (at == At::DeadLetters) {
                self.counts.doubled += 1;
            } else {
                self.counts.misplaced += 1;
            }
            return;
        };
        self.counts.reordered += u64::from(is_late);
        self.counts.altered += u64::from(expected.digest != digest);
        match at {
            At::Topic => self.counts.copied += 1,
            At::DeadLetters => {
                self.counts.misjudged += u64::from(expected.reason != reason);
                *self.counts.dead_lettered.entry(reason.unwrap_or(UNFORESEEN)).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(number: u64) -> Seen {
        Seen { number, digest: number * 7, reason: None }
    }

    fn dead(number: u64, reason: &'static str) -> Seen {
        Seen { reason: Some(reason), ..seen(number) }
    }

    /// The ends in turn, one record each, so that each runs ahead of the others.
    fn check(source: &[Seen], target: &[Seen], letters: &[Seen]) -> Counts {
        let mut checker = Checker::default();
        let (mut source, mut target, mut letters) = (source.iter(), target.iter(), letters.iter());
        loop {
            match (target.next(), letters.next(), source.next()) {
                (None, None, None) => return checker.finish(),
                (theirs, dead, ours) => {
                    theirs.into_iter().for_each(|it| checker.at_target(*it));
                    dead.into_iter().for_each(|it| checker.in_dead_letters(*it));
                    ours.into_iter().for_each(|it| checker.at_source(*it));
                }
            }
        }
    }

    fn all(numbers: &[u64]) -> Vec<Seen> {
        numbers.iter().map(|it| seen(*it)).collect()
    }

    #[test]
    fn equal_ends_are_clean_with_gaps_and_without() {
        let counts = check(&all(&[0, 1, 4, 5]), &all(&[0, 1, 4, 5]), &[]);
        assert!(counts.is_clean());
        assert_eq!((counts.produced, counts.copied), (4, 4));
        assert!(check(&[], &[], &[]).is_clean());
    }

    #[test]
    fn every_planted_difference_is_counted_as_what_it_is() {
        let source = all(&[0, 1, 2, 5, 6]);
        let of = |target: &[u64]| check(&source, &all(target), &[]);
        let base = |copied| Counts { produced: 5, copied, ..Counts::default() };
        assert_eq!(of(&[0, 1, 5, 6]), Counts { lost: 1, ..base(4) });
        assert_eq!(of(&[0, 1, 2, 5]), Counts { lost: 1, ..base(4) });
        assert_eq!(of(&[0, 1, 1, 2, 5, 6]), Counts { doubled: 1, ..base(5) });
        assert_eq!(of(&[0, 2, 1, 5, 6]), Counts { reordered: 1, ..base(5) });
        // 3 was aborted at the source, 9 is not of it at all.
        assert_eq!(of(&[0, 1, 2, 3, 5, 6]), Counts { phantom: 1, ..base(5) });
        assert_eq!(of(&[0, 1, 2, 5, 6, 9]), Counts { phantom: 1, ..base(5) });
        let mut altered = source.clone();
        altered[2].digest += 1;
        assert_eq!(check(&source, &altered, &[]), Counts { altered: 1, ..base(5) });
        for target in [&[0, 1, 5, 6][..], &[0, 2, 1, 5, 6], &[0, 1, 2, 3, 5, 6]] {
            assert!(!of(target).is_clean());
        }
    }

    #[test]
    fn a_planted_fault_belongs_to_the_dead_letters_once_and_for_its_reason() {
        let source = [seen(0), dead(1, "utf8"), seen(2), dead(4, "truncated"), seen(5)];
        let (valid, letters) = (all(&[0, 2, 5]), [dead(1, "utf8"), dead(4, "truncated")]);
        let clean = check(&source, &valid, &letters);
        assert!(clean.is_clean() && clean.adds_up());
        assert_eq!((clean.copied, clean.letters()), (3, 2));
        assert_eq!(clean.dead_lettered, BTreeMap::from([("utf8", 1), ("truncated", 1)]));

        let differs = |target: &[Seen], letters: &[Seen]| {
            let found = check(&source, target, letters);
            assert!(!found.is_clean(), "{found:?}");
            (found.lost, found.doubled, found.reordered, found.altered, found.phantom, found.misplaced, found.misjudged)
        };
        // In neither place.
        assert_eq!(differs(&valid, &letters[..1]), (1, 0, 0, 0, 0, 0, 0));
        assert_eq!(differs(&valid[1..], &letters), (1, 0, 0, 0, 0, 0, 0));
        // Let through instead of taken out, and as well.
        assert_eq!(differs(&all(&[0, 1, 2, 5]), &letters[1..]), (1, 0, 0, 0, 0, 1, 0));
        assert_eq!(differs(&all(&[0, 1, 2, 5]), &letters), (0, 0, 0, 0, 0, 1, 0));
        // An event that was taken out, and as well.
        let more = [dead(1, "utf8"), dead(2, "utf8"), dead(4, "truncated")];
        assert_eq!(differs(&all(&[0, 5]), &more), (1, 0, 0, 0, 0, 1, 0));
        assert_eq!(differs(&valid, &more), (0, 0, 0, 0, 0, 1, 0));
        assert_eq!(differs(&valid, &[letters[0], letters[0], letters[1]]), (0, 1, 0, 0, 0, 0, 0));
        assert_eq!(differs(&valid, &[letters[1], letters[0]]), (0, 0, 1, 0, 0, 0, 0));
        assert_eq!(differs(&valid, &[letters[0], dead(4, "utf8")]), (0, 0, 0, 0, 0, 0, 1));
        assert_eq!(differs(&valid, &[letters[0], seen(4)]), (0, 0, 0, 0, 0, 0, 1));
        assert_eq!(differs(&valid, &[letters[0], Seen { digest: 0, ..letters[1] }]), (0, 0, 0, 1, 0, 0, 0));
        // 3 was aborted at the source, 9 is not of it at all.
        for phantom in [3, 9] {
            let mut letters = letters.to_vec();
            letters.push(dead(phantom, "utf8"));
            letters.sort_by_key(|it| it.number);
            assert_eq!(differs(&valid, &letters), (0, 0, 0, 0, 1, 0, 0));
        }
    }

    #[test]
    fn a_record_that_is_merely_late_is_behind_not_lost() {
        let mut checker = Checker::default();
        checker.at_source(seen(0));
        checker.at_source(seen(1));
        checker.at_source(dead(2, "utf8"));
        assert_eq!((checker.behind(), checker.counts().lost), (3, 0));
        checker.at_target(seen(0));
        assert_eq!(checker.behind(), 2);
        checker.in_dead_letters(dead(2, "utf8"));
        assert_eq!(checker.behind(), 1);
    }
}
