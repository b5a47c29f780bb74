//! How far this host is with its overlay, from no lease to a managed device, and what each input means in each phase. It
//! waits for nothing and touches nothing: a step returns the next phase and the actions. Pure.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::lease::Lease;
use crate::model::membership::Membership;
use crate::overlay::conflicts::conflicts;
use crate::overlay::desired::DesiredOverlay;
use crate::overlay::misses;
use crate::overlay::plan::Op;
use crate::overlay::port::{KernelChange, Miss};
use crate::overlay::settings::OverlaySettings;
use crate::overlay::state::OverlayState;
use crate::peers::update::{PeerChange, PeerUpdate};

#[derive(Debug, Default)]
pub(crate) enum Phase {
    /// This host has no lease.
    #[default]
    NoLease,
    /// No complete list of peers has come yet. Nothing in the kernel is touched: what an earlier run left there may belong
    /// to peers that still exist.
    AwaitingPeers { overlay: DesiredOverlay },
    /// The peers are known, but the kernel was not observed since this host got its lease: only a run can tell what has
    /// to be done.
    Installing { overlay: DesiredOverlay },
    /// The kernel follows: a change of peers is applied at once.
    Managing { overlay: DesiredOverlay },
    /// The device with our name is not ours. Nothing on it is touched, but the desired state follows the peers, so that a
    /// run installs it once the device is gone.
    ForeignDevice {
        overlay: DesiredOverlay,
        /// Alias of the device, or its kind if it is no vxlan device.
        owner: String,
    },
}

