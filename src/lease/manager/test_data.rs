//! Values that several unit tests of the lease manager share.

use std::net::Ipv4Addr;

use crate::lease::claim::{Identity, JoinedKey};
use crate::model::addr::MacAddr;
use crate::model::host_network::HostNetwork;
use crate::model::lease::OwnLease;
use crate::model::membership::Membership;
use crate::model::network_config::{self, NetworkConfig};
use crate::model::node_id::NodeId;
use crate::model::previous_lease::PreviousLease;

pub(super) const CONFIG: &str = r#"{"Network":"10.5.0.0/16"}"#;
/// The value of our lease.
pub(super) const MINE: &str = r#"{"PublicIP":"10.99.0.2","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"},"NodeID":"a"}"#;
/// The value of the lease of another host.
pub(super) const OTHER: &str = r#"{"PublicIP":"10.99.0.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:03"}}"#;
/// The value of our lease as Go flannel writes it.
pub(super) const UNNAMED: &str = r#"{"PublicIP":"10.99.0.2","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}"#;
/// The MAC address in `MINE`.
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// The value of a rival's lease: with our PublicIP and another node id.
pub(super) fn rivals() -> String {
    MINE.replace(r#""NodeID":"a""#, r#""NodeID":"b""#)
}

pub(super) fn config() -> NetworkConfig {
    network_config::parse(CONFIG.as_bytes())
        .expect("a config in a test")
        .config
}

pub(super) fn own_lease(subnet: &str) -> OwnLease {
    OwnLease {
        subnet: subnet.parse().expect("a subnet in a test"),
        public_ip: Ipv4Addr::new(10, 99, 0, 2),
        vtep_mac: MAC,
    }
}

/// Our key on etcd lease 7, created at revision 1.
pub(super) fn joined_key(subnet: &str) -> JoinedKey {
    JoinedKey {
        own: own_lease(subnet),
        etcd_lease: Some(7),
        created: 1,
        revision: 5,
    }
}

pub(super) fn membership(subnet: &str) -> Membership {
    Membership {
        own: own_lease(subnet),
        config: config(),
    }
}

/// Node a at 10.99.0.2.
pub(super) fn identity(previous: Option<&str>) -> Identity {
    Identity {
        node: NodeId::named("a"),
        prefix: "/test".to_owned(),
        public_ip: Ipv4Addr::new(10, 99, 0, 2),
        earlier_public_ips: Vec::new(),
        previous: PreviousLease {
            subnet: previous.map(|text| text.parse().expect("a subnet in a test")),
            vtep_mac: Some(MAC),
            public_ip: None,
        },
        host: HostNetwork::default(),
    }
}
