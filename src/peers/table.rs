//! Owns what we believe of the other hosts: what etcd says, except that peers which vanish together with most others are
//! kept for a while. Stands between the keeper of the lease and that of the kernel state. Pure; `run` drives it, and
//! `snapshot` is its form on the disk.
//!
//! An etcd that was emptied, or restored from an old backup, says that everybody is gone. They are not: each daemon puts
//! its own lease back within moments. Until then nobody should be cut off. When our own lease was lost as well, even one
//! that is missing counts as such: the others may have been quicker.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::model::lease::{Lease, validate};
use crate::model::membership::Membership;
use crate::peers::update::{LeaseUpdate, PeerUpdate};

/// With fewer peers, half of them may well leave at once.
const FEW: usize = 4;
/// Time for which a removal waits for others, so that a burst is seen as one.
const SETTLE: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub struct PeerTable {
    grace: Duration,
    membership: Option<Membership>,
    /// What the kernel should hold.
    peers: BTreeMap<Ipv4Network, Lease>,
    /// Those of the peers that are gone from etcd, and since when.
    leaving: BTreeMap<Ipv4Network, Duration>,
    /// The same by their PublicIP.
    addresses: BTreeMap<Ipv4Addr, Ipv4Network>,
    /// Whether who is missing in the next list may well be there.
    doubt: bool,
    /// Until when removals are held.
    held_until: Option<Duration>,
    /// Peers that left lately, and when that began.
    left: Option<(usize, Duration)>,
}

/// A decision that is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// So many of so many peers have vanished; they are kept for now.
    Hold {
        /// How many are gone from etcd.
        gone: usize,
        /// How many there were.
        of: usize,
    },
    /// All that were kept have come back.
    AllBack,
    /// So many have not come back in time and are removed.
    Remove {
        /// How many.
        gone: usize,
    },
}

impl PeerTable {
    /// `grace` is how long removals are held; zero turns this off. `known` are the peers that an earlier run knew.
    pub fn new(grace: Duration, known: Vec<Lease>) -> Self {
        let peers = known
            .into_iter()
            .map(|lease| (lease.subnet, lease))
            .collect();
        Self {
            grace,
            membership: None,
            peers,
            leaving: BTreeMap::new(),
            addresses: BTreeMap::new(),
            doubt: false,
            held_until: None,
            left: None,
        }
    }

    /// What we are a member of, as far as we know.
    pub fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// All peers that the kernel should hold.
    pub fn peers(&self) -> impl ExactSizeIterator<Item = &Lease> {
        self.peers.values()
    }

    /// How many peers there are whose leases are gone.
    pub fn kept(&self) -> usize {
        self.leaving.len()
    }

    /// Whether removals are held.
    pub fn is_holding(&self) -> bool {
        self.held_until.is_some()
    }

    /// Takes what the keeper says; answers what the kernel should be told.
    pub(crate) fn take(
        &mut self,
        update: LeaseUpdate,
        now: Duration,
    ) -> (Vec<PeerUpdate>, Option<Decision>) {
        match update {
            LeaseUpdate::Joined(membership) => (self.join(membership), None),
            LeaseUpdate::Suspect => {
                self.doubt = true;
                (Vec::new(), None)
            }
            LeaseUpdate::Leases(leases) => self.list(leases, now),
            LeaseUpdate::Changes(changes) => self.change(changes, now),
            LeaseUpdate::Unreachable { .. }
            | LeaseUpdate::Waiting
            | LeaseUpdate::Synced
            | LeaseUpdate::SubnetTaken(_) => (Vec::new(), None),
        }
    }

    /// A membership that is the same again tells the kernel nothing.
    fn join(&mut self, membership: Membership) -> Vec<PeerUpdate> {
        if self.membership.as_ref() == Some(&membership) {
            return Vec::new();
        }
        let fits = |lease: &Lease| validate(lease, &membership.config, &membership.own).is_ok();
        self.peers.retain(|_, lease| fits(lease));
        let peers = &self.peers;
        self.leaving.retain(|subnet, _| peers.contains_key(subnet));
        self.membership = Some(membership.clone());
        vec![PeerUpdate::Joined(membership)]
    }

    /// A complete list: who is not in it has vanished.
    fn list(&mut self, leases: Vec<Lease>, now: Duration) -> (Vec<PeerUpdate>, Option<Decision>) {
        let was_holding = self.is_holding();
        let before = std::mem::take(&mut self.peers);
        self.peers = leases
            .into_iter()
            .map(|lease| (lease.subnet, lease))
            .collect();
        let present: std::collections::BTreeSet<Ipv4Addr> =
            self.peers.values().map(|lease| lease.public_ip).collect();
        let since = std::mem::take(&mut self.leaving);
        self.addresses.clear();
        let count = before.len();
        for (subnet, lease) in before {
            // A host that has another subnet now is not missing.
            if !self.peers.contains_key(&subnet) && !present.contains(&lease.public_ip) {
                self.keep(lease, since.get(&subnet).copied().unwrap_or(now));
            }
        }
        let decision = self.judge(count, now);
        if !self.is_holding() {
            self.drop_all();
        }
        let decision =
            decision.or((was_holding && !self.is_holding()).then_some(Decision::AllBack));
        (
            vec![PeerUpdate::Peers(self.peers.values().cloned().collect())],
            decision,
        )
    }

