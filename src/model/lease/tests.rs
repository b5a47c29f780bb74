use super::*;
use crate::model::addr::network_of;
use crate::model::lease::key::{key_name, parse_key_name};
use crate::model::lease::validate::validate;
use crate::model::lease::value::{owner_of, parse_lease, render_value};
use crate::model::network_config::NetworkConfig;
use crate::model::node_id::NodeId;
use proptest::prelude::*;

const OWN_MAC: &str = "02:00:00:00:00:01";

fn config() -> NetworkConfig {
    crate::model::network_config::parse(br#"{"Network":"10.5.0.0/16"}"#)
        .expect("a configuration in a test")
        .config
}

fn own() -> OwnLease {
    OwnLease {
        subnet: "10.5.99.0/24".parse().expect("a subnet in a test"),
        public_ip: Ipv4Addr::new(10, 99, 0, 2),
        vtep_mac: OWN_MAC.parse().expect("an address in a test"),
    }
}

#[test]
fn writes_what_flannel_0_20_writes_and_the_node_id() {
    let mac = "3a:2b:c7:14:89:47".parse().expect("an address in a test");
    assert_eq!(
        render_value(
            Ipv4Addr::new(10, 99, 1, 3),
            Vni::DEFAULT,
            mac,
            &NodeId::named("a")
        ),
        r#"{"PublicIP":"10.99.1.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"3a:2b:c7:14:89:47"},"NodeID":"a"}"#
    );
}

#[test]
fn reads_the_values_of_old_and_new_flannel() {
    let new = br#"{"PublicIP":"10.99.1.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"3a:2b:c7:14:89:47"},"More":[1]}"#;
    let old = br#"{"PublicIP":"10.99.1.3","BackendType":"vxlan","BackendData":{"VtepMAC":"3a:2b:c7:14:89:47"}}"#;
    for (value, vni) in [(&new[..], Some(Vni::DEFAULT)), (&old[..], None)] {
        let lease = parse_lease("10.5.40.0-24", value, 3).expect("a lease of flannel");
        assert_eq!((lease.vni, lease.revision), (vni, 3));
        assert_eq!(
            lease.to_string(),
            "10.5.40.0/24 at 10.99.1.3 with 3a:2b:c7:14:89:47"
        );
    }
}

#[test]
fn key_names_survive_a_round_trip() {
    let subnet = parse_key_name("10.5.40.0-24").expect("a well-formed name");
    assert_eq!(key_name(subnet), "10.5.40.0-24");
    assert_eq!(parse_key_name("10.5.40.0-24&fd00:5:0:1::-64"), Ok(subnet));
    for second_key in [
        "10.5.40.0-024",
        "10.5.40.0-0024",
        "10.5.40.0-024&fd00:5:0:1::-64",
    ] {
        assert_eq!(
            parse_key_name(second_key),
            Err(Rejection::Key),
            "{second_key} would be a second key of one subnet"
        );
    }
}

#[test]
fn refuses_names_that_do_not_name_a_subnet() {
    let names = [
        "",
        "10.5.40.0",
        "10.5.40.0/24",
        "10.5.40.0-",
        "10.5.40.0-+24",
        "10.5.40.0-33",
        "10.5.40.7-24",
        "10.5.999.0-24",
        "10.5.40.0-24&",
        "10.5.40.0-24&fd00::",
        "10.5.40.0-24&fd00::-129",
        "config",
        "10.5.40.0-24-24",
    ];
    for name in names {
        assert_eq!(parse_key_name(name), Err(Rejection::Key), "{name}");
    }
}

#[test]
fn refuses_values_it_cannot_use() {
    let check = |value: &str, expected: &str| {
        let error = parse_lease("10.5.40.0-24", value.as_bytes(), 1)
            .expect_err(value)
            .to_string();
        assert!(error.contains(expected), "{value}: {error}");
    };
    check("", "EOF");
    check("[]", "invalid");
    check(
        r#"{"PublicIP":"10.99.1.3","BackendType":"udp"}"#,
        "backend is \"udp\"",
    );
    check(
        r#"{"PublicIP":null,"BackendType":"vxlan"}"#,
        "PublicIP is missing",
    );
    check(
        r#"{"PublicIP":"10.99.1.3","BackendType":"vxlan"}"#,
        "invalid type: null",
    );
    check(
        r#"{"PublicIP":"10.99.1.3","BackendType":"vxlan","BackendData":{"VtepMAC":"x"}}"#,
        "Ethernet address",
    );
    check(r#"{"PublicIP":"x","BackendType":"vxlan"}"#, "invalid IPv4");
    check(&"x".repeat(10_000_000), "longer than 4096 bytes");
}

#[test]
fn validates_what_other_hosts_claim() {
    let lease = |subnet: &str, public_ip: &str, mac: &str, vni: u32| Lease {
        subnet: subnet.parse().expect("a subnet in a test"),
        public_ip: public_ip.parse().expect("an address in a test"),
        vtep_mac: mac.parse().expect("an address in a test"),
        vni: Vni::try_from(vni).ok(),
        revision: 1,
    };
    let good = "b6:bf:4c:81:cf:3b";
    assert_eq!(
        validate(
            &lease("10.5.40.0/24", "10.99.0.3", good, 1),
            &config(),
            &own()
        ),
        Ok(())
    );
    assert_eq!(
        validate(
            &lease("10.5.40.0/26", "10.99.0.3", good, 1),
            &config(),
            &own()
        ),
        Ok(())
    );
    for (subnet, public_ip, mac, vni, hint) in [
        ("8.8.8.0/24", "10.99.0.3", good, 1, "not inside the network"),
        ("0.0.0.0/0", "10.99.0.3", good, 1, "not inside the network"),
        (
            "10.5.0.0/16",
            "10.99.0.3",
            good,
            1,
            "not inside the network",
        ),
        ("10.5.40.4/32", "10.99.0.3", good, 1, "too small"),
        ("10.5.99.0/24", "10.99.0.3", good, 1, "overlaps our own"),
        ("10.5.98.0/23", "10.99.0.3", good, 1, "overlaps our own"),
        ("10.5.40.0/24", "10.99.0.2", good, 1, "is our own"),
        (
            "10.5.40.0/24",
            "0.0.0.0",
            good,
            1,
            "not the address of a host",
        ),
        (
            "10.5.40.0/24",
            "255.255.255.255",
            good,
            1,
            "not the address of a host",
        ),
        ("10.5.40.0/24", "224.0.0.1", good, 1, "multicast"),
        ("10.5.40.0/24", "127.0.0.1", good, 1, "loopback"),
        ("10.5.40.0/24", "10.5.41.2", good, 1, "inside the overlay"),
        (
            "10.5.40.0/24",
            "10.99.0.3",
            "00:00:00:00:00:00",
            1,
            "not the address of a device",
        ),
        (
            "10.5.40.0/24",
            "10.99.0.3",
            "ff:ff:ff:ff:ff:ff",
            1,
            "not the address of a device",
        ),
        ("10.5.40.0/24", "10.99.0.3", OWN_MAC, 1, "is our own"),
        ("10.5.40.0/24", "10.99.0.3", good, 2, "VNI is 2, ours is 1"),
    ] {
        let error =
            validate(&lease(subnet, public_ip, mac, vni), &config(), &own()).expect_err(hint);
        assert!(
            error.to_string().contains(hint),
            "{subnet} {public_ip} {mac}: {error}"
        );
    }
}

#[test]
fn hosts_may_lie_inside_a_large_network_but_not_inside_a_subnet_of_it() {
    let config = crate::model::network_config::parse(br#"{"Network":"10.0.0.0/8"}"#)
        .expect("a configuration in a test")
        .config;
    let lease = |public_ip: &str| Lease {
        subnet: "10.5.40.0/24".parse().expect("a subnet in a test"),
        public_ip: public_ip.parse().expect("an address in a test"),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, 3]),
        vni: None,
        revision: 1,
    };
    assert_eq!(validate(&lease("10.99.0.3"), &config, &own()), Ok(()));
    assert!(
        validate(&lease("10.5.40.3"), &config, &own()).is_err(),
        "its own subnet"
    );
    assert!(
        validate(&lease("10.5.99.3"), &config, &own()).is_err(),
        "our subnet"
    );
}

#[test]
fn refuses_a_subnet_that_holds_our_own_public_ip() {
    let config = crate::model::network_config::parse(br#"{"Network":"10.0.0.0/8"}"#)
        .expect("a configuration in a test")
        .config;
    for subnet in ["10.99.0.0/17", "10.99.0.0/24", "10.96.0.0/12"] {
        let subnet = subnet.parse().expect("a subnet in a test");
        let (public_ip, vtep_mac) = (Ipv4Addr::new(10, 200, 200, 1), MacAddr([2, 0, 0, 0, 0, 3]));
        let lease = Lease {
            subnet,
            public_ip,
            vtep_mac,
            vni: None,
            revision: 1,
        };
        let refused = Err(Rejection::Subnet(subnet, "holds our own PublicIP"));
        assert_eq!(validate(&lease, &config, &own()), refused);
    }
}

proptest! {
    #[test]
    fn never_panics_on_what_other_hosts_write(name in ".{0,60}", value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_lease(&name, &value, 1);
        let _ = owner_of(&value);
    }

    #[test]
    fn a_usable_lease_holds_no_address_that_carries_the_overlay(low in any::<[u32; 3]>(), prefix in 8u8..=32) {
        let config = crate::model::network_config::parse(br#"{"Network":"10.0.0.0/8"}"#).expect("a configuration in a test").config;
        // A small range of addresses, so that they often collide.
        let [subnet, host, ours] = low.map(|low| Ipv4Addr::from((low & 0x7_ffff) | (10 << 24)));
        let own = OwnLease { public_ip: ours, ..own() };
        let subnet = network_of(subnet, prefix).expect("a prefix of at most 32");
        let lease = Lease { subnet, public_ip: host, vtep_mac: MacAddr([2, 0, 0, 0, 0, 3]), vni: None, revision: 1 };
        if validate(&lease, &config, &own).is_ok() {
            prop_assert!(!subnet.contains(ours) && !subnet.contains(host) && !own.subnet.contains(host));
        }
    }

    #[test]
    fn reads_what_it_writes(ip in any::<u32>(), vni in 0u32..=Vni::MAX, mac in any::<[u8; 6]>(), prefix in 1u8..=32) {
        let vni = Vni::try_from(vni).expect("24 bits");
        let subnet = network_of(Ipv4Addr::from(ip), prefix).expect("a prefix of at most 32");
        let value = render_value(Ipv4Addr::from(ip), vni, MacAddr(mac), &NodeId::named("a"));
        let lease = parse_lease(&key_name(subnet), value.as_bytes(), 5).expect("what we write ourselves");
        let public_ip = Ipv4Addr::from(ip);
        prop_assert_eq!(lease, Lease { subnet, public_ip, vtep_mac: MacAddr(mac), vni: Some(vni), revision: 5 });
    }
}
