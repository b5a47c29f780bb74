//! What a look at this host brings: its interfaces, and the ways to etcd and to the world. Pure.

use std::net::Ipv4Addr;

use crate::model::addr::MacAddr;

/// Kinds of devices that programs for containers make.
const KINDS_OF_PODS: [&str; 7] = [
    "bridge",
    "veth",
    "vxlan",
    "dummy",
    "macvlan",
    "ipvlan",
    "openvswitch",
];

/// A network interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its number, which stays when it is renamed.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address, if its kind has one.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its other names (`ip link property add altname`).
    pub altnames: Vec<String>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it has a carrier: the cable is in, the bridge has a port that works.
    pub carrier: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Kind of a virtual interface, such as `bridge`; empty for others.
    pub kind: String,
    /// Its IPv4 addresses, in the kernel's order.
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: Ipv4Addr,
    /// Length of the subnet that it is in: 32 if it stands alone.
    pub prefix: u8,
    /// Its label: the name of the interface, or `eth0:1`, which looks like a second interface to old tools.
    pub label: String,
    /// Whether it is one that packets to other hosts may well come from: neither deprecated or tentative, nor of a scope
    /// that ends at this host or link.
    pub preferred: bool,
}

impl Interface {
    /// Whether it has this address.
    pub(crate) fn has(&self, ip: Ipv4Addr) -> bool {
        self.addresses.iter().any(|address| address.ip == ip)
    }

    /// Whether it is of a kind that programs for containers and virtual machines make. If the underlay is one of them, it is
    /// known by its routes.
    pub(crate) fn is_of_pods(&self) -> bool {
        KINDS_OF_PODS.contains(&self.kind.as_str())
    }
}

/// The route that a packet to some address would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLookup {
    /// Name of the interface.
    pub interface: String,
    /// Source address that the kernel would choose.
    pub source: Ipv4Addr,
    /// The router that it leads to first, if there is one.
    pub gateway: Option<Ipv4Addr>,
}

/// The way to a member of etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberRoute {
    /// It leaves this host.
    Via(RouteLookup),
    /// The member is on this host, or has no IPv4 address: it says nothing about the network between the hosts.
    OnThisHost,
    /// No route leads there; the text is for people.
    None(String),
    /// Its address is unknown; the text is for people.
    Unknown(String),
}

/// What a choice is made from, as the kernel has it at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    pub(crate) interfaces: Vec<Interface>,
    /// The route to the address of `--iface-can-reach`.
    pub(crate) can_reach: Option<RouteLookup>,
    /// The way to each member of etcd, by its URL, in the order of the options.
    pub(crate) etcd: Vec<(String, MemberRoute)>,
    /// The address of each member of etcd that is not on this host, by its URL.
    pub(crate) etcd_addresses: Vec<(String, Ipv4Addr)>,
    /// The default route.
    pub(crate) default: Option<RouteLookup>,
}
