//! Owns our lease over time: waits for a configuration, comes to a lease, renews it, follows the leases of the
//! others, and starts over from a fresh list whenever something is not as expected. Works over any
//! [`Registry`]; decides nothing that `claim` and `vet` do not decide, and touches neither kernel nor files.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::lease::claim::Identity;
use crate::lease::port::{
    Entry, LeaseId, Listing, Registry, RegistryChange, RegistryError, RegistryWatch,
};
use crate::lease::status::{EtcdState, LeaseConditions};
use crate::model::lease::{Lease, OwnLease, Rejection, key_name, parse_lease, vet};
use crate::model::membership::Membership;
use crate::model::network_config::NetworkConfig;
use crate::peers::update::LeaseUpdate;
use crate::reconcile::backoff::Backoff;

mod acquire;
mod contact;
mod follow;
mod network;
mod rejections;
mod relists;
mod sources;
use crate::lease::manager::rejections::Rejections;
use crate::lease::manager::relists::Relists;
use crate::lease::manager::sources::Sources;

/// Time between two looks whether a rival still lives.
const PATIENCE: Duration = Duration::from_secs(600);

/// What ends one pass over list, lease and watch.
enum Interrupt {
    /// Nobody wants to know any more: the daemon stops.
    Closed,
    /// The list is out of date in a way that only a new list mends.
    Relist(&'static str),
    /// The registry failed.
    Registry(RegistryError),
}

impl From<RegistryError> for Interrupt {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

/// The lease that we hold.
struct Held {
    own: OwnLease,
    /// `None` for a reservation, which needs no renewal.
    lease: Option<LeaseId>,
    /// On the clock of [`LeaseSettings::boot_time`].
    renew_at: Duration,
    /// Revision of the last write of our key that we know of.
    revision: i64,
    /// Whether the value could not be written as it should be.
    incomplete: bool,
}

/// What the keeper does not decide itself.
#[derive(Debug, Clone, Copy)]
pub struct LeaseSettings {
    /// Time before expiry at which the lease must have been renewed.
    pub renew_margin: Duration,
    /// Yields numbers in 0..1.
    pub random: fn() -> f64,
    /// Time since boot, sleep of the machine included (`CLOCK_BOOTTIME`): leases expire while a machine sleeps.
    pub boot_time: fn() -> Duration,
}

/// Whom the keeper tells, and who asks it.
pub struct LeaseChannels {
    /// Hears everything in order.
    pub(crate) updates: mpsc::Sender<LeaseUpdate>,
    pub(crate) conditions: LeaseConditions,
    /// Keys that are not used, with the reason.
    pub(crate) ignored: watch::Sender<BTreeMap<String, String>>,
    /// Subnets that somebody needs and knows no lease of.
    pub questions: mpsc::Receiver<Ipv4Network>,
}

/// See the module.
pub struct LeaseManager<R> {
    registry: R,
    identity: Identity,
    settings: LeaseSettings,
    updates: mpsc::Sender<LeaseUpdate>,
    conditions: LeaseConditions,
    ignored: watch::Sender<BTreeMap<String, String>>,
    etcd_state: EtcdState,
    /// The subnet of the last run, if another host was found to hold it.
    taken: Option<Ipv4Network>,
    questions: mpsc::Receiver<Ipv4Network>,
    /// What the rest of the daemon knows of us.
    announced: Option<Membership>,
    /// The configuration with which we join or have joined; a later one takes a restart then.
    joined: Option<NetworkConfig>,
    /// Value of the configuration that was looked at last, so that each is spoken of once.
    seen: Option<Option<Vec<u8>>>,
    rejections: Rejections,
    sources: Sources,
    backoff: Backoff,
    relists: Relists,
    watching_since: Option<Instant>,
    /// Whether etcd has lost the lease that we had, and nobody else has it.
    doubt: bool,
    /// Whether that was said while our key could not be created.
    doubted: bool,
    /// Whether we have waited for what another host had: should it be free, its owner may come back for it.
    waited: bool,
    /// The lease of etcd that we had last, whether our key hangs on it or not.
    lease: Option<LeaseId>,
    /// The number of a lease that we ask for. Were it etcd's choice, each request whose answer is lost would leave one behind.
    number: LeaseId,
    /// Name and revision of a key that was seen to hang on a lease that etcd does not know.
    dangling: Option<(String, i64)>,
}

impl<R: Registry> LeaseManager<R> {
    /// A keeper that has not asked anything yet.
    pub fn new(
        registry: R,
        identity: Identity,
        settings: LeaseSettings,
        channels: LeaseChannels,
    ) -> Self {
        let LeaseChannels {
            updates,
            conditions,
            ignored,
            questions,
        } = channels;
        let number = lease_number((settings.random)());
        Self {
            registry,
            identity,
            settings,
            updates,
            conditions,
            ignored,
            etcd_state: EtcdState::Connecting,
            taken: None,
            questions,
            announced: None,
            joined: None,
            seen: None,
            rejections: Rejections::default(),
            sources: Sources::default(),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_millis(700)),
            relists: Relists::new(),
            watching_since: None,
            doubt: false,
            doubted: false,
            waited: false,
            lease: None,
            number,
            dangling: None,
        }
    }

