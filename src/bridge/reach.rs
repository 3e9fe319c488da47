//! Whether this process reaches the source: what a bridge of a group tells the others. Pure: answers and the time go in.
//!
//! The group's session says only that a bridge reaches the target. One that is cut off from the source alone would keep its
//! lanes, and stand still with them, for as long as the cut lasts.

use crate::group::Fitness;
use std::time::{Duration, Instant};

/// Looked at so late, the process itself was asleep, and asked nobody.
const ASLEEP: Duration = Duration::from_secs(1);

pub(super) struct Reach {
    /// So long without an answer: the source is out of reach.
    patience: Duration,
    heard: Instant,
    /// Since then answers have come without such a pause.
    since: Instant,
    fitness: Fitness,
}

impl Reach {
    pub(super) fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, heard: now, since: now, fitness: Fitness::Fit }
    }

    /// The source has answered.
    pub(super) fn heard(&mut self, now: Instant) {
        self.due(now);
        match self.fitness {
            Fitness::Unfit => (self.since, self.fitness) = (now, Fitness::Recovering),
            Fitness::Failing => self.fitness = Fitness::Fit,
            Fitness::Fit | Fitness::Recovering => {}
        }
        self.heard = now;
        self.due(now);
    }

    /// A link that fails again and again would have the lanes move each time: who was away is fit again only after a while.
    pub(super) fn due(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due + ASLEEP <= now) {
            self.heard = now;
        }
        if self.heard + self.patience <= now {
            self.fitness = Fitness::Unfit;
        } else if self.fitness == Fitness::Fit && self.heard + self.patience / 2 <= now {
            self.fitness = Fitness::Failing;
        } else if self.fitness == Fitness::Recovering && self.since + self.patience <= now {
            self.fitness = Fitness::Fit;
        }
    }

    pub(super) fn fitness(&self) -> Fitness {
        self.fitness
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.fitness {
            Fitness::Fit => Some(self.heard + self.patience / 2),
            Fitness::Failing | Fitness::Recovering => Some(self.heard + self.patience),
            Fitness::Unfit => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(6);

    /// What the process is at each of these seconds, when answers come at those.
    fn told(answers: &[u64], asked: &[u64]) -> Vec<Fitness> {
        let began = Instant::now();
        let mut reach = Reach::new(PATIENCE, began);
        let mut found = Vec::new();
        for second in 0..=*asked.last().unwrap() {
            let now = began + Duration::from_secs(second);
            if answers.contains(&second) {
                reach.heard(now);
            } else if reach.poll_timeout().is_some_and(|due| due <= now) {
                reach.due(now);
            }
            if asked.contains(&second) {
                found.push(reach.fitness());
            }
        }
        found
    }

    #[test]
    fn answers_now_and_then_are_enough() {
        let expected = [Fitness::Fit, Fitness::Failing, Fitness::Fit, Fitness::Fit, Fitness::Failing];
        assert_eq!(told(&[2, 7, 12, 17], &[4, 6, 7, 17, 22]), expected);
    }

    #[test]
    fn silence_makes_it_unfit_and_a_while_of_answers_fit_again() {
        let expected = [Fitness::Failing, Fitness::Unfit, Fitness::Recovering, Fitness::Recovering, Fitness::Fit];
        assert_eq!(told(&[2, 20, 22, 24, 26, 28], &[7, 8, 20, 25, 26]), expected);
    }

    #[test]
    fn whoever_slept_has_missed_no_answer() {
        let began = Instant::now();
        for (late, fitness) in [(Duration::ZERO, Fitness::Unfit), (ASLEEP, Fitness::Failing)] {
            let mut reach = Reach::new(PATIENCE, began);
            reach.due(began + PATIENCE / 2);
            reach.due(began + PATIENCE + late);
            assert_eq!(reach.fitness(), fitness);
        }
    }

    #[test]
    fn a_link_that_flaps_does_not_become_fit() {
        assert_eq!(
            told(&[10, 12, 20, 22, 30, 32], &[15, 19, 22, 29, 32]),
            [Fitness::Recovering, Fitness::Unfit, Fitness::Recovering, Fitness::Unfit, Fitness::Recovering]
        );
    }
}
