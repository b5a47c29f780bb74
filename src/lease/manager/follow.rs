//! Owns the time in which we hold the lease: passes on what the others do, renews, until something needs a new list.

use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::time::sleep;
use tracing::{debug, error, warn};

use crate::lease::claim::is_older_rival;
use crate::lease::manager::sources::Loss;
use crate::lease::manager::{Held, Interrupt, LeaseManager};
use crate::lease::port::{Entry, Registry, RegistryChange, RegistryWatch};
use crate::model::lease::{
    Lease, OwnLease, Rejection, key_name, owner_of, parse_key_name, parse_lease,
};
use crate::model::network_config::NetworkConfig;
use crate::peers::update::{LeaseUpdate, PeerChange};

/// How long one question for a lease may take.
const LOOK_UP: Duration = Duration::from_secs(1);
/// How long we trust the runtime's clock, which stands still while the machine sleeps: a lease that ran on meanwhile is
/// renewed this soon after.
const NAP: Duration = Duration::from_secs(30);

impl<R: Registry> LeaseManager<R> {
    /// Passes on what changes, renews the lease, until something needs a new list.
    pub(super) async fn follow<T>(
        &mut self,
        from: i64,
        config: NetworkConfig,
        mut held: Held,
    ) -> Result<T, Interrupt> {
        let mut watch = self.registry.watch(from).await?;
        self.set_synced().await?;
        loop {
            // All arms may be dropped and made again at any time: a watch and a queue lose nothing, a time is a time.
            let renewal = held.renew_at.saturating_sub((self.settings.boot_time)());
            tokio::select! {
                Some(subnet) = self.questions.recv() => self.look_up(subnet, &config, &held.own).await?,
                changes = watch.next() => self.pass_on(changes?, &config, &held).await?,
                () = sleep(renewal.min(NAP)), if held.lease.is_some() => self.renew_if_due(&mut held).await?,
                () = self.updates.closed() => return Err(Interrupt::Closed),
            }
        }
    }

    async fn pass_on(
        &mut self,
        changes: Vec<RegistryChange>,
        config: &NetworkConfig,
        held: &Held,
    ) -> Result<(), Interrupt> {
        changes
            .iter()
            .try_for_each(|change| self.check(change, config, held))?;
        self.tell_of_changes(changes, config, &held.own).await
    }

    /// Whether we can go on with our lease after a change.
    fn check(
        &self,
        change: &RegistryChange,
        config: &NetworkConfig,
        held: &Held,
    ) -> Result<(), Interrupt> {
        let own = &held.own;
        match change {
            RegistryChange::Put(entry) if entry.name == key_name(own.subnet) => {
                self.check_own(entry, held)
            }
            RegistryChange::Put(entry)
                if is_older_rival(entry, config, &self.identity, held.revision) =>
            {
                Err(Interrupt::Relist(
                    "another host has our name or our address",
                ))
            }
            RegistryChange::Delete(name) if *name == key_name(own.subnet) => {
                warn!(subnet = %own.subnet, "our lease was deleted or has expired; creating it again");
                Err(Interrupt::Relist("our lease is gone"))
            }
            RegistryChange::Put(_) | RegistryChange::Delete(_) | RegistryChange::Config(_) => {
                Ok(())
            }
        }
    }

