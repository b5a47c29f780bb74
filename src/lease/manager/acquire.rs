//! Owns how the keeper comes to a lease: takes over one that is there, completes it, or creates one. Which, is `claim`'s
//! decision.

use std::time::Duration;

use tracing::{debug, error, warn};

use crate::lease::claim;
use crate::lease::claim::{
    Claim, Exclusions, Rival, RivalMessage, lacks_only_node_id, lease_value, names_us,
};
use crate::lease::manager::{Held, Interrupt, LeaseManager};
use crate::lease::port::{Entry, LeaseId, Listing, Registry, RegistryChange, WriteOutcome};
use crate::model::lease::{OwnLease, TTL, key_name};
use crate::model::network_config::NetworkConfig;

/// Subnets that we try to create from one list before we list again.
const TRIES_PER_LIST: usize = 16;
/// A margin as long as the time to live must not make us renew all the time.
const SOONEST_RENEWAL: Duration = Duration::from_secs(10);
/// Time for the owner of a lost key to create it again: well above what it needs for a list and a write.
const OWNERS_RETURN: Duration = Duration::from_secs(3);

/// There is no lease for us now.
pub(super) struct NoLease {
    /// Why, and what would help.
    pub(super) reason: String,
    /// A key whose change may help; any deletion may.
    key: Option<String>,
}

impl NoLease {
    /// Whether a change may end the waiting.
    pub(super) fn is_about(&self, change: &RegistryChange) -> bool {
        matches!(change, RegistryChange::Put(entry) if self.key.as_ref() == Some(&entry.name))
    }
}

impl<R: Registry> LeaseManager<R> {
    /// Comes to a lease, or to why there is none.
    pub(super) async fn hold(
        &mut self,
        listing: &Listing,
        config: &NetworkConfig,
    ) -> Result<Result<Held, NoLease>, Interrupt> {
        let mut exclusions = Exclusions::default();
        loop {
            match claim::claim(
                listing,
                config,
                &self.identity,
                &exclusions,
                (self.settings.random)(),
            ) {
                Claim::Keep(own, entry) => return self.adopt(own, entry, config).await.map(Ok),
                Claim::Rewrite(own, entry) => {
                    return self.rewrite(own, entry, config).await.map(Ok);
                }
                Claim::Create(_) if self.waited => return Err(self.let_owner_return().await),
                Claim::Create(own) => {
                    return self.create(listing, config, own, exclusions).await.map(Ok);
                }
                Claim::NoFreeSubnet => return Ok(Err(self.exhausted(listing, config))),
                Claim::Rival(rival) if self.is_neglected(&rival.entry).await? => {
                    exclusions.dead_keys.insert(rival.entry.name);
                }
                Claim::Rival(rival) => return self.give_way(listing, rival).await.map(Err),
            }
        }
    }

    /// A host whose key is gone for a moment, its pods running, has it back within a second. Whoever has only waited so
    /// far leaves it that time, and looks again.
    async fn let_owner_return(&mut self) -> Interrupt {
        self.waited = false;
        let pause = OWNERS_RETURN.mul_f64(1.0 + (self.settings.random)() / 2.0);
        tokio::select! {
            () = tokio::time::sleep(pause) => Interrupt::Relist("who had a subnet before may have come back for it"),
            () = self.updates.closed() => Interrupt::Closed,
        }
    }

    /// Whether the holder of an entry has failed to renew it for so long that it cannot be alive.
    async fn is_neglected(&mut self, entry: &Entry) -> Result<bool, Interrupt> {
        let Some(lease) = entry.lease else {
            return Ok(false);
        };
        match self.registry.time_to_live(lease).await? {
            Some(time) => Ok(time.is_neglected()),
            // That says nothing of the host, and a new list would say the same again.
            None if self.is_dangling(entry) => Ok(false),
            None => Err(Interrupt::Relist("the lease of a rival has just expired")),
        }
    }

