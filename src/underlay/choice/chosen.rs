//! The interface that was chosen, and the address from which packets leave by it. Pure.

use std::net::Ipv4Addr;

use crate::model::external_interface::ExternalInterface;
use crate::underlay::observation::Interface;

/// An interface that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) external: ExternalInterface,
    pub(crate) index: u32,
    /// Whether it is administratively up.
    pub(crate) up: bool,
}

impl Chosen {
    /// `address` may be one that another interface has, such as the loopback interface.
    pub(in crate::underlay) fn new(interface: &Interface, address: Ipv4Addr) -> Self {
        Self {
            external: ExternalInterface {
                name: interface.name.clone(),
                mac: interface.mac,
                address,
                mtu: interface.mtu,
            },
            index: interface.index,
            up: interface.up,
        }
    }

    /// The same interface with another source address.
    pub(super) fn from(mut self, address: Ipv4Addr) -> Self {
        self.external.address = address;
        self
    }
}