    /// Passes on what changes mean for whom we know; our own key is none of the others.
    pub(super) async fn tell_of_changes(
        &mut self,
        changes: Vec<RegistryChange>,
        config: &NetworkConfig,
        own: &OwnLease,
    ) -> Result<(), Interrupt> {
        let ours = key_name(own.subnet);
        let mut leases = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                RegistryChange::Config(value) => {
                    self.network_config(value.as_deref());
                }
                RegistryChange::Put(entry) if entry.name == ours => {}
                RegistryChange::Put(entry) => leases.extend(self.written(&entry, config, own)?),
                RegistryChange::Delete(name) => {
                    self.rejections.note(&name, None);
                    if let Ok(subnet) = parse_key_name(&name) {
                        leases.extend(self.withdrawn(subnet, &name)?);
                    }
                }
            }
        }
        self.tell_ignored();
        match leases.is_empty() {
            true => Ok(()),
            false => self.send(LeaseUpdate::Changes(leases)).await,
        }
    }

    /// What a written key means for the peer of its subnet, if anything.
    fn written(
        &mut self,
        entry: &Entry,
        config: &NetworkConfig,
        own: &OwnLease,
    ) -> Result<Option<PeerChange>, Interrupt> {
        let Ok(subnet) = self.subnet_of(&entry.name) else {
            return Ok(None);
        };
        match self.admit(entry, config, own) {
            Ok(lease) => Ok(Some((subnet, Some(lease)))),
            Err(Rejection::SecondKey(_)) => Ok(None),
            Err(_) => self.withdrawn(subnet, &entry.name),
        }
    }

    /// What it means for the peer of a subnet that one of its keys is gone, or unfit.
    fn withdrawn(
        &mut self,
        subnet: Ipv4Network,
        name: &str,
    ) -> Result<Option<PeerChange>, Interrupt> {
        match self.sources.withdraw(subnet, name) {
            Loss::Peer => Ok(Some((subnet, None))),
            Loss::Source => Err(Interrupt::Relist("another key of a subnet may count now")),
            Loss::Nothing => Ok(None),
        }
    }

    fn tell_ignored(&mut self) {
        if self.rejections.take_changed() {
            self.ignored.send_replace(self.rejections.reasons());
        }
    }

    /// Asks for the lease of one subnet, which the watch may not have brought yet. No answer in time is none: the packet that
    /// waits for it has given up by then.
    async fn look_up(
        &mut self,
        subnet: Ipv4Network,
        config: &NetworkConfig,
        own: &OwnLease,
    ) -> Result<(), Interrupt> {
        let found = tokio::time::timeout(LOOK_UP, self.registry.get(&key_name(subnet))).await;
        match found {
            Ok(Ok(Some(entry))) if subnet != own.subnet => {
                match self.written(&entry, config, own)? {
                    Some(change) => self.send(LeaseUpdate::Changes(vec![change])).await,
                    None => Ok(()),
                }
            }
            Ok(Ok(Some(_) | None)) | Ok(Err(_)) | Err(_) => {
                debug!(%subnet, "no lease for a subnet that a packet needs");
                Ok(())
            }
        }
    }

    fn subnet_of(&mut self, name: &str) -> Result<Ipv4Network, Rejection> {
        parse_key_name(name).inspect_err(|rejection| self.rejections.note(name, Some(rejection)))
    }

    async fn renew_if_due(&mut self, held: &mut Held) -> Result<(), Interrupt> {
        let Some(lease) = held
            .lease
            .filter(|_| (self.settings.boot_time)() >= held.renew_at)
        else {
            return Ok(());
        };
        match self.registry.keep_alive(lease).await? {
            Some(_) if held.incomplete => Err(Interrupt::Relist("our lease is to be completed")),
            Some(ttl) => {
                held.renew_at = self.renewal(ttl);
                debug!(?ttl, "renewed the lease");
                Ok(())
            }
            None => Err(Interrupt::Relist("our lease has expired")),
        }
    }

    /// A write to our key is fine if it says what we say: it was ours, or somebody restored a backup.
    fn check_own(&self, entry: &Entry, held: &Held) -> Result<(), Interrupt> {
        let own = &held.own;
        let lease = parse_lease(&entry.name, &entry.value, entry.revision);
        let owner = owner_of(&entry.value);
        let ours =
            |lease: &Lease| lease.public_ip == own.public_ip && lease.vtep_mac == own.vtep_mac;
        match (
            lease,
            owner.as_ref().and_then(|owner| owner.node_id.as_deref()),
        ) {
            (Ok(lease), Some(node)) if ours(&lease) && node == self.identity.node.as_str() => {
                match entry.lease == held.lease {
                    true => Ok(()),
                    false => Err(Interrupt::Relist(
                        "our key hangs on another lease of etcd now",
                    )),
                }
            }
            (Ok(lease), None) if ours(&lease) => {
                Err(Interrupt::Relist("our lease has lost our name"))
            }
            (Ok(_), _) => {
                let by = owner.map(|owner| owner.to_string()).unwrap_or_default();
                error!(subnet = %own.subnet, by, "our subnet was written by another host");
                Err(Interrupt::Relist("our lease was written by another"))
            }
            (Err(rejection), _) => {
                error!(subnet = %own.subnet, %rejection, "our lease was overwritten");
                Err(Interrupt::Relist("our lease was overwritten"))
            }
        }
    }
}
