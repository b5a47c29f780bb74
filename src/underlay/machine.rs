//! When this host looks at its interfaces, and when it takes another external interface: a state machine without I/O.
//!
//! ```text
//!              fits                another, or none
//!   Searching ──────▶ Settled ────────────────────────▶ Holding
//!                     ▲    ▲   as before, or it stays so   │
//!                     └────┴───────────────────────────────┘
//! ```
//!
//! Two delays, and why:
//! - The debounce: a DHCP client changes address and routes in several steps, and we look at the end of the burst.
//! - The hold: another interface, or none, is believed only when it is still so a moment later. A DHCP client that deletes
//!   the address before it adds it again must not move the overlay for that instant. A new address of the present
//!   interface is not held when the old one is gone: it can only be right.

use std::time::Duration;

use crate::model::underlay::Underlay;
use crate::underlay::choice::choose;
use crate::underlay::choice::chosen::Chosen;
use crate::underlay::choice::error::NoInterface;
use crate::underlay::etcd_path::EtcdPath;
use crate::underlay::observation::Observation;
use crate::underlay::settings::Selectors;

/// From a change to the look.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How long another interface, or none, must stay right before it is taken.
pub(super) const HOLD: Duration = Duration::from_millis(50);
/// A look waits for this many times the duration of the last one, so that changes without end, such as those of a routing
/// daemon, take only a part of the CPU time.
const REST: u32 = 9;
/// Limit of that: on a busy machine a look takes long without much CPU time.
const MAX_REST: Duration = Duration::from_millis(100);
/// From a look to the next one without any change.
const AUDIT: Duration = Duration::from_secs(60);
/// From a look that the kernel did not answer to the next one.
const RETRY: Duration = Duration::from_secs(1);
/// How long the route to etcd may remain unknown at the start if the last run knew the interface.
pub(super) const ETCD_ROUTE_TIMEOUT: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Debug)]
pub(crate) enum UnderlayEvent {
    /// Interfaces, addresses, routes or names have changed.
    Changed,
    /// A time has come, or may have come.
    Time,
    /// The answer to a look that began at `started`.
    Observed {
        observation: Observation,
        started: Duration,
    },
    /// The kernel did not answer.
    Failed(String),
}

/// What the loop has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnderlayAction {
    /// Look at interfaces and routes now, and answer with an event.
    Look,
    /// Connections to etcd are dead, or better made anew.
    RenewEtcdConnections,
    /// Tell the slices.
    Publish(Underlay),
    /// Say why there is no interface yet.
    LogWaiting(String),
    /// Say that the interface of the last run is taken, because the route to etcd is unknown.
    LogLastRun,
}

/// How far this host is with its external interface.
#[derive(Debug, Clone)]
enum UnderlayState {
    /// None was found yet.
    Searching,
    /// The slices know what was looked at last.
    Settled(Present),
    /// Another interface, or none, is right since `since`; the slices are told when it stays so.
    Holding {
        present: Present,
        wanted: Underlay,
        since: Duration,
    },
}

/// What was taken last.
#[derive(Debug, Clone)]
struct Present {
    /// The choice; it stays while nothing fits.
    chosen: Chosen,
    /// What the slices were told.
    told: Underlay,
}

impl UnderlayState {
    const fn present(&self) -> Option<&Present> {
        match self {
            Self::Searching => None,
            Self::Settled(present) | Self::Holding { present, .. } => Some(present),
        }
    }
}

#[derive(Debug)]
pub(crate) struct UnderlayMachine {
    selectors: Selectors,
    /// Name of the external interface of the last run.
    last_interface: Option<String>,
    state: UnderlayState,
    etcd_path: EtcdPath,
    look_at: Duration,
    rest_until: Duration,
}

impl UnderlayMachine {
    /// Starts with a look that is due at once.
    pub(crate) fn new(selectors: Selectors, last_interface: Option<String>) -> Self {
        Self {
            selectors,
            last_interface,
            state: UnderlayState::Searching,
            etcd_path: EtcdPath::default(),
            look_at: Duration::ZERO,
            rest_until: Duration::ZERO,
        }
    }

    /// Returns when the machine wants an [`UnderlayEvent::Time`], unless something else happens before.
    pub(crate) const fn due(&self) -> Duration {
        self.look_at
    }

    /// Takes an event at `now`, the time since the start.
    pub(crate) fn handle(&mut self, event: UnderlayEvent, now: Duration) -> Vec<UnderlayAction> {
        match event {
            UnderlayEvent::Changed => {
                let at = (now + DEBOUNCE).max(self.rest_until);
                self.look_at = self.look_at.min(at);
                Vec::new()
            }
            UnderlayEvent::Time if self.look_at <= now => {
                self.look_at = now + AUDIT;
                vec![UnderlayAction::Look]
            }
            UnderlayEvent::Time => Vec::new(),
            UnderlayEvent::Observed {
                observation,
                started,
            } => {
                let rest = now.saturating_sub(started) * REST;
                self.rest_until = now + rest.min(MAX_REST);
                self.observed(&observation, now)
            }
            UnderlayEvent::Failed(reason) => {
                self.look_at = now + RETRY;
                let is_searching = self.state.present().is_none();
                is_searching
                    .then_some(UnderlayAction::LogWaiting(reason))
                    .into_iter()
                    .collect()
            }
        }
    }

