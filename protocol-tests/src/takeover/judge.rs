//! When the last stable offset of every partition moves again. Pure: what was seen goes in, the verdict comes out.

use std::time::Duration;

/// A partition that stands longer than this stands still. Several times the interval at which each is written to, so that a
/// slow commit is no standstill; what is shorter is not measured.
pub const STILL: Duration = Duration::from_millis(250);

/// When each partition's last stable offset was seen to have moved, since the watching began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    last: Vec<i64>,
    moves: Vec<Vec<Duration>>,
    seen: Duration,
}

/// What became of one partition behind a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// From the fault until it moves again and goes on. None: it does not move.
    pub recovered: Option<Duration>,
    pub stood_still: bool,
}

impl Moves {
    pub fn observe(&mut self, at: Duration, last_stable_offsets: &[i64]) {
        self.seen = at;
        self.last.resize(last_stable_offsets.len(), i64::MAX);
        self.moves.resize(last_stable_offsets.len(), vec![]);
        for (partition, offset) in last_stable_offsets.iter().enumerate() {
            if *offset > self.last[partition] {
                self.moves[partition].push(at);
            }
            self.last[partition] = *offset;
        }
    }

    pub fn seen(&self) -> Duration {
        self.seen
    }

    /// What was seen so far: of a long series only the run that goes on is held.
    pub fn forget(&mut self) {
        self.moves.iter_mut().for_each(Vec::clear);
    }

    /// Each partition moved within [`STILL`], up to now and for so long: only then a fault can be told from the weather.
    pub fn is_steady(&self, quiet: Duration) -> bool {
        let Some(since) = self.seen.checked_sub(quiet) else { return false };
        !self.moves.is_empty() && self.outcomes(since).iter().all(|it| it.recovered.is_some() && !it.stood_still)
    }

    /// Of each partition. A partition may be moved after the fault by what was on its way, and stand still then: it has
    /// recovered with the end of its last standstill. Moves from before the fault count for nothing.
    pub fn outcomes(&self, fault: Duration) -> Vec<Outcome> {
        self.moves.iter().map(|it| outcome(it, fault, self.seen)).collect()
    }

    /// The slowest partition's; None while one of them does not move.
    pub fn recovered(&self, fault: Duration) -> Option<Duration> {
        self.outcomes(fault).iter().map(|it| it.recovered).collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

fn outcome(moves: &[Duration], fault: Duration, seen: Duration) -> Outcome {
    let (mut last, mut recovered, mut stood_still) = (fault, None, false);
    for at in moves.iter().filter(|it| **it > fault) {
        let is_still = *at - last > STILL;
        if is_still || recovered.is_none() {
            recovered = Some(*at - fault);
        }
        stood_still |= is_still;
        last = *at;
    }
    let stands = seen.saturating_sub(last) > STILL;
    Outcome { recovered: recovered.filter(|_| !stands), stood_still: stood_still || stands }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Looks every 10 ms at partitions that are written to every 50 ms, each but for its standstills.
    fn watched(until_ms: u64, standstills: &[&[(u64, u64)]]) -> Moves {
        let mut moves = Moves::default();
        let mut offsets = vec![0; standstills.len()];
        for at in (0..=until_ms).step_by(10) {
            for (offset, still) in offsets.iter_mut().zip(standstills) {
                let stands = still.iter().any(|(from, to)| (*from..*to).contains(&at));
                *offset += i64::from(at % 50 == 0 && !stands);
            }
            moves.observe(ms(at), &offsets);
        }
        moves
    }

    #[test]
    fn the_slowest_partition_counts_from_the_fault() {
        let moves = watched(10_000, &[&[], &[(2_020, 8_500)], &[(2_020, 4_000)]]);
        assert_eq!(moves.recovered(ms(2_010)), Some(ms(6_490)));
        let stood: Vec<_> = moves.outcomes(ms(2_010)).iter().map(|it| it.stood_still).collect();
        assert_eq!(stood, [false, true, true]);
    }

    #[test]
    fn one_that_never_moves_is_a_failure() {
        let moves = watched(10_000, &[&[], &[(2_020, 20_000)]]);
        assert_eq!(moves.recovered(ms(2_010)), None);
        assert_eq!(moves.outcomes(ms(2_010))[1], Outcome { recovered: None, stood_still: true });
        // The control: the other alone is well.
        assert_eq!(moves.outcomes(ms(2_010))[0], Outcome { recovered: Some(ms(40)), stood_still: false });
    }

    #[test]
    fn what_moved_before_the_fault_does_not_count() {
        let moves = watched(2_200, &[&[(2_020, 20_000)]]);
        assert!(moves.outcomes(ms(1_000))[0].recovered.is_some());
        assert_eq!(moves.recovered(ms(2_010)), None);
    }

    /// What was on its way when the fault came is no recovery.
    #[test]
    fn one_that_moves_once_and_stands_has_not_recovered() {
        let moves = watched(10_000, &[&[(2_060, 8_000)]]);
        assert_eq!(moves.recovered(ms(2_010)), Some(ms(5_990)));
        let moves = watched(3_000, &[&[(2_060, 8_000)]]);
        assert_eq!(moves.recovered(ms(2_010)), None);
    }

    #[test]
    fn one_that_falls_behind_again_has_recovered_only_then() {
        let moves = watched(10_000, &[&[(2_020, 4_000), (5_000, 7_000)]]);
        assert_eq!(moves.recovered(ms(2_010)), Some(ms(4_990)));
    }

    #[test]
    fn steady_is_what_has_moved_all_along() {
        assert!(watched(5_000, &[&[], &[(1_000, 3_000)]]).is_steady(ms(1_000)));
        assert!(!watched(5_000, &[&[], &[(1_000, 4_500)]]).is_steady(ms(1_000)));
        assert!(!watched(5_000, &[&[], &[(1_000, 9_000)]]).is_steady(ms(1_000)));
        assert!(!watched(500, &[&[]]).is_steady(ms(1_000)));
        assert!(!Moves::default().is_steady(ms(0)));
    }
}
