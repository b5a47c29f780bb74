//! Owns our lease over time: waits for a configuration, comes to a lease, renews it, follows the leases of the
//! others, and starts over from a fresh list whenever something is not as expected. Works over any
//! [`Registry`]; decides nothing that `claim` and `vet` do not decide, and touches neither kernel nor files.

use std::time::{Duration, SystemTime};

use ipnetwork::Ipv4Network;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use super::claim::Identity;
use super::registry::{Change, Entry, Error, LeaseId, Listing, Registry, Watch};
use super::standing::{Contact, Standing};
use super::update::{Membership, Update};
use super::{Lease, Own, key_name, parse_lease, vet};
use crate::backoff::Backoff;
use crate::config::{self, NetworkConfig};

mod acquire;
mod follow;
mod rejections;
use rejections::Rejections;

/// Time to live of our lease, as flannel's: a node may be away for a day and still find its subnet.
pub const TTL: Duration = Duration::from_secs(86_400);
/// Time before a new list, so that a registry which contradicts itself does not make us list in a loop.
const RELIST_PAUSE: Duration = Duration::from_millis(50);
/// A watch that has held for this long shows that etcd is well.
const STEADY: Duration = Duration::from_secs(10);

/// Time between two looks whether a rival still lives.
const PATIENCE: Duration = Duration::from_secs(600);

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
    /// On the clock of [`Settings::boot_time`].
    renew_at: Duration,
    /// Revision of the last write of our key that we know of.
    revision: i64,
}

/// What the keeper does not decide itself.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Time before expiry at which the lease must have been renewed.
    pub renew_margin: Duration,
    /// Yields numbers in 0..1.
    pub random: fn() -> f64,
    /// Time since boot, sleep of the machine included (`CLOCK_BOOTTIME`): leases expire while a machine sleeps.
    pub boot_time: fn() -> Duration,
    /// The time of day, for people.
    pub wall_time: fn() -> SystemTime,
}

/// Whom the keeper tells, and who asks it.
pub struct Channels {
    /// Hears everything in order.
    pub updates: mpsc::Sender<Update>,
    /// Hears how we stand with etcd.
    pub standing: watch::Sender<Standing>,
    /// Subnets that somebody needs and knows no lease of.
    pub questions: mpsc::Receiver<Ipv4Network>,
}

/// See the module.
pub struct Keeper<R> {
    registry: R,
    identity: Identity,
    settings: Settings,
    updates: mpsc::Sender<Update>,
    standing: watch::Sender<Standing>,
    questions: mpsc::Receiver<Ipv4Network>,
    /// What the rest of the daemon knows of us.
    announced: Option<Membership>,
    /// The configuration with which we join or have joined; a later one takes a restart then.
    joined: Option<NetworkConfig>,
    /// Value of the configuration that was looked at last, so that each is spoken of once.
    seen: Option<Option<Vec<u8>>>,
    rejections: Rejections,
    backoff: Backoff,
    watching_since: Option<Instant>,
    /// Whether etcd has lost the lease that we had, and nobody else has it.
    doubt: bool,
    /// The lease of etcd that we had last, whether our key hangs on it or not.
    lease: Option<LeaseId>,
}

impl<R: Registry> Keeper<R> {
    /// A keeper that has not asked anything yet.
    pub fn new(registry: R, identity: Identity, settings: Settings, channels: Channels) -> Self {
        let Channels { updates, standing, questions } = channels;
        Self {
            registry,
            identity,
            settings,
            updates,
            standing,
            questions,
            announced: None,
            joined: None,
            seen: None,
            rejections: Rejections::default(),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_millis(700)),
            watching_since: None,
            doubt: false,
            lease: None,
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
        match self.standing.borrow().contact {
            Contact::Away { .. } => debug!(error, "etcd still fails us"),
            Contact::Connecting | Contact::Waiting { .. } | Contact::Holding => {
                warn!(error, "etcd fails us; the network stays as it is, trying again");
            }
        }
        let since = (self.settings.wall_time)();
        self.standing.send_if_modified(|standing| {
            let since = match &standing.contact {
                Contact::Away { since, .. } => *since,
                Contact::Connecting | Contact::Waiting { .. } | Contact::Holding => since,
            };
            let away = Contact::Away { since, reason: error };
            std::mem::replace(&mut standing.contact, away.clone()) != away
        });
        sleep(self.backoff.next((self.settings.random)())).await;
    }

    /// List, lease and watch have all worked.
    fn stands(&mut self, contact: Contact) {
        self.watching_since = Some(Instant::now());
        let before = self.standing.send_replace(Standing { contact, ignored: self.rejections.reasons() }).contact;
        if let Contact::Away { .. } = before {
            info!("etcd answers again");
        }
    }

