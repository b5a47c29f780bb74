//! The port of the underlay: interfaces and routes of this host. It decides nothing.

use std::net::Ipv4Addr;

use crate::adapters::netlink::Netlink;
use crate::error::chain;
use crate::underlay::choice::{Interface, RouteLookup};
use crate::underlay::port::Links;

impl Links for &Netlink {
    async fn interfaces(&self) -> Result<Vec<Interface>, String> {
        let interfaces = Netlink::interfaces(self).await;
        interfaces.map_err(|error| chain(&error))
    }

    async fn lookup_route(&self, address: Ipv4Addr) -> Result<Option<RouteLookup>, String> {
        let route = Netlink::lookup_route(self, address).await;
        route.map_err(|error| chain(&error))
    }
}
