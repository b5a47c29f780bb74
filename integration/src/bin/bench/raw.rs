//! The limit: the same entries by bare netlink, messages made beforehand, 256 in a datagram, one answer for each. Runs inside a
//! host, as `bench raw COUNT`, and prints milliseconds.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use integration::Lease;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::net::if_::if_nametoindex;
use rtnetlink::RouteMessageBuilder;

/// Programs `count` invented leases on flannel.1.
pub(crate) fn program(count: u16) -> Result<()> {
    let index = if_nametoindex("flannel.1").context("no flannel.1")?;
    let peers: Vec<Lease> = (1..=count).map(Lease::invented).collect();
    let mut messages = Vec::new();
    for peer in &peers {
        messages.push(entry(index, AddressFamily::Bridge, peer)?);
    }
    for peer in &peers {
        messages.push(entry(index, AddressFamily::Inet, peer)?);
    }
    for (number, peer) in peers.iter().enumerate() {
        messages.push(route(index, u32::try_from(number)? + 1, peer.vtep));
    }
    let datagrams: Vec<Vec<u8>> = messages.chunks(256).map(datagram).collect();
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let started = Instant::now();
    for datagram in &datagrams {
        socket.send(datagram, 0)?;
        let mut answer = Vec::with_capacity(4096);
        socket.recv(&mut answer, 0)?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?;
        ensure!(
            matches!(&answer.payload, NetlinkPayload::Error(error) if error.code.is_none()),
            "{answer:?}"
        );
    }
    println!("{}", started.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}

fn entry(index: u32, family: AddressFamily, peer: &Lease) -> Result<RouteNetlinkMessage> {
    let octets = peer
        .mac
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16))
        .collect::<Result<Vec<_>, _>>()?;
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    let mut to = peer.vtep;
    if family == AddressFamily::Bridge {
        message.header.flags = NeighbourFlags::Own;
        to = peer.public_ip.parse()?;
    }
    message
        .attributes
        .push(NeighbourAttribute::Destination(NeighbourAddress::Inet(to)));
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(octets));
    Ok(RouteNetlinkMessage::NewNeighbour(message))
}

fn route(index: u32, metric: u32, vtep: Ipv4Addr) -> RouteNetlinkMessage {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(vtep, 24)
        .gateway(vtep);
    RouteNetlinkMessage::NewRoute(
        builder
            .output_interface(index)
            .onlink()
            .priority(metric)
            .build(),
    )
}

fn datagram(messages: &[RouteNetlinkMessage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        let mut message = NetlinkMessage::from(message.clone());
        let answer = if place + 1 == messages.len() {
            NLM_F_ACK
        } else {
            0
        };
        message.header.flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE | answer;
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..]);
    }
    bytes
}
