//! Any bytes as the value of a lease: what passes the validation cannot harm us.
#![no_main]

use std::net::Ipv4Addr;

use flanneld::model::addr::MacAddr;
use flanneld::model::network_config::NetworkConfig;
use flanneld::model::lease::OwnLease;
use flanneld::model::lease::validate::validate;
use flanneld::model::lease::value::{owner_of, parse_lease};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = owner_of(data);
    // The hosts lie outside of the first network, and inside of the second.
    for network in ["10.5.0.0/16", "10.0.0.0/8"] {
        let config = format!(r#"{{"Network":"{network}"}}"#);
        let config = flanneld::model::network_config::parse(config.as_bytes())
            .expect("a configuration")
            .config;
        for name in [
            "10.5.40.0-24",
            "10.99.0.0-17",
            "10.99.128.0-17",
            "10.96.0.0-12",
        ] {
            check(name, data, &config);
        }
    }
});

fn check(name: &str, data: &[u8], config: &NetworkConfig) {
    let own = OwnLease {
        subnet: "10.5.99.0/24".parse().expect("a subnet"),
        public_ip: Ipv4Addr::new(10, 99, 0, 2),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, 1]),
    };
    let Ok(lease) = parse_lease(name, data, 1) else {
        return;
    };
    if validate(&lease, config, &own).is_ok() {
        assert!(lease.vtep_mac.is_unicast() && lease.vtep_mac != own.vtep_mac);
        assert!(lease.public_ip != own.public_ip);
        assert!(
            !config.network.contains(lease.public_ip) || config.network.contains(own.public_ip)
        );
        assert!(!lease.subnet.contains(lease.public_ip) && !lease.subnet.contains(own.public_ip));
        assert!(!lease.public_ip.is_multicast() && !lease.public_ip.is_loopback());
    }
}
