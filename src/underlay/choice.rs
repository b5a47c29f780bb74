//! Owns the choice of the external interface, the one that carries the overlay. Pure: interfaces and routes are
//! handed in.

use std::net::Ipv4Addr;

use regex::Regex;

use crate::model::addr::MacAddr;
use crate::model::external_interface::ExternalInterface;

/// A network interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Address of its hardware.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its IPv4 addresses, in the kernel's order.
    pub addresses: Vec<Ipv4Addr>,
}

/// The way on which a packet would leave this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLookup {
    /// Name of the interface.
    pub interface: String,
    /// Source address that the kernel would choose.
    pub source: Ipv4Addr,
}

/// What the operator says about the external interface.
#[derive(Debug, Clone, Default)]
pub struct Selectors {
    /// Names or addresses, the first that is there wins.
    pub ifaces: Vec<String>,
    /// Patterns for names or addresses, tried in order after these.
    pub patterns: Vec<Regex>,
    /// The interface through which this address is reached.
    pub can_reach: Option<Ipv4Addr>,
}

impl Selectors {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.ifaces.is_empty() && self.patterns.is_empty() && self.can_reach.is_none()
    }
}

/// Where packets to certain places would leave this host, as far as there is a way.
#[derive(Debug, Clone, Default)]
pub struct RouteLookups {
    /// To the address of `--iface-can-reach`.
    pub can_reach: Option<RouteLookup>,
    /// To etcd, unless that is on this host.
    pub etcd: Option<RouteLookup>,
    /// To the rest of the world: the default route.
    pub default: Option<RouteLookup>,
}

/// No interface can carry the overlay.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoInterface {
    /// What was asked for is not there.
    #[error("no interface with an IPv4 address matches {wanted}; there are: {present}")]
    NoMatch {
        /// The options given.
        wanted: String,
        /// What there is.
        present: String,
    },
    /// Nothing was asked for, and nothing stands out.
    #[error(
        "neither the route to etcd nor a default route names an interface; use --iface; there are: {present}"
    )]
    NoRoute {
        /// What there is.
        present: String,
    },
}

/// Chooses the external interface: `--iface` in their order, then `--iface-regex`, then `--iface-can-reach`; with none
/// of them named the way to etcd, which other members use too, else the default route.
pub fn choose(
    selectors: &Selectors,
    interfaces: &[Interface],
    ways: &RouteLookups,
) -> Result<ExternalInterface, NoInterface> {
    let by_way = |way: &Option<RouteLookup>| way.as_ref().and_then(|way| routed(way, interfaces));
    if selectors.is_empty() {
        let chosen = by_way(&ways.etcd).or_else(|| by_way(&ways.default));
        return chosen.ok_or_else(|| NoInterface::NoRoute {
            present: describe(interfaces),
        });
    }
    let by_name = selectors
        .ifaces
        .iter()
        .find_map(|wanted| named(wanted, interfaces));
    let by_pattern = || {
        selectors
            .patterns
            .iter()
            .find_map(|pattern| matching(pattern, interfaces))
    };
    by_name
        .or_else(by_pattern)
        .or_else(|| by_way(&ways.can_reach))
        .ok_or_else(|| NoInterface::NoMatch {
            wanted: describe_selectors(selectors),
            present: describe(interfaces),
        })
}

fn named(wanted: &str, interfaces: &[Interface]) -> Option<ExternalInterface> {
    match wanted.parse::<Ipv4Addr>() {
        Ok(address) => interfaces
            .iter()
            .find(|i| i.addresses.contains(&address))
            .map(|i| external(i, address)),
        Err(_) => interfaces
            .iter()
            .find(|i| i.name == wanted)
            .and_then(with_main_address),
    }
}

/// A pattern may mean an address, which is more precise, or a name.
fn matching(pattern: &Regex, interfaces: &[Interface]) -> Option<ExternalInterface> {
    let by_address = |i: &Interface| {
        let address = i
            .addresses
            .iter()
            .find(|address| pattern.is_match(&address.to_string()));
        address.map(|address| external(i, *address))
    };
    let by_name = |i: &Interface| {
        pattern
            .is_match(&i.name)
            .then(|| with_main_address(i))
            .flatten()
    };
    interfaces
        .iter()
        .find_map(by_address)
        .or_else(|| interfaces.iter().find_map(by_name))
}

fn routed(way: &RouteLookup, interfaces: &[Interface]) -> Option<ExternalInterface> {
    interfaces
        .iter()
        .find(|i| i.name == way.interface)
        .map(|i| external(i, way.source))
}

/// The first address that other hosts can reach; link-local ones only if there is no other.
fn with_main_address(interface: &Interface) -> Option<ExternalInterface> {
    let global = interface
        .addresses
        .iter()
        .find(|address| !address.is_link_local());
    global
        .or(interface.addresses.first())
        .map(|address| external(interface, *address))
}

