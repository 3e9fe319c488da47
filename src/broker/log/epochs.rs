//! Which leader wrote from which offset on (Kafka's LeaderEpochFileCache, KIP-101 and KIP-320).

/// What is answered where nothing is known.
pub(crate) const UNDEFINED: EpochEnd = EpochEnd { epoch: -1, end_offset: -1 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochEnd {
    pub(crate) epoch: i32,
    pub(crate) end_offset: i64,
}

/// Epochs and their first offsets, both rising.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epochs {
    starts: Vec<(i32, i64)>,
}

impl Epochs {
    /// An epoch that is not newer than the last one changes nothing: the first offset of an epoch is the true one.
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: i64) {
        if self.starts.last().is_some_and(|(last, _)| *last >= epoch) {
            return;
        }
        // An epoch in which nothing was written gives its place up to the one that follows it.
        self.starts.retain(|(_, start)| *start < start_offset);
        self.starts.push((epoch, start_offset));
    }

    pub(crate) fn latest(&self) -> Option<i32> {
        self.starts.last().map(|(epoch, _)| *epoch)
    }

    pub(crate) fn earliest(&self) -> Option<(i32, i64)> {
        self.starts.first().copied()
    }

    /// The largest epoch up to the one asked for, and where it ended.
    pub(crate) fn end_offset_for(&self, epoch: i32, log_end: i64) -> EpochEnd {
        if epoch >= 0 && self.latest() == Some(epoch) {
            return EpochEnd { epoch, end_offset: log_end };
        }
        let after = self.starts.partition_point(|(known, _)| *known <= epoch);
        let Some((_, next_start)) = self.starts.get(after).filter(|_| epoch >= 0) else { return UNDEFINED };
        match after.checked_sub(1).and_then(|index| self.starts.get(index)) {
            Some((floor, _)) => EpochEnd { epoch: *floor, end_offset: *next_start },
            // Older than everything that is kept: that history ended where ours begins.
            None => EpochEnd { epoch, end_offset: *next_start },
        }
    }

    /// Offsets before `log_start` are gone; the epoch that holds it begins there from now on.
    pub(crate) fn truncate_from_start(&mut self, log_start: i64) {
        let first_kept = self.starts.partition_point(|(_, start)| *start <= log_start);
        if let Some(index) = first_kept.checked_sub(1) {
            self.starts.drain(..index);
            self.starts[0].1 = self.starts[0].1.max(log_start);
        }
    }

    pub(crate) fn truncate_from_end(&mut self, log_end: i64) {
        self.starts.retain(|(_, start)| *start < log_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs() -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, start) in [(0, 0), (2, 10), (5, 30)] {
            epochs.assign(epoch, start);
        }
        epochs
    }

    fn end(epochs: &Epochs, epoch: i32) -> (i32, i64) {
        let end = epochs.end_offset_for(epoch, 40);
        (end.epoch, end.end_offset)
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = epochs();
        assert_eq!(end(&epochs, 0), (0, 10));
        assert_eq!(end(&epochs, 1), (0, 10));
        assert_eq!(end(&epochs, 2), (2, 30));
        assert_eq!(end(&epochs, 4), (2, 30));
        assert_eq!(end(&epochs, 5), (5, 40));
        assert_eq!(end(&epochs, 6), (-1, -1));
        assert_eq!(end(&epochs, -1), (-1, -1));
    }

    #[test]
    fn retention_moves_the_first_start_and_forgets_what_lies_before() {
        let mut epochs = epochs();
        epochs.truncate_from_start(20);
        assert_eq!(epochs.earliest(), Some((2, 20)));
        assert_eq!(end(&epochs, 0), (0, 20));
        assert_eq!(end(&epochs, 2), (2, 30));
    }

    #[test]
    fn truncation_forgets_epochs_behind_the_end() {
        let mut epochs = epochs();
        epochs.truncate_from_end(30);
        assert_eq!(epochs.latest(), Some(2));
    }

    #[test]
    fn an_epoch_without_records_makes_room() {
        let mut epochs = epochs();
        epochs.assign(6, 40);
        epochs.assign(7, 40);
        assert_eq!(epochs.end_offset_for(6, 40), EpochEnd { epoch: 5, end_offset: 40 });
    }
}