    /// Keeps a peer whose lease is gone. Whatever etcd holds counts for more than it.
    fn keep(&mut self, lease: Lease, since: Duration) {
        self.leaving.insert(lease.subnet, since);
        self.addresses.insert(lease.public_ip, lease.subnet);
        self.peers.insert(
            lease.subnet,
            Lease {
                revision: 0,
                ..lease
            },
        );
    }

    fn change(
        &mut self,
        changes: Vec<(Ipv4Network, Option<Lease>)>,
        now: Duration,
    ) -> (Vec<PeerUpdate>, Option<Decision>) {
        let was_holding = self.is_holding();
        let mut tell = Vec::with_capacity(changes.len());
        for (subnet, lease) in changes {
            match lease {
                Some(lease) => {
                    tell.extend(self.replaced_by(&lease).map(|gone| (gone, None)));
                    self.come_back(subnet);
                    self.peers.insert(subnet, lease.clone());
                    tell.push((subnet, Some(lease)));
                }
                None if self.grace.is_zero() => {
                    self.peers.remove(&subnet);
                    tell.push((subnet, None));
                }
                None => {
                    if let Some(lease) = self
                        .peers
                        .get(&subnet)
                        .filter(|_| !self.leaving.contains_key(&subnet))
                        .cloned()
                    {
                        self.keep(lease, now);
                    }
                }
            }
        }
        let all_back = was_holding && self.leaving.is_empty();
        if all_back {
            self.held_until = None;
        }
        let updates = if tell.is_empty() {
            Vec::new()
        } else {
            vec![PeerUpdate::Changes(tell)]
        };
        (updates, all_back.then_some(Decision::AllBack))
    }

    /// The kept peer that has come back with another subnet.
    fn replaced_by(&mut self, lease: &Lease) -> Option<Ipv4Network> {
        let gone = self
            .addresses
            .get(&lease.public_ip)
            .copied()
            .filter(|subnet| *subnet != lease.subnet)?;
        self.come_back(gone);
        self.peers.remove(&gone);
        Some(gone)
    }

    fn come_back(&mut self, subnet: Ipv4Network) {
        if self.leaving.remove(&subnet).is_some()
            && let Some(lease) = self.peers.get(&subnet)
        {
            self.addresses.remove(&lease.public_ip);
        }
    }

    /// When [`PeerTable::tick`] has something to do.
    pub fn due(&self) -> Option<Duration> {
        let settled = || self.leaving.values().min().map(|since| *since + SETTLE);
        self.held_until.or_else(settled)
    }

    /// Removes who has been gone for long enough, unless too many are.
    pub(crate) fn tick(&mut self, now: Duration) -> (Vec<PeerUpdate>, Option<Decision>) {
        if self.due().is_none_or(|due| due > now) {
            return (Vec::new(), None);
        }
        if self.held_until.take().is_some() {
            self.left = None;
            let gone = self.leaving.len();
            return (self.drop_all(), Some(Decision::Remove { gone }));
        }
        match self.judge(self.peers.len(), now) {
            Some(decision) => (Vec::new(), Some(decision)),
            None => {
                let (left, since) = self.left.unwrap_or((0, now));
                self.left = Some((left + self.leaving.len(), since));
                (self.drop_all(), None)
            }
        }
    }

    /// Starts to hold the removals, if together with those of late they are too many of `count` peers.
    fn judge(&mut self, count: usize, now: Duration) -> Option<Decision> {
        if self.leaving.is_empty() {
            self.held_until = None;
        }
        if self.is_holding() {
            return None;
        }
        self.left = self.left.filter(|(_, since)| *since + self.grace > now);
        let left = self.left.map_or(0, |(left, _)| left);
        let (gone, of) = (self.leaving.len() + left, count + left);
        let doubt = std::mem::take(&mut self.doubt);
        let many = of >= FEW && gone * 2 > of;
        if self.grace.is_zero() || self.leaving.is_empty() || !(many || doubt) {
            return None;
        }
        self.held_until = Some(now + self.grace);
        Some(Decision::Hold {
            gone: self.leaving.len(),
            of,
        })
    }

    /// Removes all that are leaving.
    fn drop_all(&mut self) -> Vec<PeerUpdate> {
        self.addresses.clear();
        let gone = std::mem::take(&mut self.leaving);
        gone.keys().for_each(|subnet| _ = self.peers.remove(subnet));
        let changes: Vec<_> = gone.into_keys().map(|subnet| (subnet, None)).collect();
        if changes.is_empty() {
            Vec::new()
        } else {
            vec![PeerUpdate::Changes(changes)]
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
