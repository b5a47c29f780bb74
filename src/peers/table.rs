//! The table of peers: what etcd says, except that peers which vanish together with most others stay for a while, and that
//! a peer whose lease is damaged stays as it was last known. The lease manager feeds it, and the overlay follows it. Pure: `task` drives it, and `snapshot` is its form on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::model::lease::validate::validate;
use crate::model::lease::{Lease, TTL};
use crate::model::membership::Membership;
use crate::peers::guard::{DueRemovals, GuardDecision, RemovalGuard};
use crate::peers::missing::MissingPeers;
use crate::peers::update::{LeaseChange, ListedLeases, PeerChange, PeerUpdate};

/// How long a peer is kept whose lease is damaged. Its host may live: ours puts its value back within moments, Go flannel
/// when it renews, which is after 23 hours. If it is gone, its key goes after the time to live, and the peer with it; only
/// a key that was detached from its etcd lease stays.
pub(crate) const DAMAGE_GRACE: Duration = TTL;

#[derive(Debug)]
pub(crate) struct PeerTable {
    guard: RemovalGuard,
    membership: Option<Membership>,
    /// What the overlay should carry: the missing peers are among them.
    peers: BTreeMap<Ipv4Network, Lease>,
    missing: MissingPeers,
    /// The peers whose leases are damaged.
    damaged: MissingPeers,
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
            damaged: MissingPeers::default(),
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

    /// Returns the peers that are kept although their leases are damaged, with the times since when.
    pub(crate) fn damaged(&self) -> impl Iterator<Item = (Ipv4Network, Duration)> {
        self.damaged.by_time()
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
        self.damaged.retain(|subnet| peers.contains_key(&subnet));
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
    pub(crate) fn replace(&mut self, leases: ListedLeases, now: Duration) -> TableStep {
        let was_holding = self.guard.is_holding();
        let before = std::mem::replace(&mut self.peers, by_subnet(leases.usable));
        let count = before.len();
        self.keep_missing(before, &leases.damaged.into_iter().collect(), now);
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

    /// Keeps the peers of `before` that are not in the table any more, as damaged or missing.
    fn keep_missing(
        &mut self,
        before: BTreeMap<Ipv4Network, Lease>,
        damaged: &BTreeSet<Ipv4Network>,
        now: Duration,
    ) {
        let missing_before = std::mem::take(&mut self.missing);
        let damaged_before = std::mem::take(&mut self.damaged);
        let present: BTreeSet<Ipv4Addr> =
            self.peers.values().map(|lease| lease.public_ip).collect();
        for (subnet, lease) in before {
            // A host that has another subnet now is not missing.
            if self.peers.contains_key(&subnet) || present.contains(&lease.public_ip) {
                continue;
            }
            if damaged.contains(&subnet) {
                self.keep_damaged(lease, damaged_before.since(subnet).unwrap_or(now));
            } else {
                self.keep(lease, missing_before.since(subnet).unwrap_or(now));
            }
        }
    }

    /// Keeps one peer whose lease is damaged.
    fn keep_damaged(&mut self, lease: Lease, since: Duration) {
        self.damaged.insert(&lease, since);
        self.peers.insert(lease.subnet, last_known(lease));
    }

    /// Keeps one peer whose lease is gone.
    fn keep(&mut self, lease: Lease, since: Duration) {
        self.missing.insert(&lease, since);
        self.peers.insert(lease.subnet, last_known(lease));
    }

    /// Takes leases that appeared, changed or disappeared.
    pub(crate) fn change(&mut self, changes: Vec<LeaseChange>, now: Duration) -> TableStep {
        let mut for_overlay = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                LeaseChange::Usable(lease) => self.put(lease, &mut for_overlay),
                LeaseChange::Damaged(subnet) => self.damage(subnet, now),
                LeaseChange::Gone(subnet) => self.lose(subnet, now, &mut for_overlay),
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
        for kept in [&mut self.missing, &mut self.damaged] {
            // A host that has come back with another subnet does not need the old one.
            if let Some(old) = kept.subnet_of(lease.public_ip)
                && old != lease.subnet
            {
                kept.remove(old);
                self.peers.remove(&old);
                for_overlay.push((old, None));
            }
            kept.remove(lease.subnet);
        }
        self.peers.insert(lease.subnet, lease.clone());
        for_overlay.push((lease.subnet, Some(lease)));
    }

    /// The key of a peer has a damaged value now. The host that it belongs to has not gone.
    fn damage(&mut self, subnet: Ipv4Network, now: Duration) {
        let known = self.peers.get(&subnet).cloned();
        if let Some(lease) = known.filter(|_| self.damaged.since(subnet).is_none()) {
            self.missing.remove(subnet);
            self.keep_damaged(lease, now);
        }
    }

    fn lose(&mut self, subnet: Ipv4Network, now: Duration, for_overlay: &mut Vec<PeerChange>) {
        self.damaged.remove(subnet);
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
        let damaged = self.damaged.first_since();
        let damaged = damaged.map(|since| since + DAMAGE_GRACE);
        self.removals_due().into_iter().chain(damaged).min()
    }

    fn removals_due(&self) -> Option<Duration> {
        self.guard.due(self.missing.first_since())
    }

    /// Removes the missing peers whose time is up, unless the guard holds them, and those whose leases were damaged for
    /// too long.
    pub(crate) fn tick(&mut self, now: Duration) -> TableStep {
        let mut step = self.tick_missing(now);
        if let Some(until) = now.checked_sub(DAMAGE_GRACE) {
            let gone = self.damaged.take_missing_since(until);
            gone.iter().for_each(|subnet| _ = self.peers.remove(subnet));
            let changes = gone.into_iter().map(|subnet| (subnet, None)).collect();
            step.updates.extend(changes_update(changes));
        }
        step
    }

    fn tick_missing(&mut self, now: Duration) -> TableStep {
        if self.removals_due().is_none_or(|due| due > now) {
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

/// With the lowest revision: where leases conflict, those that etcd holds win.
fn last_known(lease: Lease) -> Lease {
    Lease {
        revision: 0,
        ..lease
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
