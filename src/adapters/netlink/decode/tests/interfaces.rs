//! Interfaces and vxlan devices.

use netlink_packet_route::link::{InfoVxlan, LinkAttribute, LinkFlags, LinkMessage, Prop};

use super::*;
use crate::host::vxlan_conflicts::Vxlan;
use crate::model::addr::Vni;
use crate::overlay::state::Device;

fn link_message(hex: &str) -> LinkMessage {
    match message(&bytes(hex)) {
        Some(Message::NewLink(message)) => message,
        other => panic!("{other:?} instead of a link"),
    }
}

#[test]
fn reads_a_vxlan_device_with_all_its_options() {
    let name_of = |index| (index == 3).then(|| "eth0".to_owned());
    let expected = Device {
        name: "flannel.1".to_owned(),
        vni: Vni::DEFAULT,
        parent: "eth0".to_owned(),
        local: Ipv4Addr::new(10, 99, 0, 2),
        port: 8472,
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1450,
        learning: false,
        gbp: true,
        alias: "flanneld /x".to_owned(),
    };
    assert_eq!(
        vxlan::device(&link_message(LINK), name_of),
        Some(expected.clone())
    );
    let learning = LINK.replace("05000700 00000000", "05000700 01000000");
    let expected = Device {
        learning: true,
        ..expected
    };
    assert_eq!(
        vxlan::device(&link_message(&learning), name_of),
        Some(expected)
    );
}

#[test]
fn reads_an_interface_of_any_kind() {
    let found = link::attributes(&link_message(LINK));
    assert_eq!((found.index, found.mtu, found.up), (DEVICE, 1450, true));
    assert_eq!((&*found.name, &*found.kind), ("flannel.1", "vxlan"));
    assert_eq!(found.mac, Some(MacAddr([2, 0, 0, 0, 0, 1])));
}

#[test]
fn reads_other_names_carrier_and_loopback() {
    let mut message = link_message(LINK);
    let before = link::attributes(&message);
    assert!(before.altnames.is_empty() && before.carrier && !before.loopback);
    let names = ["lan", "uplink-to-the-rack"].map(|name| Prop::AltIfName(name.to_owned()));
    message
        .attributes
        .push(LinkAttribute::PropList(names.into()));
    message.header.flags = LinkFlags::Up | LinkFlags::Loopback;
    let found = link::attributes(&message);
    assert_eq!(found.altnames, ["lan", "uplink-to-the-rack"]);
    assert!(found.up && !found.carrier && found.loopback);
}

#[test]
fn an_address_that_is_deprecated_or_of_a_narrow_scope_is_not_preferred() {
    const FLAGS: usize = 18;
    const SCOPE: usize = 19;
    let preferred = |changes: &[(usize, u8)]| match message(&with(ADDRESS, changes)) {
        Some(Message::NewAddress(message)) => {
            address::labelled(&message).map(|found| found.preferred)
        }
        other => panic!("{other:?} instead of an address"),
    };
    assert_eq!(preferred(&[]), Some(true));
    // ip address change ... preferred_lft 0; ip address add ... scope link, scope host
    for change in [(FLAGS, 0xa0), (SCOPE, 253), (SCOPE, 254)] {
        assert_eq!(preferred(&[change]), Some(false), "{change:?}");
    }
    assert_eq!(preferred(&[(SCOPE, 200)]), Some(true));
}

#[test]
fn an_interface_of_another_kind_is_no_vxlan_device() {
    let mut message = link_message(LINK);
    message
        .attributes
        .retain(|attribute| !matches!(attribute, LinkAttribute::LinkInfo(_)));
    assert_eq!(vxlan::device(&message, |_| None), None);
    assert_eq!(vxlan::port_user(&message), None);
    assert_eq!(link::attributes(&message).kind, "");
}

#[test]
fn reads_what_a_vxlan_device_receives() {
    let expected = Vxlan {
        name: "flannel.1".to_owned(),
        vni: Vni::DEFAULT,
        port: 8472,
        up: true,
        ipv6: false,
        receives: ["gbp"].into(),
    };
    assert_eq!(vxlan::port_user(&link_message(LINK)), Some(expected));
}

#[test]
fn kinds_of_vxlan_packets_have_the_words_of_ip_link() {
    let check =
        |info: InfoVxlan, expected| assert_eq!(vxlan::packet_kind(&info), expected, "{info:?}");
    check(InfoVxlan::CollectMetadata(true), Some("external"));
    check(InfoVxlan::CollectMetadata(false), None);
    check(InfoVxlan::Gpe, Some("gpe"));
    check(InfoVxlan::Gbp, Some("gbp"));
    check(InfoVxlan::UDPZeroCsumRX(false), None);
    check(InfoVxlan::Learning(true), None);
}
