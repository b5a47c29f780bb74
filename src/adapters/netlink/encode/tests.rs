//! What each operation asks of the kernel, read from the bytes that are sent.

mod render;

use std::net::Ipv4Addr;

use super::*;
use crate::model::addr::{MacAddr, Vni};
use crate::overlay::paths::route::{ForeignRoute, RouteKind};
use crate::overlay::state::{Device, NextHop, PROTOCOL, RouteKey, Sysctl};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x40]);
const PUBLIC_IP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);
const VTEP: Ipv4Addr = Ipv4Addr::new(10, 5, 40, 0);

/// Checks the request for an operation on the device with index 7, whose parent has index 2.
fn check(op: Op, expected: &str) {
    let request = request(&op, 7, 2).expect("an operation of rtnetlink");
    let lines: Vec<&str> = expected.lines().map(str::trim).collect();
    assert_eq!(
        render::request(request),
        lines.join("\n").trim(),
        "{}",
        op.command("flannel.1")
    );
}

fn device() -> Device {
    Device {
        name: "flannel.1".to_owned(),
        vni: Vni::DEFAULT,
        parent: "eth0".to_owned(),
        local: Ipv4Addr::new(10, 99, 0, 2),
        port: 8472,
        mac: MAC,
        mtu: 1450,
        learning: false,
        gbp: false,
        alias: "flanneld /coreos.com/network".to_owned(),
    }
}

fn key() -> RouteKey {
    RouteKey {
        destination: "10.5.40.0/24".parse().expect("a subnet in a test"),
        metric: 41,
        protocol: PROTOCOL,
    }
}

#[test]
fn a_new_device_must_not_exist_yet() {
    check(
        Op::CreateDevice(device()),
        "RTM_NEWLINK NLM_F_REQUEST NLM_F_ACK NLM_F_EXCL NLM_F_CREATE
         AF_UNSPEC index 0 flags 0x0 change 0x0
         IFLA_IFNAME flannel.1
         IFLA_ADDRESS 02:00:00:00:00:40
         IFLA_MTU 1450
         IFLA_LINKINFO:
         IFLA_INFO_KIND vxlan
         IFLA_INFO_DATA:
         IFLA_VXLAN_ID 1
         IFLA_VXLAN_LINK 2
         IFLA_VXLAN_LOCAL 10.99.0.2
         IFLA_VXLAN_PORT 8472
         IFLA_VXLAN_LEARNING 0
         IFLA_VXLAN_L2MISS 1",
    );
}

#[test]
fn a_new_device_has_the_options_of_its_network() {
    let device = Device {
        learning: true,
        gbp: true,
        ..device()
    };
    check(
        Op::CreateDevice(device),
        "RTM_NEWLINK NLM_F_REQUEST NLM_F_ACK NLM_F_EXCL NLM_F_CREATE
         AF_UNSPEC index 0 flags 0x0 change 0x0
         IFLA_IFNAME flannel.1
         IFLA_ADDRESS 02:00:00:00:00:40
         IFLA_MTU 1450
         IFLA_LINKINFO:
         IFLA_INFO_KIND vxlan
         IFLA_INFO_DATA:
         IFLA_VXLAN_ID 1
         IFLA_VXLAN_LINK 2
         IFLA_VXLAN_LOCAL 10.99.0.2
         IFLA_VXLAN_PORT 8472
         IFLA_VXLAN_LEARNING 1
         IFLA_VXLAN_L2MISS 1
         IFLA_VXLAN_GBP is set",
    );
}

#[test]
fn a_device_is_deleted_by_its_index() {
    check(
        Op::DeleteDevice,
        "RTM_DELLINK NLM_F_REQUEST NLM_F_ACK
         AF_UNSPEC index 7 flags 0x0 change 0x0",
    );
}

