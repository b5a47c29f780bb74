//! The peers, and the FDB entries, neighbours and routes that each of them needs. It says what one peer, or all of them,
//! should have in the kernel; it compares nothing with the kernel. Pure.

pub(crate) mod index;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::MacAddr;
use crate::model::lease::Lease;
use crate::overlay::peer_entries::index::PeerIndex;
use crate::overlay::settings::PeerMode;
use crate::overlay::state::{Entries, NextHop, PROTOCOL, RouteKey};

/// Peers up to which all routes have metric 0, as Go flannel's: a route that another program adds is refused then, and does
/// not win. Routes that differ in the gateway only share one bucket of the kernel's `fib_info` hash, so that N of them cost
/// N² time: 17 ms for this many, 0.3 s for four times as many, 46 s for 60,000.
pub(crate) const MAX_PEERS_AT_METRIC_0: usize = 1024;

/// The metrics of the routes to peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metrics {
    /// All have metric 0.
    Zero,
    /// Each has one of its own, which is part of the kernel's hash (net/ipv4/fib_semantics.c, `fib_info_hashfn_1`).
    Distinct,
}

#[derive(Debug)]
pub(crate) struct PeerEntries {
    network: Ipv4Network,
    mode: PeerMode,
    index: PeerIndex,
    metrics: Metrics,
    /// Pod addresses that have a neighbour because a packet needed one; empty in mode `Eager`.
    in_use: BTreeSet<Ipv4Addr>,
}

impl PeerEntries {
    /// Without peers, in an overlay of this network.
    pub(crate) fn new(network: Ipv4Network, mode: PeerMode) -> Self {
        Self {
            network,
            mode,
            index: PeerIndex::default(),
            metrics: Metrics::Zero,
            in_use: BTreeSet::new(),
        }
    }

    pub(crate) const fn index(&self) -> &PeerIndex {
        &self.index
    }

    /// Sets the lease of the peer with this subnet; `None` removes the peer.
    pub(crate) fn set(&mut self, subnet: Ipv4Network, lease: Option<Lease>) {
        self.index.set(subnet, lease);
    }

    /// Returns the outer IP address that the FDB should have for a MAC address.
    pub(crate) fn fdb(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.index.by_mac(mac).map(|lease| lease.public_ip)
    }

    /// Returns the MAC address that the neighbour `address` should have, if there should be one.
    pub(crate) fn neighbour(&self, address: Ipv4Addr) -> Option<MacAddr> {
        match self.mode {
            PeerMode::Eager => self.mac_of_vtep(address),
            PeerMode::OnDemand if self.is_in_use(address) => self.mac_of_pod(address),
            PeerMode::OnDemand => None,
        }
    }

    /// Returns the MAC address for an address that a packet needs, whether or not it has a neighbour.
    pub(crate) fn resolve(&self, address: Ipv4Addr) -> Option<MacAddr> {
        match self.mode {
            PeerMode::Eager => self.mac_of_vtep(address),
            PeerMode::OnDemand => self.mac_of_pod(address),
        }
    }

    fn mac_of_vtep(&self, address: Ipv4Addr) -> Option<MacAddr> {
        self.index.by_vtep(address).map(|lease| lease.vtep_mac)
    }

    fn mac_of_pod(&self, address: Ipv4Addr) -> Option<MacAddr> {
        let lease = self.index.by_pod_address(address);
        lease.map(|lease| lease.vtep_mac)
    }

    /// Returns the route to a peer's subnet; in mode `OnDemand` no peer has a route of its own.
    pub(crate) fn route(&self, subnet: Ipv4Network) -> Option<(RouteKey, NextHop)> {
        let exists = self.mode == PeerMode::Eager && self.index.get(subnet).is_some();
        exists.then(|| (self.route_key(subnet), NextHop::Vtep(subnet.ip())))
    }

    /// Records that an address has a neighbour because a packet needed one. Means nothing in mode `Eager`.
    pub(crate) fn set_in_use(&mut self, address: Ipv4Addr) {
        if self.mode == PeerMode::OnDemand && self.mac_of_pod(address).is_some() {
            self.in_use.insert(address);
        } else {
            self.in_use.remove(&address);
        }
    }

    /// Records that an address has no neighbour any more.
    pub(crate) fn set_unused(&mut self, address: Ipv4Addr) {
        self.in_use.remove(&address);
    }

