//! How old the oldest record is that is not copied yet.
//!
//! A record's own timestamp cannot say: producers write what they like into it. So the end of each source partition is looked at
//! again and again, and a record is as old as the look that first found it.

use std::collections::VecDeque;

/// At a look every two seconds, an hour; beyond it older looks are thinned out.
const LOOKS_MAX: usize = 1_800;

/// Looks at the end of one source partition, as (ms, offset). Only those are kept that a record still to be copied lies between.
#[derive(Clone, Debug, Default)]
pub(super) struct LagMeter {
    looks: VecDeque<(u64, i64)>,
}

impl LagMeter {
    /// `end`: the last stable offset. `next_offset`: everything before it is copied.
    pub(super) fn look(&mut self, now_ms: u64, end: i64, next_offset: i64) {
        // The source has lost records: what was seen of them says nothing of those that took their place.
        if self.looks.back().is_some_and(|it| it.1 > end) {
            self.looks.clear();
        }
        // Of looks that find the same, the first and the last tell when the next record can have come.
        let is_same = |at: usize| self.looks.get(self.looks.len().wrapping_sub(at)).is_some_and(|it| it.1 == end);
        if is_same(1) && is_same(2) {
            self.looks.pop_back();
        }
        self.looks.push_back((now_ms, end));
        while self.looks.get(1).is_some_and(|it| it.1 <= next_offset) {
            self.looks.pop_front();
        }
        if self.looks.len() > LOOKS_MAX {
            self.thin();
        }
    }

    /// Every second one of the older half, where a second more or less is nothing beside the lag.
    fn thin(&mut self) {
        let half = self.looks.len() / 2;
        let looks = std::mem::take(&mut self.looks).into_iter().enumerate();
        self.looks = looks.filter(|(at, _)| *at >= half || at % 2 == 0).map(|(_, it)| it).collect();
    }

    /// In offsets, markers of transactions among them. None: the source was not looked at yet.
    pub(super) fn records(&self, next_offset: i64) -> Option<i64> {
        self.looks.back().map(|it| (it.1 - next_offset).max(0))
    }

    /// `copied_ms`: the timestamp of the last record that was copied; it counts alone where the next one is older than all looks.
    pub(super) fn seconds(&self, now_ms: u64, next_offset: i64, copied_ms: Option<i64>) -> Option<f64> {
        let end = self.looks.back()?.1;
        if next_offset >= end {
            return Some(0.0);
        }
        let first = self.looks.partition_point(|it| it.1 <= next_offset);
        let (seen_ms, seen) = *self.looks.get(first)?;
        let came_ms = match first.checked_sub(1).and_then(|it| self.looks.get(it)) {
            // Between two looks records come evenly.
            Some((before_ms, before)) => {
                let share = (next_offset - before + 1) as f64 / (seen - before).max(1) as f64;
                *before_ms as f64 + share * seen_ms.saturating_sub(*before_ms) as f64
            }
            None => match copied_ms.and_then(|it| u64::try_from(it).ok()) {
                Some(copied_ms) => copied_ms.min(seen_ms) as f64,
                None => seen_ms as f64,
            },
        };
        Some((now_ms as f64 - came_ms).max(0.0) / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOOK_MS: u64 = 2_000;

    /// When each record came, and when the bridge had copied each: a source that is now busy and now idle, and a bridge that
    /// copies at a pace of its own, and sometimes stands still.
    fn came(phases: &[(u64, u64)]) -> Vec<u64> {
        let (mut time, mut all) = (0, Vec::new());
        for (records, gap_ms) in phases {
            for _ in 0..*records {
                time += gap_ms;
                all.push(time);
            }
            // Idle.
            time += 60_000;
        }
        all
    }

    proptest! {
        /// Against the truth, at every look: wrong by one look's interval at most.
        #[test]
        fn it_is_as_old_as_the_oldest_record_that_is_not_copied(
            phases in prop::collection::vec((1u64..400, 1u64..900), 1..6),
            paces in prop::collection::vec((1u64..300, 0u64..40_000), 1..6),
        ) {
            let came = came(&phases);
            let mut copied = Vec::new();
            let mut time = 0;
            for (at, it) in came.iter().enumerate() {
                let (pace, pause) = paces[at * paces.len() / came.len()];
                time = time.max(*it) + pace + if at % 97 == 0 { pause } else { 0 };
                copied.push(time);
            }
            let mut meter = LagMeter::default();
            let last = time + 10_000;
            for now in (0..last).step_by(LOOK_MS as usize) {
                let end = came.partition_point(|it| *it <= now);
                let next = copied.partition_point(|it| *it <= now);
                meter.look(now, end as i64, next as i64);
                let truth = if next < end { (now - came[next]) as f64 / 1e3 } else { 0.0 };
                let found = meter.seconds(now, next as i64, None).unwrap();
                prop_assert!((found - truth).abs() <= LOOK_MS as f64 / 1e3, "{found} for {truth} at {now}");
                prop_assert!(meter.looks.len() <= LOOKS_MAX);
            }
        }
    }

    #[test]
    fn looks_are_bounded_and_a_long_lag_is_still_told() {
        let mut meter = LagMeter::default();
        let hours = 48 * 3_600_000;
        for now in (0..hours).step_by(LOOK_MS as usize) {
            meter.look(now, now as i64, 1_000_000);
            assert!(meter.looks.len() <= LOOKS_MAX);
        }
        let truth = (hours - LOOK_MS - 1_000_000) as f64 / 1e3;
        let found = meter.seconds(hours - LOOK_MS, 1_000_000, None).unwrap();
        assert!((found - truth).abs() < 0.02 * truth, "{found} for {truth}");
    }

    #[test]
    fn an_idle_partition_costs_one_look_and_a_truncated_one_begins_anew() {
        let mut meter = LagMeter::default();
        (0..1_000).for_each(|it| meter.look(it * LOOK_MS, 50, 50));
        assert_eq!((meter.looks.len(), meter.seconds(2_000_000, 50, None)), (1, Some(0.0)));
        // The record that comes now is no older than the last look without it.
        meter.look(2_000_000, 51, 50);
        assert!(meter.seconds(2_000_000, 50, None).unwrap() <= 2.0);
        meter.look(2_002_000, 40, 40);
        assert_eq!(meter.looks.len(), 1);
    }

    /// What waited before the bridge was started.
    #[test]
    fn a_backlog_is_as_old_as_the_record_before_it() {
        let mut meter = LagMeter::default();
        assert_eq!(meter.seconds(0, 0, None), None);
        meter.look(10_000_000, 500, 100);
        assert_eq!(meter.seconds(10_000_000, 100, Some(4_000_000)), Some(6_000.0));
        // A timestamp of the future is none.
        assert_eq!(meter.seconds(10_004_000, 100, Some(90_000_000)), Some(4.0));
        assert_eq!(meter.records(100), Some(400));
    }
}
