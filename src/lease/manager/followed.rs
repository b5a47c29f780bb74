//! The leases of the other hosts: which entries of etcd are leases that may be used, and what a change of a key means for
//! the peer of its subnet. It knows nothing of our own lease but its membership, by which it judges. Pure.

mod active_keys;
mod ignored;

use std::collections::BTreeMap;

use ipnetwork::Ipv4Network;

use crate::lease::manager::followed::active_keys::{ActiveKeys, Withdrawal};
use crate::lease::manager::followed::ignored::IgnoredLeases;
use crate::lease::manager::relists::RelistReason;
use crate::lease::port::{Entry, RegistryChange};
use crate::model::host_network::HostNetwork;
use crate::model::lease::key::{key_name, parse_key_name};
use crate::model::lease::validate::{validate, validate_beside};
use crate::model::lease::value::parse_lease;
use crate::model::lease::{Lease, Rejection};
use crate::model::lease_counts::LeaseCounts;
use crate::model::membership::Membership;
use crate::peers::update::{LeaseChange, ListedLeases};

/// The leases of the other hosts, as far as memory is needed to follow them.
#[derive(Debug, Default)]
pub(super) struct FollowedLeases {
    active: ActiveKeys,
    ignored: IgnoredLeases,
    /// What no route may take away.
    host: HostNetwork,
}

impl FollowedLeases {
    /// Takes what this host needs outside of the overlay. A list has to follow.
    pub(super) fn set_host(&mut self, host: HostNetwork) {
        self.host = host;
    }

    /// Starts over with a complete list and returns the leases in it.
    pub(super) fn list(&mut self, entries: &[Entry], membership: &Membership) -> ListedLeases {
        self.active = ActiveKeys::default();
        let names = entries.iter().map(|entry| entry.name.as_str());
        self.ignored.retain_listed(names);
        let own_key = key_name(membership.own.subnet);
        let others = entries.iter().filter(|entry| entry.name != own_key);
        let mut listed = ListedLeases::default();
        for entry in others {
            match self.accept(entry, membership) {
                Ok(lease) => listed.usable.push(lease),
                Err(rejection) if rejection.is_damage() => {
                    listed.damaged.extend(parse_key_name(&entry.name));
                }
                Err(_) => {}
            }
        }
        // Another key of the subnet may count.
        let active = &self.active;
        listed.damaged.retain(|subnet| !active.contains(*subnet));
        listed
    }

    /// Returns what a change means for the peer of its subnet, if anything.
    ///
    /// # Errors
    /// Only a new list can tell.
    pub(super) fn change(
        &mut self,
        change: &RegistryChange,
        membership: &Membership,
    ) -> Result<Option<LeaseChange>, RelistReason> {
        match change {
            RegistryChange::Config(_) => Ok(None),
            RegistryChange::Put(entry) if entry.name == key_name(membership.own.subnet) => Ok(None),
            RegistryChange::Put(entry) => self.put(entry, membership),
            RegistryChange::Delete(name) => self.delete(name),
        }
    }

    fn put(
        &mut self,
        entry: &Entry,
        membership: &Membership,
    ) -> Result<Option<LeaseChange>, RelistReason> {
        let subnet = match parse_key_name(&entry.name) {
            Ok(subnet) => subnet,
            Err(rejection) => {
                self.ignored.insert(&entry.name, &rejection);
                return Ok(None);
            }
        };
        match self.accept(entry, membership) {
            Ok(lease) => Ok(Some(LeaseChange::Usable(lease))),
            Err(Rejection::SecondKey(_)) => Ok(None),
            Err(rejection) if rejection.is_damage() => {
                self.withdraw(LeaseChange::Damaged(subnet), subnet, &entry.name)
            }
            Err(_) => self.withdraw(LeaseChange::Gone(subnet), subnet, &entry.name),
        }
    }

    fn delete(&mut self, name: &str) -> Result<Option<LeaseChange>, RelistReason> {
        self.ignored.remove(name);
        match parse_key_name(name) {
            Ok(subnet) => self.withdraw(LeaseChange::Gone(subnet), subnet, name),
            Err(_) => Ok(None),
        }
    }

    /// `change` is what the withdrawal means if the key was the only one of its subnet.
    fn withdraw(
        &mut self,
        change: LeaseChange,
        subnet: Ipv4Network,
        name: &str,
    ) -> Result<Option<LeaseChange>, RelistReason> {
        match self.active.withdraw(subnet, name) {
            Withdrawal::NoLeaseLeft => Ok(Some(change)),
            Withdrawal::OtherKeyMayCount => Err(RelistReason::OtherKeyMayCount),
            Withdrawal::OtherKeyCounts => Ok(None),
        }
    }

    /// Returns the lease in an entry, if it may be used; records the reason if not.
    fn accept(&mut self, entry: &Entry, membership: &Membership) -> Result<Lease, Rejection> {
        let accepted = self.judge(entry, membership);
        match &accepted {
            Ok(_) => self.ignored.remove(&entry.name),
            Err(rejection) => self.ignored.insert(&entry.name, rejection),
        }
        accepted
    }

    fn judge(&mut self, entry: &Entry, membership: &Membership) -> Result<Lease, Rejection> {
        let lease = parse_lease(&entry.name, &entry.value, entry.revision)?;
        validate(&lease, &membership.config, &membership.own)?;
        validate_beside(lease.subnet, &membership.config, &self.host)?;
        if self.active.offer(lease.subnet, &entry.name) {
            Ok(lease)
        } else {
            Err(Rejection::SecondKey(lease.subnet))
        }
    }

    /// Returns how many leases are used, and how many are not.
    pub(super) fn counts(&self) -> LeaseCounts {
        self.ignored.counts(self.active.len())
    }

    /// Returns the keys that are not used, with the reasons.
    pub(super) fn ignored(&mut self) -> BTreeMap<String, String> {
        self.ignored.reasons()
    }

    /// Like [`Self::ignored`], if anything has changed since the last call of the two.
    pub(super) fn changed_ignored(&mut self) -> Option<BTreeMap<String, String>> {
        self.ignored.changed_reasons()
    }
}
