use regex::Regex;

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
    Chosen::new(interface, address.parse().expect("an address in a test"))
}

fn check(selectors: &Selectors, observed: &Observation, current: Option<&Chosen>, expected: &str) {
    let chosen = match choose(selectors, observed, current) {
        Ok(Chosen { external, .. }) => format!(
            "{} {} mtu {}",
            external.name, external.address, external.mtu
        ),
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
        "--iface-can-reach=192.168.50.1; there are",
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
    // But the source address is what we publish.
    check(&named, &etcd, None, "enp0s3 192.168.50.12");
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
        "matches --iface=eth9 (did you mean eth1?) --iface-regex=^wl; there are: lo (127.0.0.1)",
    );
    check_named(&["eth2"], &[], "eth2 (no IPv4)");
    check_named(&[], &[], "use --iface");
}

#[test]
fn of_thousands_of_interfaces_the_error_lists_those_that_are_not_of_pods() {
    let mut interfaces = interfaces();
    for number in 0..2000 {
        let mut veth = interface(100 + number, &format!("veth{number}"), &[]);
        veth.kind = "veth".to_owned();
        interfaces.insert(0, veth);
    }
    let many = Observation {
        interfaces,
        ..Observation::default()
    };
    let expected = "eth1 (169.254.7.7, 192.168.50.11, 192.168.50.12), eth2 (no IPv4), veth";
    check(&selectors(&["wlan0"], &[]), &many, None, expected);
    check(&selectors(&["wlan0"], &[]), &many, None, "and 1992 more");
}

#[test]
fn takes_names_as_tools_print_them() {
    let mut host = observed();
    host.interfaces[1].altnames = vec!["enx080027".to_owned(), "LAN".to_owned()];
    host.interfaces.push(interface(9, "Eth1", &["10.9.0.1"]));
    for (word, expected) in [
        // ip link
        ("eth1@if5", "eth1 192.168.50.11"),
        ("enp0s3@bond0", "enp0s3 10.0.2.15"),
        // altnames, and a name in capitals
        ("enx080027", "enp0s3 10.0.2.15"),
        ("lan", "enp0s3 10.0.2.15"),
        ("ENP0S3", "enp0s3 10.0.2.15"),
        // Both exist: the case tells them apart.
        ("Eth1", "Eth1 10.9.0.1"),
        ("eth1", "eth1 192.168.50.11"),
        ("ETH1", "matches --iface=ETH1"),
        // ip address, and networks
        ("192.168.50.12/24", "eth1 192.168.50.12"),
        ("192.168.50.0/24", "eth1 192.168.50.11"),
        ("192.168.50.77/24", "eth1 192.168.50.11"),
        ("10.0.0.0/8", "enp0s3 10.0.2.15"),
        ("192.168.50.77/32", "matches --iface=192.168.50.77/32; "),
        ("172.16.0.0/12", "matches --iface=172.16.0.0/12; "),
        ("169.254.0.0/16", "eth1 169.254.7.7"),
        // ifconfig
        ("eth1:1", "eth1 192.168.50.12"),
    ] {
        check(&selectors(&[word], &[]), &host, None, expected);
    }
    // An earlier subnet of pods is no match before a network card.
    let mut docker0 = interface(1, "docker0", &["10.5.3.1"]);
    docker0.kind = "bridge".to_owned();
    host.interfaces.insert(0, docker0);
    check(
        &selectors(&["10.0.0.0/8"], &[]),
        &host,
        None,
        "enp0s3 10.0.2.15",
    );
    check(
        &selectors(&["10.5.0.0/16"], &[]),
        &host,
        None,
        "docker0 10.5.3.1",
    );
    // In a network, the present address stays, too.
    let second = current(3, "192.168.50.12");
    let network = selectors(&["192.168.50.0/24"], &[]);
    check(&network, &host, Some(&second), "eth1 192.168.50.12");
}

#[test]
fn of_several_addresses_takes_the_one_that_others_reach_best() {
    let mut host = observed();
    let by_name = selectors(&["eth1"], &[]);
    // A deprecated address, or one of scope link, comes before a link-local one.
    host.interfaces[2].addresses[1].preferred = false;
    check(&by_name, &host, None, "eth1 192.168.50.12");
    host.interfaces[2].addresses[2].preferred = false;
    check(&by_name, &host, None, "eth1 192.168.50.11");
    host.interfaces[2].addresses.truncate(1);
    check(&by_name, &host, None, "eth1 169.254.7.7");
    // Nobody else reaches 127.0.0.1, however it is named.
    for words in [["lo"], ["127.0.0.1"], ["127.0.0.0/8"]] {
        check(
            &selectors(&words, &[]),
            &host,
            None,
            "that other hosts can reach",
        );
    }
    check(&selectors(&[], &["."]), &host, None, "enp0s3 10.0.2.15");
}