    pub(crate) fn is_in_use(&self, address: Ipv4Addr) -> bool {
        self.in_use.contains(&address)
    }

    /// Forgets the addresses in `subnet` that belong to no peer any more.
    pub(crate) fn forget_unowned(&mut self, subnet: Ipv4Network) {
        let used: Vec<Ipv4Addr> = self.used_in(subnet).collect();
        for address in used {
            if self.mac_of_pod(address).is_none() {
                self.in_use.remove(&address);
            }
        }
    }

    fn used_in(&self, subnet: Ipv4Network) -> impl Iterator<Item = Ipv4Addr> {
        let all = subnet.network()..=subnet.broadcast();
        self.in_use.range(all).copied()
    }

    /// Returns the addresses for which a peer with this subnet needs neighbours.
    fn neighbours_of(&self, subnet: Ipv4Network) -> Vec<Ipv4Addr> {
        match self.mode {
            PeerMode::Eager => vec![subnet.ip()],
            PeerMode::OnDemand => self.used_in(subnet).collect(),
        }
    }

    /// Whether the routes of all peers would get other metrics if this many peers came.
    pub(crate) fn outgrows_metric_0(&self, more: usize) -> bool {
        self.metrics == Metrics::Zero && self.index.len() + more > MAX_PEERS_AT_METRIC_0
    }

    /// Gives each route a metric of its own once there are too many for one. It stays so until the daemon starts again: a
    /// number of peers that goes up and down must not move all routes each time.
    pub(crate) fn choose_metrics(&mut self) {
        if self.index.len() > MAX_PEERS_AT_METRIC_0 {
            self.metrics = Metrics::Distinct;
        }
    }

    /// Returns the key of the route to a subnet, whether or not there is a peer.
    fn route_key(&self, subnet: Ipv4Network) -> RouteKey {
        let metric = match self.metrics {
            Metrics::Zero => 0,
            Metrics::Distinct => self.number(subnet).saturating_add(1),
        };
        RouteKey {
            destination: subnet,
            metric,
            protocol: PROTOCOL,
        }
    }

    /// Returns the place of a subnet among all of its length in the network, counted from 0.
    fn number(&self, subnet: Ipv4Network) -> u32 {
        let offset = u32::from(subnet.ip()).wrapping_sub(u32::from(self.network.ip()));
        let number = offset.checked_shr(32 - u32::from(subnet.prefix()));
        number.unwrap_or(0)
    }

    /// Returns the entries that the given peers need.
    pub(crate) fn entries_of(&self, peers: &ChangedPeers) -> Entries {
        let addresses = peers.subnets.iter();
        let addresses = addresses.flat_map(|subnet| self.neighbours_of(*subnet));
        self.entries(
            peers.macs.iter().copied(),
            addresses,
            peers.subnets.iter().copied(),
        )
    }

    /// Returns the entries that all peers need.
    pub(crate) fn all_entries(&self) -> Entries {
        let (macs, subnets) = (self.index.macs(), self.index.subnets());
        match self.mode {
            PeerMode::Eager => self.entries(macs, self.index.vteps(), subnets),
            PeerMode::OnDemand => self.entries(macs, self.in_use.iter().copied(), subnets),
        }
    }

    fn entries(
        &self,
        macs: impl Iterator<Item = MacAddr>,
        addresses: impl Iterator<Item = Ipv4Addr>,
        subnets: impl Iterator<Item = Ipv4Network>,
    ) -> Entries {
        Entries {
            fdb: macs.filter_map(|mac| Some((mac, self.fdb(mac)?))).collect(),
            neighbours: addresses
                .filter_map(|address| Some((address, self.neighbour(address)?)))
                .collect(),
            routes: subnets.filter_map(|subnet| self.route(subnet)).collect(),
        }
    }
}

/// What a change of some peers can change in the kernel.
#[derive(Debug, Default)]
pub(crate) struct ChangedPeers {
    /// MAC addresses that they have or had.
    pub(crate) macs: BTreeSet<MacAddr>,
    pub(crate) subnets: BTreeSet<Ipv4Network>,
}

impl ChangedPeers {
    /// Records the lease that a peer has or had.
    pub(crate) fn note(&mut self, subnet: Ipv4Network, lease: Option<&Lease>) {
        self.subnets.insert(subnet);
        self.macs.extend(lease.map(|lease| lease.vtep_mac));
    }
}
