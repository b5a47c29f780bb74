//! Owns our lease over time: waits for a configuration, comes to a lease, renews it, follows the leases of the
//! others, and starts over from a fresh list whenever something is not as expected. Works over any
//! [`Registry`]; decides nothing that `claim` and `vet` do not decide, and touches neither kernel nor files.

use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use super::claim::Identity;
use super::registry::{Change, Entry, Error, LeaseId, Listing, Registry, Watch};
use super::update::{Membership, Update};
use super::{Lease, Own, Rejection, key_name, parse_key_name, parse_lease, vet};
use crate::backoff::Backoff;
use crate::config::{self, NetworkConfig};

mod acquire;
mod rejections;
use rejections::Rejections;

/// Time to live of our lease, as flannel's: a node may be away for a day and still find its subnet.
pub const TTL: Duration = Duration::from_secs(86_400);
/// How long one question for a lease may take.
const LOOK_UP: Duration = Duration::from_secs(1);
/// Time before a new list, so that a registry which contradicts itself does not make us list in a loop.
const RELIST_PAUSE: Duration = Duration::from_millis(50);
/// A watch that has held for this long shows that etcd is well.
const STEADY: Duration = Duration::from_secs(10);

/// What ends one pass over list, lease and watch.
enum Interrupt {
    /// Nobody wants to know any more: the daemon stops.
    Closed,
    /// The list is out of date in a way that only a new list mends.
    Relist(&'static str),
    /// The registry failed.
    Registry(Error),
}

impl From<Error> for Interrupt {
    fn from(error: Error) -> Self {
        Self::Registry(error)
    }
}

/// The lease that we hold.
struct Held {
    own: Own,
    /// `None` for a reservation, which needs no renewal.
    lease: Option<LeaseId>,
    renew_at: Instant,
}

/// See the module.
pub struct Keeper<R> {
    registry: R,
    identity: Identity,
    renew_margin: Duration,
    updates: mpsc::Sender<Update>,
    membership: watch::Sender<Option<Membership>>,
    questions: mpsc::Receiver<Ipv4Network>,
    random: fn() -> f64,
    /// The configuration with which we joined; a later one takes a restart.
    joined: Option<NetworkConfig>,
    /// Value of the configuration that was looked at last, so that each is spoken of once.
    seen: Option<Option<Vec<u8>>>,
    rejections: Rejections,
    backoff: Backoff,
    /// Whether the last try failed.
    away: bool,
    watching_since: Option<Instant>,
    /// A lease of etcd that was granted and has no key yet.
    spare: Option<LeaseId>,
}

impl<R: Registry> Keeper<R> {
    /// `renew_margin` is the time before expiry at which the lease must have been renewed. `updates` hears everything in
    /// order, `membership` only what we are ourselves. `questions` are subnets that
    /// somebody needs and knows no lease of. `random` yields numbers in 0..1.
    pub fn new(
        registry: R,
        identity: Identity,
        renew_margin: Duration,
        updates: mpsc::Sender<Update>,
        membership: watch::Sender<Option<Membership>>,
        questions: mpsc::Receiver<Ipv4Network>,
        random: fn() -> f64,
    ) -> Self {
        Self {
            registry,
            identity,
            renew_margin,
            updates,
            membership,
            questions,
            random,
            joined: None,
            seen: None,
            rejections: Rejections::default(),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_millis(1500)),
            away: false,
            watching_since: None,
            spare: None,
        }
    }

    /// Runs until nobody listens to the updates. Dropping it at any time leaves the lease in place.
    pub async fn run(mut self) {
        loop {
            match self.pass().await {
                Interrupt::Closed => return,
                Interrupt::Relist(why) => {
                    debug!(why, "listing again");
                    sleep(RELIST_PAUSE).await;
                }
                Interrupt::Registry(error) => self.wait_out(&error).await,
            }
        }
    }

    /// Says once that the registry is away, and waits a little longer each time. Only a watch that has held for a while
    /// ends the waiting: one that breaks again and again must not become a busy loop.
    async fn wait_out(&mut self, error: &Error) {
        let error = crate::error::chain(error);
        match self.watching_since.take() {
            Some(since) if since.elapsed() > STEADY => self.backoff.reset(),
            Some(_) | None => {}
        }
        match std::mem::replace(&mut self.away, true) {
            false => warn!(error, "etcd fails us; the network stays as it is, trying again"),
            true => debug!(error, "etcd still fails us"),
        }
        sleep(self.backoff.next((self.random)())).await;
    }

