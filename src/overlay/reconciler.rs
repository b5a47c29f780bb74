//! Owns the loop that keeps the kernel as the leases want it: takes updates, misses and time, asks the pure
//! `Overlay` what to do, and has a [`Kernel`] do it. Decides only when, never what.

mod on_demand;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use ipnetwork::Ipv4Network;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, trace, warn};

use crate::conditions::{ConditionStatus, ConditionWriter};
use crate::overlay::desired::PeerMode;
use crate::overlay::plan::{Op, plan};
use crate::overlay::port::{Event, Kernel, KernelError, Miss, OpFailure};
use crate::overlay::reconciler::on_demand::{Doubts, Questions};
use crate::overlay::{Overlay, OverlaySettings};
use crate::peers::update::PeerUpdate;
use crate::reconcile::backoff::Backoff;
use crate::reconcile::limiter::{LogDecision, RepairLimiter};

/// Time between two looks at the whole kernel state while nothing happens.
const AUDIT: Duration = Duration::from_secs(60);
/// Operations between two looks for misses: a packet waits no longer than these take, about a millisecond.
const CHUNK: usize = 256;
/// Messages of the kernel that are heard between two chunks.
const EARFUL: usize = 512;
/// Conflicts that are spoken of at most: strangers must not fill log and memory.
const MOST_TOLD: usize = 1000;
/// Time between two lines that say that the overlay is not complete: it may come and go.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// After a look that took some time we rest for this many times as long.
const REST: u32 = 4;
/// Time between a loss of misses and the look for packets that wait.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What shows others that the loop still turns, and the longest time between two beats.
struct Heart {
    beat: watch::Sender<()>,
    every: Duration,
}

/// See the module.
pub struct OverlayReconciler<K> {
    kernel: K,
    local: OverlaySettings,
    overlay: Option<Overlay>,
    /// Whether a complete list of leases has come: before that nothing may be removed.
    listed: bool,
    /// Whether the next complete list has to be compared with the kernel itself.
    unsure: bool,
    condition: ConditionWriter,
    backoff: Backoff,
    random: fn() -> f64,
    next_look: Instant,
    /// Whether the last look found the device to be somebody else's: then nothing on it is touched.
    barred: bool,
    /// No look on account of an event before this.
    rest_until: Instant,
    /// Whether the log's last word is that the overlay is not complete, and when that was said last.
    complained: bool,
    complained_at: Option<Instant>,
    /// Conflicts between leases that were spoken of.
    told: BTreeSet<String>,
    /// When to look for packets that wait, after misses were lost.
    ask_again_at: Option<Instant>,
    pace: RepairLimiter,
    doubts: Doubts,
    questions: Questions,
    heart: Option<Heart>,
    started: Instant,
}