#[test]
fn a_device_is_changed_in_place() {
    check(
        Op::SetParent("eth0".to_owned()),
        "RTM_NEWLINK NLM_F_REQUEST NLM_F_ACK
         AF_UNSPEC index 7 flags 0x0 change 0x0
         IFLA_LINKINFO:
         IFLA_INFO_KIND vxlan
         IFLA_INFO_DATA:
         IFLA_VXLAN_LINK 2",
    );
    check(
        Op::SetLocal(PUBLIC_IP),
        "RTM_NEWLINK NLM_F_REQUEST NLM_F_ACK
         AF_UNSPEC index 7 flags 0x0 change 0x0
         IFLA_LINKINFO:
         IFLA_INFO_KIND vxlan
         IFLA_INFO_DATA:
         IFLA_VXLAN_LOCAL 10.99.0.3",
    );
    check(
        Op::SetMac(MAC),
        "RTM_SETLINK NLM_F_REQUEST NLM_F_ACK
         AF_UNSPEC index 7 flags 0x0 change 0x0
         IFLA_ADDRESS 02:00:00:00:00:40",
    );
    check(
        Op::SetMtu(1400),
        "RTM_SETLINK NLM_F_REQUEST NLM_F_ACK
         AF_UNSPEC index 7 flags 0x0 change 0x0
         IFLA_MTU 1400",
    );
    check(
        Op::SetAlias("flanneld /x".to_owned()),
        "RTM_SETLINK NLM_F_REQUEST NLM_F_ACK
         AF_UNSPEC index 7 flags 0x0 change 0x0
         IFLA_IFALIAS flanneld /x",
    );
    check(
        Op::SetUp,
        "RTM_SETLINK NLM_F_REQUEST NLM_F_ACK
         AF_UNSPEC index 7 flags 0x1 change 0x1",
    );
}

#[test]
fn addresses_come_and_go_with_their_prefix_length() {
    let net = "10.5.99.0/32".parse().expect("an address in a test");
    check(
        Op::AddAddress(net),
        "RTM_NEWADDR NLM_F_REQUEST NLM_F_ACK NLM_F_REPLACE NLM_F_CREATE
         AF_INET index 7 prefixlen 32 flags 0x0 scope 0
         IFA_LOCAL 10.5.99.0
         IFA_ADDRESS 10.5.99.0",
    );
    check(
        Op::DelAddress(net),
        "RTM_DELADDR NLM_F_REQUEST NLM_F_ACK
         AF_INET index 7 prefixlen 32 flags 0x0 scope 0
         IFA_LOCAL 10.5.99.0
         IFA_ADDRESS 10.5.99.0",
    );
}

#[test]
fn fdb_entries_are_permanent_and_in_the_table_of_the_device_itself() {
    check(
        Op::PutFdb(MAC, PUBLIC_IP),
        "RTM_NEWNEIGH NLM_F_REQUEST NLM_F_ACK NLM_F_REPLACE NLM_F_CREATE
         AF_BRIDGE index 7 state NUD_PERMANENT flags NTF_SELF
         NDA_LLADDR 02:00:00:00:00:40
         NDA_DST 10.99.0.3",
    );
    check(
        Op::DelFdb(MAC, PUBLIC_IP),
        "RTM_DELNEIGH NLM_F_REQUEST NLM_F_ACK
         AF_BRIDGE index 7 state NUD_PERMANENT flags NTF_SELF
         NDA_LLADDR 02:00:00:00:00:40
         NDA_DST 10.99.0.3",
    );
}

#[test]
fn neighbours_are_permanent_and_carry_our_protocol_number() {
    check(
        Op::PutNeighbour(VTEP, MAC),
        "RTM_NEWNEIGH NLM_F_REQUEST NLM_F_ACK NLM_F_REPLACE NLM_F_CREATE
         AF_INET index 7 state NUD_PERMANENT flags none
         NDA_DST 10.5.40.0
         NDA_LLADDR 02:00:00:00:00:40
         NDA_PROTOCOL 102",
    );
    check(
        Op::DelNeighbour(VTEP),
        "RTM_DELNEIGH NLM_F_REQUEST NLM_F_ACK
         AF_INET index 7 state NUD_NONE flags none
         NDA_DST 10.5.40.0",
    );
}

#[test]
fn a_stale_neighbour_is_safe_from_the_clean_up_of_the_table() {
    check(
        Op::TestNeighbour(VTEP, MAC),
        "RTM_NEWNEIGH NLM_F_REQUEST NLM_F_ACK NLM_F_REPLACE NLM_F_CREATE
         AF_INET index 7 state NUD_STALE flags NTF_EXT_LEARNED
         NDA_DST 10.5.40.0
         NDA_LLADDR 02:00:00:00:00:40
         NDA_PROTOCOL 102",
    );
}