    /// List, lease and watch have all worked.
    fn is_back(&mut self) {
        self.watching_since = Some(Instant::now());
        if std::mem::take(&mut self.away) {
            info!("etcd answers again");
        }
    }

    async fn pass(&mut self) -> Interrupt {
        match self.try_pass().await {
            Ok(never) => match never {},
            Err(interrupt) => interrupt,
        }
    }

    async fn try_pass(&mut self) -> Result<std::convert::Infallible, Interrupt> {
        let listing = self.registry.list().await?;
        let Some(config) = self.network_config(listing.config.as_deref()) else {
            return self.wait_for(listing.revision, "the configuration changed", is_config).await;
        };
        let Some(held) = self.hold(&listing, &config).await? else {
            return self.wait_for(listing.revision, "a subnet may be free", is_delete).await;
        };
        let from = listing.revision + 1;
        self.announce(&held.own, &config, &listing).await?;
        self.follow(from, config, held).await
    }

    /// The configuration with which we are or become a member.
    fn network_config(&mut self, value: Option<&[u8]>) -> Option<NetworkConfig> {
        let value = value.map(<[u8]>::to_vec);
        if self.seen.as_ref() == Some(&value) {
            return self.joined.clone();
        }
        let parsed = value.as_deref().map(config::parse);
        self.seen = Some(value);
        if let Some(joined) = &self.joined {
            warn_if_changed(joined, parsed);
            return self.joined.clone();
        }
        match parsed {
            None => warn!("no network config in etcd yet; waiting for the key \"config\" below the prefix"),
            Some(Err(error)) => error!(%error, "cannot use the network config; waiting for a better one"),
            Some(Ok(parsed)) => {
                parsed.warnings.iter().for_each(|warning| warn!("network config: {warning}"));
                self.joined = Some(parsed.config);
            }
        }
        self.joined.clone()
    }

    /// Waits for a change that makes a new list worth while.
    async fn wait_for<T>(
        &mut self,
        revision: i64,
        why: &'static str,
        wanted: fn(&Change) -> bool,
    ) -> Result<T, Interrupt> {
        let mut watch = self.registry.watch(revision + 1).await?;
        self.is_back();
        loop {
            // A watch that fails is mended by the next pass.
            let changes = tokio::select! {
                changes = watch.next() => changes?,
                () = self.updates.closed() => return Err(Interrupt::Closed),
            };
            if changes.iter().any(wanted) {
                return Err(Interrupt::Relist(why));
            }
        }
    }

    /// Tells the rest of the daemon what it is a member of and who the others are.
    async fn announce(&mut self, own: &Own, config: &NetworkConfig, listing: &Listing) -> Result<(), Interrupt> {
        let membership = Membership { own: own.clone(), config: config.clone() };
        if self.membership.borrow().as_ref() != Some(&membership) {
            info!(subnet = %own.subnet, public_ip = %own.public_ip, mac = %own.vtep_mac, "holding the lease");
            self.send(Update::Joined(membership.clone())).await?;
            self.identity.previous = Some(own.subnet);
            self.identity.vtep_mac = own.vtep_mac;
            self.membership.send_replace(Some(membership));
        }
        self.rejections.retain_listed(listing.entries.iter().map(|entry| entry.name.as_str()));
        let others = listing.entries.iter().filter(|entry| entry.name != key_name(own.subnet));
        let leases = others.filter_map(|entry| self.admit(entry, config, own)).collect();
        self.send(Update::Leases(leases)).await
    }

    /// The lease of another host, if it is one that may be used.
    fn admit(&mut self, entry: &Entry, config: &NetworkConfig, own: &Own) -> Option<Lease> {
        let lease = parse_lease(&entry.name, &entry.value, entry.revision);
        let vetted = lease.and_then(|lease| vet(&lease, config, own).map(|()| lease));
        self.rejections.note(&entry.name, vetted.as_ref().err());
        vetted.ok()
    }