    /// Whether an entry, whose lease etcd does not know, was found like this before: it has not just expired, but etcd
    /// contradicts itself, as after a restore.
    fn is_dangling(&mut self, entry: &Entry) -> bool {
        let seen = Some((entry.name.clone(), entry.revision));
        std::mem::replace(&mut self.dangling, seen.clone()) == seen
    }

    /// Leaves the overlay to a host that cannot be told from us and was there before.
    async fn give_way(&mut self, listing: &Listing, rival: Rival) -> Result<NoLease, Interrupt> {
        let reason = RivalMessage {
            rival: &rival,
            identity: &self.identity,
        }
        .to_string();
        if !self.is_known_reason(&reason) {
            error!("{reason}");
        }
        // A reservation stays: it is the operator's, and we could not make it again.
        if let Some(entry) = listing
            .entries
            .iter()
            .find(|entry| entry.lease.is_some() && names_us(&self.identity, entry))
        {
            debug!(key = entry.name, "taking our lease back");
            self.registry.remove(entry).await?;
            self.lease = entry.lease;
        }
        Ok(NoLease {
            reason,
            key: Some(rival.entry.name),
        })
    }

    fn exhausted(&self, listing: &Listing, config: &NetworkConfig) -> NoLease {
        let holder = self
            .identity
            .previous
            .subnet
            .and_then(|subnet| Some((subnet, claim::holder(listing, subnet)?)));
        let ours =
            holder.map(|(subnet, owner)| format!("; {subnet}, which was ours, is held by {owner}"));
        let reason = format!(
            "no subnet from {} to {} is free{}; waiting for one",
            config.subnet_min,
            config.subnet_max,
            ours.unwrap_or_default()
        );
        if !self.is_known_reason(&reason) {
            error!("{reason}");
        }
        NoLease { reason, key: None }
    }

    /// Goes on with a lease that the registry holds already, without writing it: no watcher sees anything. Unless it hangs
    /// on nothing.
    async fn adopt(
        &mut self,
        own: OwnLease,
        entry: Entry,
        config: &NetworkConfig,
    ) -> Result<Held, Interrupt> {
        match self.renewed(&entry).await? {
            Some(renew_at) => Ok(self.held(own, &entry, renew_at)),
            None => self.rehang(own, entry, config).await,
        }
    }

    /// Goes on with a lease whose value is not as we write it.
    async fn rewrite(
        &mut self,
        own: OwnLease,
        entry: Entry,
        config: &NetworkConfig,
    ) -> Result<Held, Interrupt> {
        let Some(renew_at) = self.renewed(&entry).await? else {
            return self.rehang(own, entry, config).await;
        };
        let mut held = self.held(own, &entry, renew_at);
        match self.replace(&held.own, &entry, config).await {
            Ok(revision) => held.revision = revision,
            Err(Interrupt::Registry(error)) if lacks_only_node_id(&entry, &held.own, config) => {
                let error = crate::error::chain(&error);
                warn!(
                    error,
                    "failed to write our name into our lease; going on with it as it is"
                );
                held.incomplete = true;
            }
            Err(interrupt) => return Err(interrupt),
        }
        Ok(held)
    }

    /// Moves our key, whose lease etcd does not know, to another one.
    async fn rehang(
        &mut self,
        own: OwnLease,
        entry: Entry,
        config: &NetworkConfig,
    ) -> Result<Held, Interrupt> {
        warn!(
            key = entry.name,
            "our key hangs on an etcd lease that etcd does not know; moving it to another"
        );
        let (lease, ttl) = self.granted().await?;
        let entry = Entry {
            lease: Some(lease),
            ..entry
        };
        let revision = self.replace(&own, &entry, config).await?;
        let renew_at = self.renewal(ttl);
        Ok(self.held(own, &Entry { revision, ..entry }, renew_at))
    }

    /// Renews the lease of our entry. When to do so again; `None` if there is no such lease, and that for long.
    async fn renewed(&mut self, entry: &Entry) -> Result<Option<Duration>, Interrupt> {
        let Some(lease) = entry.lease else {
            return Ok(Some(Duration::ZERO));
        };
        match self.registry.keep_alive(lease).await? {
            Some(ttl) => Ok(Some(self.renewal(ttl))),
            None if self.is_dangling(entry) => Ok(None),
            None => Err(Interrupt::Relist("our lease has just expired")),
        }
    }

