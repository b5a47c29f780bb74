//! When a slice runs next. One state machine for all slices: events are debounced, failures back off, a fight with
//! another program is throttled, and a quiet slice is audited from time to time.
//!
//! Pure: `now` is the time since the task started. It decides only when, never what.

use std::time::Duration;

use crate::reconcile::backoff::Backoff;
use crate::reconcile::debounce::Debounce;
use crate::reconcile::limiter::{LogDecision, RepairLimiter};

/// The times of one slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// From an event to the run.
    pub(crate) debounce: Duration,
    /// Limit of the debounce, which doubles while runs find nothing to do.
    pub(crate) max_debounce: Duration,
    /// From a successful run to the next run without an event. `None`: no audit.
    pub(crate) audit: Option<Duration>,
    /// First delay after a failure.
    pub(crate) min_backoff: Duration,
    /// Limit of the delay after failures.
    pub(crate) max_backoff: Duration,
    /// Limit of the delay after failures for a slice that was in sync before: there, something works as a rule.
    pub(crate) max_backoff_once_in_sync: Duration,
    /// After a run, events have to wait for this many times the duration of the run, so that events without end take
    /// only a part of the CPU time.
    pub(crate) rest: u32,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunResult {
    /// The observed state is the desired one.
    InSync,
    /// Something is missing.
    Failed,
}

/// What a run did, for the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// When it started.
    pub(crate) started: Duration,
    /// How many operations it tried.
    pub(crate) operations: usize,
    pub(crate) result: RunResult,
}

/// What the schedule waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScheduleState {
    /// Everything was in place at the last run, or there was no run yet.
    Idle { audit_at: Option<Duration> },
    /// An event, or a new desired state, asks for a run.
    Due { at: Duration },
    /// An event asks for a run, but another program keeps undoing our repairs.
    Throttled { until: Duration },
    /// The last run failed. An event may bring the next run forward, but not before `earliest`.
    BackingOff { until: Duration, earliest: Duration },
}

/// Whether the slice has reached its desired state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Not since the desired state changed: a run installs.
    Installing,
    /// Yes: a run that finds something to do repairs.
    Installed,
}

/// When a slice runs next.
#[derive(Debug)]
pub(crate) struct Schedule {
    timing: Timing,
    state: ScheduleState,
    progress: Progress,
    debounce: Debounce,
    limiter: RepairLimiter,
    backoff: Backoff,
    rest_until: Duration,
}

impl Schedule {
    /// Starts idle: the first run comes with the first event or desired state.
    pub(crate) const fn new(timing: Timing) -> Self {
        Self {
            timing,
            state: ScheduleState::Idle { audit_at: None },
            progress: Progress::Installing,
            debounce: Debounce::new(timing.debounce, timing.max_debounce),
            limiter: RepairLimiter::new(Duration::ZERO),
            backoff: Backoff::new(timing.min_backoff, timing.max_backoff),
            rest_until: Duration::ZERO,
        }
    }

    /// Returns when the next run is due. `None`: only an event or a new desired state brings it.
    pub(crate) const fn due(&self) -> Option<Duration> {
        match self.state {
            ScheduleState::Idle { audit_at } => audit_at,
            ScheduleState::Due { at } => Some(at),
            ScheduleState::Throttled { until } | ScheduleState::BackingOff { until, .. } => {
                Some(until)
            }
        }
    }

    /// Whether the run that is due is an audit, with no sign that anything is wrong.
    pub(crate) const fn is_audit(&self) -> bool {
        matches!(self.state, ScheduleState::Idle { .. })
    }

    /// Whether another program has undone so many repairs that they are throttled.
    pub(crate) const fn is_throttled(&self) -> bool {
        self.limiter.is_throttled()
    }

    /// Records that the world may have changed.
    pub(crate) fn event(&mut self, now: Duration) {
        let pause = self.limiter.delay(now);
        let debounced = now + self.debounce.event(now).max(pause);
        let at = debounced.max(self.rest_until);
        self.state = match self.state {
            ScheduleState::Idle { audit_at } if audit_at.is_some_and(|audit| audit <= at) => {
                self.state
            }
            ScheduleState::Idle { .. } if pause.is_zero() => ScheduleState::Due { at },
            ScheduleState::Idle { .. } => ScheduleState::Throttled { until: at },
            ScheduleState::Due { at: before } => ScheduleState::Due { at: before.min(at) },
            ScheduleState::Throttled { until } => ScheduleState::Throttled {
                until: until.min(at),
            },
            ScheduleState::BackingOff { until, earliest } => ScheduleState::BackingOff {
                until: until.min(at.max(earliest)),
                earliest,
            },
        };
    }