    /// Passes on what changes, renews the lease, until something needs a new list.
    async fn follow<T>(&mut self, from: i64, config: NetworkConfig, mut held: Held) -> Result<T, Interrupt> {
        let mut watch = self.registry.watch(from).await?;
        self.is_back();
        loop {
            // All arms may be dropped and made again at any time: a watch and a queue lose nothing, a time is a time.
            tokio::select! {
                Some(subnet) = self.questions.recv() => self.look_up(subnet, &config, &held.own).await?,
                changes = watch.next() => self.pass_on(changes?, &config, &held).await?,
                () = sleep_until(held.renew_at), if held.lease.is_some() => self.renew(&mut held).await?,
                () = self.updates.closed() => return Err(Interrupt::Closed),
            }
        }
    }

    async fn pass_on(&mut self, changes: Vec<Change>, config: &NetworkConfig, held: &Held) -> Result<(), Interrupt> {
        let own = &held.own;
        let mut leases = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                Change::Config(value) => {
                    self.network_config(value.as_deref());
                }
                Change::Put(entry) if entry.name == key_name(own.subnet) => check_own(&entry, held)?,
                Change::Delete(name) if name == key_name(own.subnet) => {
                    warn!(subnet = %own.subnet, "our lease was deleted or has expired; creating it again");
                    return Err(Interrupt::Relist("our lease is gone"));
                }
                Change::Put(entry) => {
                    if let Ok(subnet) = self.subnet_of(&entry.name) {
                        leases.push((subnet, self.admit(&entry, config, own)));
                    }
                }
                Change::Delete(name) => {
                    self.rejections.note(&name, None);
                    leases.extend(parse_key_name(&name).ok().map(|subnet| (subnet, None)));
                }
            }
        }
        match leases.is_empty() {
            true => Ok(()),
            false => self.send(Update::Changes(leases)).await,
        }
    }

    /// Asks for the lease of one subnet, which the watch may not have brought yet. No answer in time is none: the packet that
    /// waits for it has given up by then.
    async fn look_up(&mut self, subnet: Ipv4Network, config: &NetworkConfig, own: &Own) -> Result<(), Interrupt> {
        let found = tokio::time::timeout(LOOK_UP, self.registry.get(&key_name(subnet))).await;
        match found {
            Ok(Ok(Some(entry))) if subnet != own.subnet => {
                let lease = self.admit(&entry, config, own);
                self.send(Update::Changes(vec![(subnet, lease)])).await
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

    async fn renew(&mut self, held: &mut Held) -> Result<(), Interrupt> {
        let Some(lease) = held.lease else { return Ok(()) };
        match self.registry.keep_alive(lease).await? {
            Some(ttl) => {
                held.renew_at = self.renewal(ttl);
                debug!(?ttl, "renewed the lease");
                Ok(())
            }
            None => Err(Interrupt::Relist("our lease has expired")),
        }
    }

    async fn send(&mut self, update: Update) -> Result<(), Interrupt> {
        self.updates.send(update).await.map_err(|_| Interrupt::Closed)
    }
}

/// A write to our key is fine if it says what we say: it was ours, or somebody restored a backup.
fn check_own(entry: &Entry, held: &Held) -> Result<(), Interrupt> {
    let own = &held.own;
    if entry.lease != held.lease {
        return Err(Interrupt::Relist("our key hangs on another lease of etcd now"));
    }
    match parse_lease(&entry.name, &entry.value, entry.revision) {
        Ok(lease) if lease.public_ip == own.public_ip && lease.vtep_mac == own.vtep_mac => Ok(()),
        Ok(lease) => {
            error!(subnet = %own.subnet, by = %lease.public_ip, "our subnet was written by another host");
            Err(Interrupt::Relist("our lease was written by another"))
        }
        Err(rejection) => {
            error!(subnet = %own.subnet, %rejection, "our lease was overwritten");
            Err(Interrupt::Relist("our lease was overwritten"))
        }
    }
}

fn warn_if_changed(joined: &NetworkConfig, now: Option<Result<config::Parsed, config::ConfigError>>) {
    match now {
        Some(Ok(now)) if now.config == *joined => {}
        Some(Ok(_)) => warn!("the network config has changed; going on with the old one until a restart"),
        Some(Err(error)) => warn!(%error, "the network config is unusable now; going on with the old one"),
        None => warn!("the network config is gone from etcd; going on with the old one"),
    }
}

fn is_config(change: &Change) -> bool {
    matches!(change, Change::Config(_))
}

fn is_delete(change: &Change) -> bool {
    matches!(change, Change::Delete(_))
}

#[cfg(test)]
mod tests;
