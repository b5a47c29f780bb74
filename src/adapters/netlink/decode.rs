//! Turns netlink messages into our types, one file for each kind of message. Pure; decides nothing
//! about what should be.
//!
//! A message that is not about the device in question, or that is not understood, yields `None`,
//! never an error: kernels send messages and attributes that no library knows yet.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel may send any message; most do not concern us"
)]

pub(super) mod address;
pub(super) mod link;
pub(super) mod neighbour;
pub(super) mod route;
pub(super) mod rule;
pub(super) mod vxlan;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage as Message;

use crate::adapters::netlink::message::messages;
use crate::model::addr::MacAddr;
use crate::overlay::port::{KernelChange, Miss};

/// The kernel announces some settings of interfaces, forwarding among them (linux/rtnetlink.h). The
/// library does not know the message.
const RTM_NEWNETCONF: u16 = 80;

/// Reads what the kernel announces in a datagram about any link, or about the device with this
/// index.
pub(super) fn change(datagram: &[u8], device: Option<u32>) -> Option<KernelChange> {
    if messages(datagram).any(|message| message.kind == RTM_NEWNETCONF) {
        return Some(KernelChange::Settings);
    }
    let message = message(datagram)?;
    if let Message::NewLink(message) | Message::DelLink(message) = &message {
        return Some(KernelChange::Link(link::attributes(message).name));
    }
    if let Message::NewRule(_) | Message::DelRule(_) = &message {
        return Some(KernelChange::Rules);
    }
    let device = device?;
    match &message {
        Message::NewAddress(message) => address::change(message, device, true),
        Message::DelAddress(message) => address::change(message, device, false),
        Message::NewNeighbour(message) => neighbour::change(message, device, true),
        Message::DelNeighbour(message) => neighbour::change(message, device, false),
        Message::NewRoute(message) => route::change(message, device, true),
        Message::DelRoute(message) => route::change(message, device, false),
        _ => None,
    }
}

/// Reads the kernel's question for an address, with the index of the device that needs it.
pub(super) fn miss(datagram: &[u8]) -> Option<(u32, Miss)> {
    match message(datagram)? {
        Message::GetNeighbour(question) => neighbour::miss(&question),
        _ => None,
    }
}

fn message(datagram: &[u8]) -> Option<Message> {
    let message = NetlinkMessage::<Message>::deserialize(datagram).ok()?;
    match message.payload {
        NetlinkPayload::InnerMessage(message) => Some(message),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    bytes.try_into().ok().map(MacAddr)
}

#[cfg(test)]
mod tests;
