//! Messages about routes (`struct rtmsg`, linux/rtnetlink.h). Pure.

use std::net::Ipv4Addr;

use netlink_packet_route::route::{RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::RouteMessageBuilder;

use crate::overlay::paths::route::{ForeignRoute, RouteKind};
use crate::overlay::state::{NextHop, RouteKey};

/// A route in the main table.
pub(super) fn new(device: u32, key: &RouteKey, hop: NextHop) -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(key.destination.ip(), key.destination.prefix())
        .protocol(RouteProtocol::from(key.protocol));
    let builder = if key.metric > 0 {
        builder.priority(key.metric)
    } else {
        builder
    };
    match hop {
        NextHop::Vtep(via) => builder
            .gateway(via)
            .output_interface(device)
            .onlink()
            .build(),
        NextHop::Link => builder
            .output_interface(device)
            .scope(RouteScope::Link)
            .build(),
        NextHop::Blackhole => builder.kind(RouteType::BlackHole).build(),
    }
}

/// A route to delete. `RT_SCOPE_NOWHERE` matches a route of any scope.
pub(super) fn existing(device: u32, key: &RouteKey, hop: NextHop) -> RouteMessage {
    let mut message = new(device, key, hop);
    message.header.scope = RouteScope::NoWhere;
    message
}

/// A route of another program, to delete. `parent` is the index of its interface, 0 if it has none.
pub(super) fn foreign(route: &ForeignRoute, parent: u32) -> RouteMessage {
    let kind = match route.kind {
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
        RouteKind::Unicast
        | RouteKind::Local
        | RouteKind::Broadcast
        | RouteKind::Throw
        | RouteKind::Other => RouteType::Unicast,
    };
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.destination.ip(), route.destination.prefix())
        .table_id(route.table)
        .protocol(RouteProtocol::from(route.protocol))
        .kind(kind)
        .scope(RouteScope::NoWhere);
    if route.metric > 0 {
        builder = builder.priority(route.metric);
    }
    if let Some(gateway) = route.gateway {
        builder = builder.gateway(gateway);
    }
    if parent > 0 {
        builder = builder.output_interface(parent);
    }
    builder.build()
}