impl<K: Kernel> OverlayReconciler<K> {
    /// `condition` is told of every change; `ask` of subnets whose leases we do not know; `random` yields numbers in 0..1.
    pub(crate) fn new(
        kernel: K,
        local: OverlaySettings,
        condition: ConditionWriter,
        ask: mpsc::Sender<Ipv4Network>,
        random: fn() -> f64,
    ) -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(30));
        let started = Instant::now();
        let doubts = Doubts::new(local.idle);
        Self {
            kernel,
            local,
            overlay: None,
            listed: false,
            unsure: true,
            condition,
            backoff,
            random,
            next_look: started + AUDIT,
            barred: false,
            rest_until: started,
            complained: false,
            complained_at: None,
            told: BTreeSet::new(),
            ask_again_at: None,
            pace: RepairLimiter::new(Duration::ZERO),
            doubts,
            questions: Questions::new(ask),
            heart: None,
            started,
        }
    }

    /// Has the loop say at each turn, and at least once in `every`, that it turns.
    #[must_use]
    pub fn with_heart(self, beat: watch::Sender<()>, every: Duration) -> Self {
        Self {
            heart: Some(Heart { beat, every }),
            ..self
        }
    }

    fn beat(&self) {
        if let Some(heart) = &self.heart {
            heart.beat.send_replace(());
        }
    }

    /// Runs until no more updates can come. What it did to the kernel stays.
    pub(crate) async fn run(mut self, mut updates: mpsc::Receiver<PeerUpdate>) {
        loop {
            self.beat();
            let next_beat = self
                .heart
                .as_ref()
                .map(|heart| Instant::now() + heart.every);
            let device = self.overlay.as_ref().map_or("", Overlay::device);
            // Each arm is cancel-safe: a message stays in its queue, a time is a time.
            tokio::select! {
                update = updates.recv() => match update {
                    Some(update) => self.take(update).await,
                    None => return,
                },
                event = self.kernel.event(device), if self.listed => self.hear(event),
                () = sleep_until(self.next_look), if self.listed => self.reconcile().await,
                () = sleep_until(self.doubts.next), if self.listed && self.local.peering == PeerMode::OnDemand => {
                    self.doubt().await;
                }
                () = sleep_until(self.ask_again_at.unwrap_or(self.next_look)), if self.ask_again_at.is_some() => {
                    self.answer_all().await;
                }
                // Nothing to do but the next turn.
                () = sleep_until(next_beat.unwrap_or(self.next_look)), if next_beat.is_some() => {}
            }
        }
    }

    async fn take(&mut self, update: PeerUpdate) {
        match (update, &mut self.overlay) {
            (PeerUpdate::Joined(membership), Some(overlay)) => {
                overlay.rejoin(&membership, &self.local);
                self.unsure = true;
            }
            (PeerUpdate::Joined(membership), None) => {
                self.overlay = Some(Overlay::new(&membership, &self.local))
            }
            (PeerUpdate::Peers(leases), Some(overlay)) => {
                let subnets: Vec<_> = leases.iter().map(|lease| lease.subnet).collect();
                self.listed = true;
                if std::mem::take(&mut self.unsure) {
                    overlay.set_peers(leases);
                    self.tell_conflicts(&subnets);
                    self.reconcile().await;
                } else {
                    let ops = overlay.replace_peers(leases);
                    self.tell_conflicts(&subnets);
                    self.apply(&ops).await;
                }
            }
            (PeerUpdate::Changes(changes), Some(overlay)) => {
                let subnets: Vec<_> = changes.iter().map(|(subnet, _)| *subnet).collect();
                let ops = overlay.change_peers(changes);
                self.tell_conflicts(&subnets);
                self.apply(&ops).await;
            }
            (PeerUpdate::Peers(_) | PeerUpdate::Changes(_), None) => {
                debug!("leases before a lease of our own")
            }
        }
    }

    /// Says each conflict between leases once.
    fn tell_conflicts(&mut self, subnets: &[Ipv4Network]) {
        let Some(overlay) = &self.overlay else { return };
        for conflict in overlay.conflicts(subnets) {
            if self.told.len() < MOST_TOLD && self.told.insert(conflict.clone()) {
                warn!(
                    "{conflict}; the lease written last counts, for addresses the smaller subnet"
                );
            }
        }
    }

    fn hear(&mut self, event: Result<Event, KernelError>) {
        match event {
            Ok(Event::Miss(miss)) => self.answer(miss),
            Ok(Event::Changed(change)) => {
                if self
                    .overlay
                    .as_ref()
                    .is_some_and(|overlay| overlay.contradicts(&change))
                {
                    debug!(?change, "somebody changed the overlay");
                    self.look_soon();
                }
            }
            Ok(Event::MissesLost) => self.ask_again_at = Some(Instant::now() + ASK_AGAIN),
            Ok(Event::ChangesLost) => self.look_soon(),
            Err(error) => self.failed(&crate::error::chain(&error)),
        }
    }

    /// Looks after a short while, but spends no more than a part of the time on looking: an interface that flaps all the
    /// time must not have us dump 60,000 peers all the time.
    fn look_soon(&mut self) {
        let soon = Instant::now()
            + self
                .pace
                .delay(self.started.elapsed())
                .max(Duration::from_millis(20));
        self.next_look = self.next_look.min(soon.max(self.rest_until));
    }

    /// Answers everybody whose question may have been lost.
    async fn answer_all(&mut self) {
        self.ask_again_at = None;
        let Some(overlay) = &self.overlay else { return };
        match self.kernel.unresolved(overlay.device()).await {
            Ok(waiting) => waiting
                .into_iter()
                .for_each(|address| self.answer(Miss::L3(address))),
            Err(error) => self.failed(&crate::error::chain(&error)),
        }
    }

    fn answer(&mut self, miss: Miss) {
        let Some(overlay) = &mut self.overlay else {
            return;
        };
        let ops = overlay.answer(miss);
        trace!(?miss, known = !ops.is_empty(), "miss");
        if ops.is_empty() {
            self.pass_by(miss);
            return;
        }
        if self.barred {
            return;
        }
        let failures = self.kernel.apply(overlay.device(), &ops);
        self.note(&failures);
    }

    /// Does the operations in chunks, with an ear for misses in between.
    async fn apply(&mut self, ops: &[Op]) {
        if self.barred {
            return;
        }
        let mut failures = Vec::new();
        for chunk in ops.chunks(CHUNK) {
            self.beat();
            let Some(overlay) = &self.overlay else { return };
            let device = overlay.device();
            chunk.iter().for_each(|op| debug!("{}", op.command(device)));
            failures.append(&mut self.kernel.apply(device, chunk));
            for _ in 0..EARFUL {
                let heard = self
                    .overlay
                    .as_ref()
                    .and_then(|o| self.kernel.event(o.device()).now_or_never());
                let Some(event) = heard else { break };
                self.hear(event);
            }
            tokio::task::yield_now().await;
        }
        self.note(&failures);
    }

    /// Makes the kernel as it should be, and looks whether it is.
    async fn reconcile(&mut self) {
        let began = Instant::now();
        let outcome = self.try_reconcile().await;
        // After a request that failed nothing new is known of whose the device is.
        self.barred |= matches!(
            outcome,
            Err(KernelError::NotVxlan { .. } | KernelError::OtherOwner { .. })
        );
        self.rest_until = Instant::now() + began.elapsed() * REST;
        match outcome {
            Ok(left) if left.is_empty() => self.in_sync(),
            Ok(left) => self.failed(&format!(
                "{} operations are left, the first: {}",
                left.len(),
                left[0]
            )),
            Err(error) => self.failed(&crate::error::chain(&error)),
        }
    }

    /// Answers what is still to do after everything was tried, as commands.
    async fn try_reconcile(&mut self) -> Result<Vec<String>, KernelError> {
        let ops = self.differences().await?;
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        self.report(&ops);
        self.apply(&ops).await;
        let device = self.overlay.as_ref().map_or("", Overlay::device).to_owned();
        let left = self.differences().await?;
        Ok(left
            .iter()
            .map(|op| op.command(&device).to_string())
            .collect())
    }

    async fn differences(&mut self) -> Result<Vec<Op>, KernelError> {
        let Some(overlay) = &mut self.overlay else {
            return Ok(Vec::new());
        };
        let observed = self
            .kernel
            .observe(overlay.device(), overlay.network())
            .await?;
        if let Some(owner) = observed
            .device
            .as_ref()
            .and_then(|device| overlay.other_owner(device))
        {
            return Err(KernelError::OtherOwner {
                device: overlay.device().to_owned(),
                owner,
            });
        }
        self.barred = false;
        overlay.adopt(&observed);
        let desired = overlay.desired();
        if let (Some(wanted), Some(found)) = (&desired.device, &observed.device)
            && let Some(reason) = wanted.incompatible(found)
        {
            warn!(
                device = wanted.name,
                reason, "making the device again: it cannot be changed in place"
            );
        }
        Ok(plan(&desired, &observed))
    }

    /// What is put right while all was thought right is worth a line.
    fn report(&mut self, ops: &[Op]) {
        if self.condition.status() == ConditionStatus::Unknown {
            return;
        }
        let (Some(overlay), Some(first)) = (&self.overlay, ops.first()) else {
            return;
        };
        let (operations, first) = (ops.len(), first.command(overlay.device()));
        match self.pace.repaired(self.started.elapsed()) {
            LogDecision::Repair => info!(operations, %first, "repairing the overlay"),
            LogDecision::Debug | LogDecision::Installed => {
                debug!(operations, %first, "repairing the overlay")
            }
            LogDecision::Throttled => {
                warn!(operations, %first, "somebody keeps undoing this; repairing it slowly from now on")
            }
        }
    }

    fn in_sync(&mut self) {
        self.backoff.reset();
        self.next_look = Instant::now() + AUDIT;
        let first = self.condition.status() == ConditionStatus::Unknown;
        self.condition.set_true();
        if (std::mem::take(&mut self.complained) || first)
            && let Some(overlay) = &self.overlay
        {
            info!(
                device = overlay.device(),
                peers = overlay.peers().len(),
                "the kernel holds the whole overlay"
            );
        }
    }

    fn note(&mut self, failures: &[OpFailure]) {
        if let Some(first) = failures.first() {
            let count = failures.len();
            self.failed(&format!(
                "{count} operations failed, the first: {}",
                crate::error::chain(first)
            ));
        }
    }

    /// Something is not as it should be: says so if that is new, and looks again after a while.
    fn failed(&mut self, reason: &str) {
        self.next_look = Instant::now() + self.backoff.next((self.random)());
        self.condition.set_false(reason);
        let lately = self
            .complained_at
            .is_some_and(|at| at.elapsed() < COMPLAIN_EVERY);
        if self.complained || lately || self.pace.is_throttled() {
            debug!(reason, "the overlay is still not complete");
        } else {
            warn!(reason, "the overlay is not complete; trying again");
            self.complained = true;
            self.complained_at = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
