//! The port of the underlay: interfaces, addresses and single routes of this host, and the socket on which the kernel
//! announces their changes. It decides nothing.
//!
//! The kernel drops the announcements of what this daemon changes itself before they take room: the routes of 60,000 peers
//! wake nobody here.

use std::io;
use std::net::Ipv4Addr;

use futures_util::TryStreamExt as _;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use nix::libc::{
    self, RTM_GETNEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_LINK,
};
use rtnetlink::RouteMessageBuilder;

use crate::adapters::netlink::decode::address::Address;
use crate::adapters::netlink::listen::{Filter, Listener};
use crate::adapters::netlink::requests::{answer, answer_if_any, failed};
use crate::adapters::netlink::{BROKEN_SOCKET_RETRY_DELAY, Netlink, decode, interfaces, name_of};
use crate::error::chain;
use crate::overlay::port::KernelError;
use crate::underlay::observation::{Interface, InterfaceAddress, RouteLookup};
use crate::underlay::port::Links;

const GROUPS: [u32; 4] = [
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV4_RULE,
];
/// Receive buffer, in bytes: what does not fit is one more reason to look.
const BUFFER_BYTES: usize = 256 << 10;
/// Answers to a route lookup that say that no route leads there.
const NO_ROUTE: [i32; 4] = [
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::EACCES,
    libc::EINVAL,
];

/// The interfaces and routes of this host, in our network namespace.
pub(crate) struct HostLinks {
    handle: rtnetlink::Handle,
    listener: Listener,
}

impl Netlink {
    /// Opens the sockets of this port; must be called inside a tokio runtime. The future carries questions and answers:
    /// it must run as long as the port is used. The kernel carries out one dump at a time on a socket and refuses another
    /// one (EBUSY), so this port does not share that of the [`Netlink`].
    ///
    /// # Errors
    /// `CAP_NET_ADMIN` is missing, or the process has no file descriptors left.
    pub(crate) fn links_port(
        &self,
    ) -> Result<(HostLinks, impl Future<Output = ()> + use<>), KernelError> {
        let opened = open(self.bulk.port());
        opened.map_err(|source| failed("open sockets for interfaces and routes", source))
    }
}

/// What a request from `own_port` changes is not announced.
fn open(own_port: u32) -> io::Result<(HostLinks, impl Future<Output = ()>)> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let filter = Filter::Except {
        kind: RTM_GETNEIGH,
        port: own_port,
        family: None,
    };
    let listener = Listener::open(&GROUPS, filter, BUFFER_BYTES)?;
    Ok((HostLinks { handle, listener }, connection))
}

impl Links for HostLinks {
    async fn interfaces(&self) -> Result<Vec<Interface>, String> {
        let interfaces = self.list().await;
        interfaces.map_err(|error| chain(&error))
    }

    async fn lookup_route(&self, address: Ipv4Addr) -> Result<Option<RouteLookup>, String> {
        let route = self.route(address).await;
        route.map_err(|error| chain(&error))
    }

    async fn changed(&mut self) -> Result<(), String> {
        match self.listener.next().await {
            // What was changed does not matter; nor does it matter that some reports were lost.
            Ok(_) => Ok(()),
            Err(error) => {
                tokio::time::sleep(BROKEN_SOCKET_RETRY_DELAY).await;
                Err(error.to_string())
            }
        }
    }
}

impl HostLinks {
    /// `ip address`.
    async fn list(&self) -> Result<Vec<Interface>, KernelError> {
        let links = interfaces::list(&self.handle).await?;
        let addresses = self.handle.address().get().execute();
        let addresses: Vec<AddressMessage> =
            answer("list addresses", addresses.try_collect()).await?;
        let addresses: Vec<Address> = addresses
            .iter()
            .filter_map(decode::address::labelled)
            .collect();
        Ok(links
            .iter()
            .map(|message| interface(message, &addresses))
            .collect())
    }

    /// `ip route get`.
    async fn route(&self, address: Ipv4Addr) -> Result<Option<RouteLookup>, KernelError> {
        let question = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, 32)
            .build();
        let routes = self.handle.route().get(question).execute();
        let routes = routes.try_collect::<Vec<_>>();
        let routes = answer_if_any("look up a route", routes, &NO_ROUTE).await?;
        let first = routes.as_deref().and_then(<[_]>::first);
        Ok(first
            .and_then(decode::route::lookup)
            .and_then(|(index, source, gateway)| {
                Some(RouteLookup {
                    interface: name_of(index)?,
                    source,
                    gateway,
                })
            }))
    }
}

fn interface(message: &LinkMessage, addresses: &[Address]) -> Interface {
    let link = decode::link::attributes(message);
    let own = addresses
        .iter()
        .filter(|address| address.interface == link.index)
        .map(|address| InterfaceAddress {
            ip: address.ip,
            prefix: address.prefix,
            label: address.label.clone(),
            preferred: address.preferred,
        });
    Interface {
        index: link.index,
        name: link.name,
        mac: link.mac,
        mtu: link.mtu,
        altnames: link.altnames,
        up: link.up,
        carrier: link.carrier,
        loopback: link.loopback,
        kind: link.kind,
        addresses: own.collect(),
    }
}
