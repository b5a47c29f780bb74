//! Reads messages about addresses of interfaces (`struct ifaddrmsg`, linux/if_addr.h). Pure.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "attributes that we do not read are passed over"
)]

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::Ipv4Network;
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};

use crate::overlay::port::KernelChange;

/// An IPv4 address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::adapters::netlink) struct Address {
    /// Index of the interface.
    pub(in crate::adapters::netlink) interface: u32,
    pub(in crate::adapters::netlink) ip: Ipv4Addr,
    pub(in crate::adapters::netlink) prefix: u8,
    /// `IFA_LABEL`; empty if there is none.
    pub(in crate::adapters::netlink) label: String,
    /// Whether packets to other hosts may well come from it.
    pub(in crate::adapters::netlink) preferred: bool,
}

/// Reads an IPv4 address with its label.
pub(in crate::adapters::netlink) fn labelled(message: &AddressMessage) -> Option<Address> {
    let (interface, net) = address(message)?;
    let label = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Label(label) => Some(label.clone()),
            _ => None,
        });
    Some(Address {
        interface,
        ip: net.ip(),
        prefix: net.prefix(),
        label: label.unwrap_or_default(),
        preferred: is_preferred(message),
    })
}

/// Whether the address is neither deprecated (`preferred_lft 0`) or tentative, nor of a scope that ends at this host or link.
fn is_preferred(message: &AddressMessage) -> bool {
    let passed_over = AddressHeaderFlags::Deprecated
        | AddressHeaderFlags::Tentative
        | AddressHeaderFlags::Dadfailed;
    let scope = message.header.scope;
    !message.header.flags.intersects(passed_over)
        && !matches!(
            scope,
            AddressScope::Link | AddressScope::Host | AddressScope::Nowhere
        )
}

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
