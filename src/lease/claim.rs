//! Owns the decision which subnet shall be ours, given what the registry holds. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::lease::pick;
use crate::lease::port::{Entry, Listing};
use crate::model::addr::{MacAddr, Vni};
use crate::model::lease::{
    OwnLease, Owner, key_name, owner_of, parse_key_name, parse_lease, render_value,
};
use crate::model::network_config::NetworkConfig;
use crate::model::node_id::NodeId;
use crate::model::previous_lease::PreviousLease;

/// What this host brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Our name among the members.
    pub node: NodeId,
    /// Prefix of the keys of this overlay.
    pub prefix: String,
    /// Address under which the other hosts reach us.
    pub public_ip: Ipv4Addr,
    /// What we were before.
    pub past: PreviousLease,
}

impl Identity {
    /// Address for our device: that which we had, since the peers know it, else the one that follows from our name.
    fn vtep_mac(&self, vni: Vni) -> MacAddr {
        self.past
            .vtep_mac
            .unwrap_or_else(|| self.node.vtep_mac(&self.prefix, vni))
    }
}

/// What was learned since the list was made.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// Subnets that others have taken.
    pub lost: Vec<Ipv4Network>,
    /// Keys whose holders have long failed to renew them.
    pub silent: BTreeSet<String>,
}

/// How to come to a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The registry holds it, just as we would write it.
    Keep(OwnLease, Entry),
    /// The registry holds it with another value.
    Rewrite(OwnLease, Entry),
    /// It has to be created.
    Create(OwnLease),
    /// Another host has our name or our address: one of the two must not be a member.
    Rival(Rival),
    /// No subnet is free.
    Exhausted,
}

/// Another host that cannot be told from us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// Its lease.
    pub entry: Entry,
    /// Who it says it is.
    pub owner: Owner,
    /// What it shares with us.
    pub shares: Shared,
}

/// What two hosts must not share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// The node id: a copied machine id.
    NodeId,
    /// The PublicIP: the NAT interface of a Vagrant machine, 10.0.2.15, is the classic.
    PublicIp,
}

/// Ownership an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ownership {
    Ours,
    Rival(Shared),
    Another,
}

/// Decides in the order of the contract: a key of ours, then the previous subnet, then any free one. `random` is
/// uniform in 0..1.
pub fn claim(
    listing: &Listing,
    config: &NetworkConfig,
    identity: &Identity,
    learned: &Learned,
    random: f64,
) -> Claim {
    let held = held(listing, config, identity, learned);
    let rival = rival(listing, config, identity, learned);
    match (held, rival) {
        // Whoever wrote first stays: so two that start together do not both give way.
        (Some((_, entry)), Some(rival)) if rival.entry.revision < entry.revision => {
            Claim::Rival(rival)
        }
        (Some((subnet, entry)), _) => adopt(subnet, entry, config, identity),
        (None, Some(rival)) => Claim::Rival(rival),
        (None, None) => create(listing, config, identity, learned, random),
    }
}

fn create(
    listing: &Listing,
    config: &NetworkConfig,
    identity: &Identity,
    learned: &Learned,
    random: f64,
) -> Claim {
    let mut taken: Vec<Ipv4Network> = listing
        .entries
        .iter()
        .filter_map(|e| parse_key_name(&e.name).ok())
        .collect();
    taken.extend(&learned.lost);
    // A large network may hold the hosts themselves: a subnet with one of them in it cuts it off.
    let hosts = listing
        .entries
        .iter()
        .filter_map(|entry| owner_of(&entry.value))
        .map(|owner| owner.public_ip);
    taken.extend(hosts.chain([identity.public_ip]).map(Ipv4Network::from));
    let previous = identity
        .past
        .subnet
        .filter(|subnet| pick::is_free(config, &taken, *subnet));
    match previous.or_else(|| pick::pick(config, &taken, random)) {
        Some(subnet) => Claim::Create(own(subnet, identity.vtep_mac(config.vxlan.vni), identity)),
        None => Claim::Exhausted,
    }
}

