//! Owns how soon the keeper lists again, and when that is worth a line: a registry that contradicts itself must not be
//! asked for everything again and again at full speed. Pure.

use std::time::Duration;

use crate::reconcile::backoff::Backoff;

/// So many lists in a row for one reason are worth a line.
const WORTH_A_LINE: u32 = 5;

/// See the module.
#[derive(Debug)]
pub(super) struct Relists {
    backoff: Backoff,
    why: &'static str,
    times: u32,
}

impl Relists {
    pub(super) fn new() -> Self {
        Self {
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(5)),
            why: "",
            times: 0,
        }
    }

    /// Time before the next list. `random` is uniform in 0..1.
    pub(super) fn pause(&mut self, why: &'static str, random: f64) -> Duration {
        self.times = if self.why == why { self.times + 1 } else { 1 };
        self.why = why;
        self.backoff.next(random)
    }

    /// Whether it has just become plain that lists do not help.
    pub(super) fn is_stuck(&self) -> bool {
        self.times == WORTH_A_LINE
    }

    /// All was well for a while.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gets_slower_and_says_once_why() {
        let mut relists = Relists::new();
        assert_eq!(
            relists.pause("another reason", 0.0),
            Duration::from_millis(50)
        );
        let mut said = 0;
        for _ in 0..20 {
            assert!(relists.pause("a reason", 0.0) <= Duration::from_secs(5));
            said += usize::from(relists.is_stuck());
        }
        assert_eq!(
            (said, relists.pause("a reason", 0.0)),
            (1, Duration::from_secs(5))
        );
        relists.reset();
        assert_eq!(relists.pause("a reason", 0.0), Duration::from_millis(50));
    }
}
