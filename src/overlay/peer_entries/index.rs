//! The leases of the peers by subnet, VTEP MAC, VTEP address and PublicIP, and which lease wins where several claim the
//! same. A change of one peer never walks all peers. It knows no kernel entries. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Bound;

use ipnetwork::Ipv4Network;

use crate::model::addr::{MacAddr, network_of, overlap};
use crate::model::lease::Lease;

#[derive(Debug, Default)]
pub(crate) struct PeerIndex {
    by_subnet: BTreeMap<Ipv4Network, Lease>,
    by_mac: BTreeMap<MacAddr, BTreeSet<Ipv4Network>>,
    by_vtep: BTreeMap<Ipv4Addr, BTreeSet<Ipv4Network>>,
    by_public_ip: BTreeMap<Ipv4Addr, BTreeSet<Ipv4Network>>,
    /// How many peers have a subnet of each prefix length.
    lengths: BTreeMap<u8, usize>,
}

impl PeerIndex {
    pub(crate) fn len(&self) -> usize {
        self.by_subnet.len()
    }

    pub(crate) fn get(&self, subnet: Ipv4Network) -> Option<&Lease> {
        self.by_subnet.get(&subnet)
    }

    pub(crate) fn subnets(&self) -> impl Iterator<Item = Ipv4Network> {
        self.by_subnet.keys().copied()
    }

    pub(crate) fn macs(&self) -> impl Iterator<Item = MacAddr> {
        self.by_mac.keys().copied()
    }

    pub(crate) fn vteps(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.by_vtep.keys().copied()
    }

    /// Sets the lease of the peer with this subnet; `None` removes the peer.
    pub(crate) fn set(&mut self, subnet: Ipv4Network, lease: Option<Lease>) {
        self.remove(subnet);
        if let Some(lease) = lease {
            self.insert(subnet, lease);
        }
    }

    fn insert(&mut self, subnet: Ipv4Network, lease: Lease) {
        *self.lengths.entry(subnet.prefix()).or_default() += 1;
        claim(&mut self.by_mac, lease.vtep_mac, subnet);
        claim(&mut self.by_vtep, subnet.ip(), subnet);
        claim(&mut self.by_public_ip, lease.public_ip, subnet);
        self.by_subnet.insert(subnet, lease);
    }

    fn remove(&mut self, subnet: Ipv4Network) {
        let Some(lease) = self.by_subnet.remove(&subnet) else {
            return;
        };
        unclaim(&mut self.by_mac, lease.vtep_mac, subnet);
        unclaim(&mut self.by_vtep, subnet.ip(), subnet);
        unclaim(&mut self.by_public_ip, lease.public_ip, subnet);
        let length = self.lengths.entry(subnet.prefix());
        length.and_modify(|count| *count -= 1);
        self.lengths.retain(|_, count| *count > 0);
    }

    /// Returns the lease that counts for a VTEP MAC.
    pub(crate) fn by_mac(&self, mac: MacAddr) -> Option<&Lease> {
        self.winner(self.by_mac.get(&mac)?)
    }

    /// Returns the lease that counts for a VTEP address.
    pub(crate) fn by_vtep(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.winner(self.by_vtep.get(&address)?)
    }

    /// Returns the peer whose subnet holds a pod address; of several the one with the smallest subnet, as for routes.
    pub(crate) fn by_pod_address(&self, address: Ipv4Addr) -> Option<&Lease> {
        let longest_first = self.lengths.keys().rev();
        let mut subnets = longest_first.filter_map(|length| network_of(address, *length));
        subnets.find_map(|subnet| self.by_subnet.get(&subnet))
    }

    /// Returns the other peers with the VTEP MAC of `lease`.
    pub(crate) fn others_with_mac(&self, lease: &Lease) -> impl Iterator<Item = Ipv4Network> {
        others(self.by_mac.get(&lease.vtep_mac), lease.subnet)
    }

    /// Returns the other peers with the PublicIP of `lease`.
    pub(crate) fn others_with_public_ip(&self, lease: &Lease) -> impl Iterator<Item = Ipv4Network> {
        others(self.by_public_ip.get(&lease.public_ip), lease.subnet)
    }

    /// Returns the other peers whose subnets share addresses with `subnet`: those around it and those inside.
    pub(crate) fn overlapping(&self, subnet: Ipv4Network) -> impl Iterator<Item = Ipv4Network> {
        let around = self.around(subnet);
        // Networks are ordered by address first, so those inside `subnet` follow it without a gap.
        let after = (Bound::Excluded(subnet), Bound::Unbounded);
        let inside = self.by_subnet.range(after).map(|(other, _)| *other);
        around.chain(inside.take_while(move |other| overlap(*other, subnet)))
    }

    /// Returns the peers whose subnets hold `network` and more.
    pub(crate) fn around(&self, network: Ipv4Network) -> impl Iterator<Item = Ipv4Network> {
        let shorter = self.lengths.keys().copied();
        let shorter = shorter.filter(move |length| *length < network.prefix());
        let around = shorter.filter_map(move |length| network_of(network.ip(), length));
        around.filter(|network| self.by_subnet.contains_key(network))
    }

    /// Returns the prefix length of the largest subnet.
    pub(crate) fn shortest_prefix(&self) -> Option<u8> {
        self.lengths.keys().next().copied()
    }

    /// Of leases that claim the same, the one written last counts: a host that took another subnet left the older one
    /// behind. The revision is etcd's, so that all hosts choose alike.
    fn winner(&self, claims: &BTreeSet<Ipv4Network>) -> Option<&Lease> {
        let leases = claims
            .iter()
            .filter_map(|subnet| self.by_subnet.get(subnet));
        leases.max_by_key(|lease| lease.revision)
    }
}

fn others(
    claims: Option<&BTreeSet<Ipv4Network>>,
    subnet: Ipv4Network,
) -> impl Iterator<Item = Ipv4Network> {
    let claims = claims.into_iter().flatten().copied();
    claims.filter(move |other| *other != subnet)
}

fn claim<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Ipv4Network>>, key: K, subnet: Ipv4Network) {
    index.entry(key).or_default().insert(subnet);
}

fn unclaim<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Ipv4Network>>, key: K, subnet: Ipv4Network) {
    if let Some(claims) = index.get_mut(&key) {
        claims.remove(&subnet);
        if claims.is_empty() {
            index.remove(&key);
        }
    }
}
