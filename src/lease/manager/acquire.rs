//! Acquires a lease: takes over one that etcd holds, completes it, or creates one. `claim` decides which; this executes
//! the decision over the port.
//!
//! This is an `async fn` and no part of the state machine on purpose. It is a sequence of up to four requests, each of
//! which needs the answer to the one before, and nothing else can happen in between. As states it would be eight variants
//! that only say how far the sequence has come. The decisions that matter are pure functions: `claim`, `lacks_only_node_id`,
//! `TimeToLive::is_neglected`, `renewal_time`.

mod adopt;
mod create;
mod defend;
mod life;

use std::time::Duration;

use tracing::debug;

use crate::lease::claim::{self, Claim, Exclusions, LifeSign, Rival, is_named, names_us};
use crate::lease::manager::LeaseSettings;
use crate::lease::manager::acquire::life::{EarlierSigns, Life};
use crate::lease::manager::blocker::NoLease;
use crate::lease::manager::etcd_lease::{EtcdLease, OrphanedKey, renewal_time};
use crate::lease::manager::progress::Courtesy;
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::{AcquireRequest, Acquisition, Renewal};
use crate::lease::port::{AddressProbe, Entry, LeaseId, Registry, RegistryError};
use crate::model::lease::OwnLease;
use crate::model::lease::key::key_name;
use crate::model::lease::value::owner_of;

/// What is remembered from one attempt to the next.
pub(super) struct Acquirer {
    settings: LeaseSettings,
    probe: Box<dyn AddressProbe>,
    etcd_lease: EtcdLease,
    orphaned: OrphanedKey,
    earlier_signs: EarlierSigns,
}

/// What ends an attempt early.
enum Setback {
    /// The list is out of date.
    Relist(RelistReason),
    Registry(RegistryError),
}

impl From<RegistryError> for Setback {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

impl Acquirer {
    pub(super) fn new(settings: LeaseSettings, probe: Box<dyn AddressProbe>) -> Self {
        Self {
            settings,
            probe,
            etcd_lease: EtcdLease::new((settings.random)()),
            orphaned: OrphanedKey::default(),
            earlier_signs: EarlierSigns::default(),
        }
    }

    /// Acquires a lease, or finds out why there is none.
    ///
    /// # Errors
    /// A request has failed.
    pub(super) async fn acquire<R: Registry>(
        &mut self,
        registry: &R,
        request: &AcquireRequest,
    ) -> Result<Acquisition, RegistryError> {
        let mut attempt = Attempt {
            registry,
            request,
            acquirer: self,
        };
        match attempt.run().await {
            Ok(acquisition) => Ok(acquisition),
            Err(Setback::Relist(reason)) => Ok(Acquisition::Relist(reason)),
            Err(Setback::Registry(error)) => Err(error),
        }
    }
}

/// One attempt to acquire a lease from one list.
struct Attempt<'a, R> {
    registry: &'a R,
    request: &'a AcquireRequest,
    acquirer: &'a mut Acquirer,
}

