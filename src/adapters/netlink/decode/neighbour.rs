//! Reads messages about neighbours and FDB entries, which share a form (`struct ndmsg`,
//! linux/neighbour.h), and the kernel's questions for either. Pure. Allocates nothing: 60,000 of
//! these arrive in one dump.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "attributes that we do not read are passed over"
)]

use std::net::Ipv4Addr;
use std::time::Duration;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use crate::adapters::netlink::decode::mac;
use crate::model::addr::MacAddr;
use crate::overlay::port::{KernelChange, Miss, NeighbourUse};

/// `USER_HZ`: the unit of the times in `struct nda_cacheinfo`.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// Reads an FDB entry of the device that a program made. Learned entries come and go by themselves.
pub(in crate::adapters::netlink) fn fdb(
    message: &NeighbourMessage,
    device: u32,
) -> Option<(MacAddr, Ipv4Addr)> {
    let is_static =
        has_state(message, NeighbourState::Permanent) || has_state(message, NeighbourState::Noarp);
    if message.header.ifindex != device || !is_static {
        return None;
    }
    Some((link_layer(message)?, destination(message)?))
}

/// Reads a permanent IPv4 neighbour of the device. Neighbours that the kernel resolves come and go
/// by themselves.
pub(in crate::adapters::netlink) fn permanent(
    message: &NeighbourMessage,
    device: u32,
) -> Option<(Ipv4Addr, MacAddr)> {
    if message.header.ifindex != device || !has_state(message, NeighbourState::Permanent) {
        return None;
    }
    Some((destination(message)?, link_layer(message)?))
}

/// Reads how long an IPv4 neighbour of the device has not been used.
pub(in crate::adapters::netlink) fn age(
    message: &NeighbourMessage,
    device: u32,
) -> Option<NeighbourUse> {
    if message.header.ifindex != device {
        return None;
    }
    Some(NeighbourUse {
        address: destination(message)?,
        used: CLOCK_TICK * message.attributes.iter().find_map(ticks_since_use)?,
        stale: message.header.state == NeighbourState::Stale,
    })
}

/// Reads the address of a neighbour for which packets wait.
pub(in crate::adapters::netlink) fn unresolved(
    message: &NeighbourMessage,
    device: u32,
) -> Option<Ipv4Addr> {
    let waits =
        message.header.ifindex == device && message.header.state == NeighbourState::Incomplete;
    if waits { destination(message) } else { None }
}

/// Reads a change of an FDB entry or a neighbour. A neighbour that is not permanent any more counts
/// as gone.
pub(super) fn change(
    message: &NeighbourMessage,
    device: u32,
    exists: bool,
) -> Option<KernelChange> {
    if message.header.ifindex != device {
        return None;
    }
    match message.header.family {
        AddressFamily::Bridge => {
            fdb(message, device).map(|(mac, ip)| KernelChange::Fdb(mac, exists.then_some(ip)))
        }
        AddressFamily::Inet => {
            let mac = permanent(message, device).map(|(_, mac)| mac);
            let ip = destination(message)?;
            Some(KernelChange::Neighbour(ip, mac.filter(|_| exists)))
        }
        _ => None,
    }
}

/// Reads a question: for the FDB entry of an Ethernet address, or for the neighbour with an IP
/// address.
///
/// The family does not tell them apart, it is `AF_INET` in both. The question for a neighbour that
/// is being refreshed names its Ethernet address as well: an IP address makes it a question for a
/// neighbour.
pub(super) fn miss(question: &NeighbourMessage) -> Option<(u32, Miss)> {
    let asks_for_ip = question
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, NeighbourAttribute::Destination(_)));
    let miss = if asks_for_ip {
        Miss::L3(destination(question)?)
    } else {
        Miss::L2(link_layer(question)?)
    };
    Some((question.header.ifindex, miss))
}

/// A state is a set of bits: `bridge fdb add` sets two of them.
fn has_state(message: &NeighbourMessage, state: NeighbourState) -> bool {
    u16::from(message.header.state) & u16::from(state) != 0
}

fn ticks_since_use(attribute: &NeighbourAttribute) -> Option<u32> {
    match attribute {
        NeighbourAttribute::CacheInfo(info) => Some(info.used),
        _ => None,
    }
}

fn destination(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(address) => Some(address),
            _ => None,
        })?;
    match address {
        NeighbourAddress::Inet(ip) => Some(*ip),
        // FDB entries are of the family AF_BRIDGE, in which the library does not interpret
        // addresses.
        NeighbourAddress::Other(bytes) => <[u8; 4]>::try_from(&bytes[..]).ok().map(Ipv4Addr::from),
        _ => None,
    }
}

fn link_layer(message: &NeighbourMessage) -> Option<MacAddr> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac(bytes),
            _ => None,
        })
}
