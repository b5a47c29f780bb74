//! What this host needs of the network below the overlay: its subnets, its gateway, its addresses and
//! the members of etcd. A route of the overlay that covers any of them would cut this host off. Pure.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::{covers, overlap};

/// A network, or a single address, that must stay reachable outside of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeededNetwork {
    pub(crate) network: Ipv4Network,
    /// What it is, for people: `the subnet of interface eth0`.
    pub(crate) what: String,
    pub(crate) role: NetworkRole,
}

/// Whether packets of the overlay depend on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkRole {
    /// The other hosts or etcd are reached through it.
    Underlay,
    /// Another network of this host.
    Other,
}

/// All that this host needs.
///
/// A subnet that is wider than the whole overlay is not needed as such: hosts with addresses in a flat 10.0.0.0/8 may well
/// leave 10.5.0.0/16 to the overlay. Of such a subnet only the single addresses count that are known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct HostNetwork {
    /// The source address of VXLAN packets; `None` if it is not known.
    pub(crate) local: Option<Ipv4Addr>,
    all: Needed,
    underlay: Needed,
}

/// Each list is sorted and shares no addresses in itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Needed {
    subnets: Vec<NeededNetwork>,
    addresses: Vec<NeededNetwork>,
}

impl Needed {
    fn new(needed: Vec<NeededNetwork>) -> Self {
        let (addresses, subnets) = needed
            .into_iter()
            .partition(|one| one.network.prefix() == 32);
        Self {
            subnets: widest(subnets),
            addresses: widest(addresses),
        }
    }

    /// What a route to `subnet`, a part of `overlay`, would take away. O(log n).
    fn taken_by(&self, subnet: Ipv4Network, overlay: Ipv4Network) -> Option<&NeededNetwork> {
        let taken = first_overlap(&self.subnets, subnet);
        taken
            .filter(|one| !is_around(one.network, overlay))
            .or_else(|| first_overlap(&self.addresses, subnet))
    }
}

impl HostNetwork {
    pub(crate) fn new(local: Option<Ipv4Addr>, needed: Vec<NeededNetwork>) -> Self {
        let underlay = needed
            .iter()
            .filter(|one| one.role == NetworkRole::Underlay);
        Self {
            local,
            underlay: Needed::new(underlay.cloned().collect()),
            all: Needed::new(needed),
        }
    }

    /// Returns the networks that no subnet of `overlay` may share addresses with.
    pub(crate) fn networks(&self, overlay: Ipv4Network) -> impl Iterator<Item = Ipv4Network> {
        let all = self.all.subnets.iter().chain(&self.all.addresses);
        all.map(|one| one.network)
            .filter(move |network| !is_around(*network, overlay))
    }

    /// Returns what a route to `subnet`, a part of `overlay`, would take away from this host.
    pub(crate) fn taken_by(
        &self,
        subnet: Ipv4Network,
        overlay: Ipv4Network,
    ) -> Option<&NeededNetwork> {
        self.all.taken_by(subnet, overlay)
    }

    /// Returns what of the underlay a route to `subnet` would take away.
    pub(crate) fn underlay_taken_by(
        &self,
        subnet: Ipv4Network,
        overlay: Ipv4Network,
    ) -> Option<&NeededNetwork> {
        self.underlay.taken_by(subnet, overlay)
    }

    /// Returns the subnet of the underlay that `overlay` is, or of which it is a part that holds addresses of hosts.
    pub(crate) fn underlay_at(&self, overlay: Ipv4Network) -> Option<&NeededNetwork> {
        let around = self.underlay_around(overlay)?;
        let has_hosts = self.local.is_some_and(|local| overlay.contains(local))
            || first_overlap(&self.underlay.addresses, overlay).is_some();
        (around.network == overlay || has_hosts).then_some(around)
    }

    /// Returns the subnet of the underlay that `overlay` is, or is a part of.
    pub(crate) fn underlay_around(&self, overlay: Ipv4Network) -> Option<&NeededNetwork> {
        let found = first_overlap(&self.underlay.subnets, overlay)?;
        covers(found.network, overlay).then_some(found)
    }

    /// Returns every network that is inside of `overlay`.
    pub(crate) fn inside(&self, overlay: Ipv4Network) -> impl Iterator<Item = &NeededNetwork> {
        let subnets = self.all.subnets.iter();
        let single = self.all.addresses.iter();
        // An address of a subnet says no more than the subnet.
        let single = single.filter(|one| first_overlap(&self.all.subnets, one.network).is_none());
        subnets
            .chain(single)
            .filter(move |one| covers(overlay, one.network))
    }
}

fn is_around(network: Ipv4Network, overlay: Ipv4Network) -> bool {
    network != overlay && covers(network, overlay)
}

