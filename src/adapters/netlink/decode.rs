//! Owns the translation of netlink messages into the picture of the kernel: pure. What is not ours or not understood
//! is `None`, never an error: kernels send attributes that no library knows yet.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::host::vxlan_conflicts::{EXTERNAL, GBP, Vxlan};
use crate::model::addr::{MacAddr, Vni, covers};
use crate::overlay::port::{Age, KernelChange, Miss};
use crate::overlay::state::{Device, Hop, PROTOCOL, RouteKey};

/// A link as far as we care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Option<MacAddr>,
    pub(super) mtu: u32,
    pub(super) up: bool,
    /// Kind of a virtual device: `vxlan`, `bridge`; empty for others.
    pub(super) kind: String,
}

/// Reads what any link has.
pub(super) fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        kind: String::new(),
    };
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        } else if let LinkAttribute::Address(bytes) = attribute {
            link.mac = mac(bytes);
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = *mtu;
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            link.kind = kind(infos).map(ToString::to_string).unwrap_or_default();
        }
    }
    link
}

fn kind(infos: &[LinkInfo]) -> Option<&InfoKind> {
    infos.iter().find_map(|info| {
        if let LinkInfo::Kind(kind) = info {
            Some(kind)
        } else {
            None
        }
    })
}

/// Reads a vxlan device. `parent` turns the index of the interface below into its name.
pub(super) fn device(
    message: &LinkMessage,
    parent: impl Fn(u32) -> Option<String>,
) -> Option<Device> {
    let basics = link(message);
    let mut device = Device {
        name: basics.name,
        vni: Vni::try_from(0).ok()?,
        parent: String::new(),
        local: Ipv4Addr::UNSPECIFIED,
        port: 0,
        mac: MacAddr([0; 6]),
        mtu: basics.mtu,
        learning: false,
        gbp: false,
        alias: String::new(),
    };
    let mut is_vxlan = false;
    for attribute in &message.attributes {
        if let LinkAttribute::Address(bytes) = attribute {
            device.mac = mac(bytes)?;
        } else if let LinkAttribute::IfAlias(alias) = attribute {
            device.alias.clone_from(alias);
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            vxlan_data(infos)?
                .iter()
                .for_each(|info| vxlan_attribute(&mut device, info, &parent));
            is_vxlan = true;
        }
    }
    is_vxlan.then_some(device)
}

fn vxlan_data(infos: &[LinkInfo]) -> Option<&[InfoVxlan]> {
    infos.iter().find_map(|info| {
        if let LinkInfo::Data(InfoData::Vxlan(data)) = info {
            Some(&data[..])
        } else {
            None
        }
    })
}

fn vxlan_attribute(device: &mut Device, info: &InfoVxlan, parent: impl Fn(u32) -> Option<String>) {
    if let InfoVxlan::Id(id) = info {
        device.vni = Vni::try_from(*id).unwrap_or(device.vni);
    } else if let InfoVxlan::Link(index) = info {
        device.parent = parent(*index).unwrap_or_default();
    } else if let InfoVxlan::Local(ip) = info {
        device.local = *ip;
    } else if let InfoVxlan::Port(port) = info {
        device.port = *port;
    } else if let InfoVxlan::Learning(yes) = info {
        device.learning = *yes;
    } else if *info == InfoVxlan::Gbp {
        device.gbp = true;
    }
}

/// Reads what of a vxlan device, ours or not, may be in the way of another one.
pub(super) fn vxlan(message: &LinkMessage) -> Option<Vxlan> {
    let device = device(message, |_| None)?;
    let infos = message.attributes.iter().filter_map(|attribute| {
        if let LinkAttribute::LinkInfo(infos) = attribute {
            vxlan_data(infos)
        } else {
            None
        }
    });
    let data: Vec<&InfoVxlan> = infos.flatten().collect();
    Some(Vxlan {
        name: device.name,
        vni: device.vni,
        port: device.port,
        up: message.header.flags.contains(LinkFlags::Up),
        ipv6: data
            .iter()
            .any(|info| matches!(info, InfoVxlan::Local6(_) | InfoVxlan::Group6(_))),
        receives: data.into_iter().filter_map(receives).collect(),
    })
}