    /// Runs until nobody listens to the updates. Dropping it at any time leaves the lease in place.
    pub async fn run(mut self) {
        loop {
            match self.pass().await {
                Interrupt::Closed => return,
                Interrupt::Relist(why) => self.pause(why).await,
                Interrupt::Registry(error) => {
                    if self.wait_out(&error).await.is_err() {
                        return;
                    }
                }
            }
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
        if self.announced.is_none() {
            self.say_if_lost(&listing).await?;
        }
        let Some(config) = self.network_config(listing.config.as_deref()) else {
            let reason = "waiting for a network config in etcd that can be used".to_owned();
            return self
                .wait_for(listing.revision, reason, |change| {
                    matches!(change, RegistryChange::Config(_))
                })
                .await;
        };
        let held = match self.hold(&listing, &config).await {
            Ok(Ok(held)) => held,
            Err(Interrupt::Registry(error)) => {
                self.tell_in_spite_of_failure(&listing).await?;
                return Err(error.into());
            }
            Err(interrupt) => return Err(interrupt),
            Ok(Err(none)) => {
                // Those who know us already still hear what the others do.
                if let Some(Membership { own, config }) = self.announced.clone() {
                    self.tell_of_others(&own, &config, &listing).await?;
                }
                let member = self.announced.is_some();
                self.waited = !member;
                let wanted = |change: &RegistryChange| match change {
                    RegistryChange::Delete(_) => true,
                    RegistryChange::Config(_) => !member,
                    RegistryChange::Put(_) => none.is_about(change),
                };
                return self
                    .wait_for(listing.revision, none.reason.clone(), wanted)
                    .await;
            }
        };
        (self.doubted, self.waited) = (false, false);
        let from = listing.revision + 1;
        self.announce(&held.own, &config, &listing).await?;
        self.follow(from, config, held).await
    }

    /// Our lease cannot be written or renewed. Whoever knows us already still hears what the others do, though not at full
    /// speed: each time costs a list of everything.
    async fn tell_in_spite_of_failure(&mut self, listing: &Listing) -> Result<(), Interrupt> {
        let Some(Membership { own, config }) = self.announced.clone() else {
            return Ok(());
        };
        let ours = key_name(own.subnet);
        let gone = !listing.entries.iter().any(|entry| entry.name == ours);
        // Said once: it holds up all who leave.
        let doubted = std::mem::replace(&mut self.doubted, gone);
        self.doubt = gone && !doubted;
        self.tell_of_others(&own, &config, listing).await?;
        self.reset_if_steady();
        sleep(
            self.relists
                .pause("our lease cannot be written", (self.settings.random)()),
        )
        .await;
        Ok(())
    }

    /// Waits for a change that makes a new list worth while, and not for ever: a rival may be silent by then. Passes on
    /// what others do meanwhile.
    async fn wait_for<T>(
        &mut self,
        revision: i64,
        reason: String,
        wanted: impl Fn(&RegistryChange) -> bool,
    ) -> Result<T, Interrupt> {
        let mut watch = self.registry.watch(revision + 1).await?;
        self.set_waiting(&reason).await?;
        let patience = Instant::now() + PATIENCE;
        loop {
            // A watch that fails is mended by the next pass.
            let changes = tokio::select! {
                changes = watch.next() => changes?,
                () = tokio::time::sleep_until(patience) => return Err(Interrupt::Relist("it has been a while")),
                () = self.updates.closed() => return Err(Interrupt::Closed),
            };
            if changes.iter().any(&wanted) {
                // Room that the operator has made is nobody's.
                self.waited &= !changes
                    .iter()
                    .any(|change| matches!(change, RegistryChange::Config(_)));
                return Err(Interrupt::Relist("what we wait for may be there"));
            }
            if let Some(Membership { own, config }) = self.announced.clone() {
                self.tell_of_changes(changes, &config, &own).await?;
            }
        }
    }

    /// Tells the rest of the daemon what it is a member of and who the others are.
    async fn announce(
        &mut self,
        own: &OwnLease,
        config: &NetworkConfig,
        listing: &Listing,
    ) -> Result<(), Interrupt> {
        let membership = Membership {
            own: own.clone(),
            config: config.clone(),
        };
        if self.announced.as_ref() != Some(&membership) {
            info!(subnet = %own.subnet, public_ip = %own.public_ip, mac = %own.vtep_mac, "holding the lease");
            self.send(LeaseUpdate::Joined(membership.clone())).await?;
            let past = &mut self.identity.previous;
            (past.subnet, past.vtep_mac) = (Some(own.subnet), Some(own.vtep_mac));
            self.announced = Some(membership);
        }
        self.tell_of_others(own, config, listing).await
    }

    async fn tell_of_others(
        &mut self,
        own: &OwnLease,
        config: &NetworkConfig,
        listing: &Listing,
    ) -> Result<(), Interrupt> {
        self.sources = Sources::default();
        self.rejections
            .retain_listed(listing.entries.iter().map(|entry| entry.name.as_str()));
        let others = listing
            .entries
            .iter()
            .filter(|entry| entry.name != key_name(own.subnet));
        let leases = others
            .filter_map(|entry| self.admit(entry, config, own).ok())
            .collect();
        if std::mem::take(&mut self.doubt) {
            self.send(LeaseUpdate::Suspect).await?;
        }
        self.send(LeaseUpdate::Leases(leases)).await
    }

    /// The lease of another host, if it is one that may be used.
    fn admit(
        &mut self,
        entry: &Entry,
        config: &NetworkConfig,
        own: &OwnLease,
    ) -> Result<Lease, Rejection> {
        let lease = parse_lease(&entry.name, &entry.value, entry.revision);
        let vetted = lease.and_then(|lease| vet(&lease, config, own).map(|()| lease));
        let admitted =
            vetted.and_then(
                |lease| match self.sources.offer(lease.subnet, &entry.name) {
                    true => Ok(lease),
                    false => Err(Rejection::SecondKey(lease.subnet)),
                },
            );
        self.rejections.note(&entry.name, admitted.as_ref().err());
        admitted
    }

    async fn send(&mut self, update: LeaseUpdate) -> Result<(), Interrupt> {
        self.updates
            .send(update)
            .await
            .map_err(|_| Interrupt::Closed)
    }
}

/// A number of 53 bits from 1 on; the hosts of one etcd do not choose the same. `random` is uniform in 0..1.
fn lease_number(random: f64) -> LeaseId {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "0 <= random < 1, so below 2^53"
    )]
    let number = (random.clamp(0.0, 1.0) * 9_007_199_254_740_992.0) as LeaseId;
    number + 1
}

#[cfg(test)]
mod tests;
