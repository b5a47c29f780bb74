//! Starts the tasks of all slices and joins them: the lease manager feeds the peers, and the peers feed the overlay; rules
//! and files follow the lease. It decides nothing about any of them.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::debug;

use crate::adapters::arp::ArpProbe;
use crate::adapters::etcd::Etcd;
use crate::adapters::file_system::Disk;
use crate::adapters::netlink::{HostChanges, KernelSettings, Netlink, RuleChanges};
use crate::adapters::packet_filter::PacketFilter;
use crate::adapters::systemd;
use crate::cli::Options;
use crate::conditions::ConditionType;
use crate::conditions::status::{StatusView, StatusWriters};
use crate::daemon::signals::ReloadSignal;
use crate::daemon::tasks::Tasks;
use crate::daemon::{clock, gate, settings, wiring};
use crate::files;
use crate::files::reconciler::FilesSlice;
use crate::host;
use crate::host::reconciler::HostSlice;
use crate::lease::manager::{LeaseChannels, LeaseManager};
use crate::lease::status::LeaseConditions;
use crate::model::device_ownership::DeviceOwnership;
use crate::model::external_interface::ExternalInterface;
use crate::model::host_network::HostNetwork;
use crate::model::membership::Membership;
use crate::model::node_id::NodeId;
use crate::model::pod_bridge::PodBridge;
use crate::model::underlay::Underlay;
use crate::overlay;
use crate::overlay::reconciler::{OverlayOutputs, OverlaySlice};
use crate::peers::snapshot::Snapshot;
use crate::peers::task::{PeerChannels, PeerTask};
use crate::peers::update::{LeaseUpdate, PeerUpdate};
use crate::reconcile::driver::{Driver, Heartbeat};
use crate::reconcile::followed::Followed;
use crate::rules;
use crate::rules::reconciler::RulesSlice;

/// Updates that may wait for the peers and for the overlay. While they are full, etcd's stream waits.
const UPDATE_QUEUE: usize = 64;
/// Lookups of leases that may wait for etcd. One that finds the queue full is repeated by the next packet.
const LOOKUP_QUEUE: usize = 16;
/// The task that saves the snapshot.
pub(super) const PEER_TASK: &str = "peers";

/// What all slices need.
pub(super) struct SliceStarter<'a> {
    pub(super) tasks: &'a mut Tasks,
    pub(super) options: &'a Options,
    pub(super) node: &'a NodeId,
    /// The external interface at the start.
    pub(super) external: &'a ExternalInterface,
    /// The external interface from then on.
    pub(super) underlay: &'a watch::Receiver<Underlay>,
    /// The address that is published.
    pub(super) public_ip: &'a watch::Receiver<Ipv4Addr>,
    /// What this host needs outside of the overlay.
    pub(super) host_network: &'a watch::Receiver<HostNetwork>,
    /// The bridges that may hold the subnets of containers.
    pub(super) pod_bridges: &'a watch::Receiver<Vec<PodBridge>>,
    pub(super) writers: &'a StatusWriters,
    pub(super) view: &'a StatusView,
}

