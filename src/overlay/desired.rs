//! Owns the peers and the entries that they need: a peer by its subnet, and who wins where two claim the same
//! Ethernet or VTEP address. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::{MacAddr, network_of, overlap};
use crate::model::lease::Lease;
use crate::overlay::state::{Entries, Hop, PROTOCOL, RouteKey};

/// When the entries for a peer are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerMode {
    /// As soon as its lease is known: a route, a neighbour, an FDB entry for each peer.
    Eager,
    /// The layout of flannel before 0.9: FDB entries at once, one route for the whole overlay, and a neighbour for each pod
    /// address when a packet to it needs one.
    OnDemand,
}

/// Peers by subnet, with the indexes that a change needs: nothing here walks all peers to change one.
#[derive(Debug)]
pub struct Peers {
    network: Ipv4Network,
    peering: PeerMode,
    by_subnet: BTreeMap<Ipv4Network, Lease>,
    by_mac: BTreeMap<MacAddr, BTreeSet<Ipv4Network>>,
    by_vtep: BTreeMap<Ipv4Addr, BTreeSet<Ipv4Network>>,
    by_public_ip: BTreeMap<Ipv4Addr, BTreeSet<Ipv4Network>>,
    /// How many peers have a subnet of each length.
    lengths: BTreeMap<u8, usize>,
    /// Pod addresses that have a neighbour, on demand.
    in_use: BTreeSet<Ipv4Addr>,
}

