//! How long transactions take, in buckets.

use std::time::Duration;

/// Upper bounds, in seconds.
pub(super) const BOUNDS: [f64; 13] = [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// One more than there are bounds: what is above all of them.
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    pub(super) fn observe(&mut self, it: Duration) {
        let seconds = it.as_secs_f64();
        let at = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[at] += 1;
        self.sum += seconds;
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bucket's own count, with its bound; what is above all of them is in `count` alone.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        BOUNDS.into_iter().zip(self.counts).collect()
    }

    /// The bound that this share of all lies below; None: nothing was observed.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds
            .zip(self.counts)
            .find(|(_, count)| {
                seen += count;
                *count > 0 && seen >= wanted.max(1)
            })
            .map(|it| it.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_observation_is_in_one_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for ms in [1, 5, 6, 40, 90_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum() - 90.052).abs() < 1e-9);
        assert_eq!(histogram.buckets().iter().map(|it| it.1).sum::<u64>(), 4);
        assert_eq!((histogram.quantile(0.5), histogram.quantile(0.99)), (Some(0.01), Some(f64::INFINITY)));
    }
}
