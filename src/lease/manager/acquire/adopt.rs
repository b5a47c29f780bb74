//! Takes over a key of ours that etcd holds: as it is, with a new value, or with a new etcd lease.

use tracing::warn;

use crate::lease::claim::{lacks_only_node_id, lease_value};
use crate::lease::manager::acquire::{Attempt, Setback};
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::{Acquisition, HeldLease, KeyOrigin, Renewal, ValueState};
use crate::lease::port::{Entry, Registry, WriteOutcome};
use crate::model::lease::OwnLease;

/// The etcd lease of our key, after an attempt to renew it.
enum Renewed {
    /// It lives. `None`: the key is a reservation, which needs no etcd lease.
    Alive(Option<Renewal>),
    /// etcd does not know it, and has not known it for a while.
    Unknown,
}

impl<R: Registry> Attempt<'_, R> {
    /// Takes over a lease without writing its key: no watch brings anything.
    pub(super) async fn keep(
        &mut self,
        own: OwnLease,
        entry: Entry,
    ) -> Result<Acquisition, Setback> {
        match self.renew(&entry).await? {
            Renewed::Alive(renewal) => {
                let revision = entry.revision;
                Ok(found(own, renewal, &entry, revision, ValueState::Complete))
            }
            Renewed::Unknown => self.attach_again(own, entry).await,
        }
    }

    /// Takes over a lease whose value is not the one that we want.
    pub(super) async fn rewrite(
        &mut self,
        own: OwnLease,
        entry: Entry,
    ) -> Result<Acquisition, Setback> {
        let renewal = match self.renew(&entry).await? {
            Renewed::Alive(renewal) => renewal,
            Renewed::Unknown => return self.attach_again(own, entry).await,
        };
        match self.replace(&own, &entry).await {
            Ok(revision) => Ok(found(own, renewal, &entry, revision, ValueState::Complete)),
            Err(Setback::Registry(error))
                if lacks_only_node_id(&entry, &own, &self.request.config) =>
            {
                let (subnet, error) = (own.subnet, crate::error::chain(&error));
                warn!(
                    %subnet, error,
                    "failed to add the node id to our lease; using the lease without it until the next renewal"
                );
                let revision = entry.revision;
                Ok(found(
                    own,
                    renewal,
                    &entry,
                    revision,
                    ValueState::LacksNodeId,
                ))
            }
            Err(setback) => Err(setback),
        }
    }

    /// Attaches our key, whose etcd lease etcd does not know, to another one.
    async fn attach_again(&mut self, own: OwnLease, entry: Entry) -> Result<Acquisition, Setback> {
        warn!(
            subnet = %own.subnet,
            "etcd does not know the etcd lease of our key; attaching the key to another one"
        );
        self.attach_to_own_etcd_lease(own, entry).await
    }

    /// Writes our lease, attached to the etcd lease that this host had last or to a new one.
    pub(super) async fn attach_to_own_etcd_lease(
        &mut self,
        own: OwnLease,
        entry: Entry,
    ) -> Result<Acquisition, Setback> {
        let (lease, ttl) = self.acquirer.etcd_lease.obtain(self.registry).await?;
        let entry = Entry {
            lease: Some(lease),
            ..entry
        };
        let revision = self.replace(&own, &entry).await?;
        let renewal = Some(self.renewal(lease, ttl));
        Ok(found(own, renewal, &entry, revision, ValueState::Complete))
    }

    async fn renew(&mut self, entry: &Entry) -> Result<Renewed, Setback> {
        let Some(lease) = entry.lease else {
            return Ok(Renewed::Alive(None));
        };
        match self.registry.keep_alive(lease).await? {
            Some(ttl) => {
                self.acquirer.etcd_lease.attached(lease);
                Ok(Renewed::Alive(Some(self.renewal(lease, ttl))))
            }
            None if self.acquirer.orphaned.is_seen_again(entry) => Ok(Renewed::Unknown),
            None => Err(Setback::Relist(RelistReason::OwnEtcdLeaseExpired)),
        }
    }

    /// Returns the revision of the write.
    async fn replace(&self, own: &OwnLease, entry: &Entry) -> Result<i64, Setback> {
        let value = lease_value(own, &self.request.config, &self.request.identity);
        match self.registry.replace(entry, &value).await? {
            WriteOutcome::Done { revision } => Ok(revision),
            WriteOutcome::Lost => Err(Setback::Relist(RelistReason::OwnKeyOverwritten)),
        }
    }
}

fn found(
    own: OwnLease,
    renewal: Option<Renewal>,
    entry: &Entry,
    revision: i64,
    value: ValueState,
) -> Acquisition {
    let held = HeldLease {
        own,
        renewal,
        created: entry.created,
        revision,
        value,
    };
    Acquisition::Lease(held, KeyOrigin::Found)
}
