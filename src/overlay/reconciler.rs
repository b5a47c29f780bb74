//! Keeps the overlay in the kernel as the lease of this host and the peers demand: it waits for peers, kernel events and
//! timers, asks the phase what each of them means, and applies operations through the port. When a whole run is due is
//! decided by the loop that drives it.

mod applying;
mod effects;
mod external;
mod inputs;
mod lease_requests;
mod path_watch;

use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::conditions::{ConditionWriter, Problem, Reason};
use crate::error::chain;
use crate::model::device_ownership::DeviceOwnership;
use crate::model::underlay::Underlay;
use crate::overlay::conflicts::LoggedConflicts;
use crate::overlay::desired::DesiredOverlay;
use crate::overlay::misses::UnresolvedAddresses;
use crate::overlay::on_demand::NeighbourTests;
use crate::overlay::paths::ForeignPaths;
use crate::overlay::paths::stray::LoggedStrays;
use crate::overlay::paths::takeover::{TakenPlaces, left_by_go};
use crate::overlay::phase::{Action, Phase, PhaseEvent};
use crate::overlay::plan::{Op, plan, plan_anew};
use crate::overlay::port::{Kernel, KernelError, KernelEvent, Observed};
use crate::overlay::reconciler::external::{FollowedUnderlay, ParentChange};
use crate::overlay::reconciler::lease_requests::LeaseRequests;
use crate::overlay::reconciler::path_watch::PathWatch;
use crate::overlay::settings::{OverlaySettings, PeerMode};
use crate::overlay::state::OverlayState;
use crate::peers::update::PeerUpdate;
use crate::reconcile::driver::Heartbeat;
use crate::reconcile::followed::Followed;
use crate::reconcile::schedule::Timing;
use crate::reconcile::slice::{Effect, OpFailed, Slice};

pub(crate) const TIMING: Timing = Timing {
    debounce: Duration::from_millis(20),
    max_debounce: Duration::from_millis(20),
    audit: Some(Duration::from_secs(60)),
    min_backoff: Duration::from_millis(50),
    max_backoff: Duration::from_secs(30),
    max_backoff_once_in_sync: Duration::from_secs(30),
    // A run dumps the entries of all peers: an interface that flaps must not make it run all the time.
    rest: 4,
};

/// Time between two looks at the settings of the device, of which the kernel announces few changes.
const SETTINGS_INTERVAL: Duration = Duration::from_secs(1);

/// What the slice waits for.
#[derive(Debug)]
pub(crate) enum OverlayInput {
    /// The lease of this host, or peers, changed.
    Update(PeerUpdate),
    /// The external interface is another one, or has changed.
    Underlay,
    Kernel(Result<KernelEvent, KernelError>),
    /// Neighbours made on demand have to be tested for use, or their test ends.
    TestNeighbours,
    /// The settings of the device have to be looked at.
    CheckSettings,
    /// Misses were lost: packets wait without a question.
    FindUnresolved,
    /// No update can come any more: the daemon stops.
    Closed,
}

/// Where the slice writes what others need to know.
#[derive(Debug)]
pub(crate) struct OverlayOutputs {
    /// Takes the subnets whose leases etcd should be asked for.
    pub(crate) lease_requests: mpsc::Sender<Ipv4Network>,
    pub(crate) ownership: watch::Sender<DeviceOwnership>,
    /// Whether packets to the peers take our routes.
    pub(crate) paths_clear: ConditionWriter,
}

pub(crate) struct OverlaySlice<K> {
    kernel: K,
    settings: OverlaySettings,
    underlay: FollowedUnderlay,
    parent_change: ParentChange,
    updates: mpsc::Receiver<PeerUpdate>,
    lease_requests: LeaseRequests,
    ownership: watch::Sender<DeviceOwnership>,
    paths: PathWatch,
    heartbeat: Option<Heartbeat>,
    started: Instant,
    phase: Phase,
    neighbour_tests: NeighbourTests,
    unresolved: UnresolvedAddresses,
    find_unresolved_at: Option<Instant>,
    check_settings_at: Instant,
    logged_conflicts: LoggedConflicts,
    logged_strays: LoggedStrays,
    /// Whether no device of an earlier VNI is left.
    old_devices_removed: bool,
}