/// What happened.
#[derive(Debug)]
pub(crate) enum PhaseEvent<'a> {
    /// The lease of this host, or peers, changed.
    Update(PeerUpdate),
    /// The external interface is another one, or has changed.
    ExternalChanged,
    /// A packet needs an address.
    Miss(Miss),
    /// Something in the kernel changed.
    Changed(&'a KernelChange),
    /// A run observed our device, or that no device has our name.
    Observed(&'a OverlayState),
    /// A run found a device with our name that is not ours.
    FoundForeign(&'a str),
}

/// What the reconciler has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Log these conflicts between leases, each once.
    WarnOfConflicts(Vec<String>),
    /// Apply these operations now.
    Apply(Vec<Op>),
    /// Apply these operations now; a run that follows does what fails.
    TryNow(Vec<Op>),
    /// Observe, plan and apply at once.
    Run,
    /// Observe, plan and apply soon, because the kernel does not hold what it should.
    Resync,
    /// Ask etcd for the lease of this subnet.
    RequestLease(Ipv4Network),
    /// Remove this unresolved neighbour if too many packets wait for addresses that no peer has.
    LimitUnresolved(Ipv4Addr),
}

impl Phase {
    pub(crate) fn step(
        self,
        event: PhaseEvent<'_>,
        settings: &OverlaySettings,
    ) -> (Self, Vec<Action>) {
        match event {
            PhaseEvent::Update(PeerUpdate::Joined(membership)) => {
                (self.join(&membership, settings), Vec::new())
            }
            PhaseEvent::Update(PeerUpdate::Peers(leases)) => self.replace_peers(leases),
            PhaseEvent::Update(PeerUpdate::Changes(changes)) => self.change_peers(changes),
            PhaseEvent::ExternalChanged => self.follow(settings),
            PhaseEvent::Miss(miss) => self.answer(miss),
            PhaseEvent::Changed(change) => self.compare(change),
            PhaseEvent::Observed(observed) => (self.observed(observed), Vec::new()),
            PhaseEvent::FoundForeign(owner) => (self.found_foreign(owner), Vec::new()),
        }
    }

    /// Returns the overlay in the phases in which the peers are known: there, kernel events count.
    pub(crate) const fn known_overlay(&self) -> Option<&DesiredOverlay> {
        match self {
            Self::NoLease | Self::AwaitingPeers { .. } => None,
            Self::Installing { overlay }
            | Self::Managing { overlay }
            | Self::ForeignDevice { overlay, .. } => Some(overlay),
        }
    }

    /// Returns the overlay while the device is ours and was observed.
    pub(crate) const fn managed_overlay_mut(&mut self) -> Option<&mut DesiredOverlay> {
        match self {
            Self::Managing { overlay } => Some(overlay),
            Self::NoLease
            | Self::AwaitingPeers { .. }
            | Self::Installing { .. }
            | Self::ForeignDevice { .. } => None,
        }
    }

    fn join(self, membership: &Membership, settings: &OverlaySettings) -> Self {
        match self {
            Self::NoLease => Self::AwaitingPeers {
                overlay: DesiredOverlay::new(membership, settings),
            },
            Self::AwaitingPeers { overlay } => Self::AwaitingPeers {
                overlay: overlay.rejoin(membership, settings),
            },
            // The list that follows starts the run.
            Self::Installing { overlay } | Self::Managing { overlay } => Self::Installing {
                overlay: overlay.rejoin(membership, settings),
            },
            Self::ForeignDevice { overlay, owner } => Self::ForeignDevice {
                overlay: overlay.rejoin(membership, settings),
                owner,
            },
        }
    }

    /// The device is changed at once; the run reads back, and makes a device that could not be changed.
    fn follow(mut self, settings: &OverlaySettings) -> (Self, Vec<Action>) {
        let actions = match &mut self {
            Self::NoLease => Vec::new(),
            Self::AwaitingPeers { overlay } => {
                overlay.follow(settings);
                Vec::new()
            }
            Self::Managing { overlay } => {
                vec![Action::TryNow(overlay.follow(settings)), Action::Run]
            }
            Self::Installing { overlay } | Self::ForeignDevice { overlay, .. } => {
                overlay.follow(settings);
                vec![Action::Run]
            }
        };
        (self, actions)
    }

    fn replace_peers(self, leases: Vec<Lease>) -> (Self, Vec<Action>) {
        let subnets: Vec<Ipv4Network> = leases.iter().map(|lease| lease.subnet).collect();
        match self {
            Self::NoLease => (self, Vec::new()),
            Self::AwaitingPeers { mut overlay } | Self::Installing { mut overlay } => {
                overlay.set_peers(leases);
                let actions = with_warning(&overlay, &subnets, Some(Action::Run));
                (Self::Installing { overlay }, actions)
            }
            Self::Managing { mut overlay } => {
                let ops = overlay.replace_peers(leases);
                let actions = with_warning(&overlay, &subnets, apply(ops));
                (Self::Managing { overlay }, actions)
            }
            Self::ForeignDevice { mut overlay, owner } => {
                overlay.set_peers(leases);
                let actions = with_warning(&overlay, &subnets, Some(Action::Run));
                (Self::ForeignDevice { overlay, owner }, actions)
            }
        }
    }

    fn change_peers(self, changes: Vec<PeerChange>) -> (Self, Vec<Action>) {
        let subnets: Vec<Ipv4Network> = changes.iter().map(|(subnet, _)| *subnet).collect();
        match self {
            Self::NoLease => (self, Vec::new()),
            Self::AwaitingPeers { mut overlay } => {
                overlay.set_changes(changes);
                let actions = with_warning(&overlay, &subnets, None);
                (Self::AwaitingPeers { overlay }, actions)
            }
            Self::Installing { mut overlay } => {
                overlay.set_changes(changes);
                let actions = with_warning(&overlay, &subnets, Some(Action::Run));
                (Self::Installing { overlay }, actions)
            }
            Self::Managing { mut overlay } => {
                let ops = overlay.change_peers(changes);
                let actions = with_warning(&overlay, &subnets, apply(ops));
                (Self::Managing { overlay }, actions)
            }
            Self::ForeignDevice { mut overlay, owner } => {
                overlay.set_changes(changes);
                let actions = with_warning(&overlay, &subnets, None);
                (Self::ForeignDevice { overlay, owner }, actions)
            }
        }
    }

    fn answer(mut self, miss: Miss) -> (Self, Vec<Action>) {
        let actions = match &mut self {
            Self::NoLease | Self::AwaitingPeers { .. } => Vec::new(),
            Self::Installing { overlay } | Self::Managing { overlay } => answer(overlay, miss),
            Self::ForeignDevice { overlay, .. } => {
                let mut actions = answer(overlay, miss);
                actions.retain(|action| matches!(action, Action::RequestLease(_)));
                actions
            }
        };
        (self, actions)
    }

    fn compare(self, change: &KernelChange) -> (Self, Vec<Action>) {
        let overlay = self.known_overlay();
        let contradicts = overlay.is_some_and(|overlay| overlay.contradicts(change));
        let actions = contradicts.then_some(Action::Resync).into_iter().collect();
        (self, actions)
    }

    fn observed(self, observed: &OverlayState) -> Self {
        match self {
            Self::NoLease | Self::AwaitingPeers { .. } => self,
            Self::Installing { mut overlay }
            | Self::Managing { mut overlay }
            | Self::ForeignDevice { mut overlay, .. } => {
                overlay.adopt(observed);
                Self::Managing { overlay }
            }
        }
    }

    fn found_foreign(self, owner: &str) -> Self {
        match self {
            Self::NoLease | Self::AwaitingPeers { .. } => self,
            Self::Installing { overlay }
            | Self::Managing { overlay }
            | Self::ForeignDevice { overlay, .. } => Self::ForeignDevice {
                overlay,
                owner: owner.to_owned(),
            },
        }
    }
}

fn apply(ops: Vec<Op>) -> Option<Action> {
    (!ops.is_empty()).then_some(Action::Apply(ops))
}

fn answer(overlay: &mut DesiredOverlay, miss: Miss) -> Vec<Action> {
    let ops = misses::answer(overlay.peers_mut(), miss);
    match miss {
        _ if !ops.is_empty() => vec![Action::Apply(ops)],
        Miss::L2(_) => Vec::new(),
        Miss::L3(address) => match misses::unknown_subnet(overlay, address) {
            Some(subnet) => vec![
                Action::RequestLease(subnet),
                Action::LimitUnresolved(address),
            ],
            None => Vec::new(),
        },
    }
}

fn with_warning(
    overlay: &DesiredOverlay,
    subnets: &[Ipv4Network],
    action: Option<Action>,
) -> Vec<Action> {
    let conflicts = conflicts(overlay.peers().index(), subnets);
    let warning = (!conflicts.is_empty()).then_some(Action::WarnOfConflicts(conflicts));
    warning.into_iter().chain(action).collect()
}

#[cfg(test)]
mod tests;
