//! The table of peers: what etcd says, except that peers which vanish together with most others stay for a while. The
//! lease manager feeds it, and the overlay follows it. Pure: `task` drives it, and `snapshot` is its form on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::model::lease::Lease;
use crate::model::lease::validate::validate;
use crate::model::membership::Membership;
use crate::peers::guard::{DueRemovals, GuardDecision, RemovalGuard};
use crate::peers::missing::MissingPeers;
use crate::peers::update::{PeerChange, PeerUpdate};

#[derive(Debug)]
pub(crate) struct PeerTable {
    guard: RemovalGuard,
    membership: Option<Membership>,
    /// What the overlay should carry: the missing peers are among them.
    peers: BTreeMap<Ipv4Network, Lease>,
    missing: MissingPeers,
}

/// What follows from a change of the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TableStep {
    /// For the overlay, in this order.
    pub(crate) updates: Vec<PeerUpdate>,
    pub(crate) decision: Option<GuardDecision>,
}

impl PeerTable {
    /// `grace` is how long removals are held; zero turns this off. `known` are the peers of an earlier run.
    pub(crate) fn new(grace: Duration, known: Vec<Lease>) -> Self {
        Self {
            guard: RemovalGuard::new(grace),
            membership: None,
            peers: by_subnet(known),
            missing: MissingPeers::default(),
        }
    }

    pub(crate) const fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// Returns all peers that the overlay should carry.
    pub(crate) fn peers(&self) -> impl ExactSizeIterator<Item = &Lease> {
        self.peers.values()
    }

    /// Returns how many of the peers have no lease any more.
    pub(crate) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Takes the lease and the network config of this host. Peers that do not fit them are dropped. The same membership
    /// again changes nothing.
    pub(crate) fn join(&mut self, membership: Membership) -> TableStep {
        if self.membership.as_ref() == Some(&membership) {
            return TableStep::default();
        }
        let Membership { own, config } = &membership;
        self.peers
            .retain(|_, lease| validate(lease, config, own).is_ok());
        let peers = &self.peers;
        self.missing.retain(|subnet| peers.contains_key(&subnet));
        self.membership = Some(membership.clone());
        TableStep {
            updates: vec![PeerUpdate::Joined(membership)],
            decision: None,
        }
    }

    /// Records that etcd may have lost leases: peers that are missing in the next list may well live.
    pub(crate) fn suspect_next_list(&mut self) {
        self.guard.suspect_next_list();
    }

    /// Takes the complete list of leases: peers that are not in it are missing.
    pub(crate) fn replace(&mut self, leases: Vec<Lease>, now: Duration) -> TableStep {
        let was_holding = self.guard.is_holding();
        let before = std::mem::replace(&mut self.peers, by_subnet(leases));
        let count = before.len();
        self.keep_missing(before, now);
        let held = self.guard.judge(self.missing.len(), count, now);
        if !self.guard.is_holding() {
            self.remove_missing();
        }
        let all_back = was_holding && !self.guard.is_holding();
        TableStep {
            updates: vec![PeerUpdate::Peers(self.peers.values().cloned().collect())],
            decision: held.or(all_back.then_some(GuardDecision::AllBack)),
        }
    }

    /// Keeps the peers of `before` that are not in the table any more, as missing.
    fn keep_missing(&mut self, before: BTreeMap<Ipv4Network, Lease>, now: Duration) {
        let missing_before = std::mem::take(&mut self.missing);
        let present: BTreeSet<Ipv4Addr> =
            self.peers.values().map(|lease| lease.public_ip).collect();
        for (subnet, lease) in before {
            // A host that has another subnet now is not missing.
            if !self.peers.contains_key(&subnet) && !present.contains(&lease.public_ip) {
                self.keep(lease, missing_before.since(subnet).unwrap_or(now));
            }
        }
    }

    /// Keeps one peer whose lease is gone.
    fn keep(&mut self, lease: Lease, since: Duration) {
        self.missing.insert(&lease, since);
        // The lowest revision: where leases conflict, those that etcd holds win.
        let kept = Lease {
            revision: 0,
            ..lease
        };
        self.peers.insert(kept.subnet, kept);
    }

    /// Takes leases that appeared, changed or disappeared.
    pub(crate) fn change(&mut self, changes: Vec<PeerChange>, now: Duration) -> TableStep {
        let mut for_overlay = Vec::with_capacity(changes.len());
        for (subnet, lease) in changes {
            match lease {
                Some(lease) => self.put(lease, &mut for_overlay),
                None => self.lose(subnet, now, &mut for_overlay),
            }
        }
        let all_back = self.guard.is_holding() && self.missing.is_empty();
        if all_back {
            self.guard.all_back();
        }
        TableStep {
            updates: changes_update(for_overlay),
            decision: all_back.then_some(GuardDecision::AllBack),
        }
    }

    fn put(&mut self, lease: Lease, for_overlay: &mut Vec<PeerChange>) {
        // A missing host that has come back with another subnet does not need the old one.
        if let Some(old) = self.missing.subnet_of(lease.public_ip)
            && old != lease.subnet
        {
            self.missing.remove(old);
            self.peers.remove(&old);
            for_overlay.push((old, None));
        }
        self.missing.remove(lease.subnet);
        self.peers.insert(lease.subnet, lease.clone());
        for_overlay.push((lease.subnet, Some(lease)));
    }

    fn lose(&mut self, subnet: Ipv4Network, now: Duration, for_overlay: &mut Vec<PeerChange>) {
        if self.guard.is_off() {
            self.peers.remove(&subnet);
            for_overlay.push((subnet, None));
        } else if !self.missing.contains(subnet)
            && let Some(lease) = self.peers.get(&subnet).cloned()
        {
            self.keep(lease, now);
        }
    }

    /// Returns when [`PeerTable::tick`] has something to do.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.guard.due(self.missing.first_since())
    }

    /// Removes the missing peers whose time is up, unless the guard holds them.
    pub(crate) fn tick(&mut self, now: Duration) -> TableStep {
        if self.due().is_none_or(|due| due > now) {
            return TableStep::default();
        }
        let (gone, of) = (self.missing.len(), self.peers.len());
        match self.guard.decide_due(gone, of, now) {
            DueRemovals::Hold(decision) => TableStep {
                updates: Vec::new(),
                decision: Some(decision),
            },
            DueRemovals::Remove(decision) => TableStep {
                updates: changes_update(self.remove_missing()),
                decision,
            },
        }
    }

    fn remove_missing(&mut self) -> Vec<PeerChange> {
        let gone = self.missing.drain();
        gone.iter().for_each(|subnet| _ = self.peers.remove(subnet));
        gone.into_iter().map(|subnet| (subnet, None)).collect()
    }
}

fn by_subnet(leases: Vec<Lease>) -> BTreeMap<Ipv4Network, Lease> {
    let with_key = leases.into_iter().map(|lease| (lease.subnet, lease));
    with_key.collect()
}

/// Returns one update with the changes, or none if there are none.
fn changes_update(changes: Vec<PeerChange>) -> Vec<PeerUpdate> {
    if changes.is_empty() {
        return Vec::new();
    }
    vec![PeerUpdate::Changes(changes)]
}

#[cfg(test)]
pub(crate) mod tests;
