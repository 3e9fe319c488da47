//! The numbers of one producer in one partition, as they come: what is missing, twice there, or in the wrong place. Pure.

use std::collections::BTreeMap;

/// Gaps that may still be filled by what comes late. Beyond it the oldest are lost for good, and what fills them counts as
/// doubled.
const GAPS_MAX: usize = 10_000;

/// What one number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    InOrder,
    /// Those from this one up to the one that came are not there, or come late.
    Gap {
        from: u64,
    },
    Doubled,
    /// Behind one that is later.
    Reordered,
}

/// Numbers that were passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: u64,
    /// Not one of them.
    pub(super) to: u64,
    /// Of the record that passed them over.
    pub(super) offset: i64,
}

#[derive(Debug, Default)]
pub(super) struct Sequence {
    next: u64,
    /// By their first number.
    gaps: BTreeMap<u64, Gap>,
    missing: u64,
}

impl Sequence {
    /// `next`: the first number that is expected.
    pub(super) fn from(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// How many numbers are missing so far.
    pub(super) fn missing(&self) -> u64 {
        self.missing
    }

    /// What is missing, but for the gaps that were forgotten.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.gaps.values().copied()
    }

    /// The largest number of all has none behind it, and is not one.
    pub(super) fn see(&mut self, number: u64, offset: i64) -> Seen {
        if number == self.next {
            self.next = number.saturating_add(1);
            return Seen::InOrder;
        }
        if number > self.next {
            let from = self.next;
            self.missing = self.missing.saturating_add(number - from);
            self.gaps.insert(from, Gap { from, to: number, offset });
            if self.gaps.len() > GAPS_MAX {
                self.gaps.pop_first();
            }
            self.next = number.saturating_add(1);
            return Seen::Gap { from };
        }
        let gap = self.gaps.range(..=number).next_back().map(|it| *it.1).filter(|it| number < it.to);
        let Some(gap) = gap else { return Seen::Doubled };
        self.gaps.remove(&gap.from);
        if gap.from < number {
            self.gaps.insert(gap.from, Gap { to: number, ..gap });
        }
        if number + 1 < gap.to {
            self.gaps.insert(number + 1, Gap { from: number + 1, ..gap });
        }
        self.missing -= 1;
        Seen::Reordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(numbers: &[u64]) -> (Vec<Seen>, u64) {
        let mut sequence = Sequence::from(0);
        let seen = (0..).zip(numbers).map(|(offset, it)| sequence.see(*it, offset)).collect();
        (seen, sequence.missing())
    }

    #[test]
    fn everything_is_called_what_it_is() {
        use Seen::{Doubled, Gap, InOrder, Reordered};
        assert_eq!(see(&[0, 1, 2]), (vec![InOrder; 3], 0));
        assert_eq!(see(&[0, 2, 3]), (vec![InOrder, Gap { from: 1 }, InOrder], 1));
        assert_eq!(see(&[0, 1, 1, 2]), (vec![InOrder, InOrder, Doubled, InOrder], 0));
        assert_eq!(see(&[0, 2, 1, 3]), (vec![InOrder, Gap { from: 1 }, Reordered, InOrder], 0));
        assert_eq!(see(&[5]), (vec![Gap { from: 0 }], 5));
        assert_eq!(see(&[5, 2, 2, 5]), (vec![Gap { from: 0 }, Reordered, Doubled, Doubled], 4));
    }

    #[test]
    fn a_gap_is_filled_from_both_sides_and_from_within() {
        let (seen, missing) = see(&[9, 0, 8, 4, 3, 5, 1, 7, 2, 6]);
        assert!(seen[1..].iter().all(|it| *it == Seen::Reordered), "{seen:?}");
        assert_eq!(missing, 0);
    }

    #[test]
    fn gaps_are_bounded() {
        let mut sequence = Sequence::from(0);
        (0..GAPS_MAX as u64 * 2).for_each(|it| {
            sequence.see(it * 2 + 1, 0);
        });
        assert_eq!(sequence.gaps.len(), GAPS_MAX);
        assert_eq!(sequence.missing(), GAPS_MAX as u64 * 2);
        assert_eq!(sequence.see(0, 0), Seen::Doubled);
        assert_eq!(sequence.see(u64::MAX - 1, 0), Seen::Gap { from: GAPS_MAX as u64 * 4 });
        assert_eq!(sequence.see(u64::MAX - 1, 0), Seen::Doubled);
    }

    proptest::proptest! {
        #[test]
        fn missing_is_what_was_never_seen(numbers in proptest::collection::vec(0_u64..40, 1..60)) {
            let mut sequence = Sequence::from(0);
            let mut seen = std::collections::BTreeSet::new();
            for number in numbers {
                let said = sequence.see(number, 0);
                proptest::prop_assert_eq!(said == Seen::Doubled, !seen.insert(number));
            }
            let last = seen.last().copied().unwrap_or(0);
            proptest::prop_assert_eq!(sequence.missing(), last + 1 - seen.len() as u64);
            let named: u64 = sequence.gaps().map(|it| it.to - it.from).sum();
            proptest::prop_assert_eq!(sequence.missing(), named);
        }
    }
}
