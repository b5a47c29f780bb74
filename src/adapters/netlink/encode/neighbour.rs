//! Messages about neighbours and FDB entries, which share a form (`struct ndmsg`,
//! linux/neighbour.h): a neighbour turns an inner IP address into an inner Ethernet address, an FDB
//! entry turns that into an outer IP address. Pure.

use std::net::Ipv4Addr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteProtocol;

use crate::model::addr::MacAddr;
use crate::overlay::state::PROTOCOL;

/// A permanent FDB entry. `NTF_SELF` puts it into the table of the vxlan device itself; without it
/// the kernel would look for a bridge that the device is a port of.
pub(super) fn fdb(device: u32, mac: MacAddr, ip: Ipv4Addr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = device;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    let attributes = &mut message.attributes;
    attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)));
    message
}

/// The neighbour with this address, whatever its state.
pub(super) fn any(device: u32, ip: Ipv4Addr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = device;
    let attributes = &mut message.attributes;
    attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)));
    message
}

/// A permanent neighbour with our protocol number.
pub(super) fn permanent(device: u32, ip: Ipv4Addr, mac: MacAddr) -> NeighbourMessage {
    let mut message = any(device, ip);
    message.header.state = NeighbourState::Permanent;
    let attributes = &mut message.attributes;
    attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    attributes.push(NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL)));
    message
}

/// A neighbour that works and whose use the kernel notes. `NTF_EXT_LEARNED` keeps the kernel from
/// removing it when the neighbour table is full.
pub(super) fn stale(device: u32, ip: Ipv4Addr, mac: MacAddr) -> NeighbourMessage {
    let mut message = permanent(device, ip, mac);
    message.header.state = NeighbourState::Stale;
    message.header.flags = NeighbourFlags::ExtLearned;
    message
}
