//! Owns the peers and the entries that they need: a peer by its subnet, and who wins where two claim the same
//! Ethernet or VTEP address. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::state::{Entries, Hop, PROTOCOL, RouteKey};
use crate::addr::MacAddr;
use crate::subnet::Lease;

/// Peers by subnet, with the indexes that a change needs: nothing here walks all peers to change one.
#[derive(Debug)]
pub struct Peers {
    network: Ipv4Network,
    by_subnet: BTreeMap<Ipv4Network, Lease>,
    by_mac: BTreeMap<MacAddr, BTreeSet<Ipv4Network>>,
    by_vtep: BTreeMap<Ipv4Addr, BTreeSet<Ipv4Network>>,
}

impl Peers {
    /// No peers yet, in an overlay of this network.
    pub fn new(network: Ipv4Network) -> Self {
        Self { network, by_subnet: BTreeMap::new(), by_mac: BTreeMap::new(), by_vtep: BTreeMap::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_subnet.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_subnet.is_empty()
    }

    /// The lease of the peer with this subnet.
    pub fn get(&self, subnet: Ipv4Network) -> Option<&Lease> {
        self.by_subnet.get(&subnet)
    }

    /// The subnets of all peers.
    pub fn subnets(&self) -> impl Iterator<Item = Ipv4Network> {
        self.by_subnet.keys().copied()
    }

    /// Puts the lease of a peer, or removes the peer.
    pub fn set(&mut self, subnet: Ipv4Network, lease: Option<Lease>) {
        if let Some(old) = self.by_subnet.remove(&subnet) {
            unclaim(&mut self.by_mac, old.vtep_mac, subnet);
            unclaim(&mut self.by_vtep, subnet.ip(), subnet);
        }
        if let Some(new) = lease {
            self.by_mac.entry(new.vtep_mac).or_default().insert(subnet);
            self.by_vtep.entry(subnet.ip()).or_default().insert(subnet);
            self.by_subnet.insert(subnet, new);
        }
    }

    /// The outer address behind an Ethernet address.
    pub fn fdb(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.winner(self.by_mac.get(&mac)?).map(|lease| lease.public_ip)
    }

    /// The Ethernet address behind a VTEP address.
    pub fn neighbour(&self, vtep: Ipv4Addr) -> Option<MacAddr> {
        self.winner(self.by_vtep.get(&vtep)?).map(|lease| lease.vtep_mac)
    }

    /// The route to a peer's subnet.
    pub fn route(&self, subnet: Ipv4Network) -> Option<(RouteKey, Hop)> {
        self.by_subnet.contains_key(&subnet).then(|| (self.route_key(subnet), Hop::Vtep(subnet.ip())))
    }

    /// The key of the route to a subnet, whether or not there is a peer.
    ///
    /// Its metric is the number of the subnet in the network, counted from 1. Routes that differ in the gateway only
    /// share one bucket of the kernel's `fib_info` hash, which makes N of them cost N² time; the metric is part
    /// of the hash (net/ipv4/fib_semantics.c, `fib_info_hashfn_1`).
    fn route_key(&self, subnet: Ipv4Network) -> RouteKey {
        let offset = u32::from(subnet.ip()).wrapping_sub(u32::from(self.network.ip()));
        let metric = offset.checked_shr(32 - u32::from(subnet.prefix())).unwrap_or(0).saturating_add(1);
        RouteKey { destination: subnet, metric, protocol: PROTOCOL }
    }

    /// The entries that the given peers need, as far as they are there and win.
    pub fn entries(&self, touched: &Touched) -> Entries {
        Entries {
            fdb: touched.macs.iter().filter_map(|mac| Some((*mac, self.fdb(*mac)?))).collect(),
            neighbours: touched.subnets.iter().filter_map(|net| Some((net.ip(), self.neighbour(net.ip())?))).collect(),
            routes: touched.subnets.iter().filter_map(|net| self.route(*net)).collect(),
        }
    }

    /// The entries that all peers need.
    pub fn all_entries(&self) -> Entries {
        let macs = self.by_mac.keys().copied().collect();
        self.entries(&Touched { macs, subnets: self.by_subnet.keys().copied().collect() })
    }

    /// Among leases that claim the same, the one written last: a host that took another subnet left the older
    /// one behind. The revision is etcd's, so that all hosts choose alike.
    fn winner(&self, claims: &BTreeSet<Ipv4Network>) -> Option<&Lease> {
        claims.iter().filter_map(|subnet| self.by_subnet.get(subnet)).max_by_key(|lease| lease.revision)
    }
}

fn unclaim<K: Ord + Copy>(index: &mut BTreeMap<K, BTreeSet<Ipv4Network>>, key: K, subnet: Ipv4Network) {
    if let Some(claims) = index.get_mut(&key) {
        claims.remove(&subnet);
        if claims.is_empty() {
            index.remove(&key);
        }
    }
}

/// What a change of some peers can change in the kernel.
#[derive(Debug, Default)]
pub struct Touched {
    /// Ethernet addresses that they have or had.
    pub macs: BTreeSet<MacAddr>,
    /// Their subnets.
    pub subnets: BTreeSet<Ipv4Network>,
}

impl Touched {
    /// Notes a lease that is coming or going.
    pub fn note(&mut self, subnet: Ipv4Network, lease: Option<&Lease>) {
        self.subnets.insert(subnet);
        self.macs.extend(lease.map(|lease| lease.vtep_mac));
    }
}
