use std::rc::Rc;

use ipnetwork::Ipv4Network;
use proptest::prelude::*;

use super::*;
use crate::model::addr::{MacAddr, overlap};
use crate::model::lease::Lease;
use crate::overlay::desired::tests::{membership, settings};
use crate::overlay::paths::ForeignPaths;
use crate::overlay::paths::route::{BY_KERNEL, ForeignRoute, LOCAL_TABLE, MAIN_TABLE, RouteKind};
use crate::overlay::paths::shadows::{self, find};
use crate::overlay::paths::takeover::left_by_go;
use crate::overlay::settings::PeerMode;

fn net(text: &str) -> Ipv4Network {
    text.parse().expect("a network in a test")
}

fn lease(subnet: &str) -> Lease {
    let subnet = net(subnet);
    let [_, _, number, _] = subnet.ip().octets();
    Lease {
        subnet,
        public_ip: [10, 99, 0, number].into(),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, number]),
        vni: None,
        revision: 1,
    }
}

/// Our subnet is 10.5.99.0/24, and the peers have 10.5.40.0/24 to 10.5.49.0/24.
fn overlay(mode: PeerMode) -> DesiredOverlay {
    let mut overlay = DesiredOverlay::new(&membership(), &settings(mode));
    overlay.set_peers((40..50).map(|n| lease(&format!("10.5.{n}.0/24"))).collect());
    overlay
}

/// Reads a route in the syntax of `ip route show table all`, as far as the tests need it.
fn route(text: &str) -> ForeignRoute {
    let mut words = text.split(' ').peekable();
    let kinds = [
        ("local", RouteKind::Local),
        ("broadcast", RouteKind::Broadcast),
        ("blackhole", RouteKind::Blackhole),
        ("unreachable", RouteKind::Unreachable),
        ("prohibit", RouteKind::Prohibit),
        ("throw", RouteKind::Throw),
    ];
    let named = kinds
        .iter()
        .find(|(word, _)| words.next_if_eq(word).is_some());
    let mut route = ForeignRoute {
        table: MAIN_TABLE,
        destination: net(words.next().expect("a destination")),
        metric: 0,
        kind: named.map_or(RouteKind::Unicast, |(_, kind)| *kind),
        protocol: 3,
        gateway: None,
        device: None,
        source: None,
    };
    while let (Some(word), Some(value)) = (words.next(), words.next()) {
        match word {
            "via" => route.gateway = value.parse().ok(),
            "dev" => route.device = Some(Rc::from(value)),
            "src" => route.source = value.parse().ok(),
            "metric" => route.metric = value.parse().expect("a metric"),
            "proto" if value == "kernel" => route.protocol = BY_KERNEL,
            "proto" => route.protocol = value.parse().expect("a protocol"),
            "table" if value == "local" => route.table = LOCAL_TABLE,
            "table" => route.table = value.parse().expect("a table"),
            _ => panic!("unknown word {word:?}"),
        }
    }
    route
}

/// Reads a rule in the syntax of `ip rule`, as far as the tests need it.
fn rule(text: &str) -> Rule {
    let mut words = text.split(' ').peekable();
    let priority = words.next().expect("a priority").parse();
    let mut rule = Rule {
        priority: priority.expect("a priority"),
        inverted: words.next_if_eq(&"not").is_some(),
        from: None,
        to: None,
        iif: None,
        oif: None,
        mark: None,
        selective: false,
        action: RuleAction::Nop,
        suppress: None,
    };
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_default();
        match word {
            "from" => rule.from = value.parse().ok(),
            "to" => rule.to = value.parse().ok(),
            "iif" => rule.iif = Some(value.to_owned()),
            "fwmark" => rule.mark = Some((value.parse().expect("a mark"), u32::MAX)),
            "lookup" if value == "vrf" => rule.action = RuleAction::LookupVrf,
            "lookup" => rule.action = RuleAction::Lookup(value.parse().expect("a table")),
            "goto" => rule.action = RuleAction::Goto(value.parse().expect("a priority")),
            "suppress" => rule.suppress = value.parse().ok(),
            "dport" => rule.selective = true,
            "prohibit" => rule.action = RuleAction::Prohibit,
            _ => panic!("unknown word {word:?}"),
        }
    }
    rule
}

