//! A lease manager over a registry in memory, and everything that it tells.

pub(super) use crate::paused_time::on_paused_time;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::conditions::readiness::etcd_text;
use crate::conditions::{ConditionType, Conditions};
use crate::lease::claim::Identity;
use crate::lease::fake::{FakeLink, FakeRegistry};
use crate::lease::manager::test_data::identity;
use crate::lease::manager::{LeaseChannels, LeaseManager, LeaseSettings};
use crate::lease::port::LinkAnswer;
use crate::lease::status::LeaseConditions;
use crate::model::host_network::HostNetwork;
use crate::model::lease_counts::LeaseCounts;
use crate::model::membership::Membership;
use crate::peers::update::{LeaseChange, LeaseUpdate};

pub(super) struct Rig {
    pub(super) registry: FakeRegistry,
    pub(super) link: FakeLink,
    pub(super) updates: mpsc::Receiver<LeaseUpdate>,
    pub(super) lookups: mpsc::Sender<Ipv4Network>,
    conditions: watch::Receiver<Conditions>,
    pub(super) ignored: watch::Receiver<BTreeMap<String, String>>,
    pub(super) counts: watch::Receiver<LeaseCounts>,
    pub(super) public_ip: watch::Sender<Ipv4Addr>,
    pub(super) host: watch::Sender<HostNetwork>,
}

/// The PublicIP at the start.
const FIRST_PUBLIC_IP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

thread_local! {
    /// The start of Tokio's clock, and for how long the machine has been suspended since.
    static CLOCK: (Instant, Cell<Duration>) = (Instant::now(), Cell::new(Duration::ZERO));
}

fn boot_time() -> Duration {
    CLOCK.with(|(start, suspended)| start.elapsed() + suspended.get())
}

/// Lets the time since boot go on without Tokio's clock.
pub(super) fn suspend(duration: Duration) {
    CLOCK.with(|(_, suspended)| suspended.set(duration));
}

impl Rig {
    pub(super) fn start(registry: FakeRegistry, previous: Option<&str>) -> Self {
        Self::start_as(registry, identity(previous))
    }

    /// Starts where the link of the PublicIP gives this answer.
    pub(super) fn start_on(registry: FakeRegistry, answer: LinkAnswer) -> Self {
        let rig = Self::start(registry, None);
        rig.link.set(answer);
        rig
    }

    pub(super) fn start_as(registry: FakeRegistry, identity: Identity) -> Self {
        let (updates_sender, updates) = mpsc::channel(8);
        let (conditions, table) = LeaseConditions::for_test();
        let (ignored_sender, ignored) = watch::channel(BTreeMap::new());
        let (counts_sender, counts) = watch::channel(LeaseCounts::default());
        let (lookups_sender, lookups) = mpsc::channel(4);
        let (public_ip, public_ip_receiver) = watch::channel(identity.public_ip);
        let (host, host_receiver) = watch::channel(identity.host.clone());
        let settings = LeaseSettings {
            renew_margin: Duration::from_secs(3600),
            random: || 0.0,
            boot_time,
        };
        let channels = LeaseChannels {
            updates: updates_sender,
            conditions,
            ignored: ignored_sender,
            counts: counts_sender,
            lookups,
            public_ip: public_ip_receiver,
            host: host_receiver,
        };
        let link = FakeLink::unknown();
        let probe = Box::new(link.clone());
        let manager = LeaseManager::new(registry.clone(), probe, identity, settings, channels);
        tokio::task::spawn_local(manager.run());
        Self {
            registry,
            link,
            updates,
            lookups: lookups_sender,
            conditions: table,
            ignored,
            counts,
            public_ip,
            host,
        }
    }

    /// Returns the next update about leases, as text.
    pub(super) async fn next(&mut self) -> String {
        let hour = Duration::from_secs(3600);
        loop {
            let update = tokio::time::timeout(hour, self.updates.recv())
                .await
                .expect("an update within the hour");
            if let Some(text) = describe(&update.expect("the lease manager runs")) {
                return text;
            }
        }
    }

    /// Whether there was no update about leases since the last call.
    pub(super) fn is_quiet(&mut self) -> bool {
        std::iter::from_fn(|| self.updates.try_recv().ok())
            .all(|update| describe(&update).is_none())
    }

    /// Returns the condition `LeaseHeld`: its reason, and its message if it is not true.
    pub(super) fn lease_held(&self) -> String {
        let conditions = self.conditions.borrow();
        let lease = conditions.get(ConditionType::LeaseHeld);
        if lease.message.is_empty() {
            lease.reason.to_string()
        } else {
            format!("{}: {}", lease.reason, lease.message)
        }
    }

    /// Returns the line `etcd` of `flanneld status`.
    pub(super) fn etcd(&self) -> String {
        etcd_text(&self.conditions.borrow())
    }
}

/// Returns a host that has joined with the subnet 10.5.1.0/24.
pub(super) async fn joined(registry: FakeRegistry) -> Rig {
    let mut rig = Rig::start(registry, None);
    assert_eq!(rig.next().await, "joined 10.5.1.0/24");
    assert!(rig.next().await.starts_with("leases "));
    rig
}

/// Returns an update about leases as text; `None` for one about the state of etcd.
fn describe(update: &LeaseUpdate) -> Option<String> {
    match update {
        LeaseUpdate::Joined(Membership { own, .. }) if own.public_ip == FIRST_PUBLIC_IP => {
            Some(format!("joined {}", own.subnet))
        }
        LeaseUpdate::Joined(Membership { own, .. }) => {
            Some(format!("joined {} at {}", own.subnet, own.public_ip))
        }
        LeaseUpdate::Suspect => Some("suspect".to_owned()),
        LeaseUpdate::Leases(leases) => {
            let usable = leases
                .usable
                .iter()
                .map(|lease| format!("+{}", lease.subnet));
            let damaged = leases.damaged.iter().map(|subnet| format!("?{subnet}"));
            let all: Vec<String> = usable.chain(damaged).collect();
            Some(format!("leases {}", all.join(" ")))
        }
        LeaseUpdate::Changes(changes) => {
            let all: Vec<String> = changes.iter().map(change_text).collect();
            Some(format!("changes {}", all.join(" ")))
        }
        LeaseUpdate::SubnetTaken(subnet) => Some(format!("{subnet} taken")),
        LeaseUpdate::Unreachable { .. } | LeaseUpdate::Waiting | LeaseUpdate::Synced => None,
    }
}

fn change_text(change: &LeaseChange) -> String {
    match change {
        LeaseChange::Usable(lease) => format!("+{}", lease.subnet),
        LeaseChange::Damaged(subnet) => format!("?{subnet}"),
        LeaseChange::Gone(subnet) => format!("-{subnet}"),
    }
}

pub(super) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
