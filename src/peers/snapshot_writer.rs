//! When the snapshot is saved: soon after a change, not too often, again after a failure, and now and then although
//! nothing changes. One save runs at a time. It neither knows what is in a snapshot nor touches the disk itself.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::peers::port::SnapshotStore;
use crate::peers::snapshot::Snapshot;
use crate::reconcile::log_once::LogOnce;
use crate::reconcile::schedule::{Run, RunResult, Schedule, Timing};

pub(super) const TIMING: Timing = Timing {
    debounce: Duration::from_millis(200),
    max_debounce: Duration::from_millis(200),
    // The snapshot holds the time at which etcd last confirmed it: that has to be refreshed.
    audit: Some(Duration::from_secs(6 * 3600)),
    // A disk that is full stays so for a while.
    min_backoff: Duration::from_secs(30),
    max_backoff: Duration::from_secs(600),
    max_backoff_once_in_sync: Duration::from_secs(600),
    rest: 0,
};

/// Time from the start of one save to the next, and what each lease adds to it: 60,000 leases are saved every 16 s at
/// most.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_PER_LEASE: Duration = Duration::from_micros(250);

pub(super) struct SnapshotWriter<S> {
    store: S,
    schedule: Schedule,
    save: Save,
    /// Number of changes so far: it shows whether a save that ends is still up to date.
    changes: u64,
    failures: LogOnce,
    random: fn() -> f64,
    started: Instant,
}

enum Save {
    Idle,
    Running(RunningSave),
}

struct RunningSave {
    started: Duration,
    /// Time from the start of this save to the next.
    pause: Duration,
    /// Value of `SnapshotWriter::changes` when it started.
    changes: u64,
    outcome: LocalBoxFuture<'static, Result<(), String>>,
}

impl<S: SnapshotStore> SnapshotWriter<S> {
    pub(super) fn new(store: S, random: fn() -> f64) -> Self {
        Self {
            store,
            schedule: Schedule::new(TIMING),
            save: Save::Idle,
            changes: 0,
            failures: LogOnce::default(),
            random,
            started: Instant::now(),
        }
    }

    /// Records that the snapshot on disk is out of date.
    pub(super) fn changed(&mut self) {
        self.changes += 1;
        self.schedule.event(self.started.elapsed());
    }

    /// Waits until a snapshot has to be saved, and for the end of the save that runs. Cancel-safe.
    pub(super) async fn due(&mut self) {
        self.finish_running().await;
        match self.schedule.due() {
            Some(due) => sleep_until(self.started + due).await,
            None => std::future::pending().await,
        }
    }

    /// Starts to save a snapshot. [`SnapshotWriter::due`] carries it to its end.
    pub(super) fn start(&mut self, snapshot: Snapshot) {
        let leases = u32::try_from(snapshot.leases.len()).unwrap_or(u32::MAX);
        self.save = Save::Running(RunningSave {
            started: self.started.elapsed(),
            pause: PAUSE + PAUSE_PER_LEASE * leases,
            changes: self.changes,
            outcome: self.store.save(snapshot),
        });
    }

    /// Puts a save off for which there is nothing to save yet.
    pub(super) fn skip(&mut self) {
        self.schedule.skip_audit(self.started.elapsed());
    }

    /// Saves a snapshot after the one that is being saved, and waits for both.
    pub(super) async fn save_last(&mut self, snapshot: Snapshot) {
        self.finish_running().await;
        self.start(snapshot);
        self.finish_running().await;
    }

    /// Cancel-safe: the future stays in its place until it has ended.
    async fn finish_running(&mut self) {
        let Save::Running(running) = &mut self.save else {
            return;
        };
        let outcome = (&mut running.outcome).await;
        let run = Run {
            started: running.started,
            operations: 0,
            result: if outcome.is_ok() {
                RunResult::InSync
            } else {
                RunResult::Failed
            },
        };
        let (pause, changed) = (running.pause, running.changes != self.changes);
        self.save = Save::Idle;
        let now = self.started.elapsed();
        self.schedule.finished(run, now, (self.random)());
        self.schedule.rest_for(run.started, pause);
        if changed {
            self.schedule.event(now);
        }
        self.log(outcome);
    }

    fn log(&mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.failures.clear();
                debug!("saved the snapshot");
            }
            Err(reason) if self.failures.is_new(&reason) => warn!(
                reason,
                "failed to save the snapshot; a restart without etcd will not know the latest state"
            ),
            Err(reason) => debug!(reason, "still failed to save the snapshot"),
        }
    }
}
