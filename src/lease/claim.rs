//! Decides which subnet this host gets, given everything that etcd holds. Pure: the listing and the random number are
//! arguments; `manager::acquire` carries the decision out.

mod overwritten;
mod ownership;
mod rival;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

pub(crate) use crate::lease::claim::overwritten::{
    Claimant, JoinedKey, claimant, describe, is_created_by_other,
};
use crate::lease::claim::overwritten::{overwritten_since_joined, spoilt_since_last_run};
use crate::lease::claim::ownership::{Ownership, ownership};
pub(crate) use crate::lease::claim::ownership::{
    held_by_other_host, holder, is_named, is_ours, names_us,
};
use crate::lease::claim::rival::oldest_rival;
pub(crate) use crate::lease::claim::rival::{LifeSign, Rival, RivalMessage, is_older_rival};

use crate::lease::pick;
use crate::lease::port::{Entry, Listing};
use crate::model::addr::{MacAddr, Vni};
use crate::model::host_network::HostNetwork;
use crate::model::lease::OwnLease;
use crate::model::lease::key::{key_name, parse_key_name};
use crate::model::lease::value::{Owner, owner_of, parse_lease, render_value};
use crate::model::network_config::NetworkConfig;
use crate::model::node_id::NodeId;
use crate::model::previous_lease::PreviousLease;

/// Addresses of this run that are remembered. Only those count that may have been written to etcd while it did not
/// answer.
const MAX_EARLIER_PUBLIC_IPS: usize = 16;

/// Who this host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    /// Prefix of the keys of this overlay.
    pub(crate) prefix: String,
    /// The address at which the other hosts reach this one.
    pub(crate) public_ip: Ipv4Addr,
    /// Addresses that this host had before in this run: etcd may still hold one of them.
    pub(crate) earlier_public_ips: Vec<Ipv4Addr>,
    pub(crate) previous: PreviousLease,
    /// What must stay reachable outside of the overlay.
    pub(crate) host: HostNetwork,
}

impl Identity {
    /// Takes a new PublicIP, and remembers the old one.
    pub(crate) fn readdress(&mut self, public_ip: Ipv4Addr) {
        let before = std::mem::replace(&mut self.public_ip, public_ip);
        let earlier = &mut self.earlier_public_ips;
        earlier.retain(|ip| *ip != before && *ip != public_ip);
        earlier.insert(0, before);
        earlier.truncate(MAX_EARLIER_PUBLIC_IPS);
    }

    /// Whether this machine has the address, or had it before.
    pub(crate) fn has_or_had(&self, public_ip: Ipv4Addr) -> bool {
        self.public_ip == public_ip || self.had(public_ip)
    }

    /// Whether this very machine had the address before.
    fn had(&self, public_ip: Ipv4Addr) -> bool {
        self.previous.public_ip == Some(public_ip) || self.earlier_public_ips.contains(&public_ip)
    }

    /// Returns the MAC address for our device: the previous one, since the peers know it, else the one derived from the
    /// node id.
    fn vtep_mac(&self, vni: Vni) -> MacAddr {
        let previous = self.previous.vtep_mac;
        previous.unwrap_or_else(|| self.node.vtep_mac(&self.prefix, vni))
    }

    fn own_lease(&self, subnet: Ipv4Network, vtep_mac: MacAddr) -> OwnLease {
        OwnLease {
            subnet,
            public_ip: self.public_ip,
            vtep_mac,
        }
    }
}

/// What was learned about the entries since they were listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exclusions {
    /// Subnets for which another host has created a key.
    pub(crate) taken: Vec<Ipv4Network>,
    /// Keys whose hosts show no sign of life, and the revisions at which that was found.
    pub(crate) dead_keys: BTreeMap<String, i64>,
    /// Keys whose writers have proven that they live in the subnet, with what was found out about them.
    pub(crate) conceded_keys: BTreeMap<String, Option<LifeSign>>,
}

/// How this host gets a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// etcd holds our lease, with the value that we would write.
    Keep(OwnLease, Entry),
    /// etcd holds our lease, with another value.
    Rewrite(OwnLease, Entry),
    /// Something that is not ours stands in the key of the subnet in which our pods run. It has to be written back,
    /// unless a host lives there.
    Defend(OwnLease, Entry),
    /// A new key has to be created.
    Create(OwnLease),
    /// Another host uses our node id or our PublicIP: only one of the two can be in the overlay.
    Rival(Rival),
    NoFreeSubnet,
}