impl<K: Kernel> OverlaySlice<K> {
    pub(crate) fn new(
        kernel: K,
        settings: OverlaySettings,
        updates: mpsc::Receiver<PeerUpdate>,
        outputs: OverlayOutputs,
    ) -> Self {
        let neighbour_tests = NeighbourTests::new(settings.on_demand_idle, Duration::ZERO);
        Self {
            kernel,
            settings,
            underlay: FollowedUnderlay::new(Followed::nothing()),
            parent_change: ParentChange::default(),
            updates,
            lease_requests: LeaseRequests::new(outputs.lease_requests),
            ownership: outputs.ownership,
            paths: PathWatch::new(outputs.paths_clear),
            heartbeat: None,
            started: Instant::now(),
            phase: Phase::default(),
            neighbour_tests,
            unresolved: UnresolvedAddresses::default(),
            find_unresolved_at: None,
            check_settings_at: Instant::now() + SETTINGS_INTERVAL,
            logged_conflicts: LoggedConflicts::default(),
            logged_strays: LoggedStrays::default(),
            old_devices_removed: false,
        }
    }

    /// Makes the slice follow the external interface.
    #[must_use]
    pub(crate) fn following(mut self, underlay: watch::Receiver<Underlay>) -> Self {
        self.underlay = FollowedUnderlay::new(Followed::new(underlay));
        self
    }

    /// Makes the slice beat between the chunks of a large plan.
    #[must_use]
    pub(crate) fn with_heartbeat(self, heartbeat: Option<Heartbeat>) -> Self {
        Self { heartbeat, ..self }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn step(&mut self, event: PhaseEvent<'_>) -> Vec<Action> {
        let phase = std::mem::take(&mut self.phase);
        let (phase, actions) = phase.step(event, &self.settings);
        self.phase = phase;
        actions
    }

    /// When the use of neighbours has to be looked at, if ever.
    fn neighbour_test_at(&self) -> Option<Instant> {
        let on_demand = self.settings.peer_mode == PeerMode::OnDemand;
        let managing = matches!(self.phase, Phase::Managing { .. });
        (on_demand && managing).then(|| self.started + self.neighbour_tests.due())
    }

    async fn judge_paths(&mut self, foreign: &ForeignPaths) {
        if let Some(overlay) = self.phase.known_overlay() {
            self.paths.judge(&mut self.kernel, overlay, foreign).await;
        }
    }

    /// Returns the removal of the devices that this daemon had before the VNI changed: they go once, and only when the new
    /// one carries everything. A device without an alias may be Go flannel's of another network: it stays.
    async fn remove_old_devices(&mut self) -> Result<Vec<Op>, Problem> {
        let Some(overlay) = self.phase.known_overlay() else {
            return Ok(Vec::new());
        };
        if self.old_devices_removed {
            return Ok(Vec::new());
        }
        let ours = &overlay.device().name;
        let marked = self.kernel.devices_with_alias(&self.settings.alias).await;
        let marked = marked.map_err(|error| Problem::failed(chain(&error)))?;
        let old = marked.into_iter().filter(|name| name != ours);
        let ops: Vec<Op> = old.map(Op::DeleteOldDevice).collect();
        self.old_devices_removed = ops.is_empty();
        for op in &ops {
            info!("removing a device of an earlier VNI: {}", op.command(ours));
        }
        Ok(ops)
    }

    /// Wakes those who wait for it only if it changed.
    fn set_ownership(&self, ownership: DeviceOwnership) {
        self.ownership
            .send_if_modified(|known| std::mem::replace(known, ownership) != ownership);
    }

    /// Notes whose device was observed, and plans if it is ours.
    fn plan_from(&mut self, observed: &Observed) -> Vec<Op> {
        let Observed {
            overlay: observed,
            foreign,
        } = observed;
        if let Phase::ForeignDevice { owner, .. } = &self.phase {
            info!(owner, "the conflicting device is gone; creating ours");
        }
        // It has no actions: what has to be done is in the plan.
        self.step(PhaseEvent::Observed(observed));
        let Some(overlay) = self.phase.managed_overlay_mut() else {
            return Vec::new();
        };
        let observed_device = observed.device.as_ref();
        if self.parent_change.failed(overlay.device(), observed_device) {
            warn!(
                device = overlay.device().name,
                dev = overlay.device().parent,
                "replacing the device: this kernel cannot change its dev in place"
            );
            return plan_anew(&overlay.state());
        }
        log_replaced_device(overlay, observed);
        let mut ops = plan(&overlay.state(), observed);
        let taken = TakenPlaces::new(overlay, &foreign.routes);
        ops = ops.into_iter().filter_map(|op| taken.adjust(op)).collect();
        // Ours are there first: no packet is lost between.
        let left_by_go = left_by_go(overlay, &foreign.routes).cloned();
        ops.extend(left_by_go.map(Op::DelForeignRoute));
        for route in &foreign.strays {
            let device = &overlay.device().name;
            if let Some(message) = self.logged_strays.message(route, device) {
                warn!("{message}");
            }
            ops.push(Op::DelForeignRoute(route.clone()));
        }
        if overlay.has(observed) {
            self.set_ownership(DeviceOwnership::Ours);
        } else if *self.ownership.borrow() != DeviceOwnership::Ours {
            self.set_ownership(DeviceOwnership::Free);
        }
        // A device of ours that is gone is made again: nobody else has it.
        ops
    }
}

impl<K: Kernel> Slice for OverlaySlice<K> {
    type Input = OverlayInput;
    type Op = Op;

