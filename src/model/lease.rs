//! Defines what a lease is: the subnet that a host holds, and what other hosts need to know to send
//! packets to it. The submodules read and write keys and values in etcd and decide which leases of
//! other hosts are usable. Other hosts write them, so every key and value is untrusted. Pure.
//!
//! Source: flannel v0.28 `pkg/subnet/subnet.go`, `pkg/subnet/etcd/registry.go`,
//! `pkg/backend/vxlan/vxlan.go`.

pub mod key;
pub mod validate;
pub mod value;

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

use crate::model::addr::{MacAddr, Vni};

/// Time to live of the lease, as in flannel: a host may be down for a day and still finds its subnet.
pub(crate) const TTL: Duration = Duration::from_secs(86_400);

/// A subnet that a host with the vxlan backend holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The subnet of the host's pods. Its first address is the address of the host's VTEP.
    pub subnet: Ipv4Network,
    /// The address at which the host receives VXLAN packets.
    pub public_ip: Ipv4Addr,
    /// The Ethernet address of the host's vxlan device: the inner destination of all packets to its
    /// pods.
    pub vtep_mac: MacAddr,
    /// The VXLAN that the host is in; `None` in leases of flannel before 0.13.
    pub(crate) vni: Option<Vni>,
    /// etcd's revision of the last write. It decides between two leases that claim the same
    /// address.
    pub(crate) revision: i64,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {} with {}",
            self.subnet, self.public_ip, self.vtep_mac
        )
    }
}

/// This host's own lease. The leases of other hosts are validated against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnLease {
    /// The subnet of this host's pods.
    pub subnet: Ipv4Network,
    /// The address at which other hosts reach this one, as the lease publishes it.
    pub public_ip: Ipv4Addr,
    /// The Ethernet address of this host's vxlan device.
    pub vtep_mac: MacAddr,
}

impl OwnLease {
    /// Returns the address of this host's vxlan device: the first of the subnet.
    pub(crate) fn vtep(&self) -> Ipv4Addr {
        self.subnet.ip()
    }
}

/// The reason why an entry in etcd is not a usable lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The key does not name a subnet.
    #[error("expected a key such as \"10.5.1.0-24\"")]
    Key,
    /// The value is not the JSON of a lease.
    #[error("failed to read the value: {0}")]
    Value(String),
    /// The host uses another backend. That is not an error, but the host is no peer either.
    #[error("backend is {0:?}, ours is \"vxlan\"")]
    OtherBackend(String),
    /// The host is in another VXLAN.
    #[error("VNI is {0}, ours is {1}")]
    OtherVni(Vni, Vni),
    /// The same subnet has a second key, and that one is used.
    #[error("another key of subnet {0} is in use")]
    SecondKey(Ipv4Network),
    /// The subnet cannot have a route on this host.
    #[error("subnet {0} {1}")]
    Subnet(Ipv4Network, &'static str),
    /// A route to the subnet would take away what this host needs, which is named.
    #[error("subnet {0} overlaps {1}, {2}")]
    NeededHere(Ipv4Network, Ipv4Network, String),
    /// No host can have this PublicIP.
    #[error("PublicIP {0} {1}")]
    PublicIp(Ipv4Addr, &'static str),
    /// No peer can have this VtepMAC.
    #[error("VtepMAC {0} {1}")]
    VtepMac(MacAddr, &'static str),
}

impl Rejection {
    /// Whether the value says nothing about a host that can be believed: it is damaged, and the host that it belongs to
    /// may well live. Another backend or another VNI is a statement, and a key that cannot be used never could.
    pub(crate) const fn is_damage(&self) -> bool {
        match self {
            Self::Value(_) | Self::PublicIp(..) | Self::VtepMac(..) => true,
            Self::Key
            | Self::OtherBackend(_)
            | Self::OtherVni(..)
            | Self::SecondKey(_)
            | Self::Subnet(..)
            | Self::NeededHere(..) => false,
        }
    }
}

#[cfg(test)]
mod tests;
