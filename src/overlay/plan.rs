//! Owns the way from what is to what should be: the operations and their order. The executor has no choice left:
//! every operation holds all the values that it needs. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::MacAddr;
use crate::overlay::state::{Device, Entries, Hop, OverlayState, RouteKey, Sysctl};

/// One change of the kernel. All of them may be done again: what is there already, or gone already, is fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes the vxlan device, down, without addresses.
    CreateDevice(Device),
    /// Removes the device with all that hangs on it.
    DeleteDevice,
    /// Changes the source address of outer packets in place; all entries stay.
    SetLocal(Ipv4Addr),
    /// Changes the device's own Ethernet address.
    SetMac(MacAddr),
    /// Changes the device's MTU.
    SetMtu(u32),
    /// Changes the text that says whose device it is.
    SetAlias(String),
    /// Brings the device up.
    SetUp,
    /// Gives the device an address.
    AddAddress(Ipv4Network),
    /// Takes an address from the device.
    DelAddress(Ipv4Network),
    /// Sets a kernel setting of the device.
    SetSysctl(Sysctl, i32),
    /// Leaves the checksums of inner packets to the hardware, or has the kernel make them.
    SetTxChecksum(bool),
    /// Adds or replaces the FDB entry of an Ethernet address.
    PutFdb(MacAddr, Ipv4Addr),
    /// Removes an FDB entry.
    DelFdb(MacAddr, Ipv4Addr),
    /// Adds or replaces a permanent neighbour.
    PutNeighbour(Ipv4Addr, MacAddr),
    /// Makes a permanent neighbour one whose use shows: it works as before, and the kernel notes when it does.
    DoubtNeighbour(Ipv4Addr, MacAddr),
    /// Removes a neighbour.
    DelNeighbour(Ipv4Addr),
    /// Adds or replaces a route.
    PutRoute(RouteKey, Hop),
    /// Removes a route.
    DelRoute(RouteKey, Hop),
}

impl Op {
    /// Whether it takes something away: then it is done as well if that is gone already.
    pub fn removes(&self) -> bool {
        match self {
            Self::DeleteDevice
            | Self::DelAddress(_)
            | Self::DelFdb(..)
            | Self::DelNeighbour(_)
            | Self::DelRoute(..) => true,
            Self::CreateDevice(_)
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
            | Self::DoubtNeighbour(..)
            | Self::PutRoute(..) => false,
        }
    }

    /// The command that would do the same on `device`.
    pub fn command<'a>(&'a self, device: &'a str) -> impl fmt::Display + 'a {
        Command { op: self, device }
    }
}

struct Command<'a> {
    op: &'a Op,
    device: &'a str,
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dev = self.device;
        match self.op {
            Op::CreateDevice(device) => create_command(f, device),
            Op::DeleteDevice => write!(f, "ip link del {dev}"),
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
                write!(
                    f,
                    "ethtool -K {dev} tx-checksum-ip-generic {}",
                    if *on { "on" } else { "off" }
                )
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
            Op::DoubtNeighbour(ip, mac) => {
                write!(
                    f,
                    "ip neigh replace {ip} lladdr {mac} dev {dev} nud stale extern_learn"
                )
            }
            Op::DelNeighbour(ip) => write!(f, "ip neigh del {ip} dev {dev}"),
            Op::PutRoute(key, hop) => route_command(f, "replace", key, *hop, dev),
            Op::DelRoute(key, hop) => route_command(f, "del", key, *hop, dev),
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
    hop: Hop,
    dev: &str,
) -> fmt::Result {
    let RouteKey {
        destination,
        metric,
        protocol,
    } = key;
    match hop {
        Hop::Vtep(via) => write!(
            f,
            "ip route {verb} {destination} via {via} dev {dev} onlink"
        )?,
        Hop::Link => write!(f, "ip route {verb} {destination} dev {dev} scope link")?,
        Hop::Blackhole => write!(f, "ip route {verb} blackhole {destination}")?,
    }
    write!(f, " metric {metric} proto {protocol}")
}