    async fn next(&mut self) -> OverlayInput {
        let device = self.phase.known_overlay();
        let device = device.map(|overlay| overlay.device().name.as_str());
        let test_at = self.neighbour_test_at();
        let find_at = self.find_unresolved_at;
        let managing = matches!(self.phase, Phase::Managing { .. });
        // Each arm is cancel-safe: a message stays in its queue, a time is a time.
        tokio::select! {
            () = self.underlay.changed() => OverlayInput::Underlay,
            update = self.updates.recv() => update.map_or(OverlayInput::Closed, OverlayInput::Update),
            event = self.kernel.event(device.unwrap_or_default()), if device.is_some() => OverlayInput::Kernel(event),
            () = sleep_until(test_at.unwrap_or(self.started)), if test_at.is_some() => OverlayInput::TestNeighbours,
            () = sleep_until(find_at.unwrap_or(self.started)), if find_at.is_some() => OverlayInput::FindUnresolved,
            () = sleep_until(self.check_settings_at), if managing => OverlayInput::CheckSettings,
        }
    }

    async fn handle(&mut self, input: OverlayInput) -> Effect {
        match input {
            OverlayInput::Update(update) => self.take_update(update).await,
            OverlayInput::Underlay => self.take_underlay(),
            OverlayInput::Kernel(event) => self.take_event(event),
            OverlayInput::TestNeighbours => self.test_neighbours().await,
            OverlayInput::FindUnresolved => self.find_unresolved().await,
            OverlayInput::CheckSettings => self.check_settings(),
            OverlayInput::Closed => Effect::Closed,
        }
    }

    async fn plan(&mut self) -> Result<Vec<Op>, Problem> {
        let Some(overlay) = self.phase.known_overlay() else {
            return Ok(Vec::new());
        };
        let (device, network) = (&overlay.device().name, overlay.network());
        let observed = self.kernel.observe(device, network).await;
        match observed.and_then(|observed| overlay.refuse_foreign(observed)) {
            Ok(observed) => {
                let exists = observed.overlay.device.is_some();
                let mut ops = self.plan_from(&observed);
                if ops.is_empty() {
                    self.judge_paths(&observed.foreign).await;
                    ops = self.remove_old_devices().await?;
                }
                // Without an external interface what exists is kept in order, and nothing can be made.
                match self.underlay.problem() {
                    Some(problem) if ops.is_empty() || !exists => Err(problem),
                    Some(_) | None => Ok(ops),
                }
            }
            Err(error) => {
                let message = chain(&error);
                // After a request that failed, nothing new is known about the owner of the device.
                let Some(owner) = error.foreign_owner() else {
                    return Err(Problem::failed(message));
                };
                self.step(PhaseEvent::FoundForeign(owner));
                self.set_ownership(DeviceOwnership::Foreign);
                Err(Problem::new(Reason::ForeignDevice, message))
            }
        }
    }

    /// What events in between ask for is covered by the observation that follows.
    async fn apply(&mut self, ops: &[Op]) -> Vec<OpFailed> {
        let (failed, _) = self.apply_in_chunks(ops).await;
        failed
    }

    /// The second plan removes the devices of an earlier VNI: the new one has to stand first.
    fn max_rounds(&self) -> usize {
        2
    }

    fn command(&self, op: &Op) -> String {
        let overlay = self.phase.known_overlay();
        let device = overlay.map_or("", |overlay| &overlay.device().name);
        op.command(device).to_string()
    }

    fn log_in_sync(&mut self) {
        if let Some(overlay) = self.phase.known_overlay() {
            info!(
                device = overlay.device().name,
                peers = overlay.peers().index().len(),
                "the kernel holds the device and the entries for all peers"
            );
        }
    }
}

fn log_replaced_device(overlay: &DesiredOverlay, observed: &OverlayState) {
    let device = overlay.device();
    let observed = observed.device.as_ref();
    if let Some(reason) = observed.and_then(|observed| device.incompatible(observed)) {
        warn!(
            device = device.name,
            reason, "replacing the device: the kernel cannot change this in place"
        );
    }
}

#[cfg(test)]
mod tests;