fn foreign(routes: &[&str], rules: &[&str]) -> ForeignPaths {
    let defaults = ["0 lookup 255", "32766 lookup 254", "32767 lookup 253"];
    let mut rules: Vec<Rule> = rules
        .iter()
        .chain(&defaults)
        .map(|text| rule(text))
        .collect();
    rules.sort_by_key(|rule| rule.priority);
    let routes = routes.iter().map(|text| route(text)).collect();
    ForeignPaths {
        routes,
        rules,
        ..ForeignPaths::default()
    }
}

/// What is said of these routes and rules if the kernel proves every suspicion.
fn said(mode: PeerMode, routes: &[&str], rules: &[&str]) -> Option<String> {
    let overlay = overlay(mode);
    let suspects = find(&overlay, &foreign(routes, rules));
    problem(&overlay, &shadows::without_repeats(suspects.shadows)).map(|problem| problem.message)
}

fn check(routes: &[&str], rules: &[&str], expected: &str) {
    assert_eq!(
        said(PeerMode::Eager, routes, rules).as_deref(),
        Some(expected)
    );
}

fn check_clear(mode: PeerMode, routes: &[&str], rules: &[&str]) {
    assert_eq!(said(mode, routes, rules), None, "{routes:?} {rules:?}");
}

#[test]
fn a_route_with_a_smaller_metric_is_named_with_the_commands() {
    check(
        &["10.5.40.0/24 via 10.99.0.9 dev eth0"],
        &[],
        "packets to 1 of 10 peers do not go through flannel.1, for example to 10.5.40.0/24: \
         the route \"10.5.40.0/24 via 10.99.0.9 dev eth0\" wins over ours; \
         to see it: ip route show 10.5.40.0/24; \
         to clear the way: ip route del 10.5.40.0/24 via 10.99.0.9 dev eth0",
    );
    for kind in ["blackhole", "unreachable", "prohibit"] {
        let text = said(PeerMode::Eager, &[&format!("{kind} 10.5.40.0/24")], &[]);
        let text = text.unwrap_or_default();
        assert!(
            text.contains(&format!("ip route del {kind} 10.5.40.0/24")),
            "{text}"
        );
    }
}

#[test]
fn a_longer_route_hides_a_part_of_a_peer() {
    check(
        &[
            "10.5.41.128/25 dev eth0 metric 70000",
            "10.5.41.7/32 dev eth0",
        ],
        &[],
        "packets to 1 of 10 peers do not go through flannel.1, for example to 10.5.41.0/24: \
         the route \"10.5.41.128/25 dev eth0 metric 70000\" wins over ours; \
         to see it: ip route show 10.5.41.128/25; \
         to clear the way: ip route del 10.5.41.128/25 dev eth0 metric 70000; \
         1 more are in the way",
    );
}

#[test]
fn an_address_of_an_earlier_lease_is_named_once() {
    check(
        &[
            "10.5.40.0/24 dev docker0 proto kernel src 10.5.40.1",
            "local 10.5.40.1/32 dev docker0 proto kernel table local src 10.5.40.1",
            "broadcast 10.5.40.255/32 dev docker0 proto kernel table local src 10.5.40.1",
        ],
        &[],
        "packets to 1 of 10 peers do not go through flannel.1, for example to 10.5.40.0/24: \
         docker0 has the address 10.5.40.1/24; to see it: ip addr show docker0; \
         to clear the way: restart Docker, or ip addr del 10.5.40.1/24 dev docker0",
    );
    check(
        &["local 10.5.40.1/32 dev lo proto kernel table local src 10.5.40.1"],
        &[],
        "packets to 1 of 10 peers do not go through flannel.1, for example to 10.5.40.0/24: \
         lo has the address 10.5.40.1/32; to see it: ip addr show lo; \
         to clear the way: ip addr del 10.5.40.1/32 dev lo",
    );
}

#[test]
fn a_rule_in_front_of_the_main_table_is_named_with_the_route_that_it_finds() {
    check(
        &["blackhole 10.5.0.0/16 table 52"],
        &["5270 lookup 52"],
        "packets to 10 of 10 peers do not go through flannel.1, for example to 10.5.40.0/24: \
         the rule \"5270: from all lookup 52\" comes first and finds the route \
         \"blackhole 10.5.0.0/16 table 52\"; to see it: ip rule; ip route show 10.5.0.0/16 table 52; \
         to clear the way: ip rule add to 10.5.0.0/16 lookup main pref 5269",
    );
    check(
        &[],
        &["100 to 10.5.44.0/23 prohibit"],
        "packets to 2 of 10 peers do not go through flannel.1, for example to 10.5.44.0/24: \
         the rule \"100: from all to 10.5.44.0/23 prohibit\" comes first; to see it: ip rule; \
         to clear the way: ip rule add to 10.5.0.0/16 lookup main pref 99",
    );
}