/// Returns the operations that turn `observed` into `desired`. Everything in `observed` is ours.
///
/// The order: first the device, then the entries on it, for nothing can stand on a device that is not up.
pub fn plan(desired: &OverlayState, observed: &OverlayState) -> Vec<Op> {
    let Some(wanted) = &desired.device else {
        return observed.device.iter().map(|_| Op::DeleteDevice).collect();
    };
    let mut ops = Vec::new();
    let kept = observed
        .device
        .as_ref()
        .filter(|found| wanted.incompatible(found).is_none());
    let blank = OverlayState::default();
    let basis = if kept.is_some() { observed } else { &blank };
    match kept {
        Some(found) => change_device(wanted, found, &mut ops),
        None => {
            ops.extend(observed.device.iter().map(|_| Op::DeleteDevice));
            ops.push(Op::CreateDevice(wanted.clone()));
            // The kernel takes no alias while it makes a device (rtnl_create_link).
            ops.push(Op::SetAlias(wanted.alias.clone()));
        }
    }
    if let Some(on) = desired
        .tx_checksum
        .filter(|on| basis.tx_checksum != Some(*on))
    {
        ops.push(Op::SetTxChecksum(on));
    }
    ops.extend(
        desired
            .addresses
            .difference(&basis.addresses)
            .copied()
            .map(Op::AddAddress),
    );
    ops.extend(
        basis
            .addresses
            .difference(&desired.addresses)
            .copied()
            .map(Op::DelAddress),
    );
    if !basis.up {
        ops.push(Op::SetUp);
    }
    ops.extend(sysctls(desired, kept.map(|_| observed)));
    if ops.iter().any(|op| matches!(op, Op::SetMac(_))) {
        // The kernel drops all neighbours of a device that changes its address (neigh_changeaddr).
        let neighbours = BTreeMap::new();
        ops.extend(plan_entries(
            &desired.entries,
            &Entries {
                neighbours,
                ..basis.entries.clone()
            },
        ));
    } else {
        ops.extend(plan_entries(&desired.entries, &basis.entries));
    }
    ops
}

fn change_device(wanted: &Device, found: &Device, ops: &mut Vec<Op>) {
    if found.mac != wanted.mac {
        ops.push(Op::SetMac(wanted.mac));
    }
    if found.local != wanted.local {
        ops.push(Op::SetLocal(wanted.local));
    }
    if found.mtu != wanted.mtu {
        ops.push(Op::SetMtu(wanted.mtu));
    }
    if found.alias != wanted.alias {
        ops.push(Op::SetAlias(wanted.alias.clone()));
    }
}

/// A setting that an existing device does not have is one that this kernel does not have (IPv6 is off, say).
fn sysctls(desired: &OverlayState, existing: Option<&OverlayState>) -> Vec<Op> {
    let differs = |sysctl: &Sysctl, value: i32| match existing {
        None => true,
        Some(state) => state
            .sysctls
            .get(sysctl)
            .is_some_and(|found| *found != value),
    };
    let wanted = desired
        .sysctls
        .iter()
        .map(|(sysctl, value)| (*sysctl, *value));
    wanted
        .filter(|(sysctl, value)| differs(sysctl, *value))
        .map(|(s, v)| Op::SetSysctl(s, v))
        .collect()
}

/// What to do so that the entries `observed` become `desired`.
///
/// On the way in FDB, neighbour, route; on the way out route, neighbour, FDB: at no moment does a packet find a
/// step whose next step is missing. (With the neighbour before the FDB entry the packet that waits for the neighbour
/// is lost each time; the other way round never.) Everything new stands before anything old goes, so that a peer
/// that changes its Ethernet address is reachable throughout.
pub fn plan_entries(desired: &Entries, observed: &Entries) -> Vec<Op> {
    let fdb = diff(&desired.fdb, &observed.fdb);
    let neighbours = diff(&desired.neighbours, &observed.neighbours);
    let routes = diff(&desired.routes, &observed.routes);
    let mut ops = Vec::with_capacity(fdb.len() + neighbours.len() + routes.len());
    ops.extend(fdb.put.iter().map(|(mac, ip)| Op::PutFdb(*mac, *ip)));
    ops.extend(
        neighbours
            .put
            .iter()
            .map(|(ip, mac)| Op::PutNeighbour(*ip, *mac)),
    );
    ops.extend(routes.put.iter().map(|(key, hop)| Op::PutRoute(*key, *hop)));
    ops.extend(routes.del.iter().map(|(key, hop)| Op::DelRoute(*key, *hop)));
    ops.extend(neighbours.del.iter().map(|(ip, _)| Op::DelNeighbour(*ip)));
    ops.extend(fdb.del.iter().map(|(mac, ip)| Op::DelFdb(*mac, *ip)));
    ops
}

struct Diff<K, V> {
    put: Vec<(K, V)>,
    del: Vec<(K, V)>,
}

impl<K, V> Diff<K, V> {
    fn len(&self) -> usize {
        self.put.len() + self.del.len()
    }
}

fn diff<K: Ord + Copy, V: PartialEq + Copy>(
    desired: &BTreeMap<K, V>,
    observed: &BTreeMap<K, V>,
) -> Diff<K, V> {
    let missing = |(key, value): &(&K, &V)| observed.get(key) != Some(*value);
    let extra = |(key, _): &(&K, &V)| !desired.contains_key(key);
    Diff {
        put: desired
            .iter()
            .filter(missing)
            .map(|(k, v)| (*k, *v))
            .collect(),
        del: observed
            .iter()
            .filter(extra)
            .map(|(k, v)| (*k, *v))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