    /// Whether this is what we wait for already: it is said once.
    fn stands_waiting(&self, now: &str) -> bool {
        matches!(&self.standing.borrow().contact, Contact::Waiting { reason } if reason == now)
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
            let reason = "waiting for a network config in etcd that can be used".to_owned();
            return self.wait_for(listing.revision, reason, |change| matches!(change, Change::Config(_))).await;
        };
        let held = match self.hold(&listing, &config).await? {
            Ok(held) => held,
            Err(none) => {
                // Those who know us already still hear what the others do.
                if let Some(Membership { own, config }) = self.announced.clone() {
                    self.tell_of_others(&own, &config, &listing).await?;
                }
                let member = self.announced.is_some();
                let wanted = |change: &Change| match change {
                    Change::Delete(_) => true,
                    Change::Config(_) => !member,
                    Change::Put(_) => none.is_about(change),
                };
                return self.wait_for(listing.revision, none.reason.clone(), wanted).await;
            }
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
        if let (Some(joined), Some(_)) = (&self.joined, &self.announced) {
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

    /// Waits for a change that makes a new list worth while, and not for ever: a rival may be silent by then. Passes on
    /// what others do meanwhile.
    async fn wait_for<T>(
        &mut self,
        revision: i64,
        reason: String,
        wanted: impl Fn(&Change) -> bool,
    ) -> Result<T, Interrupt> {
        let mut watch = self.registry.watch(revision + 1).await?;
        self.stands(Contact::Waiting { reason });
        let patience = Instant::now() + PATIENCE;
        loop {
            // A watch that fails is mended by the next pass.
            let changes = tokio::select! {
                changes = watch.next() => changes?,
                () = tokio::time::sleep_until(patience) => return Err(Interrupt::Relist("it has been a while")),
                () = self.updates.closed() => return Err(Interrupt::Closed),
            };
            if changes.iter().any(&wanted) {
                return Err(Interrupt::Relist("what we wait for may be there"));
            }
            if let Some(Membership { own, config }) = self.announced.clone() {
                self.tell_of_changes(changes, &config, &own).await?;
            }
        }
    }

    /// Tells the rest of the daemon what it is a member of and who the others are.
    async fn announce(&mut self, own: &Own, config: &NetworkConfig, listing: &Listing) -> Result<(), Interrupt> {
        let membership = Membership { own: own.clone(), config: config.clone() };
        if self.announced.as_ref() != Some(&membership) {
            info!(subnet = %own.subnet, public_ip = %own.public_ip, mac = %own.vtep_mac, "holding the lease");
            self.send(Update::Joined(membership.clone())).await?;
            let past = &mut self.identity.past;
            (past.subnet, past.vtep_mac) = (Some(own.subnet), Some(own.vtep_mac));
            self.announced = Some(membership);
        }
        self.tell_of_others(own, config, listing).await
    }

    async fn tell_of_others(&mut self, own: &Own, config: &NetworkConfig, listing: &Listing) -> Result<(), Interrupt> {
        self.rejections.retain_listed(listing.entries.iter().map(|entry| entry.name.as_str()));
        let others = listing.entries.iter().filter(|entry| entry.name != key_name(own.subnet));
        let leases = others.filter_map(|entry| self.admit(entry, config, own)).collect();
        if std::mem::take(&mut self.doubt) {
            self.send(Update::Doubt).await?;
        }
        self.send(Update::Leases(leases)).await
    }

    /// The lease of another host, if it is one that may be used.
    fn admit(&mut self, entry: &Entry, config: &NetworkConfig, own: &Own) -> Option<Lease> {
        let lease = parse_lease(&entry.name, &entry.value, entry.revision);
        let vetted = lease.and_then(|lease| vet(&lease, config, own).map(|()| lease));
        self.rejections.note(&entry.name, vetted.as_ref().err());
        vetted.ok()
    }

    async fn send(&mut self, update: Update) -> Result<(), Interrupt> {
        self.updates.send(update).await.map_err(|_| Interrupt::Closed)
    }
}

fn warn_if_changed(joined: &NetworkConfig, now: Option<Result<config::Parsed, config::ConfigError>>) {
    match now {
        Some(Ok(now)) if now.config == *joined => {}
        Some(Ok(now)) => {
            let changes = joined.differences(&now.config).join("; ");
            warn!(changes, "the network config has changed; going on with the old one until a restart");
        }
        Some(Err(error)) => warn!(%error, "the network config is unusable now; going on with the old one"),
        None => warn!("the network config is gone from etcd; going on with the old one"),
    }
}

#[cfg(test)]
mod tests;
