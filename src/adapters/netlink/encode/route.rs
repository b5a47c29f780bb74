//! Messages about routes (`struct rtmsg`, linux/rtnetlink.h). Pure.

use std::net::Ipv4Addr;

use netlink_packet_route::route::{RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::RouteMessageBuilder;

use crate::overlay::state::{NextHop, RouteKey};

/// A route in the main table.
pub(super) fn new(device: u32, key: &RouteKey, hop: NextHop) -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(key.destination.ip(), key.destination.prefix())
        .priority(key.metric)
        .protocol(RouteProtocol::from(key.protocol));
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