/// The attributes in which devices on one socket are equal (`VXLAN_F_RCV_FLAGS`).
fn receives(info: &InfoVxlan) -> Option<&'static str> {
    const FLAGS: [(InfoVxlan, &str); 7] = [
        (InfoVxlan::CollectMetadata(true), EXTERNAL),
        (InfoVxlan::Gbp, GBP),
        (InfoVxlan::Gpe, "gpe"),
        (InfoVxlan::UDPZeroCsumRX(true), "udp6zerocsumrx"),
        (InfoVxlan::RemCsumRX(true), "remcsumrx"),
        (
            InfoVxlan::RemCsumNoPartial,
            "remcsum without partial checksums",
        ),
        (InfoVxlan::Vnifilter(true), "vnifilter"),
    ];
    FLAGS
        .iter()
        .find(|(flag, _)| flag == info)
        .map(|(_, word)| *word)
}

/// An IPv4 address of an interface, with the interface's index.
pub(super) fn address(message: &AddressMessage) -> Option<(u32, Ipv4Network)> {
    let local = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Local(std::net::IpAddr::V4(ip)) = attribute {
            Some(*ip)
        } else {
            None
        }
    })?;
    Some((
        message.header.index,
        Ipv4Network::new(local, message.header.prefix_len).ok()?,
    ))
}

/// An FDB entry of the device that somebody put there. Learned ones come and go by themselves.
pub(super) fn fdb(message: &NeighbourMessage, device: u32) -> Option<(MacAddr, Ipv4Addr)> {
    let put = [NeighbourState::Permanent, NeighbourState::Noarp];
    if message.header.ifindex != device || !put.into_iter().any(|state| has(message, state)) {
        return None;
    }
    Some((link_layer(message)?, destination(message)?))
}

/// A permanent IPv4 neighbour on the device. What the kernel resolved or failed to resolve comes and goes by itself.
pub(super) fn neighbour(message: &NeighbourMessage, device: u32) -> Option<(Ipv4Addr, MacAddr)> {
    if message.header.ifindex != device || !has(message, NeighbourState::Permanent) {
        return None;
    }
    Some((destination(message)?, link_layer(message)?))
}

/// States are bits: `bridge fdb add` sets two of them.
fn has(message: &NeighbourMessage, state: NeighbourState) -> bool {
    u16::from(message.header.state) & u16::from(state) != 0
}

/// A route through the device, or one of ours that leads nowhere. Routes that the kernel makes for addresses
/// (`proto kernel`) go with them.
pub(super) fn route(message: &RouteMessage, device: u32) -> Option<(RouteKey, Hop)> {
    let header = &message.header;
    if table(message) != u32::from(RouteHeader::RT_TABLE_MAIN)
        || header.protocol == RouteProtocol::Kernel
    {
        return None;
    }
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let (mut metric, mut out, mut via) = (0, None, None);
    for attribute in &message.attributes {
        if let RouteAttribute::Destination(RouteAddress::Inet(ip)) = attribute {
            destination = *ip;
        } else if let RouteAttribute::Priority(priority) = attribute {
            metric = *priority;
        } else if let RouteAttribute::Oif(index) = attribute {
            out = Some(*index);
        } else if let RouteAttribute::Gateway(RouteAddress::Inet(ip)) = attribute {
            via = Some(*ip);
        }
    }
    let hop = if header.kind == RouteType::Unicast && out == Some(device) {
        via.map_or(Hop::Link, Hop::Vtep)
    } else if header.kind == RouteType::BlackHole && u8::from(header.protocol) == PROTOCOL {
        Hop::Blackhole
    } else {
        return None;
    };
    let destination = Ipv4Network::new(destination, header.destination_prefix_length).ok()?;
    Some((
        RouteKey {
            destination,
            metric,
            protocol: header.protocol.into(),
        },
        hop,
    ))
}

/// The same, `None` where the destination is not inside `network`: such a route belongs to another program.
pub(super) fn route_in(
    message: &RouteMessage,
    device: u32,
    network: Ipv4Network,
) -> Option<(RouteKey, Hop)> {
    route(message, device).filter(|(key, _)| covers(network, key.destination))
}

fn table(message: &RouteMessage) -> u32 {
    let long = message.attributes.iter().find_map(|a| {
        if let RouteAttribute::Table(t) = a {
            Some(*t)
        } else {
            None
        }
    });
    long.unwrap_or_else(|| u32::from(message.header.table))
}

/// The interface and source address of a route that the kernel looked up.
pub(super) fn way(message: &RouteMessage) -> Option<(u32, Ipv4Addr)> {
    let (mut out, mut source) = (None, None);
    for attribute in &message.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            out = Some(*index);
        } else if let RouteAttribute::PrefSource(RouteAddress::Inet(ip)) = attribute {
            source = Some(*ip);
        }
    }
    Some((out?, source?))
}

