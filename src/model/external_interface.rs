//! Describes the external interface: the network interface through which VXLAN packets enter and
//! leave this host.

use std::net::Ipv4Addr;

use crate::model::addr::MacAddr;

/// The interface that carries the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalInterface {
    /// The name of the interface, such as `eth1`.
    pub(crate) name: String,
    /// The interface's hardware address; `None` for interfaces that have none, such as tunnels.
    pub(crate) mac: Option<MacAddr>,
    /// The source address of the VXLAN packets.
    pub(crate) address: Ipv4Addr,
    /// The MTU in bytes.
    pub(crate) mtu: u32,
}