/// The entry that is ours. If there are several, one with our name, then that of the previous subnet, else the first.
fn held<'a>(
    listing: &'a Listing,
    config: &NetworkConfig,
    identity: &Identity,
    learned: &Learned,
) -> Option<(Ipv4Network, &'a Entry)> {
    fitting(listing, config)
        .filter(|(_, entry, owner)| {
            whose(identity, owner, learned.silent.contains(&entry.name)) == Ownership::Ours
        })
        .filter(|(subnet, _, _)| !subnet.contains(identity.public_ip))
        // A dual-stack key of ours is from another time: we could not renew its IPv6 part.
        .filter(|(subnet, entry, _)| entry.name == key_name(*subnet))
        .min_by_key(|(subnet, _, owner)| {
            (
                !is_named(identity, owner),
                Some(*subnet) != identity.past.subnet,
                *subnet,
            )
        })
        .map(|(subnet, entry, _)| (subnet, entry))
}

/// The oldest lease of a host that cannot be told from us.
fn rival(
    listing: &Listing,
    config: &NetworkConfig,
    identity: &Identity,
    learned: &Learned,
) -> Option<Rival> {
    fitting(listing, config)
        .filter_map(|(_, entry, owner)| {
            match whose(identity, &owner, learned.silent.contains(&entry.name)) {
                Ownership::Rival(shares) => Some(Rival {
                    entry: entry.clone(),
                    owner,
                    shares,
                }),
                Ownership::Ours | Ownership::Another => None,
            }
        })
        .min_by_key(|rival| rival.entry.revision)
}

/// The entries that this configuration could have handed out, with their owners.
fn fitting<'a>(
    listing: &'a Listing,
    config: &NetworkConfig,
) -> impl Iterator<Item = (Ipv4Network, &'a Entry, Owner)> {
    let fit = |entry: &'a Entry| {
        let subnet = parse_key_name(&entry.name)
            .ok()
            .filter(|subnet| config.fits(*subnet))?;
        Some((subnet, entry, owner_of(&entry.value)?))
    };
    listing.entries.iter().filter_map(fit)
}

/// Whether an entry makes another host a rival of ours, who was there before revision `ours`.
pub fn is_older_rival(
    entry: &Entry,
    config: &NetworkConfig,
    identity: &Identity,
    ours: i64,
) -> bool {
    let fits = parse_key_name(&entry.name).is_ok_and(|subnet| config.fits(subnet));
    let rival = |owner: Owner| matches!(whose(identity, &owner, false), Ownership::Rival(_));
    fits && entry.revision < ours && owner_of(&entry.value).is_some_and(rival)
}

fn is_named(identity: &Identity, owner: &Owner) -> bool {
    owner.node_id.as_deref() == Some(identity.node.as_str())
}

/// Who is meant by an owner; `silent` if it has not renewed its lease for long.
fn whose(identity: &Identity, owner: &Owner, silent: bool) -> Ownership {
    let same_address = owner.public_ip == identity.public_ip;
    let named = owner.node_id.is_some();
    match (is_named(identity, owner), same_address) {
        (true, true) => Ownership::Ours,
        // This very machine, before its address changed.
        (true, false) if identity.past.public_ip == Some(owner.public_ip) => Ownership::Ours,
        (true, false) if silent => Ownership::Ours,
        (true, false) => Ownership::Rival(Shared::NodeId),
        // Go flannel knows its leases by their PublicIP alone; so does whoever was installed anew on a dead host's address.
        (false, true) if !named || silent => Ownership::Ours,
        (false, true) => Ownership::Rival(Shared::PublicIp),
        (false, false) => Ownership::Another,
    }
}

