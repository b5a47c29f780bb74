//! Decides whose entry an entry is. A host is known by two things: its node id and its PublicIP. Pure.

use ipnetwork::Ipv4Network;

use crate::lease::claim::Identity;
use crate::lease::port::{Entry, Listing};
use crate::model::addr::overlap;
use crate::model::lease::key::parse_key_name;
use crate::model::lease::value::{Owner, owner_of};

/// What two hosts must not share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SharedIdentity {
    /// The node id: a copied machine id.
    NodeId,
    /// The PublicIP: typically 10.0.2.15, which every Vagrant machine has at its NAT interface.
    PublicIp,
}

/// Whose an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    Ours,
    /// Another host's that cannot be told from this one.
    Rival(SharedIdentity),
    OtherHost,
}

/// Decides whose an entry with this owner is. `dead`: the entry was not renewed for so long that its host cannot be
/// alive.
pub(super) fn ownership(identity: &Identity, owner: &Owner, dead: bool) -> Ownership {
    let same_address = owner.public_ip == identity.public_ip;
    match (is_named(identity, owner), same_address) {
        (true, true) => Ownership::Ours,
        // This very machine, before its address changed.
        (true, false) if identity.had(owner.public_ip) => Ownership::Ours,
        (true, false) if dead => Ownership::Ours,
        (true, false) => Ownership::Rival(SharedIdentity::NodeId),
        // Go flannel writes no node id and knows its leases by their PublicIP alone.
        (false, true) if owner.node_id.is_none() => Ownership::Ours,
        // This host was reinstalled with the address of a host that is gone.
        (false, true) if dead => Ownership::Ours,
        (false, true) => Ownership::Rival(SharedIdentity::PublicIp),
        (false, false) => Ownership::OtherHost,
    }
}

/// Whether an entry with this owner is ours.
pub(crate) fn is_ours(identity: &Identity, owner: &Owner) -> bool {
    ownership(identity, owner, false) == Ownership::Ours
}

/// Whether an owner has our node id.
pub(crate) fn is_named(identity: &Identity, owner: &Owner) -> bool {
    owner.node_id.as_deref() == Some(identity.node.as_str())
}

/// Whether an entry has both our node id and our PublicIP.
pub(crate) fn names_us(identity: &Identity, entry: &Entry) -> bool {
    owner_of(&entry.value)
        .is_some_and(|owner| owner.public_ip == identity.public_ip && is_named(identity, &owner))
}

/// Returns the owner of the first entry that overlaps `subnet`.
pub(crate) fn holder(listing: &Listing, subnet: Ipv4Network) -> Option<Owner> {
    let entry = overlapping(listing, subnet).next()?;
    owner_of(&entry.value)
}

/// Whether another host holds `subnet` or a part of it. A value that names no host is nobody's.
pub(crate) fn held_by_other_host(
    listing: &Listing,
    subnet: Ipv4Network,
    identity: &Identity,
) -> bool {
    overlapping(listing, subnet).any(|entry| {
        let owner = owner_of(&entry.value);
        owner.is_some_and(|owner| !is_ours(identity, &owner))
    })
}

fn overlapping(listing: &Listing, subnet: Ipv4Network) -> impl Iterator<Item = &Entry> {
    listing
        .entries
        .iter()
        .filter(move |entry| parse_key_name(&entry.name).is_ok_and(|other| overlap(other, subnet)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::host_network::HostNetwork;
    use crate::model::node_id::NodeId;
    use crate::model::previous_lease::PreviousLease;

    /// Node a at 10.99.0.2, which was at 10.99.0.77 in the last run, and at 10.99.0.66 in this one.
    fn identity() -> Identity {
        Identity {
            node: NodeId::named("a"),
            prefix: "/test".to_owned(),
            public_ip: Ipv4Addr::new(10, 99, 0, 2),
            earlier_public_ips: vec![Ipv4Addr::new(10, 99, 0, 66)],
            previous: PreviousLease {
                public_ip: Some(Ipv4Addr::new(10, 99, 0, 77)),
                ..PreviousLease::default()
            },
            host: HostNetwork::default(),
        }
    }

    #[test]
    fn node_id_and_public_ip_decide_whose_an_entry_is() {
        use Ownership::{OtherHost, Ours, Rival};
        let node_id = Rival(SharedIdentity::NodeId);
        let public_ip = Rival(SharedIdentity::PublicIp);
        for (node, host, alive, dead) in [
            (Some("a"), 2, Ours, Ours),
            (Some("a"), 77, Ours, Ours),
            (Some("a"), 66, Ours, Ours),
            (Some("a"), 3, node_id, Ours),
            (Some("b"), 2, public_ip, Ours),
            (None, 2, Ours, Ours),
            (Some("b"), 3, OtherHost, OtherHost),
            (None, 77, OtherHost, OtherHost),
            (None, 66, OtherHost, OtherHost),
        ] {
            let owner = Owner {
                public_ip: Ipv4Addr::new(10, 99, 0, host),
                node_id: node.map(str::to_owned),
            };
            assert_eq!(ownership(&identity(), &owner, false), alive, "{owner}");
            assert_eq!(ownership(&identity(), &owner, true), dead, "{owner}, dead");
        }
    }
}
