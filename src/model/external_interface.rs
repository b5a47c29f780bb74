//! The external interface: the interface that carries the VXLAN packets.

use std::net::Ipv4Addr;

use crate::model::addr::MacAddr;

/// The interface that carries the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalInterface {
    /// Its name.
    pub name: String,
    /// Address of its hardware.
    pub mac: Option<MacAddr>,
    /// Source address of our outer packets.
    pub address: Ipv4Addr,
    /// Its MTU in bytes.
    pub mtu: u32,
}
