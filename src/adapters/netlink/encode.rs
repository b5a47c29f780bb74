//! Turns an operation into the netlink request that carries it out: one request for each operation.
//! Pure; decides nothing that the operation leaves open.
//!
//! The header flags say what happens when the object exists already (linux/netlink.h): a new device
//! and a new route must be new (`NLM_F_EXCL`), entries replace those with the same key (`NLM_F_REPLACE`).

mod address;
mod link;
mod neighbour;
mod route;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::LinkAttribute;

use crate::overlay::plan::Op;

/// A message with the header flags that give it its meaning.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) message: Message,
}

impl Request {
    /// Changes or removes an object; fails if it does not exist.
    fn change(message: Message) -> Self {
        Self {
            flags: NLM_F_REQUEST | NLM_F_ACK,
            message,
        }
    }

    /// Creates an object; fails if it exists.
    fn create(message: Message) -> Self {
        Self {
            flags: NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
            message,
        }
    }

    /// Creates an object, or replaces the one with the same key.
    fn put(message: Message) -> Self {
        Self {
            flags: NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
            message,
        }
    }
}

/// Returns the request for an operation on the device with the index `device`, or `None` for an
/// operation that does not use rtnetlink. `parent` is the index of another interface, if the
/// operation has one: the one through which the device is to send, the one of a foreign route, or
/// the old device.
pub(super) fn request(op: &Op, device: u32, parent: u32) -> Option<Request> {
    Some(match op {
        Op::CreateDevice(spec) => Request::create(Message::NewLink(link::vxlan(spec, parent))),
        Op::DeleteDevice => Request::change(Message::DelLink(link::link(device))),
        Op::SetParent(_) => Request::change(Message::NewLink(link::with_parent(device, parent))),
        Op::SetLocal(ip) => Request::change(Message::NewLink(link::with_local(device, *ip))),
        Op::SetMac(mac) => set_link(device, LinkAttribute::Address(mac.0.to_vec())),
        Op::SetMtu(mtu) => set_link(device, LinkAttribute::Mtu(*mtu)),
        Op::SetAlias(alias) => set_link(device, LinkAttribute::IfAlias(alias.clone())),
        Op::SetUp => Request::change(Message::SetLink(link::up(device))),
        Op::AddAddress(net) => Request::put(Message::NewAddress(address::address(device, *net))),
        Op::DelAddress(net) => Request::change(Message::DelAddress(address::address(device, *net))),
        Op::SetSysctl(..) | Op::SetTxChecksum(_) => return None,
        Op::PutFdb(mac, ip) => {
            Request::put(Message::NewNeighbour(neighbour::fdb(device, *mac, *ip)))
        }
        Op::DelFdb(mac, ip) => {
            Request::change(Message::DelNeighbour(neighbour::fdb(device, *mac, *ip)))
        }
        Op::PutNeighbour(ip, mac) => Request::put(Message::NewNeighbour(neighbour::permanent(
            device, *ip, *mac,
        ))),
        Op::TestNeighbour(ip, mac) => {
            Request::put(Message::NewNeighbour(neighbour::stale(device, *ip, *mac)))
        }
        Op::DelNeighbour(ip) => Request::change(Message::DelNeighbour(neighbour::any(device, *ip))),
        Op::AddRoute(key, hop) => Request::create(Message::NewRoute(route::new(device, key, *hop))),
        Op::PutRoute(key, hop) => Request::put(Message::NewRoute(route::new(device, key, *hop))),
        Op::DelRoute(key, hop) => {
            Request::change(Message::DelRoute(route::existing(device, key, *hop)))
        }
        Op::DelForeignRoute(foreign) => {
            Request::change(Message::DelRoute(route::foreign(foreign, parent)))
        }
        Op::DeleteOldDevice(_) => Request::change(Message::DelLink(link::link(parent))),
    })
}

fn set_link(device: u32, attribute: LinkAttribute) -> Request {
    let mut message = link::link(device);
    message.attributes.push(attribute);
    Request::change(Message::SetLink(message))
}

#[cfg(test)]
mod tests;
