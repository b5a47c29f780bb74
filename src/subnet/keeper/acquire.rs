//! Owns how the keeper comes to a lease: takes over one that is there, completes it, or creates one. Which, is `claim`'s
//! decision.

use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::time::Instant;
use tracing::{debug, error};

use super::{Held, Interrupt, Keeper, TTL};
use crate::config::NetworkConfig;
use crate::subnet::claim::{self, Claim};
use crate::subnet::registry::{Entry, LeaseId, Listing, Registry, Written};
use crate::subnet::{Own, key_name};

/// Subnets that we try to create from one list before we list again.
const TRIES_PER_LIST: usize = 16;
/// A margin as long as the time to live must not make us renew all the time.
const SOONEST_RENEWAL: Duration = Duration::from_secs(10);

impl<R: Registry> Keeper<R> {
    /// Comes to a lease: `None` when there is no free subnet.
    pub(super) async fn hold(&mut self, listing: &Listing, config: &NetworkConfig) -> Result<Option<Held>, Interrupt> {
        match claim::claim(listing, config, &self.identity, &[], (self.random)()) {
            Claim::Keep(own, entry) => self.adopt(own, &entry).await.map(Some),
            Claim::Rewrite(own, entry) => match self.registry.replace(&entry, &claim::value(&own, config)).await? {
                Written::Done { .. } => self.adopt(own, &entry).await.map(Some),
                Written::Lost => Err(Interrupt::Relist("our lease was written by another")),
            },
            Claim::Create(own) => self.create(listing, config, own).await,
            Claim::Exhausted => {
                error!(min = %config.subnet_min, max = %config.subnet_max, "no subnet is free; waiting for one");
                Ok(None)
            }
        }
    }

    /// Goes on with a lease that the registry holds already, without writing it: no watcher sees anything.
    async fn adopt(&mut self, own: Own, entry: &Entry) -> Result<Held, Interrupt> {
        let renew_at = match entry.lease {
            None => Instant::now(),
            Some(lease) => match self.registry.keep_alive(lease).await? {
                Some(ttl) => self.renewal(ttl),
                None => return Err(Interrupt::Relist("our lease has just expired")),
            },
        };
        Ok(Held { own, lease: entry.lease, renew_at })
    }

    /// Creates a lease; hosts that start together may want the same subnet, the losers try others.
    async fn create(
        &mut self,
        listing: &Listing,
        config: &NetworkConfig,
        first: Own,
    ) -> Result<Option<Held>, Interrupt> {
        let (lease, ttl) = self.granted().await?;
        let mut lost: Vec<Ipv4Network> = Vec::new();
        let mut own = first;
        while lost.len() < TRIES_PER_LIST {
            let name = key_name(own.subnet);
            if let Written::Done { .. } = self.registry.create(&name, &claim::value(&own, config), lease).await? {
                self.spare = None;
                return Ok(Some(Held { own, lease: Some(lease), renew_at: self.renewal(ttl) }));
            }
            debug!(subnet = %own.subnet, "another host was quicker");
            lost.push(own.subnet);
            match claim::claim(listing, config, &self.identity, &lost, (self.random)()) {
                Claim::Create(next) => own = next,
                Claim::Keep(..) | Claim::Rewrite(..) | Claim::Exhausted => break,
            }
        }
        Err(Interrupt::Relist("others were quicker for every subnet that we tried"))
    }

    /// A lease of etcd without a key: that of a try that failed, if there was one. Left alone it would live for a day.
    async fn granted(&mut self) -> Result<(LeaseId, Duration), Interrupt> {
        if let Some(lease) = self.spare
            && let Some(ttl) = self.registry.keep_alive(lease).await?
        {
            return Ok((lease, ttl));
        }
        let (lease, ttl) = self.registry.grant(TTL).await?;
        self.spare = Some(lease);
        Ok((lease, ttl))
    }

    /// When to renew: at a third of the time to live, spread over a tenth of it so that nodes that started
    /// together do not renew together, and never within the margin.
    pub(super) fn renewal(&self, ttl: Duration) -> Instant {
        let third = (ttl / 3).mul_f64(0.85 + 0.3 * (self.random)());
        Instant::now() + third.min(ttl.saturating_sub(self.renew_margin)).max(SOONEST_RENEWAL)
    }
}
