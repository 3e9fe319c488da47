//! How long to wait before the next attempt.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
/// A broker that restarts is back within seconds; one that is gone is asked once a second, which costs it nothing.
const MAX: Duration = Duration::from_secs(1);

/// Doubles with every failure, jittered so that the lanes of many bridges do not come back in step.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Between half and the whole of the step.
    pub fn failed(&mut self) -> Duration {
        let step = FIRST.saturating_mul(1 << self.failures.min(8)).min(MAX);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_starts_again() {
        let mut backoff = Backoff::default();
        assert!(backoff.failed() <= FIRST);
        for _ in 0..20 {
            assert!(backoff.failed() <= MAX);
        }
        assert!(backoff.failed() >= MAX / 2);
        backoff.succeeded();
        assert!(backoff.failed() <= FIRST);
    }
}
