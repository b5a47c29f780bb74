//! Reads vxlan devices (`IFLA_VXLAN_*`, linux/if_link.h). Pure.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "attributes that we do not read are passed over"
)]

use std::net::Ipv4Addr;

use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};

use crate::adapters::netlink::decode::link;
use crate::host::vxlan_conflicts::{EXTERNAL, GBP, Vxlan};
use crate::model::addr::Vni;
use crate::overlay::state::Device;

/// Reads a vxlan device. `name_of` turns the index of its parent interface into a name.
pub(in crate::adapters::netlink) fn device(
    message: &LinkMessage,
    name_of: impl Fn(u32) -> Option<String>,
) -> Option<Device> {
    let data = vxlan_data(message)?;
    let link = link::attributes(message);
    let mut device = Device {
        name: link.name,
        vni: Vni::try_from(0).ok()?,
        parent: String::new(),
        local: Ipv4Addr::UNSPECIFIED,
        port: 0,
        mac: link.mac?,
        mtu: link.mtu,
        learning: false,
        gbp: false,
        alias: link.alias,
    };
    for info in data {
        match info {
            InfoVxlan::Id(id) => device.vni = Vni::try_from(*id).unwrap_or(device.vni),
            InfoVxlan::Link(index) => device.parent = name_of(*index).unwrap_or_default(),
            InfoVxlan::Local(ip) => device.local = *ip,
            InfoVxlan::Port(port) => device.port = *port,
            InfoVxlan::Learning(on) => device.learning = *on,
            InfoVxlan::Gbp => device.gbp = true,
            _ => {}
        }
    }
    Some(device)
}

/// Reads what decides whether a vxlan device, ours or not, leaves room for another one.
pub(in crate::adapters::netlink) fn port_user(message: &LinkMessage) -> Option<Vxlan> {
    let data = vxlan_data(message)?;
    let device = device(message, |_| None)?;
    Some(Vxlan {
        name: device.name,
        vni: device.vni,
        port: device.port,
        up: link::attributes(message).up,
        ipv6: data.iter().any(is_ipv6),
        receives: data.iter().filter_map(packet_kind).collect(),
    })
}

fn vxlan_data(message: &LinkMessage) -> Option<&[InfoVxlan]> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
                LinkInfo::Data(InfoData::Vxlan(data)) => Some(&data[..]),
                _ => None,
            }),
            _ => None,
        })
}

fn is_ipv6(info: &InfoVxlan) -> bool {
    matches!(info, InfoVxlan::Local6(_) | InfoVxlan::Group6(_))
}

/// Returns the word of `ip link` for an attribute that must be the same on all devices of one UDP
/// socket (`VXLAN_F_RCV_FLAGS`, net/vxlan.h).
pub(super) fn packet_kind(info: &InfoVxlan) -> Option<&'static str> {
    match info {
        InfoVxlan::CollectMetadata(true) => Some(EXTERNAL),
        InfoVxlan::Gbp => Some(GBP),
        InfoVxlan::Gpe => Some("gpe"),
        InfoVxlan::UDPZeroCsumRX(true) => Some("udp6zerocsumrx"),
        InfoVxlan::RemCsumRX(true) => Some("remcsumrx"),
        InfoVxlan::RemCsumNoPartial => Some("remcsum without partial checksums"),
        InfoVxlan::Vnifilter(true) => Some("vnifilter"),
        _ => None,
    }
}
