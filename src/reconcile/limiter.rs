//! Owns how fast we repair what others change: at once, as a rule; slowly, when somebody keeps undoing what we do. Pure:
//! time is an argument.

use std::time::Duration;

/// Time between the first sign of a change and the look at it: changes come in groups.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Repairs that may follow each other closely.
const BURST: u32 = 60;
/// Time that earns one more of them.
const EARN: Duration = Duration::from_secs(2);
/// Repairs in a row that are worth a line each.
const TOLD: u32 = 5;

/// The longest time between a sign and the look at it, while looks find nothing to repair.
const IDLE: Duration = Duration::from_secs(1);
/// Time without a sign after which the next one is news.
const QUIET: Duration = Duration::from_secs(2);

/// How a repair is to be spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogDecision {
    /// As something that happens now and then.
    Repair,
    /// Not at all: there were many like it.
    Nothing,
    /// As a fight: from now on we go slowly.
    Fight,
}

/// A budget of repairs, earned with time.
#[derive(Debug, Clone)]
pub struct RepairLimiter {
    left: u32,
    since: Duration,
    fighting: bool,
    /// Looks in a row that found nothing to repair.
    idle: u32,
    /// When the last sign came.
    heard: Duration,
}

impl RepairLimiter {
    /// A full budget. `now` is the time since any fixed moment.
    pub fn new(now: Duration) -> Self {
        Self {
            left: BURST,
            since: now,
            fighting: false,
            idle: 0,
            heard: now,
        }
    }

    /// How long to wait before the next look.
    pub fn delay(&mut self, now: Duration) -> Duration {
        self.earn(now);
        if self.left == 0 { EARN } else { DEBOUNCE }
    }

    /// Notes a sign of a change; answers how long to wait before the look at it. Others may change what is near to ours
    /// all day long: signs that have led to nothing are met ever later.
    pub fn heard(&mut self, now: Duration) -> Duration {
        if now.saturating_sub(self.heard) >= QUIET {
            self.idle = 0;
        }
        self.heard = now;
        // The look at what our own repair has stirred up is none of them.
        let doubled = DEBOUNCE * (1 << self.idle.saturating_sub(1).min(10));
        doubled.min(IDLE).max(self.delay(now))
    }

    /// Notes that a look has found nothing to repair.
    pub fn idled(&mut self) {
        self.idle = self.idle.saturating_add(1);
    }

    /// Notes that something had to be repaired.
    pub fn repaired(&mut self, now: Duration) -> LogDecision {
        self.earn(now);
        self.idle = 0;
        self.left = self.left.saturating_sub(1);
        if self.left == 0 && !self.fighting {
            self.fighting = true;
            return LogDecision::Fight;
        }
        if self.left >= BURST - TOLD {
            LogDecision::Repair
        } else {
            LogDecision::Nothing
        }
    }

    /// Whether somebody has used up the budget and has not stopped yet.
    pub fn is_fighting(&self) -> bool {
        self.fighting
    }

    fn earn(&mut self, now: Duration) {
        let earned = now.saturating_sub(self.since).as_secs() / EARN.as_secs();
        let earned = u32::try_from(earned).unwrap_or(BURST);
        self.since += EARN * earned;
        self.left = self.left.saturating_add(earned).min(BURST);
        // A fight is over when the budget has recovered for good.
        self.fighting &= self.left < BURST / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn repairs_at_once_as_a_rule() {
        let mut pace = RepairLimiter::new(seconds(100));
        for hour in 0..24 {
            let now = seconds(100 + hour * 3600);
            assert_eq!(pace.delay(now), DEBOUNCE);
            assert_eq!(pace.repaired(now), LogDecision::Repair);
        }
    }

    #[test]
    fn goes_slowly_in_a_fight_and_says_so_once() {
        let mut pace = RepairLimiter::new(seconds(0));
        let told: Vec<LogDecision> = (0..BURST).map(|_| pace.repaired(seconds(1))).collect();
        assert_eq!(
            told.iter()
                .filter(|tell| **tell == LogDecision::Repair)
                .count(),
            5
        );
        assert_eq!(told.last(), Some(&LogDecision::Fight));
        for turn in 1..100 {
            let now = seconds(1 + 2 * turn);
            pace.delay(now);
            assert_eq!(pace.repaired(now), LogDecision::Nothing);
        }
        assert_eq!(pace.delay(seconds(199)), EARN);
    }

    #[test]
    fn signs_that_lead_to_nothing_are_met_ever_later_until_one_does_or_it_is_quiet() {
        let mut pace = RepairLimiter::new(seconds(0));
        let meet = |pace: &mut RepairLimiter, now| {
            let delay = pace.heard(now);
            pace.idled();
            delay.as_millis()
        };
        let delays: Vec<u128> = (0..9)
            .map(|turn| meet(&mut pace, Duration::from_millis(400 * turn)))
            .collect();
        assert_eq!(delays, [20, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(pace.repaired(seconds(4)), LogDecision::Repair);
        assert_eq!(
            (meet(&mut pace, seconds(4)), meet(&mut pace, seconds(5))),
            (20, 20)
        );
        (0..100).for_each(|_| _ = meet(&mut pace, seconds(5)));
        assert_eq!(
            (meet(&mut pace, seconds(6)), meet(&mut pace, seconds(8))),
            (1000, 20)
        );
    }

    #[test]
    fn forgets_a_fight_that_is_long_over() {
        let mut pace = RepairLimiter::new(seconds(0));
        (0..BURST).for_each(|_| _ = pace.repaired(seconds(0)));
        assert_eq!(pace.delay(seconds(1000)), DEBOUNCE);
        assert_eq!(pace.repaired(seconds(1000)), LogDecision::Repair);
        assert_eq!(
            (0..BURST).map(|_| pace.repaired(seconds(1000))).last(),
            Some(LogDecision::Nothing)
        );
    }
}
