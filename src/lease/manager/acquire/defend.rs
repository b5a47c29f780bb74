//! Our key, after another client has overwritten it: finds out whether a host lives in the subnet, and else goes on
//! holding the lease. It does not write: `machine::defending` does, because that has to be slow if it is undone.

use crate::lease::claim::{claimant, is_created_by_other};
use crate::lease::manager::acquire::life::Life;
use crate::lease::manager::acquire::{Attempt, Setback};
use crate::lease::manager::state::{
    AcquireRequest, Acquisition, HeldLease, KeyOrigin, Renewal, ValueState,
};
use crate::lease::port::{Entry, LeaseId, Registry};
use crate::model::lease::OwnLease;

impl<R: Registry> Attempt<'_, R> {
    /// Whether a host has proven that it lives in our subnet: it has created the key while ours was gone, has undone our
    /// writes, or has replaced this machine, and in all cases renews an etcd lease of its own.
    pub(super) async fn life_in_our_subnet(&self, entry: &Entry) -> Result<Life, Setback> {
        let AcquireRequest {
            listing,
            config,
            identity,
            joined,
            persistent,
            ..
        } = self.request;
        let none = Life::None {
            revision: entry.revision,
        };
        let Some(joined) = joined else {
            return Ok(none);
        };
        let Some(claimant) = claimant(entry, config, joined.etcd_lease) else {
            return Ok(none);
        };
        let undid_us = persistent.as_ref() == Some(&claimant.owner);
        let has_proof = undid_us || is_created_by_other(entry, joined, listing);
        let public_ip = claimant.owner.public_ip;
        if !has_proof && !identity.has_or_had(public_ip) {
            return Ok(none);
        }
        let lease = claimant.etcd_lease;
        let time = self.registry.time_to_live(lease).await?;
        match time.filter(|time| !time.is_neglected()) {
            None => Ok(none),
            Some(_) if has_proof => Ok(Life::Possible(None)),
            Some(time) => self.life_of_successor(entry, public_ip, lease, time).await,
        }
    }

    /// Goes on holding our lease although etcd holds something else in its place.
    pub(super) async fn defend(
        &mut self,
        own: OwnLease,
        entry: Entry,
    ) -> Result<Acquisition, Setback> {
        let renewal = self.etcd_lease_to_defend(&entry).await?;
        let held = HeldLease {
            own,
            renewal,
            created: entry.created,
            revision: entry.revision,
            value: ValueState::Overwritten(entry),
        };
        Ok(Acquisition::Lease(held, KeyOrigin::Found))
    }

    /// Returns the etcd lease for our key: the one that it had, else another one; `None` for a reservation.
    async fn etcd_lease_to_defend(&mut self, entry: &Entry) -> Result<Option<Renewal>, Setback> {
        let before: Option<LeaseId> = match &self.request.joined {
            Some(joined) if joined.etcd_lease.is_none() => return Ok(None),
            Some(joined) => joined.etcd_lease,
            // Most programs that write a value keep the etcd lease, which was that of our last run.
            None => entry.lease,
        };
        if let Some(lease) = before
            && let Some(ttl) = self.registry.keep_alive(lease).await?
        {
            self.acquirer.etcd_lease.attached(lease);
            return Ok(Some(self.renewal(lease, ttl)));
        }
        let (lease, ttl) = self.acquirer.etcd_lease.obtain(self.registry).await?;
        Ok(Some(self.renewal(lease, ttl)))
    }
}
