//! Peers that are kept although etcd holds no lease of theirs that can be used: it is gone, or damaged. Pure.

use std::collections::{BTreeMap, BTreeSet};
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
    /// The longest missing first.
    by_time: BTreeSet<(Duration, Ipv4Network)>,
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
        self.by_time.first().map(|(since, _)| *since)
    }

    /// Returns the subnet of the missing peer with this address.
    pub(super) fn subnet_of(&self, public_ip: Ipv4Addr) -> Option<Ipv4Network> {
        self.by_public_ip.get(&public_ip).copied()
    }

    pub(super) fn insert(&mut self, lease: &Lease, since: Duration) {
        self.remove(lease.subnet);
        let public_ip = lease.public_ip;
        let peer = MissingPeer { public_ip, since };
        self.by_subnet.insert(lease.subnet, peer);
        self.by_public_ip.insert(public_ip, lease.subnet);
        self.by_time.insert((since, lease.subnet));
    }

    pub(super) fn remove(&mut self, subnet: Ipv4Network) {
        let Some(peer) = self.by_subnet.remove(&subnet) else {
            return;
        };
        self.by_time.remove(&(peer.since, subnet));
        if self.subnet_of(peer.public_ip) == Some(subnet) {
            self.by_public_ip.remove(&peer.public_ip);
        }
    }

    /// Returns them with the times since when they are missing, the longest missing first.
    pub(super) fn by_time(&self) -> impl Iterator<Item = (Ipv4Network, Duration)> {
        self.by_time.iter().map(|(since, subnet)| (*subnet, *since))
    }

    /// Removes and returns those that are missing since `until` or longer.
    pub(super) fn take_missing_since(&mut self, until: Duration) -> Vec<Ipv4Network> {
        let due = self.by_time().take_while(|(_, since)| *since <= until);
        let due: Vec<Ipv4Network> = due.map(|(subnet, _)| subnet).collect();
        due.iter().for_each(|subnet| self.remove(*subnet));
        due
    }

    /// Keeps those whose subnet passes the filter.
    pub(super) fn retain(&mut self, keep: impl Fn(Ipv4Network) -> bool) {
        self.by_subnet.retain(|subnet, _| keep(*subnet));
        self.by_public_ip.retain(|_, subnet| keep(*subnet));
        self.by_time.retain(|(_, subnet)| keep(*subnet));
    }

    /// Empties the collection and returns the subnets in their order.
    pub(super) fn drain(&mut self) -> Vec<Ipv4Network> {
        self.by_public_ip.clear();
        self.by_time.clear();
        let missing = std::mem::take(&mut self.by_subnet);
        missing.into_keys().collect()
    }
}
