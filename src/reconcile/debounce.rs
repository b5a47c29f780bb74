//! Debounce of events: a burst of events leads to one run. The delay grows while runs find nothing to do, because other
//! programs may change what is next to our state all day long. Pure: time is an argument.

use std::time::Duration;

/// Time without an event after which the delay starts from the first value again.
const QUIET: Duration = Duration::from_secs(2);

/// The delay between an event and the run that it causes.
#[derive(Debug, Clone)]
pub(crate) struct Debounce {
    first: Duration,
    max: Duration,
    /// Runs in a row that found nothing to do.
    needless_runs: u32,
    last_event: Option<Duration>,
}

impl Debounce {
    pub(crate) const fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            needless_runs: 0,
            last_event: None,
        }
    }

    /// Records an event and returns how long to wait before the run. `now` is the time since any fixed moment.
    pub(crate) fn event(&mut self, now: Duration) -> Duration {
        let quiet = self
            .last_event
            .is_none_or(|last| now.saturating_sub(last) >= QUIET);
        if quiet {
            self.needless_runs = 0;
        }
        self.last_event = Some(now);
        // The first needless run does not count: our own changes cause events, too.
        let doublings = self.needless_runs.saturating_sub(1).min(10);
        (self.first * (1 << doublings)).min(self.max)
    }

    /// Records a run that found nothing to do.
    pub(crate) fn needless_run(&mut self) {
        self.needless_runs = self.needless_runs.saturating_add(1);
    }

    /// Records a run that had something to do.
    pub(crate) fn useful_run(&mut self) {
        self.needless_runs = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debounce() -> Debounce {
        Debounce::new(Duration::from_millis(20), Duration::from_secs(1))
    }

    fn event_then_needless_run(debounce: &mut Debounce, now: Duration) -> u128 {
        let delay = debounce.event(now);
        debounce.needless_run();
        delay.as_millis()
    }

    #[test]
    fn the_delay_doubles_while_runs_find_nothing_to_do() {
        let mut debounce = debounce();
        let delays: Vec<u128> = (0..9)
            .map(|n| event_then_needless_run(&mut debounce, Duration::from_millis(400 * n)))
            .collect();
        assert_eq!(delays, [20, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn a_useful_run_resets_the_delay() {
        let mut debounce = debounce();
        (0..20).for_each(|_| _ = event_then_needless_run(&mut debounce, Duration::ZERO));
        debounce.useful_run();
        assert_eq!(debounce.event(Duration::ZERO).as_millis(), 20);
    }

    #[test]
    fn two_quiet_seconds_reset_the_delay() {
        let mut debounce = debounce();
        (0..20).for_each(|_| _ = event_then_needless_run(&mut debounce, Duration::ZERO));
        let soon = event_then_needless_run(&mut debounce, Duration::from_secs(1));
        let later = event_then_needless_run(&mut debounce, Duration::from_secs(3));
        assert_eq!((soon, later), (1000, 20));
    }
}
