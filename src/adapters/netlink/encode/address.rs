//! Messages about the addresses of a device (`struct ifaddrmsg`, linux/if_addr.h). Pure.

use ipnetwork::Ipv4Network;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

/// An IPv4 address with its prefix length, on the device with this index.
pub(super) fn address(device: u32, net: Ipv4Network) -> AddressMessage {
    let ip = net.ip().into();
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.index = device;
    message.header.prefix_len = net.prefix();
    // The two differ only on point-to-point devices.
    message.attributes.push(AddressAttribute::Local(ip));
    message.attributes.push(AddressAttribute::Address(ip));
    message
}