#[test]
fn what_loses_against_our_routes_is_not_named() {
    let bridge = "10.5.99.0/24 dev docker0 proto kernel src 10.5.99.1";
    for routes in [
        ["10.5.40.0/24 dev eth0 metric 70000"],
        ["10.5.0.0/16 via 10.99.0.1 dev eth0"],
        ["10.5.7.0/24 via 10.99.0.1 dev eth0"],
        [bridge],
        ["local 10.5.99.1/32 dev docker0 proto kernel table local"],
        ["10.5.40.0/24 dev eth0 table 7"],
    ] {
        check_clear(PeerMode::Eager, &routes, &[]);
    }
}

#[test]
fn rules_that_do_not_concern_the_peers_are_not_named() {
    let table = &[
        "0.0.0.0/0 dev wg0 table 52",
        "10.5.99.0/24 dev docker0 proto kernel",
    ][..];
    for rules in [
        &["5000 fwmark 1 lookup 52"][..],
        &["5000 from 192.168.0.0/16 lookup 52"],
        &["5000 iif eth1 lookup 52"],
        &["40000 lookup 52"],
        &["5000 goto 32766", "5001 lookup 52"],
        // wg-quick: the main table first, but for its default route.
        &[
            "5000 lookup 254 suppress 0",
            "5001 not fwmark 51820 lookup 52",
        ],
    ] {
        check_clear(PeerMode::Eager, table, rules);
    }
    check_clear(
        PeerMode::Eager,
        &["throw 10.5.0.0/16 table 52"],
        &["5270 lookup 52"],
    );
    let suppressed = ["5270 lookup 52 suppress 8"];
    check_clear(
        PeerMode::Eager,
        &["0.0.0.0/0 dev wg0 table 52"],
        &suppressed,
    );
}

#[test]
fn a_rule_for_the_bridge_of_the_pods_or_for_all_but_marked_packets_is_named() {
    let routes = &[
        "10.5.99.0/24 dev docker0 proto kernel",
        "0.0.0.0/0 dev wg0 table 52",
    ];
    for rules in [
        "5000 iif docker0 lookup 52",
        "5000 not fwmark 51820 lookup 52",
    ] {
        let text = said(PeerMode::Eager, routes, &[rules]).unwrap_or_default();
        assert!(
            text.starts_with("packets to 10 of 10 peers"),
            "{rules}: {text}"
        );
    }
}

#[test]
fn the_kernel_is_asked_about_rules_whose_effect_cannot_be_seen() {
    let overlay = overlay(PeerMode::Eager);
    let samples = |rules: &[&str]| {
        let bridge = "10.5.99.0/24 dev docker0 proto kernel";
        let suspects = find(&overlay, &foreign(&[bridge], rules));
        let questions = suspects.samples.iter();
        questions
            .map(|sample| sample.query.to_string())
            .collect::<Vec<_>>()
    };
    assert!(samples(&[]).is_empty(), "nobody made a rule: no question");
    assert_eq!(
        samples(&["1000 lookup vrf"]),
        [
            "ip route get 10.5.40.2 from 10.5.99.254 iif docker0",
            "ip route get 10.5.45.2 from 10.5.99.254 iif docker0",
            "ip route get 10.5.49.2 from 10.5.99.254 iif docker0",
            "ip route get 10.5.40.2",
            "ip route get 10.5.45.2",
            "ip route get 10.5.49.2",
        ]
    );
}

#[test]
fn on_demand_every_route_inside_the_network_is_longer_than_ours() {
    let text = said(PeerMode::OnDemand, &["10.5.40.0/22 dev eth0 metric 9"], &[]);
    let text = text.unwrap_or_default();
    assert!(text.starts_with("packets to 4 of 10 peers"), "{text}");
    check_clear(PeerMode::OnDemand, &["10.5.0.0/16 dev eth0 metric 9"], &[]);
    check_clear(
        PeerMode::OnDemand,
        &["10.5.99.0/24 dev docker0 proto kernel"],
        &[],
    );
}

