//! Finds and describes with what another client has overwritten the key of the subnet in which our pods run. Honest hosts
//! create keys and replace their own; none of them overwrites a key that exists and is ours. So whatever stands there is
//! a mistake until a host proves that it lives in the subnet: see docs/decisions/0019-whose-subnet.md. Pure.

use std::fmt;

use crate::lease::claim::ownership::{Ownership, ownership};
use crate::lease::claim::{Exclusions, Identity};
use crate::lease::port::{Entry, LeaseId, Listing};
use crate::model::lease::OwnLease;
use crate::model::lease::key::key_name;
use crate::model::lease::validate::describes_host;
use crate::model::lease::value::{Owner, owner_of, parse_lease};
use crate::model::network_config::NetworkConfig;

use ipnetwork::Ipv4Network;

/// How many characters of a foreign value go into our log.
const MAX_SHOWN_VALUE_CHARS: usize = 120;

/// Our key as this run knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedKey {
    pub(crate) own: OwnLease,
    /// The etcd lease that it was attached to; `None` for a reservation.
    pub(crate) etcd_lease: Option<LeaseId>,
    /// Revision at which it was created.
    pub(crate) created: i64,
    /// A revision at which it was ours.
    pub(crate) revision: i64,
}

/// Another host that may live in our subnet: its lease could be used, and hangs on an etcd lease of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) owner: Owner,
    pub(crate) etcd_lease: LeaseId,
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.owner.fmt(f)
    }
}

/// Returns the host that may live in our subnet according to an entry that stands in our key. `ours` is our etcd lease.
pub(crate) fn claimant(
    entry: &Entry,
    config: &NetworkConfig,
    ours: Option<LeaseId>,
) -> Option<Claimant> {
    let etcd_lease = entry.lease.filter(|lease| Some(*lease) != ours)?;
    let lease = parse_lease(&entry.name, &entry.value, entry.revision).ok()?;
    let owner = owner_of(&entry.value)?;
    describes_host(&lease, config).then_some(Claimant { owner, etcd_lease })
}

/// Says what stands in our key, escaped and shortened.
pub(crate) fn describe(value: &[u8]) -> String {
    if value.is_empty() {
        return "an empty value".to_owned();
    }
    let text = String::from_utf8_lossy(value);
    let mut shown: String = text.escape_debug().take(MAX_SHOWN_VALUE_CHARS).collect();
    if text.escape_debug().nth(MAX_SHOWN_VALUE_CHARS).is_some() {
        shown.push_str("...");
    }
    match owner_of(value) {
        Some(owner) => format!("{owner}: {shown}"),
        None => shown,
    }
}

/// Whether another host has created the key after ours was gone: nobody can create a key that exists. An etcd whose
/// revision has gone back was restored, and its revisions say nothing.
pub(crate) fn is_created_by_other(entry: &Entry, joined: &JoinedKey, listing: &Listing) -> bool {
    listing.revision >= joined.revision && entry.created > joined.created
}

/// Returns what stands in the key of the subnet in which our pods run, if it is not ours, with the lease that belongs
/// there.
pub(super) fn overwritten_since_joined<'a>(
    listing: &'a Listing,
    identity: &Identity,
    joined: &JoinedKey,
    exclusions: &Exclusions,
) -> Option<(OwnLease, &'a Entry)> {
    let entry = entry_of(listing, joined.own.subnet)?;
    let conceded = exclusions.conceded_keys.contains_key(&entry.name);
    let dead = exclusions.dead_keys.contains_key(&entry.name);
    let is_ours = owner_of(&entry.value)
        .is_some_and(|owner| ownership(identity, &owner, dead) == Ownership::Ours);
    let own = identity.own_lease(joined.own.subnet, joined.own.vtep_mac);
    (!is_ours && !conceded).then_some((own, entry))
}

/// Returns what stands in the key of the subnet of the last run, if it names no host. A value that names one is another
/// matter: it may live there since our etcd lease has expired.
pub(super) fn spoilt_since_last_run<'a>(
    listing: &'a Listing,
    config: &NetworkConfig,
    identity: &Identity,
) -> Option<(OwnLease, &'a Entry)> {
    // A copied disk must not claim the subnet of the machine that it was copied from.
    let subnet = identity.previous.public_ip.and(identity.previous.subnet)?;
    let entry = entry_of(listing, subnet)?;
    let own = identity.own_lease(subnet, identity.vtep_mac(config.vxlan.vni));
    (config.fits(subnet) && owner_of(&entry.value).is_none()).then_some((own, entry))
}

fn entry_of(listing: &Listing, subnet: Ipv4Network) -> Option<&Entry> {
    let name = key_name(subnet);
    listing.entries.iter().find(|entry| entry.name == name)
}