fn external(interface: &Interface, address: Ipv4Addr) -> ExternalInterface {
    ExternalInterface {
        name: interface.name.clone(),
        mac: interface.mac,
        address,
        mtu: interface.mtu,
    }
}

fn describe(interfaces: &[Interface]) -> String {
    let each = interfaces.iter().map(|i| {
        let addresses: Vec<String> = i.addresses.iter().map(ToString::to_string).collect();
        format!(
            "{} ({})",
            i.name,
            if addresses.is_empty() {
                "no IPv4".to_owned()
            } else {
                addresses.join(", ")
            }
        )
    });
    each.collect::<Vec<_>>().join(", ")
}

fn describe_selectors(selectors: &Selectors) -> String {
    let ifaces = selectors
        .ifaces
        .iter()
        .map(|iface| format!("--iface={iface}"));
    let patterns = selectors
        .patterns
        .iter()
        .map(|pattern| format!("--iface-regex={pattern}"));
    let can_reach = selectors
        .can_reach
        .iter()
        .map(|address| format!("--iface-can-reach={address}"));
    ifaces
        .chain(patterns)
        .chain(can_reach)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces() -> Vec<Interface> {
        let interface = |name: &str, addresses: &[&str]| Interface {
            name: name.to_owned(),
            mac: None,
            mtu: 1500,
            addresses: addresses
                .iter()
                .map(|a| a.parse().expect("an address in a test"))
                .collect(),
        };
        vec![
            interface("lo", &["127.0.0.1"]),
            interface("enp0s3", &["10.0.2.15"]),
            interface("eth1", &["169.254.7.7", "192.168.50.11", "192.168.50.12"]),
            interface("eth2", &[]),
        ]
    }

    fn way(interface: &str, source: &str) -> Option<RouteLookup> {
        Some(RouteLookup {
            interface: interface.to_owned(),
            source: source.parse().expect("an address in a test"),
        })
    }

    fn check(ifaces: &[&str], patterns: &[&str], ways: &RouteLookups, expected: &str) {
        let selectors = Selectors {
            ifaces: ifaces.iter().map(ToString::to_string).collect(),
            patterns: patterns
                .iter()
                .map(|p| Regex::new(p).expect("a pattern in a test"))
                .collect(),
            can_reach: ways
                .can_reach
                .as_ref()
                .map(|_| Ipv4Addr::new(192, 168, 50, 1)),
        };
        let chosen = match choose(&selectors, &interfaces(), ways) {
            Ok(external) => format!("{} {}", external.name, external.address),
            Err(error) => error.to_string(),
        };
        assert!(chosen.contains(expected), "{selectors:?}: {chosen}");
    }

    #[test]
    fn takes_the_first_named_interface_that_has_an_address() {
        check(
            &["eth9", "eth2", "eth1"],
            &[],
            &RouteLookups::default(),
            "eth1 192.168.50.11",
        );
        check(
            &["192.168.50.12"],
            &[],
            &RouteLookups::default(),
            "eth1 192.168.50.12",
        );
    }

    #[test]
    fn then_the_first_pattern_by_address_or_name() {
        check(
            &["eth9"],
            &["wlan", r"^192\.168\."],
            &RouteLookups::default(),
            "eth1 192.168.50.11",
        );
        check(&[], &["^enp"], &RouteLookups::default(), "enp0s3 10.0.2.15");
    }

    #[test]
    fn then_the_way_to_the_address_that_must_be_reached() {
        let ways = RouteLookups {
            can_reach: way("eth1", "192.168.50.12"),
            ..RouteLookups::default()
        };
        check(&["eth9"], &[], &ways, "eth1 192.168.50.12");
    }

    #[test]
    fn else_the_way_to_etcd_and_last_the_default_route() {
        let ways = RouteLookups {
            etcd: way("eth1", "192.168.50.11"),
            default: way("enp0s3", "10.0.2.15"),
            ..RouteLookups::default()
        };
        check(&[], &[], &ways, "eth1 192.168.50.11");
        check(
            &[],
            &[],
            &RouteLookups { etcd: None, ..ways },
            "enp0s3 10.0.2.15",
        );
    }

    #[test]
    fn says_what_there_is_when_nothing_fits() {
        check(
            &["eth9"],
            &["^wl"],
            &RouteLookups::default(),
            "matches --iface=eth9 --iface-regex=^wl; there are: lo (127.0.0.1)",
        );
        check(&["eth2"], &[], &RouteLookups::default(), "eth2 (no IPv4)");
        check(&[], &[], &RouteLookups::default(), "use --iface");
    }
}
