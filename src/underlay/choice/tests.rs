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

fn route(interface: &str, source: &str) -> Option<RouteLookup> {
    Some(RouteLookup {
        interface: interface.to_owned(),
        source: source.parse().expect("an address in a test"),
    })
}

fn check(ifaces: &[&str], patterns: &[&str], routes: &RouteLookups, expected: &str) {
    let selectors = Selectors {
        ifaces: ifaces.iter().map(ToString::to_string).collect(),
        patterns: patterns
            .iter()
            .map(|p| Regex::new(p).expect("a pattern in a test"))
            .collect(),
        can_reach: routes
            .can_reach
            .as_ref()
            .map(|_| Ipv4Addr::new(192, 168, 50, 1)),
    };
    let chosen = match choose(&selectors, &interfaces(), routes) {
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
fn then_takes_the_first_pattern_that_matches_an_address_or_a_name() {
    check(
        &["eth9"],
        &["wlan", r"^192\.168\."],
        &RouteLookups::default(),
        "eth1 192.168.50.11",
    );
    check(&[], &["^enp"], &RouteLookups::default(), "enp0s3 10.0.2.15");
}

#[test]
fn then_takes_the_route_to_the_address_that_must_be_reached() {
    let routes = RouteLookups {
        can_reach: route("eth1", "192.168.50.12"),
        ..RouteLookups::default()
    };
    check(&["eth9"], &[], &routes, "eth1 192.168.50.12");
}

#[test]
fn without_selectors_takes_the_route_to_etcd_and_else_the_default_route() {
    let routes = RouteLookups {
        etcd: route("eth1", "192.168.50.11"),
        default: route("enp0s3", "10.0.2.15"),
        ..RouteLookups::default()
    };
    check(&[], &[], &routes, "eth1 192.168.50.11");
    check(
        &[],
        &[],
        &RouteLookups {
            etcd: None,
            ..routes
        },
        "enp0s3 10.0.2.15",
    );
}

#[test]
fn the_error_names_all_interfaces_when_none_fits() {
    check(
        &["eth9"],
        &["^wl"],
        &RouteLookups::default(),
        "matches --iface=eth9 --iface-regex=^wl; there are: lo (127.0.0.1)",
    );
    check(&["eth2"], &[], &RouteLookups::default(), "eth2 (no IPv4)");
    check(&[], &[], &RouteLookups::default(), "use --iface");
}