/// Takes over an entry: the MAC address in it wins over ours, so that no peer has anything to learn.
fn adopt(subnet: Ipv4Network, entry: &Entry, config: &NetworkConfig, identity: &Identity) -> Claim {
    let lease = parse_lease(&entry.name, &entry.value, entry.revision).ok();
    let owner = owner_of(&entry.value);
    // A lease with another name was a dead host's, which may come back under another address with its own MAC.
    let anothers = owner
        .as_ref()
        .is_some_and(|owner| owner.node_id.is_some() && !is_named(identity, owner));
    let mac = lease
        .as_ref()
        .map(|lease| lease.vtep_mac)
        .filter(|mac| mac.is_unicast() && !anothers);
    let own = own(
        subnet,
        mac.unwrap_or_else(|| identity.vtep_mac(config.vxlan.vni)),
        identity,
    );
    let complete = lease.is_some_and(|lease| {
        lease.vni == Some(config.vxlan.vni)
            && lease.vtep_mac == own.vtep_mac
            && lease.public_ip == own.public_ip
    });
    match complete && owner.is_some_and(|owner| is_named(identity, &owner)) {
        true => Claim::Keep(own, entry.clone()),
        false => Claim::Rewrite(own, entry.clone()),
    }
}

fn own(subnet: Ipv4Network, vtep_mac: MacAddr, identity: &Identity) -> OwnLease {
    OwnLease {
        subnet,
        public_ip: identity.public_ip,
        vtep_mac,
    }
}

/// Who holds `subnet`, or a part of it.
pub fn holder(listing: &Listing, subnet: Ipv4Network) -> Option<Owner> {
    let overlaps = |entry: &&Entry| {
        parse_key_name(&entry.name).is_ok_and(|other| crate::model::addr::overlap(other, subnet))
    };
    listing
        .entries
        .iter()
        .find(overlaps)
        .and_then(|entry| owner_of(&entry.value))
}

/// Whether `subnet`, or a part of it, is in the hands of a host that we are not.
pub fn is_anothers(listing: &Listing, subnet: Ipv4Network, identity: &Identity) -> bool {
    let ours = |owner: Owner| whose(identity, &owner, false) == Ownership::Ours;
    let overlaps = |entry: &Entry| {
        parse_key_name(&entry.name).is_ok_and(|other| crate::model::addr::overlap(other, subnet))
    };
    listing
        .entries
        .iter()
        .any(|entry| overlaps(entry) && !owner_of(&entry.value).is_some_and(ours))
}

/// To delete a reservation would lose the host its subnet.
const RESERVED: &str =
    "the key is a reservation, so do not delete it but put it again without NodeID";

/// Why we cannot be a member, and what the operator can do.
pub struct Refusal<'a>(pub &'a Rival, pub &'a Identity);

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(
            Rival {
                entry,
                owner,
                shares,
            },
            identity,
        ) = self;
        let key = format!(
            "{}/subnets/{}",
            identity.prefix.trim_end_matches('/'),
            entry.name
        );
        let (ours, ip) = (&identity.node, identity.public_ip);
        match shares {
            Shared::PublicIp => write!(
                f,
                "PublicIP {ip} is in use by {owner} (key {key}); we are node {ours}: take another interface with --iface, or \
                 another address with --public-ip; if that host is gone, or is this one installed anew: "
            )
            .and_then(|()| match entry.lease {
                Some(_) => write!(f, "etcdctl del {key}"),
                None => write!(f, "{RESERVED}, or give this host that --node-id"),
            }),
            Shared::NodeId => write!(
                f,
                "our node id {ours} is in use by a host at {} (key {key}); we are at {ip}: if this machine was copied, give \
                 it a machine id of its own (rm /etc/machine-id; systemd-machine-id-setup) or a --node-id; if that host is \
                 this one under an earlier address: ",
                owner.public_ip
            )
            .and_then(|()| match entry.lease {
                Some(_) => write!(f, "etcdctl del {key}"),
                None => write!(f, "{RESERVED} and with PublicIP {ip}"),
            }),
        }
    }
}

/// The value to write for a claim.
pub fn value(own: &OwnLease, config: &NetworkConfig, identity: &Identity) -> String {
    render_value(
        own.public_ip,
        config.vxlan.vni,
        own.vtep_mac,
        &identity.node,
    )
}

#[cfg(test)]
mod tests;
