//! A host whose own network or PublicIP does not go with the overlay.

use std::net::Ipv4Addr;

use super::*;
use crate::lease::claim::Identity;
use crate::model::host_network::{HostNetwork, NeededNetwork, NetworkRole};

const OUR_IP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

/// The external interface, eth0, has the first address of a /16.
fn host(local: &str) -> HostNetwork {
    let local: Ipv4Addr = local.parse().expect("an address in a test");
    let needed = NeededNetwork {
        network: crate::model::addr::network_of(local, 16).expect("16 is a length"),
        what: "the subnet of interface eth0".to_owned(),
        role: NetworkRole::Underlay,
    };
    HostNetwork::new(Some(local), vec![needed])
}

fn at(public_ip: Ipv4Addr, local: &str) -> Identity {
    Identity {
        public_ip,
        host: host(local),
        ..identity(None)
    }
}

#[test]
fn a_public_ip_that_no_other_host_would_use_is_not_published_until_it_is_another_one() {
    for (ip, local, reason) in [
        ("127.0.0.1", "127.0.0.1", "PublicIP 127.0.0.1 is a loopback"),
        ("10.99.0.9", "127.0.0.1", "PublicIP 127.0.0.1 is a loopback"),
        (
            "10.5.3.3",
            "10.99.0.2",
            "PublicIP 10.5.3.3 is inside the overlay",
        ),
    ] {
        on_paused_time(async {
            let registry = FakeRegistry::with_config(CONFIG);
            let ip = ip.parse().expect("an address in a test");
            let mut rig = Rig::start_as(registry, at(ip, local));
            pass(9).await;
            let status = rig.lease_held();
            assert!(
                status.starts_with(&format!("PublicIpUnusable: {reason}")),
                "{status}"
            );
            assert!(rig.registry.names().is_empty(), "nothing is written");
            rig.host.send_replace(host("10.99.0.2"));
            rig.public_ip.send_replace(OUR_IP);
            assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        });
    }
}

#[test]
fn a_running_host_keeps_its_lease_while_its_public_ip_cannot_be_used() {
    on_paused_time(async {
        let rig = joined(FakeRegistry::with_config(CONFIG)).await;
        rig.public_ip.send_replace(Ipv4Addr::LOCALHOST);
        pass(9).await;
        assert!(rig.lease_held().starts_with("PublicIpUnusable: "));
        assert_eq!(rig.registry.value("10.5.1.0-24").as_deref(), Some(MINE));
        rig.public_ip.send_replace(OUR_IP);
        pass(9).await;
        assert_eq!(rig.lease_held(), "AsExpected");
    });
}

#[test]
fn a_network_that_is_the_hosts_own_is_refused_until_there_is_another_config() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(r#"{"Network":"10.99.0.0/18"}"#);
        let mut rig = Rig::start_as(registry, at(OUR_IP, "10.99.0.2"));
        pass(9).await;
        assert_eq!(
            rig.lease_held(),
            "NetworkOverlap: Network 10.99.0.0/18 is inside 10.99.0.0/16, the subnet of interface eth0: pods would get \
             addresses of hosts; choose another Network in the key /test/config"
        );
        assert!(rig.registry.names().is_empty(), "nothing is written");
        rig.registry.put_config(CONFIG);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
    });
}

#[test]
fn in_a_network_around_the_hosts_no_subnet_covers_their_own() {
    on_paused_time(async {
        let wide = r#"{"Network":"10.0.0.0/8","SubnetMin":"10.98.255.0","SubnetMax":"10.100.0.0"}"#;
        let registry = FakeRegistry::with_config(wide);
        registry.put("10.98.255.0-24", OTHER, Some(7));
        let inside = OTHER
            .replace("10.99.0.3", "10.99.0.4")
            .replace("00:03", "00:04");
        registry.put("10.99.7.0-24", &inside, Some(8));
        let mut rig = Rig::start_as(registry, at(OUR_IP, "10.99.0.2"));
        assert_eq!(rig.next().await, "joined 10.100.0.0/24");
        assert_eq!(rig.next().await, "leases +10.98.255.0/24");
        pass(1).await;
        assert_eq!(
            rig.ignored.borrow()["10.99.7.0-24"],
            "subnet 10.99.7.0/24 overlaps 10.99.0.0/16, the subnet of interface eth0"
        );
        // The host moves to another network: everything is judged again.
        rig.host.send_replace(host("10.98.0.2"));
        let listed = rig.next().await;
        assert_eq!(listed, "leases +10.99.7.0/24");
    });
}
