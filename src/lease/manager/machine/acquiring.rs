//! What follows an attempt to acquire a lease.

use std::time::Duration;

use tracing::{error, info};

use crate::lease::claim::JoinedKey;
use crate::lease::manager::blocker::NoLease;
use crate::lease::manager::contest::Contest;
use crate::lease::manager::machine::listing::open_watch;
use crate::lease::manager::machine::{LeaseMachine, Step};
use crate::lease::manager::progress::Suspicion;
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::{
    Acquisition, HeldLease, KeyOrigin, LeaseAction, LeaseState, ListOutcome, StepContext,
};
use crate::lease::port::{Listing, RegistryError};
use crate::model::lease::key::key_name;
use crate::model::membership::Membership;
use crate::model::network_config::NetworkConfig;
use crate::peers::update::LeaseUpdate;

/// Time for the owner of a lost key to create it again: well above the duration of a list and a write.
const OWNER_RETURN: Duration = Duration::from_secs(3);

impl LeaseMachine {
    pub(super) fn acquired(
        &mut self,
        acquisition: Acquisition,
        listing: &Listing,
        config: NetworkConfig,
        context: StepContext,
    ) -> Step {
        match acquisition {
            Acquisition::Lease(held, origin) => self.lease_acquired(held, origin, listing, config),
            Acquisition::Refused(held, no_lease) => self.refused(held, no_lease, listing),
            Acquisition::NoLease(no_lease) => self.no_lease(no_lease, listing),
            Acquisition::OwnerMayReturn => {
                self.progress.owes_no_courtesy();
                let until = context.now + OWNER_RETURN.mul_f64(1.0 + context.random / 2.0);
                (LeaseState::AwaitingOwner { until }, Vec::new())
            }
            Acquisition::Relist(reason) => self.relist(reason, None, context),
        }
    }

    fn lease_acquired(
        &mut self,
        held: HeldLease,
        origin: KeyOrigin,
        listing: &Listing,
        config: NetworkConfig,
    ) -> Step {
        let own = held.own.clone();
        let membership = Membership { own, config };
        let mut actions = Vec::new();
        let key = JoinedKey {
            own: held.own.clone(),
            etcd_lease: held.etcd_lease(),
            created: held.created,
            revision: held.revision.max(listing.revision),
        };
        match origin {
            KeyOrigin::Found => {}
            // The key that was overwritten is gone, or left to another host.
            KeyOrigin::Created | KeyOrigin::Recreated => self.contest = Contest::new(),
        }
        if self.progress.join(&membership, key) {
            log_acquired(&membership, origin);
            let previous = &mut self.identity.previous;
            previous.subnet = Some(membership.own.subnet);
            previous.vtep_mac = Some(membership.own.vtep_mac);
            previous.public_ip = Some(membership.own.public_ip);
            actions.push(LeaseAction::Publish(LeaseUpdate::Joined(membership)));
        } else if origin == KeyOrigin::Recreated {
            info!(subnet = %held.own.subnet, "lease created again");
        }
        let suspicion = match origin {
            KeyOrigin::Found | KeyOrigin::Created => Suspicion::None,
            KeyOrigin::Recreated => Suspicion::Reported,
        };
        actions.extend(self.publish_peers(listing, suspicion));
        actions.push(open_watch(listing));
        (LeaseState::OpeningWatch(ListOutcome::Lease(held)), actions)
    }

    /// This host has another PublicIP now, and a rival has that, too. Its lease stays as it is.
    fn refused(&mut self, held: HeldLease, no_lease: NoLease, listing: &Listing) -> Step {
        if self.no_lease_logged.is_new(&no_lease.message) {
            error!(subnet = %held.own.subnet, published = %held.own.public_ip, "{}", no_lease.message);
        }
        let mut actions = self.publish_peers(listing, Suspicion::None);
        actions.push(open_watch(listing));
        let outcome = ListOutcome::Refused(held, no_lease);
        (LeaseState::OpeningWatch(outcome), actions)
    }

    /// This host cannot have a lease. If it had one before, pods run here, so its peers are still followed.
    fn no_lease(&mut self, no_lease: NoLease, listing: &Listing) -> Step {
        if self.no_lease_logged.is_new(&no_lease.message) {
            error!("{}", no_lease.message);
        }
        self.progress.waiting_for_others();
        self.progress.own_key_is_not_missed();
        let mut actions = self.publish_peers(listing, Suspicion::None);
        actions.push(open_watch(listing));
        (
            LeaseState::OpeningWatch(ListOutcome::NoLease(no_lease)),
            actions,
        )
    }

    /// A request has failed, perhaps because etcd is out of space. If this host had a lease before, its peers are still
    /// followed, though not at full speed: each time costs a list of everything.
    pub(super) fn failed_to_acquire(
        &mut self,
        error: &RegistryError,
        listing: &Listing,
        context: StepContext,
    ) -> Step {
        let Some(membership) = self.progress.membership() else {
            return self.unreachable(error, None, context);
        };
        let own_key = key_name(membership.own.subnet);
        let missing = !listing.entries.iter().any(|entry| entry.name == own_key);
        let suspicion = self.progress.write_failed(missing);
        let mut actions = self.publish_peers(listing, suspicion);
        let delay = self
            .relists
            .delay(RelistReason::WriteFailed, context.random);
        let later = StepContext {
            now: context.now + delay,
            ..context
        };
        let (state, more) = self.unreachable(error, None, later);
        actions.extend(more);
        (state, actions)
    }
}

fn log_acquired(membership: &Membership, origin: KeyOrigin) {
    let own = &membership.own;
    let key = match origin {
        KeyOrigin::Found => "found",
        KeyOrigin::Created => "created",
        KeyOrigin::Recreated => "created again",
    };
    info!(subnet = %own.subnet, public_ip = %own.public_ip, mac = %own.vtep_mac, key, "lease acquired");
}
