//! Messages as Linux 6.18 sent them, little-endian, and what they say. The device has the index 4,
//! its parent 3.

mod interfaces;

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute};
use proptest::prelude::*;

use super::*;
use crate::overlay::port::NeighbourUse;
use crate::overlay::state::{NextHop, RouteKey};

const DEVICE: u32 = 4;
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x40]);

/// Question of the neighbour table for 10.5.5.2.
const L3: &str = "4c000000 1e000100 00000000 00000000 02000000 04000000 01000000
    08000100 0a050502 08000400 03000000 14000300 00000000 00000000 00000000 01000000";
/// Question of the vxlan driver for 02:00:00:00:00:40.
const L2: &str = "3c000000 1e000000 00000000 00000000 02000000 04000000 04000000
    0a000200 02000000 00400000 08000700 00000000";
/// `ip link add flannel.1 address 02:00:00:00:00:01 mtu 1450 type vxlan id 1 local 10.99.0.2 dev eth0 dstport 8472
/// nolearning l2miss gbp; ip link set flannel.1 alias "flanneld /x" up`, without statistics.
const LINK: &str = "00000000 10000200 01000000 00000000 00000100 04000000 43100100 00000000
    0e000300 666c616e 6e656c2e 31000000 08000d00 e8030000 08000400 aa050000 08002000 01000000
    10001400 666c616e 6e656c64 202f7800 0a000100 02000000 00010000 0a000200 ffffffff ffff0000
    ec001200 0a000100 76786c61 6e000000 dc000200 08000100 01000000 08000300 03000000
    08000400 0a630002 05000500 00000000 05001c00 00000000 05000600 00000000 05001d00 00000000
    08001a00 00000000 08002000 00000000 05000700 00000000 05000b00 00000000 05000c00 00000000
    05000d00 01000000 05000e00 00000000 05001900 00000000 08000800 2c010000 08000900 00000000
    06000f00 21180000 05001200 01000000 05001300 00000000 05001400 00000000 05001500 00000000
    05001600 00000000 05001f00 01000000 08000a00 00000000 04001700 0c002100 77000000 000000ff";
/// `ip addr add 10.5.99.0/32 dev flannel.1`
const ADDRESS: &str = "54000000 14000200 01000000 00000000 02208000 04000000 08000100 0a056300
    08000200 0a056300 0e000300 666c616e 6e656c2e 31000000 08000800 80000000
    14000600 ffffffff ffffffff a6110400 a6110400";
/// `bridge fdb replace 02:00:00:00:00:40 dev flannel.1 dst 10.99.0.3 self permanent`
const FDB: &str = "44000000 1c000200 01000000 00000000 07000000 04000000 c0000201
    0a000200 02000000 00400000 08000100 0a630003 14000300 00000000 01000000 01000000 00000000";
/// `ip neigh replace 10.5.40.0 lladdr 02:00:00:00:00:40 dev flannel.1 nud permanent proto 102`
const NEIGHBOUR: &str = "54000000 1c000200 01000000 00000000 02000000 04000000 80000001
    08000100 0a052800 0a000200 02000000 00400000 08000400 00000000
    14000300 00000000 2c010000 00000000 00000000 05000c00 66000000";
/// `ip route replace 10.5.40.0/24 via 10.5.40.0 dev flannel.1 onlink metric 41 proto 102`
const ROUTE: &str =
    "44000000 18000200 01000000 00000000 02180000 fe660001 04000000 08000f00 fe000000
    08000100 0a052800 08000600 29000000 08000500 0a052800 08000400 04000000";
/// `ip route replace blackhole 10.5.99.0/24 metric 4294967295 proto 102`
const BLACKHOLE: &str =
    "34000000 18000200 01000000 00000000 02180000 fe660006 00000000 08000f00 fe000000
    08000100 0a056300 08000600 ffffffff";

const RTM_DELLINK: u8 = 17;
const RTM_DELADDR: u8 = 21;
const RTM_DELROUTE: u8 = 25;
const RTM_DELNEIGH: u8 = 29;
/// Offset of the low byte of `nlmsg_type`.
const TYPE: usize = 4;
/// Offsets of `ndm_family` and of the low byte of `ndm_state` in a whole message.
const FAMILY: usize = 16;
const STATE: usize = 24;
/// Offset of `rtm_protocol` in a whole message.
const ROUTE_PROTOCOL: usize = 21;

/// Turns hexadecimal text into a message, whose length it sets.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    let mut bytes: Vec<u8> = (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("hex digits"))
        .collect();
    set_length(&mut bytes);
    bytes
}

