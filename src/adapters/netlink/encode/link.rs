//! Messages about a device (`struct ifinfomsg`, linux/if_link.h). Pure.

use std::net::Ipv4Addr;

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::LinkVxlan;

use crate::overlay::state::Device;

/// The device with this index, without any change.
pub(super) fn link(device: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = device;
    message
}

/// A new vxlan device that sends through the interface with the index `parent`.
pub(super) fn vxlan(spec: &Device, parent: u32) -> LinkMessage {
    // l2miss makes the driver ask for the outer address of a MAC without FDB entry. l3miss is not
    // set: for packets that are routed into the device the neighbour table asks (app_solicit), and
    // the flag does nothing.
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

/// The device with another source address for its outer packets.
pub(super) fn with_local(device: u32, ip: Ipv4Addr) -> LinkMessage {
    with_vxlan(device, InfoVxlan::Local(ip))
}

/// The device with another interface to send through.
pub(super) fn with_parent(device: u32, parent: u32) -> LinkMessage {
    with_vxlan(device, InfoVxlan::Link(parent))
}

fn with_vxlan(device: u32, property: InfoVxlan) -> LinkMessage {
    let mut message = link(device);
    let info = vec![
        LinkInfo::Kind(InfoKind::Vxlan),
        LinkInfo::Data(InfoData::Vxlan(vec![property])),
    ];
    message.attributes.push(LinkAttribute::LinkInfo(info));
    message
}

/// The device administratively up.
pub(super) fn up(device: u32) -> LinkMessage {
    let mut message = link(device);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}
