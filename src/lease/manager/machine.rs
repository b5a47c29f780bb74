//! The lease manager as a state machine without I/O: an event goes in, actions come out. It decides when to list, acquire,
//! watch, renew and wait, and what the rest of the daemon is told. It never awaits and never reads a clock.

mod acquiring;
mod defending;
mod holding;
mod listing;
mod publishing;
mod readdressing;
mod retrying;
mod waiting;

use std::time::Duration;

use crate::lease::claim::Identity;
use crate::lease::manager::blocker::config_key;
use crate::lease::manager::contact::Contact;
use crate::lease::manager::contest::Contest;
use crate::lease::manager::followed::FollowedLeases;
use crate::lease::manager::machine::retrying::watched_since;
use crate::lease::manager::network::ObservedConfig;
use crate::lease::manager::progress::JoinProgress;
use crate::lease::manager::relists::{RelistReason, Relists};
use crate::lease::manager::state::{LeaseAction, LeaseEvent, LeaseState, StepContext};
use crate::model::lease_counts::LeaseCounts;
use crate::reconcile::log_once::LogOnce;

/// The next state, and the actions that lead there.
type Step = (LeaseState, Vec<LeaseAction>);

/// The state machine. Beside the state it holds the parts that outlive a state; each part owns its fields alone.
#[derive(Debug)]
pub(super) struct LeaseMachine {
    state: LeaseState,
    identity: Identity,
    renew_margin: Duration,
    progress: JoinProgress,
    config: ObservedConfig,
    followed: FollowedLeases,
    /// The counts that were shown last.
    counts: LeaseCounts,
    contact: Contact,
    relists: Relists,
    contest: Contest,
    no_lease_logged: LogOnce,
    /// What of this host is inside the overlay.
    overlap_logged: LogOnce,
    /// What was found in our key last.
    overwrite_logged: LogOnce,
}

impl LeaseMachine {
    /// Starts with a list that is due at once.
    pub(super) fn new(identity: Identity, renew_margin: Duration) -> Self {
        let mut followed = FollowedLeases::default();
        followed.set_host(identity.host.clone());
        Self {
            state: LeaseState::Relisting { at: Duration::ZERO },
            config: ObservedConfig::new(config_key(&identity.prefix)),
            identity,
            renew_margin,
            progress: JoinProgress::default(),
            followed,
            counts: LeaseCounts::default(),
            contact: Contact::new(),
            relists: Relists::new(),
            contest: Contest::new(),
            no_lease_logged: LogOnce::default(),
            overlap_logged: LogOnce::default(),
            overwrite_logged: LogOnce::default(),
        }
    }

    /// Returns when the machine wants an [`LeaseEvent::Time`], unless something else happens before.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match &self.state {
            LeaseState::Relisting { at } => Some(*at),
            LeaseState::Unreachable { retry_at } => Some(*retry_at),
            LeaseState::AwaitingOwner { until } => Some(*until),
            LeaseState::Waiting { no_lease, since } => Some(*since + no_lease.recheck_after()),
            LeaseState::Holding(holding) => self.next_while_holding(holding),
            LeaseState::Listing | LeaseState::Acquiring { .. } | LeaseState::OpeningWatch(_) => {
                None
            }
        }
    }

    /// Whether the machine answers an [`LeaseEvent::LookupRequested`]. In other states the requests wait.
    pub(super) const fn answers_lookups(&self) -> bool {
        matches!(self.state, LeaseState::Holding(_))
    }

    /// Takes an event and returns the actions that it leads to.
    pub(super) fn handle(&mut self, event: LeaseEvent, context: StepContext) -> Vec<LeaseAction> {
        let state = std::mem::replace(&mut self.state, LeaseState::Listing);
        let (state, actions) = self.step(state, event, context);
        self.state = state;
        actions
    }

    fn step(&mut self, state: LeaseState, event: LeaseEvent, context: StepContext) -> Step {
        match (state, event) {
            (state, LeaseEvent::Time) => self.time(state, context),
            (state, LeaseEvent::PublicIpChanged(ip)) => self.public_ip_changed(state, ip, context),
            (state, LeaseEvent::HostNetworkChanged(host)) => {
                self.host_network_changed(state, host, context)
            }
            (state, LeaseEvent::WatchOutdated(why)) => self.watch_outdated(state, &why, context),
            (LeaseState::Acquiring { listing, .. }, LeaseEvent::Failed(error)) => {
                self.failed_to_acquire(&error, &listing, context)
            }
            (state, LeaseEvent::Failed(error)) => {
                self.unreachable(&error, watched_since(&state), context)
            }
            (LeaseState::Listing, LeaseEvent::Listed(listing)) => self.listed(listing),
            (LeaseState::Acquiring { listing, config }, LeaseEvent::Acquired(acquisition)) => {
                self.acquired(acquisition, &listing, config, context)
            }
            (LeaseState::OpeningWatch(outcome), LeaseEvent::WatchOpened) => {
                self.watch_opened(outcome, context)
            }
            (LeaseState::Holding(holding), event) => self.while_holding(holding, event, context),
            (LeaseState::Waiting { no_lease, since }, LeaseEvent::Changed(changes)) => {
                self.changed_while_waiting(no_lease, since, changes, context)
            }
            // Answers to the actions of another state. The shell executes one request at a time, so there are none.
            (
                state,
                LeaseEvent::Listed(_)
                | LeaseEvent::Acquired(_)
                | LeaseEvent::WatchOpened
                | LeaseEvent::Changed(_)
                | LeaseEvent::Renewed(_)
                | LeaseEvent::WrittenBack(_)
                | LeaseEvent::LookupRequested(_)
                | LeaseEvent::LookedUp { .. },
            ) => (state, Vec::new()),
        }
    }

    fn time(&mut self, state: LeaseState, context: StepContext) -> Step {
        match state {
            LeaseState::Relisting { at } if at <= context.now => {
                (LeaseState::Listing, vec![LeaseAction::List])
            }
            LeaseState::Unreachable { retry_at } if retry_at <= context.now => {
                (LeaseState::Listing, vec![LeaseAction::List])
            }
            LeaseState::AwaitingOwner { until } if until <= context.now => {
                self.relist(RelistReason::OwnerHadTimeToReturn, None, context)
            }
            LeaseState::Waiting { no_lease, since }
                if since + no_lease.recheck_after() <= context.now =>
            {
                self.relist(RelistReason::RecheckDue, Some(since), context)
            }
            LeaseState::Holding(holding) => self.time_while_holding(holding, context),
            LeaseState::Relisting { .. }
            | LeaseState::Unreachable { .. }
            | LeaseState::AwaitingOwner { .. }
            | LeaseState::Waiting { .. }
            | LeaseState::Listing
            | LeaseState::Acquiring { .. }
            | LeaseState::OpeningWatch(_) => (state, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests;
