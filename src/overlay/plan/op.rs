//! One change of the kernel, and the command with which a person could make the same change. Pure.

use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::MacAddr;
use crate::overlay::paths::route::ForeignRoute;
use crate::overlay::state::{Device, NextHop, RouteKey, Sysctl};

/// One change of the kernel. Applying it twice does no harm: what exists already, or is gone already, is a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// Creates the vxlan device, down and without addresses.
    CreateDevice(Device),
    /// Removes the device with its addresses, entries and routes.
    DeleteDevice,
    /// Changes the interface that the device sends through; all entries stay.
    SetParent(String),
    /// Changes the source address of outer packets; all entries stay.
    SetLocal(Ipv4Addr),
    /// Changes the VTEP MAC of this host. The kernel then drops all neighbours of the device.
    SetMac(MacAddr),
    SetMtu(u32),
    /// Changes the text that says whose device it is.
    SetAlias(String),
    SetUp,
    AddAddress(Ipv4Network),
    DelAddress(Ipv4Network),
    SetSysctl(Sysctl, i32),
    /// Leaves the checksums of inner packets to the network card, or makes the kernel compute them.
    SetTxChecksum(bool),
    /// Adds or replaces an FDB entry: inner MAC address to outer IP address.
    PutFdb(MacAddr, Ipv4Addr),
    DelFdb(MacAddr, Ipv4Addr),
    /// Adds or replaces a permanent neighbour.
    PutNeighbour(Ipv4Addr, MacAddr),
    /// Makes a permanent neighbour stale: it works as before, and the kernel notes when it is used.
    TestNeighbour(Ipv4Addr, MacAddr),
    DelNeighbour(Ipv4Addr),
    /// Adds a route where none with its destination and metric is: one of another program must not be replaced.
    AddRoute(RouteKey, NextHop),
    /// Replaces a route of ours, or of Go flannel, with this destination and metric.
    PutRoute(RouteKey, NextHop),
    DelRoute(RouteKey, NextHop),
    /// Removes a route that Go flannel left behind, or one of another program through our device.
    DelForeignRoute(ForeignRoute),
    /// Removes a device of ours from the time before the VNI changed.
    DeleteOldDevice(String),
}

impl Op {
    pub(crate) const fn creates_device(&self) -> bool {
        matches!(self, Self::CreateDevice(_))
    }

    /// Whether it removes something: then it succeeds too if that is gone already.
    pub(crate) fn removes(&self) -> bool {
        match self {
            Self::DeleteDevice
            | Self::DelAddress(_)
            | Self::DelFdb(..)
            | Self::DelNeighbour(_)
            | Self::DelRoute(..)
            | Self::DelForeignRoute(_)
            | Self::DeleteOldDevice(_) => true,
            Self::CreateDevice(_)
            | Self::SetParent(_)
            | Self::SetLocal(_)
            | Self::SetMac(_)
            | Self::SetMtu(_)
            | Self::SetAlias(_)
            | Self::SetUp
            | Self::AddAddress(_)
            | Self::SetSysctl(..)
            | Self::SetTxChecksum(_)
            | Self::PutFdb(..)
            | Self::PutNeighbour(..)
            | Self::TestNeighbour(..)
            | Self::AddRoute(..)
            | Self::PutRoute(..) => false,
        }
    }

    /// Returns the command that makes the same change to `device`.
    pub(crate) fn command<'a>(&'a self, device: &'a str) -> impl fmt::Display + 'a {
        OpCommand { op: self, device }
    }
}

struct OpCommand<'a> {
    op: &'a Op,
    device: &'a str,
}

impl fmt::Display for OpCommand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dev = self.device;
        match self.op {
            Op::CreateDevice(device) => create_command(f, device),
            Op::DeleteDevice => write!(f, "ip link del {dev}"),
            Op::SetParent(parent) => write!(f, "ip link set {dev} type vxlan dev {parent}"),
            Op::SetLocal(ip) => write!(f, "ip link set {dev} type vxlan local {ip}"),
            Op::SetMac(mac) => write!(f, "ip link set {dev} address {mac}"),
            Op::SetMtu(mtu) => write!(f, "ip link set {dev} mtu {mtu}"),
            Op::SetAlias(alias) => write!(f, "ip link set {dev} alias {alias:?}"),
            Op::SetUp => write!(f, "ip link set {dev} up"),
            Op::AddAddress(address) => write!(f, "ip address add {address} dev {dev}"),
            Op::DelAddress(address) => write!(f, "ip address del {address} dev {dev}"),
            Op::SetSysctl(sysctl, value) => {
                write!(f, "echo {value} > /proc/sys/{}", sysctl.path(dev))
            }
            Op::SetTxChecksum(on) => {
                let value = if *on { "on" } else { "off" };
                write!(f, "ethtool -K {dev} tx-checksum-ip-generic {value}")
            }
            Op::PutFdb(mac, ip) => write!(
                f,
                "bridge fdb replace {mac} dev {dev} dst {ip} self permanent"
            ),
            Op::DelFdb(mac, ip) => write!(f, "bridge fdb del {mac} dev {dev} dst {ip} self"),
            Op::PutNeighbour(ip, mac) => write!(
                f,
                "ip neigh replace {ip} lladdr {mac} dev {dev} nud permanent"
            ),
            Op::TestNeighbour(ip, mac) => {
                write!(
                    f,
                    "ip neigh replace {ip} lladdr {mac} dev {dev} nud stale extern_learn"
                )
            }
            Op::DelNeighbour(ip) => write!(f, "ip neigh del {ip} dev {dev}"),
            Op::AddRoute(key, hop) => route_command(f, "add", key, *hop, dev),
            Op::PutRoute(key, hop) => route_command(f, "replace", key, *hop, dev),
            Op::DelRoute(key, hop) => route_command(f, "del", key, *hop, dev),
            Op::DelForeignRoute(route) => write!(f, "ip route del {route}"),
            Op::DeleteOldDevice(name) => write!(f, "ip link del {name}"),
        }
    }
}

fn create_command(f: &mut fmt::Formatter<'_>, device: &Device) -> fmt::Result {
    let Device {
        name,
        vni,
        parent,
        local,
        port,
        mac,
        mtu,
        learning,
        gbp,
        alias: _,
    } = device;
    let learning = if *learning { "learning" } else { "nolearning" };
    let gbp = if *gbp { " gbp" } else { "" };
    write!(f, "ip link add {name} address {mac} mtu {mtu} ")?;
    write!(
        f,
        "type vxlan id {vni} local {local} dev {parent} dstport {port} {learning} l2miss{gbp}"
    )
}

fn route_command(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    key: &RouteKey,
    hop: NextHop,
    dev: &str,
) -> fmt::Result {
    let RouteKey {
        destination,
        metric,
        protocol,
    } = key;
    match hop {
        NextHop::Vtep(via) => write!(
            f,
            "ip route {verb} {destination} via {via} dev {dev} onlink"
        )?,
        NextHop::Link => write!(f, "ip route {verb} {destination} dev {dev} scope link")?,
        NextHop::Blackhole => write!(f, "ip route {verb} blackhole {destination}")?,
    }
    if *metric > 0 {
        write!(f, " metric {metric}")?;
    }
    write!(f, " proto {protocol}")
}
