//! The peers whose leases are gone from etcd and that are not removed yet. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::model::lease::Lease;

#[derive(Debug, Clone, Copy)]
struct MissingPeer {
    public_ip: Ipv4Addr,
    since: Duration,
}

#[derive(Debug, Default)]
pub(super) struct MissingPeers {
    by_subnet: BTreeMap<Ipv4Network, MissingPeer>,
    by_public_ip: BTreeMap<Ipv4Addr, Ipv4Network>,
}

impl MissingPeers {
    pub(super) fn len(&self) -> usize {
        self.by_subnet.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_subnet.is_empty()
    }

    pub(super) fn contains(&self, subnet: Ipv4Network) -> bool {
        self.by_subnet.contains_key(&subnet)
    }

    /// Returns since when the peer of the subnet is missing.
    pub(super) fn since(&self, subnet: Ipv4Network) -> Option<Duration> {
        self.by_subnet.get(&subnet).map(|peer| peer.since)
    }

    /// Returns since when the first of them is missing.
    pub(super) fn first_since(&self) -> Option<Duration> {
        self.by_subnet.values().map(|peer| peer.since).min()
    }

    /// Returns the subnet of the missing peer with this address.
    pub(super) fn subnet_of(&self, public_ip: Ipv4Addr) -> Option<Ipv4Network> {
        self.by_public_ip.get(&public_ip).copied()
    }

    pub(super) fn insert(&mut self, lease: &Lease, since: Duration) {
        let public_ip = lease.public_ip;
        let peer = MissingPeer { public_ip, since };
        self.by_subnet.insert(lease.subnet, peer);
        self.by_public_ip.insert(public_ip, lease.subnet);
    }

    pub(super) fn remove(&mut self, subnet: Ipv4Network) {
        if let Some(peer) = self.by_subnet.remove(&subnet)
            && self.subnet_of(peer.public_ip) == Some(subnet)
        {
            self.by_public_ip.remove(&peer.public_ip);
        }
    }

    /// Keeps those whose subnet passes the filter.
    pub(super) fn retain(&mut self, keep: impl Fn(Ipv4Network) -> bool) {
        self.by_subnet.retain(|subnet, _| keep(*subnet));
        self.by_public_ip.retain(|_, subnet| keep(*subnet));
    }

    /// Empties the collection and returns the subnets in their order.
    pub(super) fn drain(&mut self) -> Vec<Ipv4Network> {
        self.by_public_ip.clear();
        let missing = std::mem::take(&mut self.by_subnet);
        missing.into_keys().collect()
    }
}