/// Sorts networks, and leaves out those that are inside of another: what is left shares no address.
fn widest(mut needed: Vec<NeededNetwork>) -> Vec<NeededNetwork> {
    needed.sort_by_key(|one| (one.network.network(), one.network.prefix()));
    needed.dedup_by(|one, before| covers(before.network, one.network));
    needed
}

/// `sorted` shares no addresses, so of all networks that start before the end of `subnet` only the last can overlap it.
fn first_overlap(sorted: &[NeededNetwork], subnet: Ipv4Network) -> Option<&NeededNetwork> {
    let end = subnet.broadcast();
    let after = sorted.partition_point(|one| one.network.network() <= end);
    let last = sorted.get(after.checked_sub(1)?)?;
    overlap(last.network, subnet).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Network {
        text.parse().expect("a network in a test")
    }

    fn needed(network: &str, role: NetworkRole) -> NeededNetwork {
        NeededNetwork {
            network: net(network),
            what: network.to_owned(),
            role,
        }
    }

    fn host() -> HostNetwork {
        use NetworkRole::{Other, Underlay};
        let all = [
            needed("10.99.0.0/16", Underlay),
            needed("10.99.0.1/32", Underlay),
            needed("10.20.0.0/14", Other),
            needed("10.20.7.0/24", Underlay),
            needed("203.0.113.9/32", Underlay),
        ];
        HostNetwork::new(Some(Ipv4Addr::new(10, 99, 0, 2)), all.to_vec())
    }

    #[test]
    fn a_route_takes_away_what_it_shares_addresses_with() {
        for (subnet, any, underlay) in [
            ("10.99.4.0/24", Some("10.99.0.0/16"), Some("10.99.0.0/16")),
            ("10.96.0.0/12", Some("10.99.0.0/16"), Some("10.99.0.0/16")),
            ("10.21.0.0/24", Some("10.20.0.0/14"), None),
            ("10.20.7.0/26", Some("10.20.0.0/14"), Some("10.20.7.0/24")),
            ("10.5.1.0/24", None, None),
            ("10.100.0.0/24", None, None),
            (
                "203.0.113.0/24",
                Some("203.0.113.9/32"),
                Some("203.0.113.9/32"),
            ),
        ] {
            let host = host();
            let what = |found: Option<&NeededNetwork>| found.map(|one| one.what.clone());
            let overlay = net("10.0.0.0/8");
            let found = what(host.taken_by(net(subnet), overlay));
            assert_eq!(found.as_deref(), any, "{subnet}");
            let found = what(host.underlay_taken_by(net(subnet), overlay));
            assert_eq!(found.as_deref(), underlay, "{subnet}");
        }
    }

    #[test]
    fn a_network_inside_a_subnet_of_the_underlay_is_told_from_one_around_it() {
        let around = |network| host().underlay_around(net(network)).is_some();
        assert!(around("10.99.0.0/16") && around("10.99.4.0/22"));
        assert!(!around("10.0.0.0/8") && !around("10.5.0.0/16") && !around("10.22.0.0/16"));
        let host = host();
        let inside = host.inside(net("10.0.0.0/8")).map(|one| one.what.as_str());
        let inside: Vec<&str> = inside.collect();
        assert_eq!(inside, ["10.20.0.0/14", "10.99.0.0/16"]);
    }

    #[test]
    fn of_a_flat_network_wider_than_the_overlay_only_addresses_in_use_count() {
        use NetworkRole::Underlay;
        let needed = ["10.0.0.0/8", "10.1.0.1/32", "10.5.7.9/32"];
        let needed = needed.map(|network| self::needed(network, Underlay));
        let host = HostNetwork::new(Some(Ipv4Addr::new(10, 1, 2, 3)), needed.to_vec());
        let free = net("10.6.0.0/16");
        assert!(host.underlay_around(free).is_some() && host.underlay_at(free).is_none());
        assert_eq!(host.taken_by(net("10.6.1.0/24"), free), None);
        let in_use = net("10.5.0.0/16");
        assert!(host.underlay_at(in_use).is_some());
        assert!(host.taken_by(net("10.5.7.0/24"), in_use).is_some());
        assert!(host.underlay_at(net("10.0.0.0/8")).is_some());
    }

    #[test]
    fn sixty_thousand_subnets_are_judged_beside_thousands_of_addresses() {
        let addresses = (0..5000_u32).map(|number| {
            let address = Ipv4Addr::from(0x0a00_0001 + number * 256);
            needed(&format!("{address}/32"), NetworkRole::Other)
        });
        let host = HostNetwork::new(None, addresses.collect());
        let subnets = (0..60_000_u32).map(|number| {
            let first = Ipv4Addr::from(0x0a00_0000 + number * 256);
            Ipv4Network::new(first, 24).expect("24 is a length")
        });
        let overlay = net("10.0.0.0/8");
        let taken = subnets.filter(|subnet| host.taken_by(*subnet, overlay).is_some());
        assert_eq!(taken.count(), 5000);
    }
}
