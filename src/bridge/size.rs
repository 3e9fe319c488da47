//! How large the next transaction may be.

/// A transaction that is aborted comes again half as large, down to this: on a slow way the whole might never be finished before its
/// timeout.
const BYTES_MIN: usize = 64 << 10;

/// Each partition of a transaction costs a marker and a record in the ledger: where more than these have much to bring, others wait for
/// the next one.
const BUSY_PARTITIONS_MAX: usize = 16;

#[derive(Clone, Copy, Debug)]
pub(super) struct TransactionSize {
    bytes: usize,
    bytes_max: usize,
}

impl TransactionSize {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: bytes_max, bytes_max }
    }

    pub(super) fn bytes(self) -> usize {
        self.bytes
    }

    /// What each partition may bring, of which so many bytes wait. A request to the target carries one batch of each partition, so a
    /// transaction to which all bring the same goes in the fewest requests.
    pub(super) fn share(self, waiting: impl Iterator<Item = usize>) -> usize {
        let mut waiting: Vec<usize> = waiting.collect();
        waiting.sort_unstable();
        let mut room = self.bytes;
        for (index, bytes) in waiting.iter().enumerate() {
            let each = room / (waiting.len() - index);
            if *bytes > each {
                return each.max(self.bytes / BUSY_PARTITIONS_MAX);
            }
            room -= bytes;
        }
        self.bytes
    }

    pub(super) fn aborted(&mut self) {
        self.bytes = (self.bytes / 2).max(BYTES_MIN.min(self.bytes_max));
    }

    /// By little: one that is too large again costs all of its timeout.
    pub(super) fn committed(&mut self) {
        self.bytes = self.bytes.saturating_add(self.bytes / 8).min(self.bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_abort_is_made_up_for() {
        let mut size = TransactionSize::new(8 << 20);
        size.aborted();
        assert_eq!(size.bytes(), 4 << 20);
        (0..6).for_each(|_| size.committed());
        assert_eq!(size.bytes(), 8 << 20);
    }

    #[test]
    fn what_some_do_not_need_the_others_share() {
        let size = TransactionSize::new(1_600);
        assert_eq!(size.share([200, 5_000, 300, 5_000].into_iter()), 550);
        assert_eq!(size.share([200, 300].into_iter()), 1_600);
        assert_eq!(size.share([5_000; 8].into_iter()), 200);
        assert_eq!(size.share([5_000; 1_000].into_iter()), 100);
    }

    proptest! {
        #[test]
        fn shares_fill_a_transaction(bytes_max in 1_usize..1 << 30, waiting in prop::collection::vec(0_usize..1 << 26, 1..40)) {
            let share = TransactionSize::new(bytes_max).share(waiting.iter().copied());
            let brought: usize = waiting.iter().map(|it| share.min(*it)).sum();
            // Less than a byte of each is lost where the room is divided.
            prop_assert!(brought + waiting.len() >= bytes_max.min(waiting.iter().sum()), "{brought}");
        }

        #[test]
        fn on_a_slow_way_most_transactions_are_finished(bytes_max in 1_usize..1 << 30, carried in BYTES_MIN..1 << 30) {
            let mut size = TransactionSize::new(bytes_max);
            let (mut committed, mut aborted) = (0, 0);
            for round in 0..300 {
                prop_assert!((BYTES_MIN.min(bytes_max)..=bytes_max).contains(&size.bytes()));
                let is_finished = size.bytes() <= carried;
                if is_finished { size.committed() } else { size.aborted() }
                // Until it is small enough for the first time: 2^30 is 2^14 times the least.
                if round >= 14 && is_finished { committed += 1 } else if round >= 14 { aborted += 1 }
            }
            prop_assert!(committed >= 4 * aborted, "{committed} were committed, {aborted} aborted");
        }
    }
}