#[test]
fn routes_carry_metric_and_protocol_number() {
    check(
        Op::PutRoute(key(), NextHop::Vtep(VTEP)),
        "RTM_NEWROUTE NLM_F_REQUEST NLM_F_ACK NLM_F_REPLACE NLM_F_CREATE
         AF_INET dst_len 24 table 254 protocol 102 RT_SCOPE_UNIVERSE RTN_UNICAST flags RTNH_F_ONLINK
         RTA_DST 10.5.40.0
         RTA_PRIORITY 41
         RTA_GATEWAY 10.5.40.0
         RTA_OIF 7",
    );
    check(
        Op::PutRoute(key(), NextHop::Link),
        "RTM_NEWROUTE NLM_F_REQUEST NLM_F_ACK NLM_F_REPLACE NLM_F_CREATE
         AF_INET dst_len 24 table 254 protocol 102 RT_SCOPE_LINK RTN_UNICAST flags none
         RTA_DST 10.5.40.0
         RTA_PRIORITY 41
         RTA_OIF 7",
    );
    check(
        Op::PutRoute(key(), NextHop::Blackhole),
        "RTM_NEWROUTE NLM_F_REQUEST NLM_F_ACK NLM_F_REPLACE NLM_F_CREATE
         AF_INET dst_len 24 table 254 protocol 102 RT_SCOPE_UNIVERSE RTN_BLACKHOLE flags none
         RTA_DST 10.5.40.0
         RTA_PRIORITY 41",
    );
}

#[test]
fn a_new_route_must_find_its_place_free() {
    let key = RouteKey { metric: 0, ..key() };
    check(
        Op::AddRoute(key, NextHop::Vtep(VTEP)),
        "RTM_NEWROUTE NLM_F_REQUEST NLM_F_ACK NLM_F_EXCL NLM_F_CREATE
         AF_INET dst_len 24 table 254 protocol 102 RT_SCOPE_UNIVERSE RTN_UNICAST flags RTNH_F_ONLINK
         RTA_DST 10.5.40.0
         RTA_GATEWAY 10.5.40.0
         RTA_OIF 7",
    );
}

#[test]
fn a_route_is_deleted_whatever_its_scope() {
    check(
        Op::DelRoute(key(), NextHop::Vtep(VTEP)),
        "RTM_DELROUTE NLM_F_REQUEST NLM_F_ACK
         AF_INET dst_len 24 table 254 protocol 102 RT_SCOPE_NOWHERE RTN_UNICAST flags RTNH_F_ONLINK
         RTA_DST 10.5.40.0
         RTA_PRIORITY 41
         RTA_GATEWAY 10.5.40.0
         RTA_OIF 7",
    );
    check(
        Op::DelRoute(key(), NextHop::Link),
        "RTM_DELROUTE NLM_F_REQUEST NLM_F_ACK
         AF_INET dst_len 24 table 254 protocol 102 RT_SCOPE_NOWHERE RTN_UNICAST flags none
         RTA_DST 10.5.40.0
         RTA_PRIORITY 41
         RTA_OIF 7",
    );
    check(
        Op::DelRoute(key(), NextHop::Blackhole),
        "RTM_DELROUTE NLM_F_REQUEST NLM_F_ACK
         AF_INET dst_len 24 table 254 protocol 102 RT_SCOPE_NOWHERE RTN_BLACKHOLE flags none
         RTA_DST 10.5.40.0
         RTA_PRIORITY 41",
    );
}

#[test]
fn a_route_of_others_and_an_old_device_are_deleted_by_their_own_interface() {
    let route = ForeignRoute {
        table: 254,
        destination: "10.5.40.0/24".parse().expect("a network in a test"),
        metric: 0,
        kind: RouteKind::Unicast,
        protocol: 3,
        gateway: Some(Ipv4Addr::new(10, 99, 0, 3)),
        device: Some("eth0".into()),
        source: None,
    };
    check(
        Op::DelForeignRoute(route.clone()),
        "RTM_DELROUTE NLM_F_REQUEST NLM_F_ACK
         AF_INET dst_len 24 table 254 protocol 3 RT_SCOPE_NOWHERE RTN_UNICAST flags none
         RTA_DST 10.5.40.0
         RTA_GATEWAY 10.99.0.3
         RTA_OIF 2",
    );
    let blackhole = ForeignRoute {
        kind: RouteKind::Blackhole,
        gateway: None,
        device: None,
        ..route
    };
    let request = request(&Op::DelForeignRoute(blackhole), 7, 0).expect("a request");
    let text = render::request(request);
    assert!(
        text.contains("RTN_BLACKHOLE") && !text.contains("RTA_OIF"),
        "{text}"
    );
    check(
        Op::DeleteOldDevice("flannel.9".to_owned()),
        "RTM_DELLINK NLM_F_REQUEST NLM_F_ACK
         AF_UNSPEC index 2 flags 0x0 change 0x0",
    );
}

#[test]
fn settings_and_checksums_do_not_use_rtnetlink() {
    assert_eq!(request(&Op::SetSysctl(Sysctl::AppSolicit, 3), 7, 2), None);
    assert_eq!(request(&Op::SetTxChecksum(false), 7, 2), None);
}
