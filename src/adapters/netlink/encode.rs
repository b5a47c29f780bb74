//! Owns the translation of operations into netlink messages: pure, one message for each operation.

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkVxlan, RouteMessageBuilder};
use std::net::Ipv4Addr;

use crate::model::addr::MacAddr;
use crate::overlay::plan::Op;
use crate::overlay::state::{Device, Hop, PROTOCOL, RouteKey};
use ipnetwork::Ipv4Network;

/// A message with the flags that make it do what its operation says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) message: RouteNetlinkMessage,
}

impl Request {
    fn change(message: RouteNetlinkMessage) -> Self {
        Self {
            flags: NLM_F_REQUEST | NLM_F_ACK,
            message,
        }
    }

    /// Creates, and fails if it is there.
    fn create(message: RouteNetlinkMessage) -> Self {
        Self {
            flags: NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
            message,
        }
    }

    /// Creates or replaces.
    fn put(message: RouteNetlinkMessage) -> Self {
        Self {
            flags: NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
            message,
        }
    }
}

/// The message for an operation on the device with this index, or `None` for one that is not netlink's.
/// `parent` is the index of the interface that a new device sends through.
pub(super) fn request(op: &Op, device: u32, parent: u32) -> Option<Request> {
    Some(match op {
        Op::CreateDevice(spec) => {
            Request::create(RouteNetlinkMessage::NewLink(new_device(spec, parent)))
        }
        Op::DeleteDevice => Request::change(RouteNetlinkMessage::DelLink(link(device))),
        Op::SetLocal(ip) => Request::change(RouteNetlinkMessage::NewLink(set_local(device, *ip))),
        Op::SetMac(mac) => set_link(device, LinkAttribute::Address(mac.0.to_vec())),
        Op::SetMtu(mtu) => set_link(device, LinkAttribute::Mtu(*mtu)),
        Op::SetAlias(alias) => set_link(device, LinkAttribute::IfAlias(alias.clone())),
        Op::SetUp => Request::change(RouteNetlinkMessage::SetLink(up(device))),
        Op::AddAddress(net) => Request::put(RouteNetlinkMessage::NewAddress(address(device, *net))),
        Op::DelAddress(net) => {
            Request::change(RouteNetlinkMessage::DelAddress(address(device, *net)))
        }
        Op::SetSysctl(..) | Op::SetTxChecksum(_) => return None,
        Op::PutFdb(mac, ip) => {
            Request::put(RouteNetlinkMessage::NewNeighbour(fdb(device, *mac, *ip)))
        }
        Op::DelFdb(mac, ip) => {
            Request::change(RouteNetlinkMessage::DelNeighbour(fdb(device, *mac, *ip)))
        }
        Op::PutNeighbour(ip, mac) => Request::put(RouteNetlinkMessage::NewNeighbour(neighbour(
            device,
            *ip,
            Some(*mac),
        ))),
        Op::DoubtNeighbour(ip, mac) => Request::put(RouteNetlinkMessage::NewNeighbour(doubted(
            device, *ip, *mac,
        ))),
        Op::DelNeighbour(ip) => Request::change(RouteNetlinkMessage::DelNeighbour(neighbour(
            device, *ip, None,
        ))),
        Op::PutRoute(key, hop) => {
            Request::put(RouteNetlinkMessage::NewRoute(route(device, key, *hop)))
        }
        Op::DelRoute(key, hop) => {
            Request::change(RouteNetlinkMessage::DelRoute(old_route(device, key, *hop)))
        }
    })
}

fn link(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

/// `l2miss` makes the driver ask for Ethernet addresses without FDB entry. There is no `l3miss`: for packets that
/// are routed into the device the neighbour table asks (`app_solicit`), the flag does nothing.
fn new_device(spec: &Device, parent: u32) -> LinkMessage {
    let mut builder = LinkVxlan::new(&spec.name, spec.vni.into())
        .dev(parent)
        .local(spec.local)
        .port(spec.port)
        .learning(spec.learning)
        .l2miss(true)
        .address(spec.mac.0.to_vec())
        .mtu(spec.mtu);
    if spec.gbp {
        builder = builder.gbp();
    }
    builder.build()
}

fn set_local(index: u32, ip: Ipv4Addr) -> LinkMessage {
    let mut message = link(index);
    let info = vec![
        LinkInfo::Kind(InfoKind::Vxlan),
        LinkInfo::Data(InfoData::Vxlan(vec![InfoVxlan::Local(ip)])),
    ];
    message.attributes.push(LinkAttribute::LinkInfo(info));
    message
}

fn set_link(index: u32, attribute: LinkAttribute) -> Request {
    let mut message = link(index);
    message.attributes.push(attribute);
    Request::change(RouteNetlinkMessage::SetLink(message))
}

fn up(index: u32) -> LinkMessage {
    let mut message = link(index);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn address(index: u32, net: Ipv4Network) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.index = index;
    message.header.prefix_len = net.prefix();
    message
        .attributes
        .push(AddressAttribute::Local(net.ip().into()));
    message
        .attributes
        .push(AddressAttribute::Address(net.ip().into()));
    message
}

/// An FDB entry of the device itself (`NTF_SELF`), not of a bridge that it might be a port of.
fn fdb(index: u32, mac: MacAddr, ip: Ipv4Addr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
        .attributes
        .push(NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)));
    message
}

fn neighbour(index: u32, ip: Ipv4Addr, mac: Option<MacAddr>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = index;
    message
        .attributes
        .push(NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)));
    if let Some(mac) = mac {
        message.header.state = NeighbourState::Permanent;
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        message
            .attributes
            .push(NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL)));
    }
    message
}

/// Not permanent, and still out of reach of the table's clean-up (`NTF_EXT_LEARNED`).
fn doubted(index: u32, ip: Ipv4Addr, mac: MacAddr) -> NeighbourMessage {
    let mut message = neighbour(index, ip, Some(mac));
    message.header.state = NeighbourState::Stale;
    message.header.flags = NeighbourFlags::ExtLearned;
    message
}

fn route(index: u32, key: &RouteKey, hop: Hop) -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(key.destination.ip(), key.destination.prefix())
        .priority(key.metric)
        .protocol(RouteProtocol::from(key.protocol));
    match hop {
        Hop::Vtep(via) => builder
            .gateway(via)
            .output_interface(index)
            .onlink()
            .build(),
        Hop::Link => builder
            .output_interface(index)
            .scope(RouteScope::Link)
            .build(),
        Hop::Blackhole => builder.kind(RouteType::BlackHole).build(),
    }
}

/// For deletion the scope matches any.
fn old_route(index: u32, key: &RouteKey, hop: Hop) -> RouteMessage {
    let mut message = route(index, key, hop);
    message.header.scope = RouteScope::NoWhere;
    message
}
