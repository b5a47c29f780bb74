//! Reads messages about IPv4 routes (`struct rtmsg`, linux/rtnetlink.h). Pure. Allocates nothing:
//! 60,000 of these arrive in one dump.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "attributes that we do not read are passed over"
)]

use std::net::Ipv4Addr;
use std::rc::Rc;

use ipnetwork::Ipv4Network;
use netlink_packet_core::Nla as _;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};

use crate::model::addr::{covers, overlap};
use crate::overlay::paths::route::{ForeignRoute, MAIN_TABLE, RouteKind};
use crate::overlay::port::KernelChange;
use crate::overlay::state::{NextHop, PROTOCOL, RouteKey};

/// The attribute that names a next hop object (linux/rtnetlink.h).
const RTA_NH_ID: u16 = 30;

/// Reads a route that is ours: one that [`on_device`] reads, to a destination inside the overlay
/// network. Routes to other destinations belong to other programs.
pub(in crate::adapters::netlink) fn ours(
    message: &RouteMessage,
    device: u32,
    network: Ipv4Network,
) -> Option<(RouteKey, NextHop)> {
    on_device(message, device).filter(|(key, _)| covers(network, key.destination))
}

/// Reads the index of the interface of a route that the kernel looked up.
pub(in crate::adapters::netlink) fn interface(message: &RouteMessage) -> Option<u32> {
    attributes(message).interface
}

/// Reads the index of the interface, the source address and the gateway of a route that the kernel looked up.
pub(in crate::adapters::netlink) fn lookup(
    message: &RouteMessage,
) -> Option<(u32, Ipv4Addr, Option<Ipv4Addr>)> {
    let (mut interface, mut source, mut gateway) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => source = Some(*ip),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(*ip),
            _ => {}
        }
    }
    Some((interface?, source?, gateway))
}

pub(super) fn change(message: &RouteMessage, device: u32, exists: bool) -> Option<KernelChange> {
    if let Some((key, hop)) = on_device(message, device) {
        return Some(KernelChange::Route(key, exists.then_some(hop)));
    }
    let route = attributes(message);
    if is_stray(message, &route, device) {
        return Some(KernelChange::Stray(exists));
    }
    let to = destination(message, &route).filter(|_| route.interface != Some(device))?;
    Some(KernelChange::ForeignRoute(route.table, to))
}

/// What a dump of all routes holds for one overlay.
pub(in crate::adapters::netlink) enum Found {
    Ours(RouteKey, NextHop),
    /// A route of others that shares addresses with the overlay network.
    Foreign(ForeignRoute),
    /// A route of others through the device, and not to where ours lead.
    Stray(ForeignRoute),
}

/// Reads a route of any table. `name_of` returns the name of an interface.
pub(in crate::adapters::netlink) fn found(
    message: &RouteMessage,
    device: u32,
    network: Ipv4Network,
    name_of: impl FnOnce(u32) -> Option<Rc<str>>,
) -> Option<Found> {
    if let Some((key, hop)) = ours(message, device, network) {
        return Some(Found::Ours(key, hop));
    }
    let route = attributes(message);
    let destination = destination(message, &route)?;
    let foreign = || ForeignRoute {
        table: route.table,
        destination,
        metric: route.metric,
        kind: kind(message.header.kind),
        protocol: message.header.protocol.into(),
        gateway: route.gateway,
        device: route.interface.and_then(name_of),
        source: route.source,
    };
    if is_stray(message, &route, device) {
        return Some(Found::Stray(foreign()));
    }
    let is_longer = route.table != MAIN_TABLE || destination.prefix() >= network.prefix();
    // A route for a type of service is for some packets only. Clones of routes are what the kernel caches.
    let is_plain = message.header.tos == 0 && !message.header.flags.contains(RouteFlags::Cloned);
    let concerns = is_longer && is_plain && overlap(destination, network);
    (concerns && route.interface != Some(device)).then(|| Found::Foreign(foreign()))
}

/// Whether another program made a route through the device. What the kernel makes for addresses goes with these.
fn is_stray(message: &RouteMessage, route: &RouteAttributes, device: u32) -> bool {
    let header = &message.header;
    route.interface == Some(device)
        && !has_next_hop_object(message)
        && header.kind == RouteType::Unicast
        && header.protocol != RouteProtocol::Kernel
        && !header.flags.contains(RouteFlags::Cloned)
}

/// Whether the route names a next hop that is an object of its own (`ip nexthop`). The kernel does not delete such a route
/// by its interface.
fn has_next_hop_object(message: &RouteMessage) -> bool {
    let mut attributes = message.attributes.iter();
    attributes.any(|attribute| attribute.kind() == RTA_NH_ID)
}

fn destination(message: &RouteMessage, route: &RouteAttributes) -> Option<Ipv4Network> {
    Ipv4Network::new(route.destination, message.header.destination_prefix_length).ok()
}

const fn kind(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        _ => RouteKind::Other,
    }
}

/// Reads a route of the main table through the device, or a blackhole route with our protocol
/// number. Routes that the kernel makes for addresses (`proto kernel`) come and go with these.
pub(super) fn on_device(message: &RouteMessage, device: u32) -> Option<(RouteKey, NextHop)> {
    let header = &message.header;
    if header.protocol == RouteProtocol::Kernel {
        return None;
    }
    let route = attributes(message);
    if route.table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let hop = match header.kind {
        RouteType::Unicast if route.interface == Some(device) => {
            route.gateway.map_or(NextHop::Link, NextHop::Vtep)
        }
        RouteType::BlackHole if u8::from(header.protocol) == PROTOCOL => NextHop::Blackhole,
        _ => return None,
    };
    let key = RouteKey {
        destination: destination(message, &route)?,
        metric: route.metric,
        protocol: header.protocol.into(),
    };
    Some((key, hop))
}

struct RouteAttributes {
    /// The default route has none.
    destination: Ipv4Addr,
    metric: u32,
    interface: Option<u32>,
    gateway: Option<Ipv4Addr>,
    source: Option<Ipv4Addr>,
    table: u32,
}

fn attributes(message: &RouteMessage) -> RouteAttributes {
    let mut found = RouteAttributes {
        destination: Ipv4Addr::UNSPECIFIED,
        metric: 0,
        interface: None,
        gateway: None,
        source: None,
        // RTA_TABLE replaces it: the field of the header is too small for numbers above 255.
        table: message.header.table.into(),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => found.destination = *ip,
            RouteAttribute::Priority(metric) => found.metric = *metric,
            RouteAttribute::Oif(index) => found.interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => found.gateway = Some(*ip),
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => found.source = Some(*ip),
            RouteAttribute::Table(table) => found.table = *table,
            _ => {}
        }
    }
    found
}