/// A host whose address is on lo, as routers announce it, with two ways out; etcd is reached by `way`.
fn routed(way: &str) -> Observation {
    let mut lo = interface(1, "lo", &["127.0.0.1", "10.200.0.1"]);
    lo.mtu = 65_536;
    lo.addresses[1].prefix = 32;
    let source = format!("10.9{}.1.1", way.trim_start_matches("eth"));
    Observation {
        interfaces: vec![
            lo,
            interface(2, "eth0", &["10.90.1.1"]),
            interface(3, "eth1", &["10.91.1.1"]),
        ],
        etcd: vec![("http://etcd:2379".to_owned(), via(way, &source))],
        ..Observation::default()
    }
}

#[test]
fn an_address_by_whose_interface_no_packet_leaves_goes_with_the_way_to_the_others() {
    for words in [["lo"], ["10.200.0.1"], ["10.200.0.0/24"], ["10.200.0.1/32"]] {
        let lo = selectors(&words, &[]);
        check(&lo, &routed("eth0"), None, "eth0 10.200.0.1 mtu 1500");
        let chosen = choose(&lo, &routed("eth0"), None).expect("a choice");
        check(
            &lo,
            &routed("eth1"),
            Some(&chosen),
            "eth1 10.200.0.1 mtu 1500",
        );
    }
    let pattern = selectors(&[], &[r"^10\.200\."]);
    let chosen = choose(&pattern, &routed("eth0"), None).expect("a choice");
    check(&pattern, &routed("eth1"), Some(&chosen), "eth1 10.200.0.1");
    // The present way stays while it leads to any member of etcd.
    let mut both = routed("eth1");
    both.etcd
        .push(("http://b:2379".to_owned(), via("eth0", "10.90.1.1")));
    check(&pattern, &both, Some(&chosen), "eth0 10.200.0.1");
    // Without a way to etcd, the default route; with none, the reason and the cure.
    let mut here = routed("eth0");
    here.etcd = vec![("http://etcd:2379".to_owned(), MemberRoute::OnThisHost)];
    let cure = "--iface=NAME --public-ip=10.200.0.1";
    check(&pattern, &here, None, cure);
    check(&pattern, &here, Some(&chosen), "eth0 10.200.0.1");
    here.default = Some(route("eth1", "10.91.1.1"));
    check(&pattern, &here, None, "eth1 10.200.0.1");
}

#[test]
fn a_single_address_on_a_bridge_without_a_way_out_is_judged_like_one_on_lo() {
    let with = |kind: &str, prefix, carrier| {
        let mut host = routed("eth0");
        host.interfaces[0].addresses.truncate(1);
        let mut extra = interface(4, "extra", &["10.200.0.1"]);
        (extra.kind, extra.carrier) = (kind.to_owned(), carrier);
        extra.addresses[0].prefix = prefix;
        host.interfaces.push(extra);
        host
    };
    let named = selectors(&["extra"], &[]);
    check(&named, &with("dummy", 24, true), None, "eth0 10.200.0.1");
    check(&named, &with("bridge", 32, false), None, "eth0 10.200.0.1");
    check(&named, &with("veth", 32, true), None, "eth0 10.200.0.1");
    // A network card in a cloud, and a bridge that has ports.
    check(&named, &with("", 32, true), None, "extra 10.200.0.1");
    check(&named, &with("bridge", 24, true), None, "extra 10.200.0.1");
    let mut container = with("veth", 32, true);
    container.etcd[0].1 = via("extra", "10.200.0.1");
    check(&named, &container, None, "extra 10.200.0.1");
}

#[test]
fn a_published_address_of_this_host_is_the_source_whatever_carries_it() {
    let published = |ifaces: &[&str]| Selectors {
        public_ip: Some(Ipv4Addr::new(10, 200, 0, 1)),
        ..selectors(ifaces, &[])
    };
    let named = published(&["eth0"]);
    check(&named, &routed("eth1"), None, "eth0 10.200.0.1 mtu 1500");
    check(&published(&[]), &routed("eth1"), None, "eth1 10.200.0.1");
    check(
        &published(&["lo"]),
        &routed("eth1"),
        None,
        "eth1 10.200.0.1",
    );
    // The named interface loses its carrier, goes down or goes: the routes say where packets leave now.
    let chosen = choose(&named, &routed("eth0"), None).expect("a choice");
    let mut down = routed("eth1");
    down.interfaces[1].carrier = false;
    check(&named, &down, Some(&chosen), "eth1 10.200.0.1");
    (down.interfaces[1].carrier, down.interfaces[1].up) = (true, false);
    check(&named, &down, Some(&chosen), "eth1 10.200.0.1");
    down.interfaces.remove(1);
    check(&named, &down, Some(&chosen), "eth1 10.200.0.1");
    // At the start it is waited for.
    check(&named, &down, None, "matches --iface=eth0");
    // Without another way, it is still the one that is named.
    let mut alone = routed("eth0");
    alone.interfaces[1].carrier = false;
    alone.etcd[0].1 = MemberRoute::None("no route".to_owned());
    check(&named, &alone, None, "eth0 10.200.0.1");
    // Its own address away: not behind a NAT. An address that was never here is.
    let mut away = routed("eth0");
    away.interfaces[0].addresses.pop();
    check(
        &named,
        &away,
        Some(&chosen),
        "matches --public-ip=10.200.0.1",
    );
    check(&named, &away, None, "eth0 10.90.1.1");
}
