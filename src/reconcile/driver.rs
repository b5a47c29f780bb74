//! The loop that every slice runs in: wait for an input or for the schedule, observe, plan, apply, read back, set the
//! condition, feed the watchdog.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::conditions::{ConditionWriter, Problem};
use crate::reconcile::limiter::LogDecision;
use crate::reconcile::schedule::{Run, RunResult, Schedule, Timing};
use crate::reconcile::slice::{Effect, Slice};

/// Least time between two warnings of one slice: a failure may come and go.
const MIN_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Shows the watchdog that the loop still turns.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeat {
    sender: watch::Sender<()>,
    /// Longest time between two beats.
    interval: Duration,
}

impl Heartbeat {
    pub(crate) const fn new(sender: watch::Sender<()>, interval: Duration) -> Self {
        Self { sender, interval }
    }

    pub(crate) fn beat(&self) {
        self.sender.send_replace(());
    }
}

/// The operations that one run tried.
#[derive(Debug, Default)]
struct Tried {
    /// The first of them, as a command. Only this one is ever shown: 180,000 texts would cost more than their operations.
    first: Option<String>,
    operations: usize,
}

impl Tried {
    fn add(&mut self, operations: usize, first: impl FnOnce() -> String) {
        self.first.get_or_insert_with(first);
        self.operations += operations;
    }
}

/// Drives one slice.
pub(crate) struct Driver<S> {
    slice: S,
    /// Name of the slice in the log.
    name: &'static str,
    schedule: Schedule,
    condition: ConditionWriter,
    heartbeat: Option<Heartbeat>,
    random: fn() -> f64,
    started: Instant,
    failure: Option<Problem>,
    warned_at: Option<Instant>,
}

impl<S: Slice> Driver<S> {
    /// `condition` follows how the slice is; `random` yields numbers in 0..1.
    pub(crate) fn new(
        name: &'static str,
        slice: S,
        timing: Timing,
        condition: ConditionWriter,
        random: fn() -> f64,
    ) -> Self {
        Self {
            slice,
            name,
            schedule: Schedule::new(timing),
            condition,
            heartbeat: None,
            random,
            started: Instant::now(),
            failure: None,
            warned_at: None,
        }
    }

    /// Makes the loop beat at each turn, and at least once in the interval of the heartbeat.
    #[must_use]
    pub(crate) fn with_heartbeat(self, heartbeat: Option<Heartbeat>) -> Self {
        Self { heartbeat, ..self }
    }

    /// Runs until no more input can come. What was applied stays.
    pub(crate) async fn run(mut self) {
        loop {
            if let Some(heartbeat) = &self.heartbeat {
                heartbeat.beat();
            }
            let due = self.schedule.due().map(|due| self.started + due);
            let next_beat = self
                .heartbeat
                .as_ref()
                .map(|heartbeat| Instant::now() + heartbeat.interval);
            // Each arm is cancel-safe: an input stays where it is, a time is a time.
            tokio::select! {
                input = self.slice.next() => {
                    let effect = self.slice.handle(input).await;
                    if effect == Effect::Closed {
                        return;
                    }
                    self.take(effect);
                }
                () = sleep_until(due.unwrap_or(self.started)), if due.is_some() => self.run_due().await,
                // Only the beat is due.
                () = sleep_until(next_beat.unwrap_or(self.started)), if next_beat.is_some() => {}
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn take(&mut self, effect: Effect) {
        let now = self.now();
        match effect {
            Effect::None | Effect::Closed => {}
            Effect::Resync => self.schedule.event(now),
            Effect::Desired => self.schedule.desired_changed(now),
            Effect::Failed(problem) => {
                self.schedule.failed(now, (self.random)());
                self.failed(problem);
            }
        }
    }

    async fn run_due(&mut self) {
        if self.schedule.is_audit() && !self.slice.needs_audit() {
            self.schedule.skip_audit(self.now());
            return;
        }
        self.reconcile().await;
    }

    /// Brings the slice to its desired state, and reads back whether it is there.
    async fn reconcile(&mut self) {
        let started = self.now();
        let mut tried = Tried::default();
        let outcome = self.try_reconcile(&mut tried).await;
        if outcome.is_ok() && self.slice.has_chosen_anew() {
            self.schedule.chosen_anew();
        }
        let result = if outcome.is_ok() {
            RunResult::InSync
        } else {
            RunResult::Failed
        };
        let run = Run {
            started,
            operations: tried
                .operations
                .saturating_sub(self.slice.optional_failures()),
            result,
        };
        let logged = self.schedule.finished(run, self.now(), (self.random)());
        self.log_repair(logged, result, &tried);
        match outcome {
            Ok(()) => self.succeeded(logged),
            Err(problem) => self.failed(problem),
        }
    }

    async fn try_reconcile(&mut self, tried: &mut Tried) -> Result<(), Problem> {
        let mut ops = self.slice.plan().await?;
        for _ in 0..self.slice.max_rounds() {
            let Some(first) = ops.first() else {
                return Ok(());
            };
            tried.add(ops.len(), || self.slice.command(first));
            let failed = self.slice.apply(&ops).await;
            ops = self.slice.plan().await?;
            if let (false, Some(failed)) = (ops.is_empty(), failed.first()) {
                return Err(Problem::failed(failed.to_string()));
            }
        }
        match ops.first() {
            None => Ok(()),
            Some(left) => Err(Problem::failed(format!(
                "still to do after all operations succeeded: \"{}\"",
                self.slice.command(left)
            ))),
        }
    }

    fn log_repair(&self, decision: LogDecision, result: RunResult, tried: &Tried) {
        let Tried { first, operations } = tried;
        let Some(first) = first else {
            return;
        };
        let slice = self.name;
        match decision {
            LogDecision::Repair if result == RunResult::InSync => info!(
                slice,
                operations, first, "repaired a change by another program"
            ),
            LogDecision::Repair | LogDecision::Installed | LogDecision::Debug => {
                debug!(slice, operations, first, "applied operations")
            }
            LogDecision::Throttled => warn!(
                slice,
                operations,
                first,
                "another program keeps undoing this; limiting repairs from now on"
            ),
        }
    }

    fn succeeded(&mut self, logged: LogDecision) {
        if let Some(delay) = self.slice.recheck_after() {
            self.schedule.recheck(self.now(), delay);
        }
        if self.slice.knows_enough() {
            self.condition.set_true();
        } else {
            self.condition.set_unknown();
        }
        if self.failure.take().is_some() || logged == LogDecision::Installed {
            self.slice.log_in_sync();
        }
    }

    /// Warns when the problem is new, and not too often.
    fn failed(&mut self, problem: Problem) {
        let slice = self.name;
        self.condition.set_false(&problem);
        let lately = self
            .warned_at
            .is_some_and(|at| at.elapsed() < MIN_WARNING_INTERVAL);
        let known = self.failure.as_ref() == Some(&problem);
        let reason = &problem.message;
        if known || lately || self.schedule.is_throttled() {
            debug!(slice, reason, "still not in sync");
        } else {
            warn!(slice, reason, "{}", S::FAILED);
            self.warned_at = Some(Instant::now());
            self.failure = Some(problem);
        }
    }
}

#[cfg(test)]
mod tests;