impl Peers {
    /// No peers yet, in an overlay of this network.
    pub fn new(network: Ipv4Network, peering: PeerMode) -> Self {
        Self {
            network,
            peering,
            by_subnet: BTreeMap::new(),
            by_mac: BTreeMap::new(),
            by_vtep: BTreeMap::new(),
            by_public_ip: BTreeMap::new(),
            lengths: BTreeMap::new(),
            in_use: BTreeSet::new(),
        }
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
            unclaim(&mut self.by_public_ip, old.public_ip, subnet);
            self.lengths
                .entry(subnet.prefix())
                .and_modify(|count| *count -= 1);
            self.lengths.retain(|_, count| *count > 0);
        }
        if let Some(new) = lease {
            *self.lengths.entry(subnet.prefix()).or_default() += 1;
            self.by_mac.entry(new.vtep_mac).or_default().insert(subnet);
            self.by_vtep.entry(subnet.ip()).or_default().insert(subnet);
            self.by_public_ip
                .entry(new.public_ip)
                .or_default()
                .insert(subnet);
            self.by_subnet.insert(subnet, new);
        }
    }

    /// The outer address behind an Ethernet address.
    pub fn fdb(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.winner(self.by_mac.get(&mac)?)
            .map(|lease| lease.public_ip)
    }

    /// The Ethernet address that the neighbour `address` should have, if there should be one.
    pub fn neighbour(&self, address: Ipv4Addr) -> Option<MacAddr> {
        match self.peering {
            PeerMode::Eager => self
                .winner(self.by_vtep.get(&address)?)
                .map(|lease| lease.vtep_mac),
            PeerMode::OnDemand => self
                .in_use
                .contains(&address)
                .then(|| self.behind(address))
                .flatten(),
        }
    }

    /// The Ethernet address behind an address that a packet needs, whether or not it has a neighbour.
    pub fn resolve(&self, address: Ipv4Addr) -> Option<MacAddr> {
        match self.peering {
            PeerMode::Eager => self.neighbour(address),
            PeerMode::OnDemand => self.behind(address),
        }
    }

    /// The route to a peer's subnet; on demand none has its own.
    pub fn route(&self, subnet: Ipv4Network) -> Option<(RouteKey, Hop)> {
        let own = self.peering == PeerMode::Eager && self.by_subnet.contains_key(&subnet);
        own.then(|| (self.route_key(subnet), Hop::Vtep(subnet.ip())))
    }

    /// Notes that an address has a neighbour, or has none any more. Without a meaning unless on demand.
    pub fn set_in_use(&mut self, address: Ipv4Addr, used: bool) {
        match used && self.peering == PeerMode::OnDemand && self.behind(address).is_some() {
            true => _ = self.in_use.insert(address),
            false => _ = self.in_use.remove(&address),
        }
    }

    /// Whether an address has a neighbour because a packet needed one.
    pub fn is_in_use(&self, address: Ipv4Addr) -> bool {
        self.in_use.contains(&address)
    }

    /// Forgets the addresses in `subnet` that no peer has any more.
    pub fn forget_unowned(&mut self, subnet: Ipv4Network) {
        let used: Vec<Ipv4Addr> = self.used_in(subnet).collect();
        for address in used {
            if self.behind(address).is_none() {
                self.in_use.remove(&address);
            }
        }
    }

    /// The peer whose subnet holds the address; of several the one with the smallest subnet, as for routes.
    fn behind(&self, address: Ipv4Addr) -> Option<MacAddr> {
        let candidates = self
            .lengths
            .keys()
            .rev()
            .filter_map(|length| network_of(address, *length));
        candidates
            .into_iter()
            .find_map(|subnet| self.by_subnet.get(&subnet))
            .map(|lease| lease.vtep_mac)
    }

    fn used_in(&self, subnet: Ipv4Network) -> impl Iterator<Item = Ipv4Addr> {
        self.in_use
            .range(subnet.network()..=subnet.broadcast())
            .copied()
    }

    /// The addresses for which a peer with this subnet needs neighbours.
    fn neighbours_of(&self, subnet: Ipv4Network) -> Vec<Ipv4Addr> {
        match self.peering {
            PeerMode::Eager => vec![subnet.ip()],
            PeerMode::OnDemand => self.used_in(subnet).collect(),
        }
    }

    /// Peers that claim something of what the peer with this subnet claims, and what that is. Which of them counts is the
    /// same on all hosts: for an Ethernet address or a PublicIP the lease written last, for addresses the smaller subnet.
    pub fn rivals(&self, subnet: Ipv4Network) -> Vec<(Ipv4Network, &'static str)> {
        let Some(lease) = self.by_subnet.get(&subnet) else {
            return Vec::new();
        };
        let others = |claims: Option<&BTreeSet<Ipv4Network>>, what| {
            let others = claims
                .into_iter()
                .flatten()
                .filter(move |other| **other != subnet);
            others.map(|other| (*other, what)).collect::<Vec<_>>()
        };
        let mut rivals = others(self.by_mac.get(&lease.vtep_mac), "VtepMAC");
        rivals.extend(others(self.by_public_ip.get(&lease.public_ip), "PublicIP"));
        rivals.extend(
            self.overlapping(subnet)
                .map(|other| (other.subnet, "addresses")),
        );
        rivals
    }

    /// Peers whose subnets share addresses with `subnet` and are not the same: those around it and those inside.
    fn overlapping(&self, subnet: Ipv4Network) -> impl Iterator<Item = &Lease> {
        let shorter = self
            .lengths
            .keys()
            .filter(move |length| **length < subnet.prefix());
        let around = shorter
            .filter_map(move |length| self.by_subnet.get(&network_of(subnet.ip(), *length)?));
        let from = std::ops::Bound::Excluded(subnet);
        let inside = self
            .by_subnet
            .range((from, std::ops::Bound::Unbounded))
            .map(|(_, lease)| lease);
        around.chain(inside.take_while(move |lease| overlap(lease.subnet, subnet)))
    }

    /// The key of the route to a subnet, whether or not there is a peer.
    ///
    /// Its metric is the number of the subnet in the network, counted from 1. Routes that differ in the gateway only
    /// share one bucket of the kernel's `fib_info` hash, which makes N of them cost N² time; the metric is part
    /// of the hash (net/ipv4/fib_semantics.c, `fib_info_hashfn_1`).
    fn route_key(&self, subnet: Ipv4Network) -> RouteKey {
        let offset = u32::from(subnet.ip()).wrapping_sub(u32::from(self.network.ip()));
        let metric = offset
            .checked_shr(32 - u32::from(subnet.prefix()))
            .unwrap_or(0)
            .saturating_add(1);
        RouteKey {
            destination: subnet,
            metric,
            protocol: PROTOCOL,
        }
    }

    /// The entries that the given peers need, as far as they are there and win.
    pub fn entries(&self, touched: &Touched) -> Entries {
        Entries {
            fdb: touched
                .macs
                .iter()
                .filter_map(|mac| Some((*mac, self.fdb(*mac)?)))
                .collect(),
            neighbours: (touched
                .subnets
                .iter()
                .flat_map(|subnet| self.neighbours_of(*subnet)))
            .filter_map(|address| Some((address, self.neighbour(address)?)))
            .collect(),
            routes: touched
                .subnets
                .iter()
                .filter_map(|net| self.route(*net))
                .collect(),
        }
    }

    /// The entries that all peers need.
    pub fn all_entries(&self) -> Entries {
        let addresses: Box<dyn Iterator<Item = &Ipv4Addr>> = match self.peering {
            PeerMode::Eager => Box::new(self.by_vtep.keys()),
            PeerMode::OnDemand => Box::new(self.in_use.iter()),
        };
        Entries {
            fdb: self
                .by_mac
                .keys()
                .filter_map(|mac| Some((*mac, self.fdb(*mac)?)))
                .collect(),
            neighbours: addresses
                .filter_map(|address| Some((*address, self.neighbour(*address)?)))
                .collect(),
            routes: self
                .by_subnet
                .keys()
                .filter_map(|subnet| self.route(*subnet))
                .collect(),
        }
    }

    /// Among leases that claim the same, the one written last: a host that took another subnet left the older
    /// one behind. The revision is etcd's, so that all hosts choose alike.
    fn winner(&self, claims: &BTreeSet<Ipv4Network>) -> Option<&Lease> {
        claims
            .iter()
            .filter_map(|subnet| self.by_subnet.get(subnet))
            .max_by_key(|lease| lease.revision)
    }
}

fn unclaim<K: Ord + Copy>(
    index: &mut BTreeMap<K, BTreeSet<Ipv4Network>>,
    key: K,
    subnet: Ipv4Network,
) {
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
