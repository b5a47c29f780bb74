//! Reads what every interface has (`struct ifinfomsg`, linux/if_link.h). Pure.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "attributes that we do not read are passed over"
)]

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Prop};

use crate::adapters::netlink::decode::mac;
use crate::model::addr::MacAddr;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::adapters::netlink) struct Link {
    pub(in crate::adapters::netlink) index: u32,
    pub(in crate::adapters::netlink) name: String,
    pub(in crate::adapters::netlink) mac: Option<MacAddr>,
    /// Largest IP packet, in bytes.
    pub(in crate::adapters::netlink) mtu: u32,
    /// Its other names (`IFLA_PROP_LIST`).
    pub(in crate::adapters::netlink) altnames: Vec<String>,
    /// Whether the interface is administratively up.
    pub(in crate::adapters::netlink) up: bool,
    /// Whether it has a carrier (`IFF_LOWER_UP`).
    pub(in crate::adapters::netlink) carrier: bool,
    pub(in crate::adapters::netlink) loopback: bool,
    /// Kind of a virtual interface, `vxlan` or `bridge`; empty for others.
    pub(in crate::adapters::netlink) kind: String,
    /// Free text; empty if there is none.
    pub(in crate::adapters::netlink) alias: String,
}

/// Reads an interface.
pub(in crate::adapters::netlink) fn attributes(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        altnames: Vec::new(),
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        kind: String::new(),
        alias: String::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::PropList(props) => {
                link.altnames = props.iter().filter_map(altname).collect()
            }
            LinkAttribute::LinkInfo(infos) => {
                link.kind = kind(infos).map(ToString::to_string).unwrap_or_default();
            }
            _ => {}
        }
    }
    link
}

fn altname(prop: &Prop) -> Option<String> {
    match prop {
        Prop::AltIfName(name) => Some(name.clone()),
        _ => None,
    }
}

fn kind(infos: &[LinkInfo]) -> Option<&InfoKind> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}