    /// Records a new desired state: it is installed at once, whatever the schedule waited for.
    pub(crate) fn desired_changed(&mut self, now: Duration) {
        self.progress = Progress::Installing;
        self.state = ScheduleState::Due { at: now };
    }

    /// Records that the run that ends now installed another state, which the slice chose by what it observed.
    pub(crate) const fn chosen_anew(&mut self) {
        self.progress = Progress::Installing;
    }

    /// Asks for one more run after `delay`, unless an earlier one is due. An audit does not count: it may be skipped.
    pub(crate) fn recheck(&mut self, now: Duration, delay: Duration) {
        let at = now + delay;
        self.state = match self.state {
            ScheduleState::Idle { audit_at } => ScheduleState::Due {
                at: audit_at.map_or(at, |audit| audit.min(at)),
            },
            ScheduleState::Due { .. }
            | ScheduleState::Throttled { .. }
            | ScheduleState::BackingOff { .. } => {
                if self.due().is_none_or(|due| due > at) {
                    ScheduleState::Due { at }
                } else {
                    self.state
                }
            }
        };
    }

    /// Makes events wait for at least `pause` from `now`. Called after a run whose cost is more than the time that it
    /// took.
    pub(crate) fn rest_for(&mut self, now: Duration, pause: Duration) {
        self.rest_until = self.rest_until.max(now + pause);
    }

    /// Puts off an audit that the slice does not need now.
    pub(crate) fn skip_audit(&mut self, now: Duration) {
        self.state = self.idle(now);
    }

    /// Records the end of a run at `now` and returns how to log it. Events that the slice consumed during the run
    /// are covered by the observation at its end. `random` is uniform in 0..1.
    pub(crate) fn finished(&mut self, run: Run, now: Duration, random: f64) -> LogDecision {
        self.rest_until = now + now.saturating_sub(run.started) * self.timing.rest;
        let repair = self.count_repair(run, now);
        match run.result {
            RunResult::InSync => {
                self.backoff.reset();
                self.state = self.idle(now);
                match std::mem::replace(&mut self.progress, Progress::Installed) {
                    Progress::Installing => LogDecision::Installed,
                    Progress::Installed => repair,
                }
            }
            RunResult::Failed => {
                self.back_off(run.operations, now, random);
                repair
            }
        }
    }

    /// Records an operation outside of a run that failed: a run has to find out what is missing.
    pub(crate) fn failed(&mut self, now: Duration, random: f64) {
        self.back_off(1, now, random);
    }

    /// Only a change to something that was in place is a repair; an installation is not.
    fn count_repair(&mut self, run: Run, now: Duration) -> LogDecision {
        let repairs = self.progress == Progress::Installed && run.operations > 0;
        if repairs {
            self.debounce.useful_run();
            return self.limiter.repaired(now);
        }
        self.debounce.needless_run();
        LogDecision::Debug
    }

    /// `operations` is how many were tried.
    fn back_off(&mut self, operations: usize, now: Duration, random: f64) {
        let pause = self.limiter.delay(now);
        let wait = self.backoff.next(random).max(pause);
        let limit = self.timing.max_backoff_once_in_sync;
        let (wait, earliest) = match self.progress {
            Progress::Installed => (wait.min(limit), pause),
            // Nothing was tried, so no event is an echo: it may be the end of what stands in the way.
            Progress::Installing if operations == 0 => (wait, pause),
            // Our own failed attempts cause events, too: those must not end the back-off at once.
            Progress::Installing => (wait, wait.min(limit)),
        };
        self.state = ScheduleState::BackingOff {
            until: now + wait,
            earliest: now + earliest,
        };
    }

    fn idle(&self, now: Duration) -> ScheduleState {
        ScheduleState::Idle {
            audit_at: self.timing.audit.map(|audit| now + audit),
        }
    }
}

#[cfg(test)]
mod tests;