    fn observed(&mut self, observation: &Observation, now: Duration) -> Vec<UnderlayAction> {
        let mut actions = Vec::new();
        if self.etcd_path.update(observation) {
            actions.push(UnderlayAction::RenewEtcdConnections);
        }
        let present = self.state.present().cloned();
        let chosen = present.as_ref().map(|present| &present.chosen);
        let choice = choose(&self.selectors, observation, chosen);
        match present {
            None => actions.append(&mut self.start(choice, observation, now)),
            Some(present) => actions.extend(self.follow(present, choice, observation, now)),
        }
        actions
    }

    /// Takes the first interface that fits. If the operator asks for none and the route to etcd remains unknown, that is the
    /// interface of the last run: a start must not depend on the names of etcd's hosts.
    fn start(
        &mut self,
        choice: Result<Chosen, NoInterface>,
        observation: &Observation,
        now: Duration,
    ) -> Vec<UnderlayAction> {
        match choice {
            Ok(chosen) => vec![self.settle(with_problem(&chosen), chosen)],
            Err(reason) if now < ETCD_ROUTE_TIMEOUT => {
                self.look_at = self.look_at.min(ETCD_ROUTE_TIMEOUT);
                vec![UnderlayAction::LogWaiting(reason.to_string())]
            }
            Err(reason) => match self.last_interface(observation, &reason) {
                Some(chosen) => vec![
                    UnderlayAction::LogLastRun,
                    self.settle(with_problem(&chosen), chosen),
                ],
                None => vec![UnderlayAction::LogWaiting(reason.to_string())],
            },
        }
    }

    /// Returns the interface of the last run, if it still exists and the operator asks for no other, or for an address that
    /// goes with the way to etcd.
    fn last_interface(&self, observation: &Observation, reason: &NoInterface) -> Option<Chosen> {
        if let NoInterface::NoWay { address, .. } = reason {
            let last = self.last_interface.as_deref()?;
            let mut interfaces = observation.interfaces.iter();
            let last = interfaces.find(|interface| interface.name == last)?;
            return Some(Chosen::new(last, *address));
        }
        if !self.selectors.name_no_interface() {
            return None;
        }
        let selectors = Selectors {
            ifaces: vec![self.last_interface.clone()?],
            ..self.selectors.clone()
        };
        choose(&selectors, observation, None).ok()
    }

    /// Decides whether a choice is taken at once, or only if it stays so.
    fn follow(
        &mut self,
        present: Present,
        choice: Result<Chosen, NoInterface>,
        observation: &Observation,
        now: Duration,
    ) -> Option<UnderlayAction> {
        let (wanted, chosen) = match choice {
            Ok(chosen) => (with_problem(&chosen), chosen),
            Err(reason) => {
                let wanted = without_interface(&present.told, observation, &reason);
                (wanted, present.chosen.clone())
            }
        };
        if wanted == present.told {
            self.state = UnderlayState::Settled(present);
            return None;
        }
        let since = self.right_since(&wanted, now);
        let is_sure = now >= since + HOLD;
        if is_sure || !may_be_an_instant(&present.told, &wanted, observation) {
            return Some(self.settle(wanted, chosen));
        }
        self.look_at = self.look_at.min(since + HOLD);
        self.state = UnderlayState::Holding {
            present,
            wanted,
            since,
        };
        None
    }

    /// Returns since when a choice is right without a break.
    fn right_since(&self, choice: &Underlay, now: Duration) -> Duration {
        match &self.state {
            UnderlayState::Holding { wanted, since, .. } if wanted == choice => *since,
            UnderlayState::Searching
            | UnderlayState::Settled(_)
            | UnderlayState::Holding { .. } => now,
        }
    }

    fn settle(&mut self, told: Underlay, chosen: Chosen) -> UnderlayAction {
        let action = UnderlayAction::Publish(told.clone());
        self.state = UnderlayState::Settled(Present { chosen, told });
        action
    }
}

fn with_problem(chosen: &Chosen) -> Underlay {
    let name = &chosen.external.name;
    let down = || format!("the external interface \"{name}\" is down: ip link set {name} up");
    Underlay {
        external: chosen.external.clone(),
        index: chosen.index,
        problem: (!chosen.up).then(down),
    }
}

/// What is published while nothing fits: the last interface, under the name and with the MTU that it has now.
fn without_interface(
    published: &Underlay,
    observation: &Observation,
    reason: &NoInterface,
) -> Underlay {
    let mut interfaces = observation.interfaces.iter();
    let last = interfaces.find(|interface| interface.index == published.index);
    let mut external = published.external.clone();
    if let Some(last) = last {
        external.name.clone_from(&last.name);
        external.mtu = last.mtu;
    }
    Underlay {
        external,
        index: published.index,
        problem: Some(format!("no external interface: {reason}")),
    }
}

/// Whether a change may undo itself in a moment: the interface is another one although the present one exists, there is
/// none, or the source address is another one although the present one exists.
fn may_be_an_instant(published: &Underlay, wanted: &Underlay, observation: &Observation) -> bool {
    let mut interfaces = observation.interfaces.iter();
    let exists = interfaces.any(|interface| interface.index == published.index);
    if wanted.problem.is_some() && published.problem.is_none() {
        return true;
    }
    if wanted.index != published.index {
        return exists;
    }
    let address = published.external.address;
    let mut interfaces = observation.interfaces.iter();
    let address_exists = interfaces.any(|interface| interface.has(address));
    wanted.external.address != address && address_exists
}

#[cfg(test)]
mod tests;
