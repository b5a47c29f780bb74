use super::*;
use proptest::prelude::*;

/// Datagrams as Linux 6.18 sent them (`nlmon`), little-endian. The device had index 3.
const L3: &str = "4c0000001e0001000000000000000000 020000000300000001000000 080001000a050502 0800040003000000 14000300 00000000000000000000000001000000";
const L2: &str = "3c0000001e0000000000000000000000 020000000300000004000000 0a00020002000000004000 00 08000700 00000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    let mut bytes: Vec<u8> = (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("hex digits"))
        .collect();
    let length = u32::try_from(bytes.len()).expect("a short message");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

#[test]
fn an_address_to_resolve_is_an_l3_miss() {
    assert_eq!(
        miss(&bytes(L3)),
        Some((3, Miss::L3(Ipv4Addr::new(10, 5, 5, 2))))
    );
}

#[test]
fn an_ethernet_address_alone_is_an_l2_miss_though_the_family_is_inet() {
    assert_eq!(
        miss(&bytes(L2)),
        Some((3, Miss::L2(MacAddr([2, 0, 0, 0, 0, 0x40]))))
    );
}

#[test]
fn a_refresh_with_both_is_an_l3_miss() {
    let both = L3.replace("0800040003000000", "0a000200020000000040 0000");
    assert_eq!(
        miss(&bytes(&both)),
        Some((3, Miss::L3(Ipv4Addr::new(10, 5, 5, 2))))
    );
}

#[test]
fn other_messages_are_no_misses() {
    let mut other = bytes(L3);
    other[4] = 28;
    assert_eq!(miss(&other), None);
    assert_eq!(miss(&[]), None);
}

#[test]
fn kinds_of_vxlan_packets_have_the_words_of_ip_link() {
    let check = |info: InfoVxlan, expected| assert_eq!(receives(&info), expected, "{info:?}");
    check(InfoVxlan::CollectMetadata(true), Some("external"));
    check(InfoVxlan::CollectMetadata(false), None);
    check(InfoVxlan::Gpe, Some("gpe"));
    check(InfoVxlan::Gbp, Some("gbp"));
    check(InfoVxlan::UDPZeroCsumRX(false), None);
    check(InfoVxlan::Learning(true), None);
}

fn unicast(destination: &str) -> RouteMessage {
    let net: Ipv4Network = destination.parse().expect("a network in a test");
    rtnetlink::RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(net.ip(), net.prefix())
        .output_interface(3)
        .build()
}

#[test]
fn only_routes_to_destinations_inside_the_network_are_ours() {
    let check = |destination: &str, ours: bool| {
        let network = "10.5.0.0/16".parse().expect("a network in a test");
        let found = route_in(&unicast(destination), 3, network);
        assert_eq!(found.is_some(), ours, "{destination}");
        assert!(route(&unicast(destination), 3).is_some(), "{destination}");
    };
    check("10.5.40.0/24", true);
    check("10.5.0.0/16", true);
    check("10.4.0.0/15", false);
    check("10.6.0.0/24", false);
    check("0.0.0.0/0", false);
}

proptest! {
    #[test]
    fn never_panics_on_what_arrives(tail in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut datagram = bytes(L3);
        datagram.truncate(28);
        datagram.extend(tail);
        let length = u32::try_from(datagram.len()).expect("a short message");
        datagram[..4].copy_from_slice(&length.to_le_bytes());
        let _ = miss(&datagram);
    }
}
