//! A limit on repairs: single repairs are made at once, but a program that keeps undoing our changes is met slowly.
//! Pure: time is an argument.

use std::time::Duration;

/// Repairs that may follow each other at full speed.
const BURST: u32 = 60;
/// Time that refills the budget by one repair, and the delay between repairs while the budget is empty.
const REFILL: Duration = Duration::from_secs(2);
/// Repairs in a row that are logged one by one.
const LOGGED_REPAIRS: u32 = 5;

/// How to log a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogDecision {
    /// As an installation: the desired state is in place for the first time.
    Installed,
    /// As a single repair.
    Repair,
    /// Only for debugging: it is one of many.
    Debug,
    /// As the start of a fight: from now on repairs are throttled.
    Throttled,
}

/// A token bucket of repairs.
#[derive(Debug, Clone)]
pub(crate) struct RepairLimiter {
    budget: u32,
    refilled_at: Duration,
    throttled: bool,
}

impl RepairLimiter {
    /// A full budget. `now` is the time since any fixed moment.
    pub(crate) const fn new(now: Duration) -> Self {
        Self {
            budget: BURST,
            refilled_at: now,
            throttled: false,
        }
    }

    /// Returns how long the next repair has to wait.
    pub(crate) fn delay(&mut self, now: Duration) -> Duration {
        self.refill(now);
        if self.budget == 0 {
            REFILL
        } else {
            Duration::ZERO
        }
    }

    /// Records a repair.
    pub(crate) fn repaired(&mut self, now: Duration) -> LogDecision {
        self.refill(now);
        self.budget = self.budget.saturating_sub(1);
        if self.budget == 0 && !self.throttled {
            self.throttled = true;
            return LogDecision::Throttled;
        }
        if self.budget >= BURST - LOGGED_REPAIRS {
            LogDecision::Repair
        } else {
            LogDecision::Debug
        }
    }

    /// Whether the budget was used up and has not recovered.
    pub(crate) const fn is_throttled(&self) -> bool {
        self.throttled
    }

    fn refill(&mut self, now: Duration) {
        let tokens = now.saturating_sub(self.refilled_at).as_secs() / REFILL.as_secs();
        let tokens = u32::try_from(tokens).unwrap_or(BURST);
        self.refilled_at += REFILL * tokens;
        self.budget = self.budget.saturating_add(tokens).min(BURST);
        // A full half shows that the other program has stopped.
        self.throttled &= self.budget < BURST / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn single_repairs_are_made_at_once() {
        let mut limiter = RepairLimiter::new(seconds(100));
        for hour in 0..24 {
            let now = seconds(100 + hour * 3600);
            assert_eq!(limiter.delay(now), Duration::ZERO);
            assert_eq!(limiter.repaired(now), LogDecision::Repair);
        }
    }

    #[test]
    fn a_fight_is_throttled_and_logged_once() {
        let mut limiter = RepairLimiter::new(seconds(0));
        let decisions: Vec<LogDecision> =
            (0..BURST).map(|_| limiter.repaired(seconds(1))).collect();
        let logged = decisions
            .iter()
            .filter(|decision| **decision == LogDecision::Repair);
        assert_eq!(logged.count(), 5);
        assert_eq!(decisions.last(), Some(&LogDecision::Throttled));
        for turn in 1..100 {
            let now = seconds(1 + 2 * turn);
            limiter.delay(now);
            assert_eq!(limiter.repaired(now), LogDecision::Debug);
        }
        assert_eq!(limiter.delay(seconds(199)), REFILL);
    }

    #[test]
    fn a_fight_that_is_long_over_is_forgotten() {
        let mut limiter = RepairLimiter::new(seconds(0));
        (0..BURST).for_each(|_| _ = limiter.repaired(seconds(0)));
        assert_eq!(limiter.delay(seconds(1000)), Duration::ZERO);
        assert_eq!(limiter.repaired(seconds(1000)), LogDecision::Repair);
        // Thirty repairs are back by now, so the budget of a new fight is smaller.
        assert_eq!(
            (0..BURST).map(|_| limiter.repaired(seconds(1000))).last(),
            Some(LogDecision::Debug)
        );
    }
}
