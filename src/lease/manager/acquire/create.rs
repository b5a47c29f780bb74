//! Creates a key for a free subnet. Hosts that start together may want the same one; those that lose try others.

use std::time::Duration;

use tracing::{debug, error, warn};

use crate::lease::claim::{self, Claim, Exclusions, is_older_rival, lease_value};
use crate::lease::manager::acquire::{Attempt, Setback};
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::{AcquireRequest, Acquisition, HeldLease, KeyOrigin, ValueState};
use crate::lease::port::{LeaseId, Registry, WriteOutcome};
use crate::model::lease::OwnLease;
use crate::model::lease::key::key_name;

/// Subnets that are tried before everything is listed again.
const MAX_TRIES_PER_LIST: usize = 16;

impl<R: Registry> Attempt<'_, R> {
    /// Creates a lease for `own`, or for another free subnet.
    pub(super) async fn create(
        &mut self,
        mut own: OwnLease,
        mut exclusions: Exclusions,
    ) -> Result<Acquisition, Setback> {
        let (lease, ttl) = self.acquirer.etcd_lease.obtain(self.registry).await?;
        while exclusions.taken.len() < MAX_TRIES_PER_LIST {
            match self.create_key(&own, lease).await? {
                WriteOutcome::Done { revision } => {
                    self.check_for_rival_before(revision).await?;
                    return Ok(self.created(own, lease, ttl, revision));
                }
                WriteOutcome::Lost => {}
            }
            debug!(subnet = %own.subnet, "another host has just taken the subnet; trying another one");
            exclusions.taken.push(own.subnet);
            match self.claim(&exclusions) {
                Claim::Create(next) => own = next,
                Claim::Keep(..)
                | Claim::Rewrite(..)
                | Claim::Defend(..)
                | Claim::Rival(_)
                | Claim::NoFreeSubnet => break,
            }
        }
        Err(Setback::Relist(RelistReason::OthersWereFaster))
    }

    async fn create_key(&self, own: &OwnLease, lease: LeaseId) -> Result<WriteOutcome, Setback> {
        let name = key_name(own.subnet);
        let value = lease_value(own, &self.request.config, &self.request.identity);
        Ok(self.registry.create(&name, &value, lease).await?)
    }

    /// Looks for a rival that has written its key between our list and our own key, which has this revision. The watch
    /// would show it as well, but only when this host is up already. It costs a list, but only if anything was written in
    /// between, and only until the first lease.
    ///
    /// # Errors
    /// There is such a rival, or the request has failed.
    async fn check_for_rival_before(&self, revision: i64) -> Result<(), Setback> {
        let AcquireRequest {
            listing,
            config,
            identity,
            joined,
            ..
        } = self.request;
        if joined.is_some() || revision == listing.revision + 1 {
            return Ok(());
        }
        let now = self.registry.list().await?;
        let mut written_since = now.entries.iter();
        // Older entries were judged by the claim.
        let has_rival = written_since.any(|entry| {
            entry.revision > listing.revision && is_older_rival(entry, config, identity, revision)
        });
        if has_rival {
            return Err(Setback::Relist(RelistReason::RivalAppeared));
        }
        Ok(())
    }

    fn created(&self, own: OwnLease, lease: LeaseId, ttl: Duration, revision: i64) -> Acquisition {
        self.log_if_moved(&own);
        let origin = if self.request.identity.previous.subnet == Some(own.subnet) {
            KeyOrigin::Recreated
        } else {
            KeyOrigin::Created
        };
        let held = HeldLease {
            own,
            renewal: Some(self.renewal(lease, ttl)),
            created: revision,
            revision,
            value: ValueState::Complete,
        };
        Acquisition::Lease(held, origin)
    }

    /// Pods that still run have addresses of the previous subnet.
    fn log_if_moved(&self, own: &OwnLease) {
        let previous = self.request.identity.previous.subnet;
        let Some(previous) = previous.filter(|previous| *previous != own.subnet) else {
            return;
        };
        let subnet = own.subnet;
        match claim::holder(&self.request.listing, previous) {
            Some(holder) => error!(
                %previous, %subnet, %holder,
                "another host holds the previous subnet of this host; pods that run here cannot be reached until they \
                 are restarted"
            ),
            None => warn!(
                %previous, %subnet,
                "the subnet of this host has changed; pods that run here cannot be reached until they are restarted"
            ),
        }
    }
}