fn set_length(bytes: &mut [u8]) {
    let length = u32::try_from(bytes.len()).expect("a short message");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
}

fn with(hex: &str, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = bytes(hex);
    for (offset, value) in changes {
        bytes[*offset] = *value;
    }
    bytes
}

fn check_change(datagram: &[u8], expected: Option<KernelChange>) {
    assert_eq!(change(datagram, Some(DEVICE)), expected);
}

fn network(text: &str) -> Ipv4Network {
    text.parse().expect("a network in a test")
}

fn neighbour_message(datagram: &[u8]) -> NeighbourMessage {
    match message(datagram) {
        Some(Message::NewNeighbour(message)) => message,
        other => panic!("{other:?} instead of a neighbour"),
    }
}

#[test]
fn an_ip_address_to_resolve_is_an_l3_miss() {
    let expected = Some((DEVICE, Miss::L3(Ipv4Addr::new(10, 5, 5, 2))));
    assert_eq!(miss(&bytes(L3)), expected);
}

#[test]
fn an_ethernet_address_alone_is_an_l2_miss_though_the_family_is_inet() {
    assert_eq!(miss(&bytes(L2)), Some((DEVICE, Miss::L2(MAC))));
}

#[test]
fn a_refresh_with_both_addresses_is_an_l3_miss() {
    let both = L3.replace("08000400 03000000", "0a000200 02000000 00400000");
    let expected = Some((DEVICE, Miss::L3(Ipv4Addr::new(10, 5, 5, 2))));
    assert_eq!(miss(&bytes(&both)), expected);
}

#[test]
fn other_messages_are_no_misses() {
    assert_eq!(miss(&bytes(NEIGHBOUR)), None);
    assert_eq!(miss(&with(L3, &[(TYPE, 28)])), None);
    assert_eq!(miss(&[]), None);
}

#[test]
fn a_change_of_any_link_names_it() {
    let expected = KernelChange::Link("flannel.1".to_owned());
    check_change(&bytes(LINK), Some(expected.clone()));
    check_change(&with(LINK, &[(TYPE, RTM_DELLINK)]), Some(expected.clone()));
    assert_eq!(change(&bytes(LINK), None), Some(expected));
}

#[test]
fn addresses_come_and_go() {
    let net = network("10.5.99.0/32");
    check_change(&bytes(ADDRESS), Some(KernelChange::Address(net, true)));
    let deleted = with(ADDRESS, &[(TYPE, RTM_DELADDR)]);
    check_change(&deleted, Some(KernelChange::Address(net, false)));
}

#[test]
fn fdb_entries_come_and_go() {
    let ip = Ipv4Addr::new(10, 99, 0, 3);
    check_change(&bytes(FDB), Some(KernelChange::Fdb(MAC, Some(ip))));
    let deleted = with(FDB, &[(TYPE, RTM_DELNEIGH)]);
    check_change(&deleted, Some(KernelChange::Fdb(MAC, None)));
}

#[test]
fn learned_fdb_entries_are_none() {
    const REACHABLE: u8 = 0x02;
    check_change(&with(FDB, &[(STATE, REACHABLE)]), None);
}

#[test]
fn neighbours_come_and_go() {
    let ip = Ipv4Addr::new(10, 5, 40, 0);
    let check = |datagram: &[u8], mac| {
        check_change(datagram, Some(KernelChange::Neighbour(ip, mac)));
    };
    check(&bytes(NEIGHBOUR), Some(MAC));
    check(&with(NEIGHBOUR, &[(TYPE, RTM_DELNEIGH)]), None);
}

#[test]
fn a_neighbour_that_is_not_permanent_any_more_is_gone() {
    const STALE: u8 = 0x04;
    let ip = Ipv4Addr::new(10, 5, 40, 0);
    check_change(
        &with(NEIGHBOUR, &[(STATE, STALE)]),
        Some(KernelChange::Neighbour(ip, None)),
    );
}

#[test]
fn neighbours_of_ipv6_are_none() {
    const AF_INET6: u8 = 10;
    check_change(&with(NEIGHBOUR, &[(FAMILY, AF_INET6)]), None);
}

#[test]
fn reads_how_long_a_neighbour_has_not_been_used() {
    let check = |state: u8, stale| {
        let message = neighbour_message(&with(NEIGHBOUR, &[(STATE, state)]));
        let expected = NeighbourUse {
            address: Ipv4Addr::new(10, 5, 40, 0),
            used: Duration::from_secs(3),
            stale,
        };
        assert_eq!(neighbour::age(&message, DEVICE), Some(expected));
        assert_eq!(neighbour::age(&message, 3), None);
    };
    check(0x80, false);
    check(0x04, true);
}

