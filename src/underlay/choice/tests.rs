use super::*;
use crate::underlay::fake::{interface, route};

fn interfaces() -> Vec<Interface> {
    let mut interfaces = vec![
        interface(1, "lo", &["127.0.0.1"]),
        interface(2, "enp0s3", &["10.0.2.15"]),
        interface(
            3,
            "eth1",
            &["169.254.7.7", "192.168.50.11", "192.168.50.12"],
        ),
        interface(4, "eth2", &[]),
    ];
    interfaces[2].addresses[2].label = "eth1:1".to_owned();
    interfaces
}

/// A host on which nothing is known but its interfaces.
fn observed() -> Observation {
    Observation {
        interfaces: interfaces(),
        ..Observation::default()
    }
}

fn via(interface: &str, source: &str) -> MemberRoute {
    MemberRoute::Via(route(interface, source))
}

fn to_etcd(members: &[MemberRoute]) -> Observation {
    let members = members.iter().cloned();
    Observation {
        etcd: members
            .map(|route| ("http://etcd:2379".to_owned(), route))
            .collect(),
        default: Some(route("enp0s3", "10.0.2.15")),
        ..observed()
    }
}

fn selectors(ifaces: &[&str], patterns: &[&str]) -> Selectors {
    let pattern = |pattern: &&str| Regex::new(pattern).expect("a pattern in a test");
    Selectors {
        ifaces: ifaces.iter().map(ToString::to_string).collect(),
        patterns: patterns.iter().map(pattern).collect(),
        ..Selectors::default()
    }
}

fn current(index: u32, address: &str) -> Chosen {
    let interfaces = interfaces();
    let interface = interfaces.iter().find(|i| i.index == index);
    let interface = interface.expect("an interface in a test");
    chosen(interface, address.parse().expect("an address in a test"))
}

fn check(selectors: &Selectors, observed: &Observation, current: Option<&Chosen>, expected: &str) {
    let chosen = match choose(selectors, observed, current) {
        Ok(Chosen { external, .. }) => format!("{} {}", external.name, external.address),
        Err(error) => error.to_string(),
    };
    assert!(chosen.contains(expected), "{selectors:?}: {chosen}");
}

fn check_named(ifaces: &[&str], patterns: &[&str], expected: &str) {
    check(&selectors(ifaces, patterns), &observed(), None, expected);
}

#[test]
fn takes_the_first_named_interface_that_has_an_address() {
    check_named(&["eth9", "eth2", "eth1"], &[], "eth1 192.168.50.11");
    check_named(&["192.168.50.12"], &[], "eth1 192.168.50.12");
}

#[test]
fn takes_the_address_that_has_the_label() {
    check_named(&["eth1:1"], &[], "eth1 192.168.50.12");
    check_named(&["eth1:2"], &[], "matches --iface=eth1:2");
}

#[test]
fn then_takes_the_first_pattern_that_matches_an_address_or_a_name() {
    check_named(&["eth9"], &["wlan", r"^192\.168\."], "eth1 192.168.50.11");
    check_named(&[], &["^enp"], "enp0s3 10.0.2.15");
}

#[test]
fn then_takes_the_route_to_the_address_that_must_be_reached() {
    let selectors = Selectors {
        can_reach: Some(Ipv4Addr::new(192, 168, 50, 1)),
        ..selectors(&["eth9"], &[])
    };
    let observed = Observation {
        can_reach: Some(route("eth1", "192.168.50.12")),
        ..observed()
    };
    check(&selectors, &observed, None, "eth1 192.168.50.12");
    let without = Observation {
        can_reach: None,
        ..observed
    };
    check(
        &selectors,
        &without,
        None,
        "matches --iface=eth9 --iface-can-reach=192.168.50.1",
    );
    let before = current(3, "192.168.50.12");
    check(&selectors, &without, Some(&before), "eth1 192.168.50.12");
}