/// What a datagram of the kernel tells of the device with this index, or of any link.
pub(super) fn change(datagram: &[u8], device: Option<u32>) -> Option<KernelChange> {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram).ok()?;
    let NetlinkPayload::InnerMessage(message) = message.payload else {
        return None;
    };
    if let RouteNetlinkMessage::NewLink(message) | RouteNetlinkMessage::DelLink(message) = &message
    {
        return Some(KernelChange::Link(link(message).name));
    }
    let device = device?;
    if let RouteNetlinkMessage::NewAddress(message) = &message {
        address_change(message, device, true)
    } else if let RouteNetlinkMessage::DelAddress(message) = &message {
        address_change(message, device, false)
    } else if let RouteNetlinkMessage::NewNeighbour(message) = &message {
        neighbour_change(message, device, true)
    } else if let RouteNetlinkMessage::DelNeighbour(message) = &message {
        neighbour_change(message, device, false)
    } else if let RouteNetlinkMessage::NewRoute(message) = &message {
        route(message, device).map(|(key, hop)| KernelChange::Route(key, Some(hop)))
    } else if let RouteNetlinkMessage::DelRoute(message) = &message {
        route(message, device).map(|(key, _)| KernelChange::Route(key, None))
    } else {
        None
    }
}

fn address_change(message: &AddressMessage, device: u32, there: bool) -> Option<KernelChange> {
    address(message)
        .filter(|(index, _)| *index == device)
        .map(|(_, net)| KernelChange::Address(net, there))
}

/// FDB entries and neighbours come in the same kind of message. A neighbour that is not permanent any more counts as gone.
fn neighbour_change(message: &NeighbourMessage, device: u32, there: bool) -> Option<KernelChange> {
    if message.header.ifindex != device {
        return None;
    }
    if message.header.family == AddressFamily::Bridge {
        return fdb(message, device).map(|(mac, ip)| KernelChange::Fdb(mac, there.then_some(ip)));
    }
    if message.header.family != AddressFamily::Inet {
        return None;
    }
    let mac = neighbour(message, device)
        .map(|(_, mac)| mac)
        .filter(|_| there);
    Some(KernelChange::Neighbour(destination(message)?, mac))
}

/// How long an IPv4 neighbour on the device has not been used.
pub(super) fn age(message: &NeighbourMessage, device: u32) -> Option<Age> {
    /// `USER_HZ`: the unit of times in `nda_cacheinfo`.
    const TICK: Duration = Duration::from_millis(10);
    if message.header.ifindex != device {
        return None;
    }
    let ticks = message.attributes.iter().find_map(|attribute| {
        if let NeighbourAttribute::CacheInfo(info) = attribute {
            Some(info.used)
        } else {
            None
        }
    })?;
    let untouched = message.header.state == NeighbourState::Stale;
    Some(Age {
        address: destination(message)?,
        used: TICK * ticks,
        untouched,
    })
}

/// The address of a neighbour for which packets wait.
pub(super) fn unresolved(message: &NeighbourMessage, device: u32) -> Option<Ipv4Addr> {
    let waiting =
        message.header.ifindex == device && message.header.state == NeighbourState::Incomplete;
    if waiting { destination(message) } else { None }
}

/// The question in a datagram of the kernel, with the index of the device. The family tells nothing: questions
/// for FDB entries come as `AF_INET` too. An address to resolve makes it L3, even when a link-layer address comes
/// along, as it does when an entry is being refreshed.
pub(super) fn miss(datagram: &[u8]) -> Option<(u32, Miss)> {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram).ok()?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::GetNeighbour(question)) = message.payload
    else {
        return None;
    };
    let index = question.header.ifindex;
    match destination(&question) {
        Some(ip) => Some((index, Miss::L3(ip))),
        None if question
            .attributes
            .iter()
            .any(|a| matches!(a, NeighbourAttribute::Destination(_))) =>
        {
            None
        }
        None => Some((index, Miss::L2(link_layer(&question)?))),
    }
}

/// FDB entries are of family `AF_BRIDGE`, for which the library leaves addresses as bytes.
fn destination(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    let address = message.attributes.iter().find_map(|attribute| {
        if let NeighbourAttribute::Destination(address) = attribute {
            Some(address)
        } else {
            None
        }
    })?;
    if let NeighbourAddress::Inet(ip) = address {
        Some(*ip)
    } else if let NeighbourAddress::Other(bytes) = address {
        <[u8; 4]>::try_from(&bytes[..]).ok().map(Ipv4Addr::from)
    } else {
        None
    }
}

fn link_layer(message: &NeighbourMessage) -> Option<MacAddr> {
    message.attributes.iter().find_map(|attribute| {
        if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac(bytes)
        } else {
            None
        }
    })
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    bytes.try_into().ok().map(MacAddr)
}

#[cfg(test)]
mod tests;
