//! What each input means: the phase decides, and small changes are applied at once. A whole run is asked for, never done,
//! here.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, trace, warn};

use crate::conditions::Problem;
use crate::error::chain;
use crate::overlay::phase::{Action, PhaseEvent};
use crate::overlay::plan::Op;
use crate::overlay::port::{Kernel, KernelChange, KernelError, KernelEvent, Miss};
use crate::overlay::reconciler::effects::{failure, stronger};
use crate::overlay::reconciler::{OverlaySlice, SETTINGS_INTERVAL};
use crate::overlay::state::Sysctl;
use crate::peers::update::PeerUpdate;
use crate::reconcile::slice::Effect;

/// Time from a loss of misses to the search for packets that still wait.
const LOST_MISSES_DELAY: Duration = Duration::from_millis(20);

impl<K: Kernel> OverlaySlice<K> {
    pub(super) async fn take_update(&mut self, update: PeerUpdate) -> Effect {
        let mut effect = Effect::None;
        for action in self.step(PhaseEvent::Update(update)) {
            let next = match action {
                Action::Apply(ops) => self.apply_outside_of_run(&ops).await,
                Action::WarnOfConflicts(_)
                | Action::TryNow(_)
                | Action::Run
                | Action::Resync
                | Action::RequestLease(_)
                | Action::LimitUnresolved(_) => self.act(action),
            };
            effect = stronger(effect, next);
        }
        effect
    }

    /// The run that follows also finds out whether the overlay can work, and sets the condition.
    pub(super) fn take_underlay(&mut self) -> Effect {
        let Some(external) = self.underlay.take() else {
            return Effect::None;
        };
        self.settings.external = external;
        let actions = self.step(PhaseEvent::ExternalChanged);
        self.act_all(actions)
    }

    pub(super) fn take_event(&mut self, event: Result<KernelEvent, KernelError>) -> Effect {
        match event {
            Ok(KernelEvent::Miss(miss)) => self.take_miss(miss),
            Ok(KernelEvent::Changed(KernelChange::Settings)) => self.check_settings(),
            Ok(KernelEvent::Changed(change)) => {
                let actions = self.step(PhaseEvent::Changed(&change));
                if !actions.is_empty() {
                    debug!(?change, "another program changed the overlay");
                }
                self.act_all(actions)
            }
            Ok(KernelEvent::MissesLost) => {
                self.find_unresolved_at = Some(Instant::now() + LOST_MISSES_DELAY);
                Effect::None
            }
            Ok(KernelEvent::ChangesLost) => Effect::Resync,
            Err(error) => Effect::Failed(Problem::failed(chain(&error))),
        }
    }

    fn take_miss(&mut self, miss: Miss) -> Effect {
        let actions = self.step(PhaseEvent::Miss(miss));
        trace!(?miss, ?actions, "miss");
        self.act_all(actions)
    }

    /// Answers the misses of all packets that wait.
    pub(super) async fn find_unresolved(&mut self) -> Effect {
        self.find_unresolved_at = None;
        let Some(overlay) = self.phase.known_overlay() else {
            return Effect::None;
        };
        match self.kernel.unresolved(&overlay.device().name).await {
            Ok(addresses) => addresses.into_iter().fold(Effect::None, |effect, address| {
                stronger(effect, self.take_miss(Miss::L3(address)))
            }),
            Err(error) => Effect::Failed(Problem::failed(chain(&error))),
        }
    }

    /// Asks for a run if another program changed a setting of the device.
    pub(super) fn check_settings(&mut self) -> Effect {
        self.check_settings_at = Instant::now() + SETTINGS_INTERVAL;
        let Some(overlay) = self.phase.managed_overlay_mut() else {
            return Effect::None;
        };
        let settings = self.kernel.sysctls(&overlay.device().name);
        let is_right = |(sysctl, value): (&Sysctl, &i32)| *value == sysctl.desired();
        if settings.iter().all(is_right) {
            Effect::None
        } else {
            Effect::Resync
        }
    }

    pub(super) async fn test_neighbours(&mut self) -> Effect {
        let now = self.now();
        let Some(overlay) = self.phase.managed_overlay_mut() else {
            return Effect::None;
        };
        let uses = match self.kernel.neighbour_uses(&overlay.device().name).await {
            Ok(uses) => uses,
            Err(error) => {
                self.neighbour_tests.postpone(now);
                return Effect::Failed(Problem::failed(chain(&error)));
            }
        };
        let ops = self
            .neighbour_tests
            .next_step(overlay.peers_mut(), &uses, now);
        debug!(operations = ops.len(), "tested neighbours for use");
        self.apply_outside_of_run(&ops).await
    }

    fn act_all(&mut self, actions: Vec<Action>) -> Effect {
        actions.into_iter().fold(Effect::None, |effect, action| {
            stronger(effect, self.act(action))
        })
    }

    fn act(&mut self, action: Action) -> Effect {
        match action {
            Action::WarnOfConflicts(conflicts) => {
                self.warn_of_conflicts(&conflicts);
                Effect::None
            }
            Action::Apply(ops) => failure(&self.apply_now(&ops)),
            Action::TryNow(ops) => {
                self.apply_now(&ops);
                Effect::None
            }
            Action::Run => Effect::Desired,
            Action::Resync => Effect::Resync,
            Action::RequestLease(subnet) => {
                self.lease_requests.request(subnet, self.started.elapsed());
                Effect::None
            }
            Action::LimitUnresolved(address) => {
                if self
                    .unresolved
                    .exceeds_limit(address, self.started.elapsed())
                {
                    return failure(&self.apply_now(&[Op::DelNeighbour(address)]));
                }
                Effect::None
            }
        }
    }

    fn warn_of_conflicts(&mut self, conflicts: &[String]) {
        for conflict in conflicts {
            if self.logged_conflicts.is_new(conflict) {
                warn!(
                    "{conflict}; using the newer lease, and for overlapping subnets the more specific one"
                );
            }
        }
    }
}