/// Decides in this order: the key of the subnet in which our pods run, a key of ours, the previous subnet, any free
/// subnet. `joined`: our key as this run knows it. `random` is uniform in 0..1.
pub(crate) fn claim(
    listing: &Listing,
    config: &NetworkConfig,
    identity: &Identity,
    joined: Option<&JoinedKey>,
    exclusions: &Exclusions,
    random: f64,
) -> Claim {
    let own = own_entry(listing, config, identity, joined, exclusions);
    let rival = oldest_rival(listing, config, identity, exclusions);
    let overwritten = match joined {
        Some(joined) => overwritten_since_joined(listing, identity, joined, exclusions),
        None if own.is_none() => spoilt_since_last_run(listing, config, identity),
        None => None,
    };
    if let Some((lease, entry)) = overwritten {
        let written = joined.map_or(entry.revision, |joined| joined.revision);
        // A rival in another key is older, or it is none. One in this key has to prove itself.
        let older =
            rival.filter(|rival| rival.entry.name != entry.name && rival.entry.revision < written);
        return older.map_or_else(|| Claim::Defend(lease, entry.clone()), Claim::Rival);
    }
    match (own, rival) {
        // The older key wins, so that of two hosts that start together one stays.
        (Some((_, entry)), Some(rival)) if rival.entry.revision < entry.revision => {
            Claim::Rival(rival)
        }
        // We have come to an address at which the rival was already.
        (Some((_, entry)), Some(rival)) if is_moving_to(identity, entry, &rival) => {
            Claim::Rival(rival)
        }
        (Some((subnet, entry)), _) => adopt(subnet, entry, config, identity, joined),
        (None, Some(rival)) => Claim::Rival(rival),
        (None, None) => create(listing, config, identity, exclusions, random),
    }
}

/// Whether our entry still has an earlier PublicIP, and the rival has the one that we want to publish.
fn is_moving_to(identity: &Identity, own: &Entry, rival: &Rival) -> bool {
    let published = owner_of(&own.value).map(|owner| owner.public_ip);
    rival.owner.public_ip == identity.public_ip && published != Some(identity.public_ip)
}

fn create(
    listing: &Listing,
    config: &NetworkConfig,
    identity: &Identity,
    exclusions: &Exclusions,
    random: f64,
) -> Claim {
    let taken = taken_networks(listing, config, identity, exclusions);
    let previous = identity.previous.subnet;
    let previous = previous.filter(|subnet| pick::is_free(config, &taken, *subnet));
    match previous.or_else(|| pick::pick(config, &taken, random)) {
        Some(subnet) => {
            Claim::Create(identity.own_lease(subnet, identity.vtep_mac(config.vxlan.vni)))
        }
        None => Claim::NoFreeSubnet,
    }
}

/// Returns everything that a new subnet must not overlap. A key takes its subnet whatever its value says.
fn taken_networks(
    listing: &Listing,
    config: &NetworkConfig,
    identity: &Identity,
    exclusions: &Exclusions,
) -> Vec<Ipv4Network> {
    let keys = listing.entries.iter();
    let subnets = keys.filter_map(|entry| parse_key_name(&entry.name).ok());
    // In a large network the hosts' own addresses may lie inside it. A subnet that contains one of them would cut that
    // host off.
    let owners = listing.entries.iter();
    let owners = owners.filter_map(|entry| owner_of(&entry.value));
    let hosts = owners.map(|owner| owner.public_ip);
    let hosts = hosts.chain([identity.public_ip]).map(Ipv4Network::from);
    let excluded = exclusions.taken.iter().copied();
    let needed = identity.host.networks(config.network);
    subnets.chain(excluded).chain(hosts).chain(needed).collect()
}

