//! How long until the source deletes what is not copied yet, should both go on as they did of late.

use std::collections::VecDeque;

/// Paces are taken over this long.
const WINDOW_MS: u64 = 300_000;
/// Closer looks would say nothing more.
const LOOK_INTERVAL_MS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    pub(super) time_ms: u64,
    pub(super) log_start: i64,
    pub(super) next_offset: i64,
    pub(super) lag_seconds: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Headroom {
    looks: VecDeque<Look>,
}

impl Headroom {
    pub(super) fn look(&mut self, look: Look) {
        if self.looks.back().is_some_and(|it| look.time_ms.saturating_sub(it.time_ms) < LOOK_INTERVAL_MS) {
            return;
        }
        self.looks.push_back(look);
        while self.looks.front().is_some_and(|it| look.time_ms.saturating_sub(it.time_ms) > WINDOW_MS) {
            self.looks.pop_front();
        }
    }

    /// In seconds. None: never. `retention`: the topic's, in seconds, if it is known and deletes by age.
    pub(super) fn seconds(&self, now: Look, retention: Option<f64>) -> Option<f64> {
        if now.lag_seconds <= 0.0 {
            return None;
        }
        let before = self.looks.front().filter(|it| it.time_ms < now.time_ms)?;
        let elapsed = (now.time_ms - before.time_ms) as f64 / 1e3;
        let gap = (now.next_offset - now.log_start).max(0) as f64;
        let deleted = (now.log_start - before.log_start) as f64;
        let closing = (deleted - (now.next_offset - before.next_offset) as f64) / elapsed;
        let by_offset = (closing > 0.0).then(|| gap / closing);
        // The oldest record that is not copied ages by a second a second where the bridge stands still.
        let ageing = (now.lag_seconds - before.lag_seconds) / elapsed;
        let left = retention.map(|it| (it - now.lag_seconds).max(0.0));
        let by_age = left.filter(|_| ageing > 0.0).map(|it| it / ageing);
        by_offset.into_iter().chain(by_age).reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, log_start: i64, next_offset: i64, lag_seconds: f64) -> Look {
        Look { time_ms: seconds * 1_000, log_start, next_offset, lag_seconds }
    }

    fn after(looks: &[Look]) -> Headroom {
        let mut headroom = Headroom::default();
        looks.iter().for_each(|it| headroom.look(*it));
        headroom
    }

    #[test]
    fn a_bridge_that_keeps_up_or_catches_up_is_never_overtaken() {
        let headroom = after(&[at(0, 0, 1_000, 5.0)]);
        assert_eq!(headroom.seconds(at(100, 500, 2_000, 0.0), Some(1.0)), None);
        assert_eq!(headroom.seconds(at(100, 500, 2_000, 3.0), Some(3_600.0)), None);
        assert_eq!(Headroom::default().seconds(at(100, 500, 2_000, 3.0), None), None, "no pace is known yet");
    }

    /// Deletion goes at 30 records a second, the bridge at 10: 1,000 records are left for the 20 between them.
    #[test]
    fn the_pace_of_deletion_against_that_of_the_bridge() {
        let headroom = after(&[at(0, 0, 3_000, 10.0)]);
        let found = headroom.seconds(at(100, 3_000, 4_000, 10.0), None);
        assert_eq!(found, Some(50.0));
    }

    /// An hour's retention, ten minutes behind, and standing still.
    #[test]
    fn a_retention_by_age() {
        let headroom = after(&[at(0, 0, 3_000, 500.0)]);
        assert_eq!(headroom.seconds(at(100, 0, 3_000, 600.0), Some(3_600.0)), Some(3_000.0));
        assert_eq!(headroom.seconds(at(100, 0, 3_000, 600.0), Some(300.0)), Some(0.0), "it is too late already");
    }

    #[test]
    fn old_looks_go() {
        let looks: Vec<_> = (0..10_000).map(|it| at(it, 0, 0, 1.0)).collect();
        assert!(after(&looks).looks.len() <= (WINDOW_MS / LOOK_INTERVAL_MS) as usize + 1);
    }
}