#[test]
fn packets_wait_for_a_neighbour_that_is_incomplete() {
    const INCOMPLETE: u8 = 0x01;
    let message = neighbour_message(&with(NEIGHBOUR, &[(STATE, INCOMPLETE)]));
    let ip = Ipv4Addr::new(10, 5, 40, 0);
    assert_eq!(neighbour::unresolved(&message, DEVICE), Some(ip));
    assert_eq!(neighbour::unresolved(&message, 3), None);
    let known = neighbour_message(&bytes(NEIGHBOUR));
    assert_eq!(neighbour::unresolved(&known, DEVICE), None);
}

#[test]
fn routes_come_and_go() {
    let key = RouteKey {
        destination: network("10.5.40.0/24"),
        metric: 41,
        protocol: 0x66,
    };
    let hop = NextHop::Vtep(Ipv4Addr::new(10, 5, 40, 0));
    check_change(&bytes(ROUTE), Some(KernelChange::Route(key, Some(hop))));
    let deleted = with(ROUTE, &[(TYPE, RTM_DELROUTE)]);
    check_change(&deleted, Some(KernelChange::Route(key, None)));
}

#[test]
fn a_route_without_gateway_leads_to_the_link() {
    let route = ROUTE.replace("08000500 0a052800", "");
    let key = RouteKey {
        destination: network("10.5.40.0/24"),
        metric: 41,
        protocol: 0x66,
    };
    check_change(
        &bytes(&route),
        Some(KernelChange::Route(key, Some(NextHop::Link))),
    );
}

#[test]
fn blackhole_routes_are_ours_by_their_protocol_number() {
    const BOOT: u8 = 3;
    let key = RouteKey {
        destination: network("10.5.99.0/24"),
        metric: u32::MAX,
        protocol: 0x66,
    };
    let expected = KernelChange::Route(key, Some(NextHop::Blackhole));
    check_change(&bytes(BLACKHOLE), Some(expected));
    let foreign = KernelChange::ForeignRoute(254, network("10.5.99.0/24"));
    check_change(&with(BLACKHOLE, &[(ROUTE_PROTOCOL, BOOT)]), Some(foreign));
}

#[test]
fn routes_through_the_device_in_other_tables_are_strays_unless_the_kernel_made_them() {
    const KERNEL: u8 = 2;
    check_change(&with(ROUTE, &[(ROUTE_PROTOCOL, KERNEL)]), None);
    let other_table = ROUTE.replace("08000f00 fe000000", "08000f00 e8030000");
    check_change(&bytes(&other_table), Some(KernelChange::Stray(true)));
    check_change(&with(&other_table, &[(ROUTE_PROTOCOL, KERNEL)]), None);
}

#[test]
fn only_routes_to_destinations_inside_the_network_are_ours() {
    let Some(Message::NewRoute(mut message)) = message(&bytes(ROUTE)) else {
        panic!("a route");
    };
    let mut check = |destination: &str, ours: bool| {
        let net = network(destination);
        message.header.destination_prefix_length = net.prefix();
        message.attributes[1] = RouteAttribute::Destination(RouteAddress::Inet(net.ip()));
        let found = route::ours(&message, DEVICE, network("10.5.0.0/16"));
        assert_eq!(found.is_some(), ours, "{destination}");
        assert!(route::on_device(&message, DEVICE).is_some());
    };
    check("10.5.40.0/24", true);
    check("10.5.0.0/16", true);
    check("10.4.0.0/15", false);
    check("10.6.0.0/24", false);
    check("0.0.0.0/0", false);
}

#[test]
fn a_route_that_was_looked_up_names_interface_source_and_gateway() {
    let looked_up = ROUTE.replace("08000600 29000000", "08000700 0a630002");
    let Some(Message::NewRoute(message)) = message(&bytes(&looked_up)) else {
        panic!("a route");
    };
    let looked_up = route::lookup(&message).expect("an interface and a source");
    let (interface, source, gateway) = looked_up;
    assert_eq!((interface, source), (DEVICE, Ipv4Addr::new(10, 99, 0, 2)));
    assert!(gateway.is_some());
}

#[test]
fn changes_of_other_devices_are_none() {
    for text in [ADDRESS, FDB, NEIGHBOUR] {
        assert_eq!(change(&bytes(text), Some(3)), None, "{text}");
        assert_eq!(change(&bytes(text), None), None, "{text}");
    }
    assert_eq!(change(&bytes(ROUTE), None), None);
}