/// Returns the entry that is ours. Of several, prefers one with our node id, then that of the previous subnet, then the
/// first.
fn own_entry<'a>(
    listing: &'a Listing,
    config: &NetworkConfig,
    identity: &Identity,
    joined: Option<&JoinedKey>,
    exclusions: &Exclusions,
) -> Option<(Ipv4Network, &'a Entry)> {
    let is_lived_in = |subnet| joined.is_some_and(|joined| joined.own.subnet == subnet);
    fitting_entries(listing, config)
        .filter(|(_, entry, owner)| {
            let dead = exclusions.dead_keys.contains_key(&entry.name);
            ownership(identity, owner, dead) == Ownership::Ours
        })
        // Its route would cut this host off from the others.
        .filter(|(subnet, _, _)| !subnet.contains(identity.public_ip))
        .filter(|(subnet, _, _)| {
            let taken = identity.host.underlay_taken_by(*subnet, config.network);
            is_lived_in(*subnet) || taken.is_none()
        })
        // We could not renew the IPv6 subnet that a dual-stack key leases, too.
        .filter(|(subnet, entry, _)| entry.name == key_name(*subnet))
        .min_by_key(|(subnet, _, owner)| {
            let is_previous = Some(*subnet) == identity.previous.subnet;
            (!is_named(identity, owner), !is_previous, *subnet)
        })
        .map(|(subnet, entry, _)| (subnet, entry))
}

/// Returns the entries that this configuration could have handed out, with their owners.
fn fitting_entries<'a>(
    listing: &'a Listing,
    config: &NetworkConfig,
) -> impl Iterator<Item = (Ipv4Network, &'a Entry, Owner)> {
    listing.entries.iter().filter_map(|entry| {
        let subnet = parse_key_name(&entry.name).ok()?;
        let fits = config.fits(subnet);
        fits.then_some((subnet, entry, owner_of(&entry.value)?))
    })
}

/// Takes an entry over. The MAC address in it wins over ours, so that no peer has to learn a new one; but not while our
/// device is up, which has ours.
fn adopt(
    subnet: Ipv4Network,
    entry: &Entry,
    config: &NetworkConfig,
    identity: &Identity,
    joined: Option<&JoinedKey>,
) -> Claim {
    let vni = config.vxlan.vni;
    let lease = parse_lease(&entry.name, &entry.value, entry.revision).ok();
    let owner = owner_of(&entry.value);
    // A lease with another node id was a dead host's. That host may come back under another address with its MAC.
    let foreign = names_other_host(identity, entry);
    let mac = lease.as_ref().map(|lease| lease.vtep_mac);
    let mac = mac.filter(|mac| mac.is_unicast() && !foreign);
    let in_use = joined.map(|joined| &joined.own);
    let in_use = in_use
        .filter(|own| own.subnet == subnet)
        .map(|own| own.vtep_mac);
    let mac = in_use.or(mac).unwrap_or_else(|| identity.vtep_mac(vni));
    let own = identity.own_lease(subnet, mac);
    let complete = lease.is_some_and(|lease| {
        lease.vni == Some(vni) && lease.vtep_mac == own.vtep_mac && lease.public_ip == own.public_ip
    });
    if complete && owner.is_some_and(|owner| is_named(identity, &owner)) {
        Claim::Keep(own, entry.clone())
    } else {
        Claim::Rewrite(own, entry.clone())
    }
}

/// Whether an entry names a host, and not this one.
pub(crate) fn names_other_host(identity: &Identity, entry: &Entry) -> bool {
    owner_of(&entry.value)
        .is_some_and(|owner| owner.node_id.is_some() && !is_named(identity, &owner))
}

/// Whether an entry of ours only lacks our node id. The other hosts can reach this one with the entry as it is.
pub(crate) fn lacks_only_node_id(entry: &Entry, own: &OwnLease, config: &NetworkConfig) -> bool {
    let unnamed = owner_of(&entry.value).is_some_and(|owner| owner.node_id.is_none());
    let lease = parse_lease(&entry.name, &entry.value, entry.revision);
    unnamed
        && lease.is_ok_and(|lease| {
            let same = lease.public_ip == own.public_ip && lease.vtep_mac == own.vtep_mac;
            same && lease.vni.is_none_or(|vni| vni == config.vxlan.vni)
        })
}

/// Renders the value for our key.
pub(crate) fn lease_value(own: &OwnLease, config: &NetworkConfig, identity: &Identity) -> String {
    let vni = config.vxlan.vni;
    render_value(own.public_ip, vni, own.vtep_mac, &identity.node)
}

#[cfg(test)]
mod tests;
