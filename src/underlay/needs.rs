//! What this host needs of the network below the overlay, from what was looked up: the subnets of its interfaces, its
//! gateways, and the members of etcd. Devices of the overlay and of pods are left out. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::network_of;
use crate::model::external_interface::ExternalInterface;
use crate::model::host_network::{HostNetwork, NeededNetwork, NetworkRole};
use crate::model::pod_bridge::PodBridge;
use crate::underlay::observation::{Interface, MemberRoute, Observation, RouteLookup};

/// Returns what this host needs. `external` carries the overlay.
pub(crate) fn needs(observed: &Observation, external: &ExternalInterface) -> HostNetwork {
    let underlay = underlay(observed, external);
    let subnets = observed.interfaces.iter().flat_map(|interface| {
        let carries = underlay.contains(interface.name.as_str());
        let role = if carries || interface.has(external.address) {
            NetworkRole::Underlay
        } else {
            NetworkRole::Other
        };
        subnets_of(interface, role)
    });
    let gateways = routes(observed).filter_map(|route| {
        let what = format!("the gateway of interface {}", route.interface);
        Some(address(route.gateway?, what))
    });
    let members = observed.etcd_addresses.iter();
    let members = members.map(|(url, ip)| address(*ip, format!("the address of etcd {url}")));
    let all = subnets.chain(gateways).chain(members);
    let all = all.filter(|needed| !needed.network.ip().is_loopback());
    HostNetwork::new(Some(external.address), all.collect())
}

/// Returns the bridges and the like that may hold the subnets of containers, each with its addresses.
pub(crate) fn pod_bridges(observed: &Observation, external: &ExternalInterface) -> Vec<PodBridge> {
    let underlay = underlay(observed, external);
    let bridges = observed.interfaces.iter().filter(|interface| {
        let is_overlay = interface.kind == "vxlan";
        interface.is_of_pods() && !is_overlay && !underlay.contains(interface.name.as_str())
    });
    let addresses =
        bridges.flat_map(|bridge| bridge.addresses.iter().map(move |one| (bridge, one)));
    addresses
        // A single address is no subnet.
        .filter(|(_, one)| one.prefix < 32)
        .filter_map(|(bridge, one)| {
            let address = Ipv4Network::new(one.ip, one.prefix).ok()?;
            let name = bridge.name.clone();
            Some(PodBridge { name, address })
        })
        .collect()
}

/// Returns the names of the interfaces by which packets to the other hosts, to etcd and to the world leave.
fn underlay<'a>(observed: &'a Observation, external: &'a ExternalInterface) -> BTreeSet<&'a str> {
    let routes = routes(observed).map(|route| route.interface.as_str());
    routes.chain([external.name.as_str()]).collect()
}

fn routes(observed: &Observation) -> impl Iterator<Item = &RouteLookup> {
    let to_etcd = observed.etcd.iter().filter_map(|(_, route)| match route {
        MemberRoute::Via(route) => Some(route),
        MemberRoute::OnThisHost | MemberRoute::None(_) | MemberRoute::Unknown(_) => None,
    });
    to_etcd
        .chain(observed.can_reach.as_ref())
        .chain(observed.default.as_ref())
}

fn subnets_of(interface: &Interface, role: NetworkRole) -> impl Iterator<Item = NeededNetwork> {
    // Its subnets may be those of pods, of this host or of an earlier lease.
    let counts = role == NetworkRole::Underlay || !interface.is_of_pods();
    let addresses = interface.addresses.iter().filter(move |_| counts);
    addresses.filter_map(move |address| {
        Some(NeededNetwork {
            network: network_of(address.ip, address.prefix)?,
            what: format!("the subnet of interface {}", interface.name),
            role,
        })
    })
}

fn address(ip: Ipv4Addr, what: String) -> NeededNetwork {
    NeededNetwork {
        network: Ipv4Network::from(ip),
        what,
        role: NetworkRole::Underlay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::underlay::fake::{interface, route};

    fn observed() -> Observation {
        let of_kind = |kind: &str, interface: Interface| Interface {
            kind: kind.to_owned(),
            ..interface
        };
        let gateway = Some(Ipv4Addr::new(192, 0, 2, 1));
        Observation {
            interfaces: vec![
                interface(1, "lo", &["127.0.0.1"]),
                of_kind("veth", interface(2, "eth0", &["10.99.1.1"])),
                interface(3, "eth1", &["10.20.0.7"]),
                of_kind("bridge", interface(4, "docker0", &["10.5.3.1"])),
                of_kind("vxlan", interface(5, "flannel.1", &["10.5.3.0"])),
                of_kind("bridge", interface(6, "br0", &["172.16.0.5"])),
            ],
            etcd: vec![(
                "http://etcd:2379".to_owned(),
                MemberRoute::Via(route("eth0", "10.99.1.1")),
            )],
            etcd_addresses: vec![("http://etcd:2379".to_owned(), Ipv4Addr::new(10, 7, 7, 7))],
            default: Some(RouteLookup {
                gateway,
                ..route("br0", "172.16.0.5")
            }),
            ..Observation::default()
        }
    }

    #[test]
    fn subnets_gateways_and_etcd_count_and_devices_of_pods_do_not() {
        let external = ExternalInterface {
            name: "eth0".to_owned(),
            mac: None,
            address: Ipv4Addr::new(10, 99, 1, 1),
            mtu: 1500,
        };
        let host = needs(&observed(), &external);
        let overlay = "10.5.0.0/16".parse().expect("a network");
        let networks = host.networks(overlay);
        let mut networks: Vec<String> = networks.map(|net| net.to_string()).collect();
        networks.sort();
        let expected = [
            "10.20.0.0/24",
            "10.7.7.7/32",
            "10.99.1.0/24",
            "172.16.0.0/24",
            "192.0.2.1/32",
        ];
        assert_eq!(networks, expected);
        assert_eq!(host.local, Some(external.address));
        let bridges = pod_bridges(&observed(), &external);
        let bridges = bridges
            .iter()
            .map(|one| format!("{} {}", one.name, one.address));
        assert_eq!(bridges.collect::<Vec<_>>(), ["docker0 10.5.3.1/24"]);
        let of_other = "10.20.0.0/24".parse().expect("a network");
        assert!(
            host.underlay_around(of_other).is_none(),
            "no packet to peers leaves by eth1"
        );
    }
}