impl<R: Registry> Attempt<'_, R> {
    async fn run(&mut self) -> Result<Acquisition, Setback> {
        if let Some(no_lease) = self.unfit_host() {
            return self.without_publishing(no_lease).await;
        }
        let mut exclusions = Exclusions::default();
        loop {
            match self.claim(&exclusions) {
                Claim::Keep(own, entry) => return self.keep(own, entry).await,
                Claim::Rewrite(own, entry) => {
                    return match exclusions.dead_keys.get(&entry.name) {
                        Some(revision) => self.take_over(own, entry, *revision).await,
                        None => self.rewrite(own, entry).await,
                    };
                }
                Claim::Defend(own, entry) => match self.life_in_our_subnet(&entry).await? {
                    Life::None { revision } => {
                        return self.defend(own, Entry { revision, ..entry }).await;
                    }
                    Life::Possible(sign) => _ = exclusions.conceded_keys.insert(entry.name, sign),
                },
                Claim::Create(_) if self.request.courtesy == Courtesy::Owed => {
                    return Ok(Acquisition::OwnerMayReturn);
                }
                Claim::Create(own) => return self.create(own, exclusions).await,
                Claim::NoFreeSubnet => return Ok(Acquisition::NoLease(self.no_free_subnet())),
                Claim::Rival(rival) => {
                    let life = match exclusions.conceded_keys.remove(&rival.entry.name) {
                        Some(sign) => Life::Possible(sign),
                        None => self.life_of_rival(&rival).await?,
                    };
                    match life {
                        Life::None { revision } => {
                            exclusions.dead_keys.insert(rival.entry.name, revision);
                        }
                        Life::Possible(sign) => return self.yield_to(&rival, sign).await,
                    }
                }
            }
        }
    }

    fn claim(&self, exclusions: &Exclusions) -> Claim {
        let AcquireRequest {
            listing,
            config,
            identity,
            joined,
            ..
        } = self.request;
        let random = (self.acquirer.settings.random)();
        claim::claim(
            listing,
            config,
            identity,
            joined.as_ref(),
            exclusions,
            random,
        )
    }

    fn unfit_host(&self) -> Option<NoLease> {
        let request = self.request;
        NoLease::of_host(&request.config, &request.identity, request.joined.is_some())
    }

    /// Leaves etcd as it is. Where pods run, the lease is renewed as it stands in etcd.
    async fn without_publishing(&mut self, no_lease: NoLease) -> Result<Acquisition, Setback> {
        let Some((own, entry)) = self.joined_key() else {
            return Ok(Acquisition::NoLease(no_lease));
        };
        let kept = self.keep(own, entry).await?;
        Ok(match kept {
            Acquisition::Lease(held, _) => Acquisition::Refused(held, no_lease),
            other @ (Acquisition::Refused(..)
            | Acquisition::NoLease(_)
            | Acquisition::OwnerMayReturn
            | Acquisition::Relist(_)) => other,
        })
    }

    fn no_free_subnet(&self) -> NoLease {
        let previous = self.request.identity.previous.subnet;
        NoLease::no_free_subnet(&self.request.listing, &self.request.config, previous)
    }

    /// Leaves the overlay to a rival that was there before, and removes our own key: etcd must not hold two leases of hosts
    /// that cannot be told apart. A reservation stays: it is the operator's, and we could not create it again. A key with
    /// an earlier PublicIP of ours stays, too: nobody confuses it with the rival's, and pods run in its subnet.
    async fn yield_to(
        &mut self,
        rival: &Rival,
        sign: Option<LifeSign>,
    ) -> Result<Acquisition, Setback> {
        let identity = &self.request.identity;
        let no_lease = NoLease::rival(rival, sign, identity);
        let has_earlier_public_ip = self
            .joined_key()
            .is_some_and(|(own, _)| own.public_ip != identity.public_ip);
        if has_earlier_public_ip {
            return self.without_publishing(no_lease).await;
        }
        let mut entries = self.request.listing.entries.iter();
        let own = entries.find_map(|entry| {
            let lease = entry.lease?;
            names_us(identity, entry).then_some((entry, lease))
        });
        if let Some((entry, lease)) = own {
            debug!(
                key = entry.name,
                "removing our key: a rival was there before"
            );
            self.registry.remove(entry).await?;
            self.acquirer.etcd_lease.attached(lease);
        }
        Ok(Acquisition::NoLease(no_lease))
    }

    /// Returns our key and lease, if etcd still holds the PublicIP with which we have joined.
    fn joined_key(&self) -> Option<(OwnLease, Entry)> {
        let AcquireRequest {
            listing,
            identity,
            joined,
            ..
        } = self.request;
        let own = &joined.as_ref()?.own;
        let name = key_name(own.subnet);
        let entry = listing.entries.iter().find(|entry| entry.name == name)?;
        let owner = owner_of(&entry.value)?;
        let ours = is_named(identity, &owner) && owner.public_ip == own.public_ip;
        ours.then(|| (own.clone(), entry.clone()))
    }

    fn renewal(&self, lease: LeaseId, ttl: Duration) -> Renewal {
        let settings = &self.acquirer.settings;
        Renewal {
            lease,
            at: renewal_time(ttl, settings.renew_margin, settings.context()),
        }
    }
}
