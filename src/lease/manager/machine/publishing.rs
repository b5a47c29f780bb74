//! What the peer table is told about the other hosts.

use crate::lease::manager::machine::LeaseMachine;
use crate::lease::manager::progress::Suspicion;
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::LeaseAction;
use crate::lease::port::{Listing, RegistryChange};
use crate::peers::update::LeaseUpdate;

impl LeaseMachine {
    /// Tells the peer table the leases of all other hosts, if this host has joined.
    pub(super) fn publish_peers(
        &mut self,
        listing: &Listing,
        suspicion: Suspicion,
    ) -> Vec<LeaseAction> {
        let Some(membership) = self.progress.membership() else {
            return Vec::new();
        };
        let leases = self.followed.list(&listing.entries, membership);
        let leases = LeaseAction::Publish(LeaseUpdate::Leases(leases));
        match suspicion {
            Suspicion::None => vec![leases],
            Suspicion::Reported => vec![LeaseAction::Publish(LeaseUpdate::Suspect), leases],
        }
    }

    /// Passes on what changes mean for the peers, if this host has joined.
    ///
    /// # Errors
    /// Only a new list can tell what they mean.
    pub(super) fn publish_changes(
        &mut self,
        changes: &[RegistryChange],
    ) -> Result<Vec<LeaseAction>, RelistReason> {
        let Some(membership) = self.progress.membership() else {
            return Ok(Vec::new());
        };
        let mut peers = Vec::with_capacity(changes.len());
        for change in changes {
            if let RegistryChange::Config(value) = change {
                self.config.read(value.as_deref(), Some(&membership.config));
            }
            peers.extend(self.followed.change(change, membership)?);
        }
        let ignored = self.followed.changed_ignored();
        let mut actions: Vec<LeaseAction> =
            ignored.map(LeaseAction::ShowIgnored).into_iter().collect();
        actions.extend(self.changed_counts());
        if !peers.is_empty() {
            actions.push(LeaseAction::Publish(LeaseUpdate::Changes(peers)));
        }
        Ok(actions)
    }

    /// Returns the action that shows the counts, if they have changed.
    pub(super) fn changed_counts(&mut self) -> Option<LeaseAction> {
        let mut counts = self.followed.counts();
        counts.config_differences = self.config.differences().to_vec();
        let is_new = self.counts != counts;
        self.counts = counts.clone();
        is_new.then_some(LeaseAction::ShowCounts(counts))
    }
}