#[test]
fn without_selectors_takes_the_route_to_etcd_and_else_the_default_route() {
    let none = Selectors::default();
    let etcd = to_etcd(&[MemberRoute::OnThisHost, via("eth1", "192.168.50.11")]);
    check(&none, &etcd, None, "eth1 192.168.50.11");
    let here = to_etcd(&[MemberRoute::OnThisHost]);
    check(&none, &here, None, "enp0s3 10.0.2.15");
}

#[test]
fn the_default_route_is_no_answer_while_the_route_to_etcd_is_unknown() {
    let unknown = MemberRoute::Unknown("no such name".to_owned());
    let observed = to_etcd(&[unknown, MemberRoute::OnThisHost]);
    let none = Selectors::default();
    let error = "no route to etcd at http://etcd:2379 yet (or use --iface): no such name";
    check(&none, &observed, None, error);
    // But it is no reason to give up an interface that still works.
    check(
        &none,
        &observed,
        Some(&current(3, "192.168.50.12")),
        "eth1 192.168.50.12",
    );
    let other_host = current(2, "10.0.2.15");
    let mut without = observed.clone();
    without.interfaces[1].addresses.clear();
    check(&none, &without, Some(&other_host), error);
}

#[test]
fn the_published_address_selects_its_interface() {
    let published = |ip: &str| Selectors {
        public_ip: Some(ip.parse().expect("an address in a test")),
        ..Selectors::default()
    };
    let etcd = to_etcd(&[via("enp0s3", "10.0.2.15")]);
    check(
        &published("192.168.50.12"),
        &etcd,
        None,
        "eth1 192.168.50.12",
    );
    // Behind a NAT no interface has it.
    check(&published("198.51.100.1"), &etcd, None, "enp0s3 10.0.2.15");
    // An address that was here and is away is not behind a NAT.
    let mut away = etcd.clone();
    away.interfaces[2].addresses.clear();
    let before = current(3, "192.168.50.12");
    check(
        &published("192.168.50.12"),
        &away,
        Some(&before),
        "matches --public-ip=192.168.50.12",
    );
    // What names an interface counts for more.
    let named = Selectors {
        ifaces: vec!["enp0s3".to_owned()],
        ..published("192.168.50.12")
    };
    check(&named, &etcd, None, "enp0s3 10.0.2.15");
}

#[test]
fn the_present_address_stays_while_it_exists() {
    let second = current(3, "192.168.50.12");
    let by_name = selectors(&["eth1"], &[]);
    check(&by_name, &observed(), Some(&second), "eth1 192.168.50.12");
    check(
        &selectors(&[], &["^eth"]),
        &observed(),
        Some(&second),
        "eth1 192.168.50.12",
    );
    check(
        &selectors(&[], &[r"^192\."]),
        &observed(),
        Some(&second),
        "eth1 192.168.50.12",
    );
    let mut without = observed();
    without.interfaces[2].addresses.pop();
    check(&by_name, &without, Some(&second), "eth1 192.168.50.11");
    // A link-local address only stays while there is no other.
    check(
        &by_name,
        &observed(),
        Some(&current(3, "169.254.7.7")),
        "eth1 192.168.50.11",
    );
}

#[test]
fn a_route_to_any_member_of_etcd_keeps_the_present_interface() {
    let none = Selectors::default();
    let both = to_etcd(&[via("enp0s3", "10.0.2.15"), via("eth1", "192.168.50.11")]);
    check(&none, &both, None, "enp0s3 10.0.2.15");
    check(
        &none,
        &both,
        Some(&current(3, "192.168.50.11")),
        "eth1 192.168.50.11",
    );
    // The kernel would send from another address now: other hosts have to know that one.
    check(
        &none,
        &both,
        Some(&current(3, "192.168.50.12")),
        "enp0s3 10.0.2.15",
    );
}

#[test]
fn the_error_names_all_interfaces_when_none_fits() {
    check_named(
        &["eth9"],
        &["^wl"],
        "matches --iface=eth9 --iface-regex=^wl; there are: lo (127.0.0.1)",
    );
    check_named(&["eth2"], &[], "eth2 (no IPv4)");
    check_named(&[], &[], "use --iface");
}
