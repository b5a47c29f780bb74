//! Owns how long to wait before the next try: doubling, with a ceiling, with jitter. Never sleeps and
//! never asks for randomness itself. Pure.

use std::time::Duration;

/// Delays for tries that keep failing. One per thing that is tried.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    ceiling: Duration,
    failures: u32,
}

impl Backoff {
    /// Delays from about `first` up to about `ceiling`.
    pub const fn new(first: Duration, ceiling: Duration) -> Self {
        Self {
            first,
            ceiling,
            failures: 0,
        }
    }

    /// The delay after one more failure. `random` is uniform in 0..1 and shortens the delay by up to a
    /// half, so that many nodes that failed together do not come back together.
    pub fn next(&mut self, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(self.ceiling)
            .mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }

    /// Starts again from the first delay, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_ceiling_and_starts_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let delays: Vec<u128> = (0..4).map(|_| backoff.next(0.0).as_millis()).collect();
        assert_eq!(delays, [100, 200, 350, 350]);
        backoff.reset();
        assert_eq!(backoff.next(0.0).as_millis(), 100);
    }

    #[test]
    fn jitter_takes_off_at_most_a_half() {
        let mut backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(4));
        assert_eq!(backoff.next(1.0), Duration::from_secs(2));
        assert_eq!(backoff.next(0.5), Duration::from_secs(3));
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        assert!((0..100).all(|_| backoff.next(0.0) <= Duration::from_secs(30)));
    }
}