#[test]
fn only_what_go_flannel_leaves_is_taken_over() {
    let overlay = overlay(PeerMode::Eager);
    let check = |text: &str, expected: bool| {
        let routes = [route(text)];
        assert_eq!(
            left_by_go(&overlay, &routes).count() == 1,
            expected,
            "{text}"
        );
    };
    check("10.5.40.0/24 via 10.99.0.40 dev eth0", true);
    check("10.5.40.0/24 via 10.99.0.40 dev eth0 proto 4", true);
    check("blackhole 10.5.99.0/24", true);
    check("10.5.40.0/24 via 10.99.0.41 dev eth0", false);
    check("10.5.40.0/24 via 10.99.0.40 dev eth1", false);
    check("10.5.40.0/24 via 10.99.0.40 dev eth0 metric 5", false);
    check("10.5.40.0/24 via 10.99.0.40 dev eth0 proto 186", false);
    check("10.5.40.0/24 via 10.99.0.40 dev eth0 table 7", false);
    check("10.5.39.0/24 via 10.99.0.39 dev eth0", false);
    check("blackhole 10.5.40.0/24", false);
    check("blackhole 10.5.99.0/24 proto 186", false);
}

#[test]
fn with_60000_peers_and_as_many_foreign_routes_no_peer_is_looked_at_for_each_route() {
    let subnet = |n: u32| Ipv4Network::new((0x0a00_0000 + (n << 8)).into(), 24).expect("a subnet");
    let mut membership = membership();
    membership.config.network = net("10.0.0.0/8");
    membership.own.subnet = net("10.255.0.0/24");
    let mut overlay = DesiredOverlay::new(&membership, &settings(PeerMode::Eager));
    let lease = |n| Lease {
        subnet: subnet(n),
        ..lease("10.5.40.0/24")
    };
    overlay.set_peers((0..60_000).map(lease).collect());
    let routes = (0..60_000).map(|n| ForeignRoute {
        destination: subnet(n),
        ..route("10.5.0.0/24 dev eth0")
    });
    let foreign = ForeignPaths {
        routes: routes.collect(),
        ..ForeignPaths::default()
    };
    // Time that grows with the product would be 3.6 billion steps: this test would not end.
    let suspects = find(&overlay, &foreign);
    assert_eq!(
        shadows::hidden_peers(&suspects.shadows, overlay.peers().index()),
        60_000
    );
}

fn any_network() -> impl Strategy<Value = Ipv4Network> {
    (0u32..1 << 12, 20u8..=32).prop_map(|(bits, length)| {
        let mask = u32::MAX << (32 - u32::from(length));
        Ipv4Network::new(((0x0a05_2000 | bits) & mask).into(), length).expect("a network")
    })
}

proptest! {
    /// The peers that are counted are those of which at least one address takes a foreign route, found address by address.
    #[test]
    fn the_hidden_peers_are_those_that_a_search_for_each_address_finds(
        routes in prop::collection::vec((any_network(), prop::sample::select(vec![0u32, 100_000])), 0..8),
    ) {
        let overlay = overlay(PeerMode::Eager);
        let routes: Vec<ForeignRoute> = routes
            .into_iter()
            .map(|(destination, metric)| ForeignRoute { destination, metric, ..route("10.5.0.0/24 dev eth0") })
            .collect();
        let peers = overlay.peers();
        let takes_foreign = |address: u32, ours: u32| {
            let best = routes.iter()
                .filter(|route| route.destination.contains(address.into()))
                .min_by_key(|route| (32 - route.destination.prefix(), route.metric));
            best.is_some_and(|best| (32 - best.destination.prefix(), best.metric) <= (8, ours))
        };
        let expected = peers.index().subnets().filter(|peer| {
            let (key, _) = peers.route(*peer).expect("a route of each peer");
            (u32::from(peer.network())..=u32::from(peer.broadcast())).any(|address| takes_foreign(address, key.metric))
        }).count();
        let foreign = ForeignPaths { routes, ..ForeignPaths::default() };
        let suspects = find(&overlay, &foreign);
        prop_assert_eq!(shadows::hidden_peers(&suspects.shadows, peers.index()), expected);
    }

    /// Ranges that overlap or lie in one another count each peer once.
    #[test]
    fn each_peer_is_counted_once_however_many_ranges_hide_it(ranges in prop::collection::vec(any_network(), 0..8)) {
        let overlay = overlay(PeerMode::OnDemand);
        let index = overlay.peers().index();
        let routes = ranges.iter().map(|destination| ForeignRoute { destination: *destination, ..route("10.5.0.0/24 dev eth0") });
        let foreign = ForeignPaths { routes: routes.collect(), ..ForeignPaths::default() };
        let suspects = find(&overlay, &foreign);
        let expected = index.subnets().filter(|peer| ranges.iter().any(|range| overlap(*range, *peer))).count();
        prop_assert_eq!(shadows::hidden_peers(&suspects.shadows, index), expected);
    }
}