    async fn replace(
        &self,
        own: &OwnLease,
        entry: &Entry,
        config: &NetworkConfig,
    ) -> Result<i64, Interrupt> {
        match self
            .registry
            .replace(entry, &lease_value(own, config, &self.identity))
            .await?
        {
            WriteOutcome::Done { revision } => Ok(revision),
            WriteOutcome::Lost => Err(Interrupt::Relist("our lease was written by another")),
        }
    }

    fn held(&mut self, own: OwnLease, entry: &Entry, renew_at: Duration) -> Held {
        self.lease = entry.lease.or(self.lease);
        Held {
            own,
            lease: entry.lease,
            renew_at,
            revision: entry.revision,
            incomplete: false,
        }
    }

    /// Creates a lease; hosts that start together may want the same subnet, the losers try others.
    async fn create(
        &mut self,
        listing: &Listing,
        config: &NetworkConfig,
        first: OwnLease,
        mut exclusions: Exclusions,
    ) -> Result<Held, Interrupt> {
        let (lease, ttl) = self.granted().await?;
        let mut own = first;
        while exclusions.taken.len() < TRIES_PER_LIST {
            let name = key_name(own.subnet);
            let value = lease_value(&own, config, &self.identity);
            if let WriteOutcome::Done { revision } =
                self.registry.create(&name, &value, lease).await?
            {
                self.doubt = self.identity.previous.subnet == Some(own.subnet);
                self.say_if_moved(listing, &own);
                return Ok(Held {
                    own,
                    lease: Some(lease),
                    renew_at: self.renewal(ttl),
                    revision,
                    incomplete: false,
                });
            }
            debug!(subnet = %own.subnet, "another host was quicker");
            exclusions.taken.push(own.subnet);
            match claim::claim(
                listing,
                config,
                &self.identity,
                &exclusions,
                (self.settings.random)(),
            ) {
                Claim::Create(next) => own = next,
                Claim::Keep(..) | Claim::Rewrite(..) | Claim::Rival(_) | Claim::NoFreeSubnet => {
                    break;
                }
            }
        }
        Err(Interrupt::Relist(
            "others were quicker for every subnet that we tried",
        ))
    }

    /// Pods that run have addresses of the subnet that we had.
    fn say_if_moved(&self, listing: &Listing, own: &OwnLease) {
        let Some(before) = self
            .identity
            .previous
            .subnet
            .filter(|before| *before != own.subnet)
        else {
            return;
        };
        let (now, holder) = (own.subnet, claim::holder(listing, before));
        match holder {
            Some(holder) => error!(
                %before, %now, %holder,
                "another host holds the subnet that was ours; pods that run here cannot be reached until they are restarted"
            ),
            None => {
                warn!(%before, %now, "our subnet has changed; pods that run here cannot be reached until they are restarted")
            }
        }
    }

    /// A lease of etcd for our key: that which we had, if its key is gone or was never made. Left alone it would live for
    /// a day.
    async fn granted(&mut self) -> Result<(LeaseId, Duration), Interrupt> {
        if let Some(lease) = self.lease
            && let Some(ttl) = self.registry.keep_alive(lease).await?
        {
            return Ok((lease, ttl));
        }
        // Ours even if no answer comes.
        self.lease = Some(self.number);
        Ok((self.number, self.registry.grant(self.number, TTL).await?))
    }

    /// When to renew: at a third of the time to live, spread over a tenth of it so that nodes that started
    /// together do not renew together, and never within the margin.
    pub(super) fn renewal(&self, ttl: Duration) -> Duration {
        let third = (ttl / 3).mul_f64(0.85 + 0.3 * (self.settings.random)());
        let margin = ttl.saturating_sub(self.settings.renew_margin);
        (self.settings.boot_time)() + third.min(margin.max(SOONEST_RENEWAL))
    }
}
