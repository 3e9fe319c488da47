//! Compares the two ends of one partition while both grow. Pure: what each end shows goes in, differences are counted.
//!
//! The source is the truth: its committed records, in their order. A record is known by its number, and everything else in it
//! by a digest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Numbers that the source never showed (aborted records), kept to tell a phantom from a double. Beyond this the oldest are
/// forgotten, and a phantom would count as a double.
const GAPS_MAX: usize = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) number: u64,
    /// Over key, value, headers in order, and timestamp.
    pub(super) digest: u64,
}

/// `lost` counts only after `finish`; until then a record that is missing may still come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) produced: u64,
    pub(super) copied: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    pub(super) altered: u64,
    /// At the target, though the source aborted it or never had it.
    pub(super) phantom: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.produced += other.produced;
        self.copied += other.copied;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.altered += other.altered;
        self.phantom += other.phantom;
    }

    pub(super) fn is_clean(&self) -> bool {
        let Self { produced, copied, lost, doubled, reordered, altered, phantom } = *self;
        produced == copied && lost + doubled + reordered + altered + phantom == 0
    }
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    counts: Counts,
    /// Shown by the source and not yet by the target.
    waiting: VecDeque<Seen>,
    /// Passed over by the target: lost, unless they come late.
    skipped: BTreeMap<u64, u64>,
    /// Shown by the target before the source was read so far.
    early: VecDeque<Seen>,
    gaps: BTreeSet<u64>,
    next_number: u64,
}

impl Checker {
    pub(super) fn at_source(&mut self, seen: Seen) {
        self.counts.produced += 1;
        self.gaps.extend(self.next_number..seen.number);
        while self.gaps.len() > GAPS_MAX {
            self.gaps.pop_first();
        }
        self.next_number = self.next_number.max(seen.number + 1);
        self.waiting.push_back(seen);
        while let Some(early) = self.early.front().copied().filter(|it| it.number < self.next_number) {
            self.early.pop_front();
            self.judge(early);
        }
    }

    pub(super) fn at_target(&mut self, seen: Seen) {
        if self.early.is_empty() && seen.number < self.next_number {
            self.judge(seen);
        } else {
            self.early.push_back(seen);
        }
    }

    /// Records of the source that the target has not shown yet.
    pub(super) fn behind(&self) -> usize {
        self.waiting.len() + self.skipped.len()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Both ends were read to their end.
    pub(super) fn finish(mut self) -> Counts {
        for early in std::mem::take(&mut self.early) {
            self.judge(early);
        }
        self.counts.lost = self.behind() as u64;
        self.counts
    }

    fn judge(&mut self, seen: Seen) {
        let Seen { number, digest } = seen;
        let expected = if let Some(expected) = self.skipped.remove(&number) {
            self.counts.reordered += 1;
            expected
        } else if let Ok(index) = self.waiting.binary_search_by_key(&number, |it| it.number) {
            for passed in self.waiting.drain(..index) {
                self.skipped.insert(passed.number, passed.digest);
            }
            self.waiting.pop_front().map_or(digest, |it| it.digest)
        } else if number >= self.next_number || self.gaps.contains(&number) {
            self.counts.phantom += 1;
            return;
        } else {
            self.counts.doubled += 1;
            return;
        };
        self.counts.copied += 1;
        if expected != digest {
            self.counts.altered += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(number: u64) -> Seen {
        Seen { number, digest: number * 7 }
    }

    /// `source` and `target` in turn, one record each, so that both run ahead of each other.
    fn check(source: &[u64], target: &[Seen]) -> Counts {
        let mut checker = Checker::default();
        let (mut source, mut target) = (source.iter(), target.iter());
        loop {
            match (target.next(), source.next()) {
                (None, None) => return checker.finish(),
                (theirs, ours) => {
                    theirs.into_iter().for_each(|it| checker.at_target(*it));
                    ours.into_iter().for_each(|it| checker.at_source(seen(*it)));
                }
            }
        }
    }

    fn all(numbers: &[u64]) -> Vec<Seen> {
        numbers.iter().map(|it| seen(*it)).collect()
    }

    #[test]
    fn equal_ends_are_clean_with_gaps_and_without() {
        let counts = check(&[0, 1, 4, 5], &all(&[0, 1, 4, 5]));
        assert!(counts.is_clean());
        assert_eq!((counts.produced, counts.copied), (4, 4));
        assert!(check(&[], &[]).is_clean());
    }

    #[test]
    fn every_planted_difference_is_counted_as_what_it_is() {
        let source = [0, 1, 2, 5, 6];
        let of = |target: &[u64]| check(&source, &all(target));
        assert_eq!(of(&[0, 1, 5, 6]), Counts { produced: 5, copied: 4, lost: 1, ..Counts::default() });
        assert_eq!(of(&[0, 1, 2, 5]), Counts { produced: 5, copied: 4, lost: 1, ..Counts::default() });
        assert_eq!(of(&[0, 1, 1, 2, 5, 6]), Counts { produced: 5, copied: 5, doubled: 1, ..Counts::default() });
        assert_eq!(of(&[0, 2, 1, 5, 6]), Counts { produced: 5, copied: 5, reordered: 1, ..Counts::default() });
        // 3 was aborted at the source, 9 is not of it at all.
        assert_eq!(of(&[0, 1, 2, 3, 5, 6]), Counts { produced: 5, copied: 5, phantom: 1, ..Counts::default() });
        assert_eq!(of(&[0, 1, 2, 5, 6, 9]), Counts { produced: 5, copied: 5, phantom: 1, ..Counts::default() });
        let mut altered = all(&source);
        altered[2].digest += 1;
        assert_eq!(check(&source, &altered), Counts { produced: 5, copied: 5, altered: 1, ..Counts::default() });
        for target in [&[0, 1, 5, 6][..], &[0, 2, 1, 5, 6], &[0, 1, 2, 3, 5, 6]] {
            assert!(!of(target).is_clean());
        }
    }

    #[test]
    fn a_record_that_is_merely_late_is_behind_not_lost() {
        let mut checker = Checker::default();
        checker.at_source(seen(0));
        checker.at_source(seen(1));
        assert_eq!((checker.behind(), checker.counts().lost), (2, 0));
        checker.at_target(seen(0));
        assert_eq!(checker.behind(), 1);
    }
}
