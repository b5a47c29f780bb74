//! Questions about the interfaces of this host and about single routes.

use std::net::Ipv4Addr;

use futures_util::TryStreamExt as _;
use ipnetwork::Ipv4Network;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use nix::libc;
use rtnetlink::RouteMessageBuilder;

use crate::adapters::netlink::requests::{answer, answer_if_any};
use crate::adapters::netlink::{Netlink, decode, name_of};
use crate::overlay::port::KernelError;
use crate::overlay::state::Device;
use crate::underlay::choice::{Interface, RouteLookup};

/// Answers to a route lookup that say that no route leads there.
const NO_ROUTE: [i32; 4] = [
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::EACCES,
    libc::EINVAL,
];

impl Netlink {
    /// Returns all interfaces with their IPv4 addresses, in the order of their indexes: `ip
    /// address`.
    ///
    /// # Errors
    /// The kernel refuses a request or does not answer in time.
    pub(crate) async fn interfaces(&self) -> Result<Vec<Interface>, KernelError> {
        let links = self.links().await?;
        let addresses = self.handle.address().get().execute();
        let addresses: Vec<AddressMessage> =
            answer("list addresses", addresses.try_collect()).await?;
        let addresses: Vec<_> = addresses
            .iter()
            .filter_map(decode::address::address)
            .collect();
        Ok(links
            .iter()
            .map(|message| interface(message, &addresses))
            .collect())
    }

    /// Returns the interface and the source address that a packet to `address` would use, or `None`
    /// if no route leads there: `ip route get`.
    ///
    /// # Errors
    /// The kernel refuses the request or does not answer in time.
    pub(crate) async fn lookup_route(
        &self,
        address: Ipv4Addr,
    ) -> Result<Option<RouteLookup>, KernelError> {
        let question = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, 32)
            .build();
        let routes = self.handle.route().get(question).execute();
        let routes = routes.try_collect::<Vec<_>>();
        let routes = answer_if_any("look up a route", routes, &NO_ROUTE).await?;
        let first = routes.as_deref().and_then(<[_]>::first);
        Ok(first
            .and_then(decode::route::lookup)
            .and_then(|(index, source)| {
                Some(RouteLookup {
                    interface: name_of(index)?,
                    source,
                })
            }))
    }

    /// Returns all vxlan devices of this host: `ip -details link show type vxlan`.
    ///
    /// # Errors
    /// The kernel refuses the request or does not answer in time.
    pub(crate) async fn vxlans(&self) -> Result<Vec<Device>, KernelError> {
        let links = self.links().await?;
        Ok(links
            .iter()
            .filter_map(|message| decode::vxlan::device(message, name_of))
            .collect())
    }

    /// Returns the messages about all interfaces, in the order of their indexes.
    pub(super) async fn links(&self) -> Result<Vec<LinkMessage>, KernelError> {
        let links = self.handle.link().get().execute();
        answer("list interfaces", links.try_collect()).await
    }

    /// Returns the message about the interface with this name, if there is one.
    pub(super) async fn link(&self, name: &str) -> Result<Option<LinkMessage>, KernelError> {
        let request = self.handle.link().get().match_name(name.to_owned());
        let links = request.execute().try_collect::<Vec<_>>();
        let operation = format!("look up device \"{name}\"");
        let links = answer_if_any(&operation, links, &[libc::ENODEV]).await?;
        Ok(links.and_then(|links| links.into_iter().next()))
    }
}

fn interface(message: &LinkMessage, addresses: &[(u32, Ipv4Network)]) -> Interface {
    let link = decode::link::attributes(message);
    let own = addresses
        .iter()
        .filter(|(index, _)| *index == link.index)
        .map(|(_, net)| net.ip());
    Interface {
        name: link.name,
        mac: link.mac,
        mtu: link.mtu,
        addresses: own.collect(),
    }
}