#[test]
fn a_change_of_settings_is_read_though_the_library_does_not_know_it() {
    const KIND: usize = 4;
    check_change(&with(ADDRESS, &[(KIND, 80)]), Some(KernelChange::Settings));
}

#[test]
fn a_route_through_another_device_is_a_foreign_one() {
    let foreign = |table, text: &str| {
        let expected = KernelChange::ForeignRoute(table, network("10.5.40.0/24"));
        assert_eq!(change(&bytes(text), Some(3)), Some(expected), "{text}");
    };
    foreign(254, ROUTE);
    foreign(
        1000,
        &ROUTE.replace("08000f00 fe000000", "08000f00 e8030000"),
    );
}

#[test]
fn a_dump_of_routes_tells_ours_from_those_of_others_that_touch_the_network() {
    let found = |hex: &[u8], device, net: &str| {
        let Some(Message::NewRoute(message)) = message(hex) else {
            panic!("a route");
        };
        let name = |index| Some(std::rc::Rc::from(format!("if{index}")));
        match route::found(&message, device, network(net), name) {
            Some(route::Found::Ours(key, _)) => format!("ours {}", key.destination),
            Some(route::Found::Foreign(route)) => format!("{route} proto {}", route.protocol),
            Some(route::Found::Stray(route)) => format!("stray {route}"),
            None => String::new(),
        }
    };
    let plain = bytes(ROUTE);
    assert_eq!(found(&plain, DEVICE, "10.5.0.0/16"), "ours 10.5.40.0/24");
    let foreign = format!("10.5.40.0/24 via 10.5.40.0 dev if{DEVICE} metric 41 proto 102");
    assert_eq!(found(&plain, 3, "10.5.0.0/16"), foreign);
    assert_eq!(found(&plain, 3, "10.6.0.0/16"), "");
    let stray = format!("stray 10.5.40.0/24 via 10.5.40.0 dev if{DEVICE} metric 41");
    assert_eq!(found(&plain, DEVICE, "10.6.0.0/16"), stray);
    // In the main table a route around the network is never longer than ours.
    assert_eq!(found(&plain, 3, "10.5.40.0/26"), "");
    const TOS: usize = 19;
    assert_eq!(found(&with(ROUTE, &[(TOS, 8)]), 3, "10.5.0.0/16"), "");
    let table = bytes(&ROUTE.replace("08000f00 fe000000", "08000f00 e8030000"));
    let foreign = foreign.replace(" metric", " table 1000 metric");
    assert_eq!(found(&table, 3, "10.5.40.0/26"), foreign);
    let stray = stray.replace(" metric", " table 1000 metric");
    assert_eq!(found(&table, DEVICE, "10.5.0.0/16"), stray);
}

#[test]
fn reads_what_a_rule_asks_for_and_does() {
    use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
    let mut message = RuleMessage::default();
    message.header.action = RuleAction::ToTable;
    message.header.table = 52;
    message.header.src_len = 16;
    message.attributes = vec![
        RuleAttribute::Priority(5270),
        RuleAttribute::Source(Ipv4Addr::new(10, 5, 0, 0).into()),
        RuleAttribute::FwMark(0x80000),
        RuleAttribute::FwMask(0xff0000),
        RuleAttribute::SuppressPrefixLen(u32::MAX),
        RuleAttribute::Table(5200),
    ];
    let read = |message: &RuleMessage| rule::rule(message).map(|rule| rule.to_string());
    let expected = "5270: from 10.5.0.0/16 fwmark 0x80000/0xff0000 lookup 5200";
    assert_eq!(read(&message).as_deref(), Some(expected));
    assert_eq!(rule::rule(&message).and_then(|rule| rule.suppress), None);
    message.header.flags = RuleFlags::Invert;
    message.attributes = vec![RuleAttribute::Priority(9), RuleAttribute::L3MDev(true)];
    let expected = "9: not from all lookup [l3mdev-table]";
    assert_eq!(read(&message).as_deref(), Some(expected));
    message.header.action = RuleAction::Other(99);
    assert_eq!(read(&message), None);
}

proptest! {
    #[test]
    fn never_panics_on_what_arrives(
        start in prop::sample::select(vec![L3, LINK, ADDRESS, NEIGHBOUR, FDB, ROUTE]),
        tail in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut datagram = bytes(start);
        datagram.truncate(28);
        datagram.extend(tail);
        set_length(&mut datagram);
        let _ = miss(&datagram);
        let _ = change(&datagram, Some(DEVICE));
    }
}
