//! What happens when this host gets another PublicIP: its lease follows, under the same subnet. A list finds out whether
//! another host has that address, and judges all leases against it.

use std::net::Ipv4Addr;

use tracing::info;

use crate::conditions::{Problem, Reason};
use crate::lease::manager::machine::retrying::watched_since;
use crate::lease::manager::machine::{LeaseMachine, Step};
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::{LeaseAction, LeaseState, StepContext};
use crate::model::host_network::HostNetwork;

impl LeaseMachine {
    pub(super) fn public_ip_changed(
        &mut self,
        state: LeaseState,
        public_ip: Ipv4Addr,
        context: StepContext,
    ) -> Step {
        if public_ip == self.identity.public_ip {
            return (state, Vec::new());
        }
        let before = self.identity.public_ip;
        info!(%before, %public_ip, "this host has another PublicIP now");
        self.identity.readdress(public_ip);
        let mut actions = Vec::new();
        actions.extend(self.not_published());
        let (state, more) = self.judge_again(state, RelistReason::PublicIpChanged, context);
        actions.extend(more);
        (state, actions)
    }

    /// Takes other subnets or addresses of this host: all leases are judged against them.
    pub(super) fn host_network_changed(
        &mut self,
        state: LeaseState,
        host: HostNetwork,
        context: StepContext,
    ) -> Step {
        if host == self.identity.host {
            return (state, Vec::new());
        }
        self.followed.set_host(host.clone());
        self.identity.host = host;
        self.judge_again(state, RelistReason::HostNetworkChanged, context)
    }

    fn judge_again(
        &mut self,
        state: LeaseState,
        reason: RelistReason,
        context: StepContext,
    ) -> Step {
        match state {
            LeaseState::Holding(_) | LeaseState::Waiting { .. } => {
                self.relist(reason, watched_since(&state), context)
            }
            // A list is due, and the claim that follows it uses what is known then.
            LeaseState::Relisting { .. }
            | LeaseState::Unreachable { .. }
            | LeaseState::AwaitingOwner { .. }
            | LeaseState::Listing
            | LeaseState::Acquiring { .. }
            | LeaseState::OpeningWatch(_) => (state, Vec::new()),
        }
    }

    /// The other hosts send to the address in our lease: until it is the current one, this host is cut off.
    fn not_published(&self) -> Option<LeaseAction> {
        let published = self.progress.membership()?.own.public_ip;
        let current = self.identity.public_ip;
        let message = format!(
            "etcd holds PublicIP {published}, but this host is at {current}; writing the lease again"
        );
        let problem = Problem::new(Reason::PublicIpNotPublished, message);
        (published != current).then_some(LeaseAction::SetLeaseHeld(Err(problem)))
    }
}