impl SliceStarter<'_> {
    /// Starts all slices. The peer task saves the last snapshot when the sender that is returned is dropped.
    pub(super) fn start_all(
        mut self,
        etcd: Etcd,
        netlink: Netlink,
        last_run: Option<Snapshot>,
        reload: ReloadSignal,
    ) -> oneshot::Sender<Infallible> {
        let (to_peers, lease_updates) = mpsc::channel(UPDATE_QUEUE);
        let (to_overlay, peer_updates) = mpsc::channel(UPDATE_QUEUE);
        let (to_manager, lookups) = mpsc::channel(LOOKUP_QUEUE);
        self.start_lease_manager(etcd, last_run.as_ref(), to_peers, lookups);
        let shutdown = self.start_peers(last_run, lease_updates, to_overlay);
        let ownership = watch::Sender::new(DeviceOwnership::Unknown);
        let membership = self.start_gate(ownership.subscribe());
        let outputs = OverlayOutputs {
            lease_requests: to_manager,
            ownership,
            paths_clear: self.writers.condition(ConditionType::PathsClear),
        };
        self.start_overlay(netlink, peer_updates, outputs);
        self.start_rules(membership.clone());
        self.start_files(membership, reload);
        self.start_host();
        shutdown
    }

    fn start_lease_manager(
        &mut self,
        etcd: Etcd,
        last_run: Option<&Snapshot>,
        updates: mpsc::Sender<LeaseUpdate>,
        lookups: mpsc::Receiver<Ipv4Network>,
    ) {
        let conditions = LeaseConditions {
            lease: self.writers.condition(ConditionType::LeaseHeld),
            etcd: self.writers.condition(ConditionType::EtcdReachable),
        };
        let identity = wiring::identity(self.options, self.node, self.external, last_run);
        let channels = LeaseChannels {
            updates,
            conditions,
            ignored: self.writers.ignored_leases.clone(),
            counts: self.writers.lease_counts.clone(),
            lookups,
            public_ip: self.public_ip.clone(),
            host: self.host_network.clone(),
        };
        let settings = wiring::lease_settings(self.options);
        let probe = Box::new(ArpProbe {
            random: clock::random,
        });
        let manager = LeaseManager::new(etcd, probe, identity, settings, channels);
        self.tasks.spawn("lease manager", manager.run());
    }

    fn start_peers(
        &mut self,
        last_run: Option<Snapshot>,
        updates: mpsc::Receiver<LeaseUpdate>,
        overlay: mpsc::Sender<PeerUpdate>,
    ) -> oneshot::Sender<Infallible> {
        let (shutdown_sender, shutdown) = oneshot::channel();
        let channels = PeerChannels {
            updates,
            overlay,
            membership: self.writers.membership.clone(),
            summary: self.writers.peers.clone(),
            last_known: self.writers.last_known.clone(),
            underlay: self.followed_underlay(),
            shutdown,
        };
        let settings = wiring::peer_settings(self.options, self.node, self.external);
        let store = wiring::snapshot_file(self.options);
        let peers = PeerTask::new(settings, store, last_run, channels);
        self.tasks.spawn(PEER_TASK, peers.run());
        shutdown_sender
    }

    fn start_overlay(
        &mut self,
        netlink: Netlink,
        updates: mpsc::Receiver<PeerUpdate>,
        outputs: OverlayOutputs,
    ) {
        let heartbeat = self.start_watchdog();
        let settings = settings::overlay(self.options, self.external);
        let slice = OverlaySlice::new(netlink, settings, updates, outputs)
            .following(self.underlay.clone())
            .with_heartbeat(heartbeat.clone());
        let driver = Driver::new(
            "overlay",
            slice,
            overlay::reconciler::TIMING,
            self.writers.condition(ConditionType::KernelInSync),
            clock::random,
        );
        self.tasks
            .spawn("overlay", driver.with_heartbeat(heartbeat).run());
    }

    /// Starts to feed systemd's watchdog, if systemd asks for it. The overlay beats for it.
    fn start_watchdog(&mut self) -> Option<Heartbeat> {
        let (watchdog, heartbeats, interval) = systemd::watchdog()?;
        self.tasks.spawn_fallible("watchdog", watchdog.run());
        Some(Heartbeat::new(heartbeats, interval))
    }

    fn followed_underlay(&self) -> Followed<Underlay> {
        Followed::new(self.underlay.clone())
    }

    /// Returns the lease of this host as rules and files see it.
    fn start_gate(
        &mut self,
        ownership: watch::Receiver<DeviceOwnership>,
    ) -> watch::Receiver<Option<Membership>> {
        let (to, membership) = watch::channel(None);
        let pass_on = gate::pass_on(self.view.membership(), ownership, to);
        self.tasks.spawn("gate", pass_on);
        membership
    }

    fn start_rules(&mut self, membership: watch::Receiver<Option<Membership>>) {
        let settings = settings::rules(self.options, self.external);
        let timing = rules::reconciler::timing(&settings);
        let changes = RuleChanges::open().inspect_err(
            |error| debug!(%error, "the kernel does not announce changes of nftables; rules are polled"),
        );
        let slice = RulesSlice::new(
            PacketFilter::default(),
            changes.ok(),
            settings,
            membership,
            self.followed_underlay(),
        );
        let driver = Driver::new(
            "rules",
            slice,
            timing,
            self.writers.condition(ConditionType::RulesInstalled),
            clock::random,
        );
        self.tasks.spawn("rules", driver.run());
    }

    fn start_files(
        &mut self,
        membership: watch::Receiver<Option<Membership>>,
        reload: ReloadSignal,
    ) {
        let (reload_sender, reloads) = mpsc::channel(1);
        let settings = settings::files(self.options, self.external);
        let slice = FilesSlice::new(
            Disk::default(),
            settings,
            membership,
            reloads,
            self.followed_underlay(),
        );
        let driver = Driver::new(
            "files",
            slice,
            files::reconciler::TIMING,
            self.writers.condition(ConditionType::FilesWritten),
            clock::random,
        );
        self.tasks.spawn("files", driver.run());
        self.tasks
            .spawn("reload signal", reload.forward(reload_sender));
    }

    fn start_host(&mut self) {
        let ports = (KernelSettings, PacketFilter::default(), HostChanges::open());
        let settings = settings::host(self.options, self.external);
        let slice = HostSlice::new(
            ports,
            settings,
            self.view.membership(),
            self.view.peer_summary(),
            self.view.lease_counts(),
            self.followed_underlay(),
        )
        .judging_bridges(self.pod_bridges.clone(), self.writers.warnings.clone());
        let driver = Driver::new(
            "host",
            slice,
            host::reconciler::TIMING,
            self.writers.condition(ConditionType::HostFit),
            clock::random,
        );
        self.tasks.spawn("host", driver.run());
    }
}
