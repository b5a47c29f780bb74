//! Reads messages about addresses of interfaces (`struct ifaddrmsg`, linux/if_addr.h). Pure.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "attributes that we do not read are passed over"
)]

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::Ipv4Network;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use crate::overlay::port::KernelChange;

/// Reads an IPv4 address with its prefix length, and the index of its interface.
pub(in crate::adapters::netlink) fn address(
    message: &AddressMessage,
) -> Option<(u32, Ipv4Network)> {
    let ip = message.attributes.iter().find_map(local)?;
    let net = Ipv4Network::new(ip, message.header.prefix_len).ok()?;
    Some((message.header.index, net))
}

pub(super) fn change(message: &AddressMessage, device: u32, exists: bool) -> Option<KernelChange> {
    address(message)
        .filter(|(index, _)| *index == device)
        .map(|(_, net)| KernelChange::Address(net, exists))
}

/// On a point-to-point interface `IFA_ADDRESS` is the other end; `IFA_LOCAL` is always ours.
fn local(attribute: &AddressAttribute) -> Option<Ipv4Addr> {
    match attribute {
        AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
        _ => None,
    }
}
