//! The way from the observed to the desired state: the operations and their order. The kernel adapter has no choice left,
//! because every operation holds all values that it needs. Pure.

mod op;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::model::addr::MacAddr;
pub(crate) use crate::overlay::plan::op::Op;
use crate::overlay::state::{Device, Entries, NextHop, OverlayState, RouteKey};

/// Returns the operations that turn `observed` into `desired`. Everything in `observed` is ours.
///
/// The device comes first, then the entries on it: the kernel refuses entries on a device that is not up.
pub(crate) fn plan(desired: &OverlayState, observed: &OverlayState) -> Vec<Op> {
    match (&desired.device, &observed.device) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![Op::DeleteDevice],
        (Some(device), None) => create(device, desired),
        (Some(device), Some(kept)) if device.incompatible(kept).is_none() => {
            change(device, kept, desired, observed)
        }
        (Some(_), Some(_)) => plan_anew(desired),
    }
}

/// Returns the operations that make the device again with everything on it, because the kernel cannot change it in place.
pub(crate) fn plan_anew(desired: &OverlayState) -> Vec<Op> {
    let mut ops = vec![Op::DeleteDevice];
    if let Some(device) = &desired.device {
        ops.append(&mut create(device, desired));
    }
    ops
}

/// Returns the operations for a device that does not exist yet.
fn create(device: &Device, desired: &OverlayState) -> Vec<Op> {
    let mut ops = vec![
        Op::CreateDevice(device.clone()),
        // The kernel takes no alias while it creates a device (rtnl_create_link).
        Op::SetAlias(device.alias.clone()),
    ];
    let nothing = OverlayState::default();
    ops.append(&mut plan_settings(desired, &nothing));
    let sysctls = desired.sysctls.iter();
    let sysctls = sysctls.filter(|(sysctl, _)| sysctl.is_set_at_creation());
    ops.extend(sysctls.map(|(sysctl, value)| Op::SetSysctl(*sysctl, *value)));
    ops.append(&mut plan_entries(&desired.entries, &nothing.entries));
    ops
}

/// Returns the operations for a device that exists and is kept.
fn change(
    device: &Device,
    kept: &Device,
    desired: &OverlayState,
    observed: &OverlayState,
) -> Vec<Op> {
    let mut ops = change_device(device, kept);
    ops.append(&mut plan_settings(desired, observed));
    ops.append(&mut plan_sysctls(desired, observed));
    // The kernel drops all neighbours of a device that changes its address (neigh_changeaddr).
    let no_neighbours = BTreeMap::new();
    let neighbours = if device.mac == kept.mac {
        &observed.entries.neighbours
    } else {
        &no_neighbours
    };
    ops.append(&mut plan_tables(
        &desired.entries,
        &observed.entries,
        neighbours,
    ));
    ops
}

/// Returns the operations that turn the device `observed` into `desired`, which is compatible with it.
pub(crate) fn change_device(desired: &Device, observed: &Device) -> Vec<Op> {
    let mut ops = Vec::new();
    // First: it limits the MTU.
    if observed.parent != desired.parent {
        ops.push(Op::SetParent(desired.parent.clone()));
    }
    if observed.mac != desired.mac {
        ops.push(Op::SetMac(desired.mac));
    }
    if observed.local != desired.local {
        ops.push(Op::SetLocal(desired.local));
    }
    if observed.mtu != desired.mtu {
        ops.push(Op::SetMtu(desired.mtu));
    }
    if observed.alias != desired.alias {
        ops.push(Op::SetAlias(desired.alias.clone()));
    }
    ops
}

fn plan_settings(desired: &OverlayState, observed: &OverlayState) -> Vec<Op> {
    let mut ops = Vec::new();
    if let Some(on) = desired.tx_checksum
        && observed.tx_checksum != Some(on)
    {
        ops.push(Op::SetTxChecksum(on));
    }
    let missing = desired.addresses.difference(&observed.addresses);
    let extra = observed.addresses.difference(&desired.addresses);
    ops.extend(missing.copied().map(Op::AddAddress));
    ops.extend(extra.copied().map(Op::DelAddress));
    if !observed.up {
        ops.push(Op::SetUp);
    }
    ops
}

/// A setting that an existing device does not have is one that this kernel does not have, for example because IPv6 is off.
fn plan_sysctls(desired: &OverlayState, observed: &OverlayState) -> Vec<Op> {
    let mut ops = Vec::new();
    for (sysctl, value) in &desired.sysctls {
        let observed = observed.sysctls.get(sysctl);
        if observed.is_some_and(|observed| observed != value) {
            ops.push(Op::SetSysctl(*sysctl, *value));
        }
    }
    ops
}

/// Returns the operations that turn the entries `observed` into `desired`.
///
/// What is new is put in the order FDB, neighbour, route; what is old is deleted in the order route, neighbour, FDB: at no
/// moment does a packet find an entry whose next step is missing. (If the neighbour came before the FDB entry, the packet
/// that waits for the neighbour would be lost each time.) Everything new is there before anything old is deleted, so that
/// a peer that changes its MAC address is reachable all the time.
pub(crate) fn plan_entries(desired: &Entries, observed: &Entries) -> Vec<Op> {
    plan_tables(desired, observed, &observed.neighbours)
}

/// Like [`plan_entries`], with the observed neighbours apart.
fn plan_tables(
    desired: &Entries,
    observed: &Entries,
    neighbours: &BTreeMap<Ipv4Addr, MacAddr>,
) -> Vec<Op> {
    let fdb = diff(&desired.fdb, &observed.fdb);
    let neighbours = diff(&desired.neighbours, neighbours);
    let routes = diff(&desired.routes, &observed.routes);
    let mut ops = Vec::with_capacity(fdb.len() + neighbours.len() + routes.len());
    ops.extend(fdb.put.iter().map(|(mac, ip)| Op::PutFdb(*mac, *ip)));
    ops.extend(
        neighbours
            .put
            .iter()
            .map(|(ip, mac)| Op::PutNeighbour(*ip, *mac)),
    );
    let put = |(key, hop): &(RouteKey, NextHop)| put_route(*key, *hop, &observed.routes);
    ops.extend(routes.put.iter().map(put));
    ops.extend(routes.del.iter().map(|(key, hop)| Op::DelRoute(*key, *hop)));
    ops.extend(neighbours.del.iter().map(|(ip, _)| Op::DelNeighbour(*ip)));
    ops.extend(fdb.del.iter().map(|(mac, ip)| Op::DelFdb(*mac, *ip)));
    ops
}

/// The kernel tells routes apart by destination and metric, not by protocol number: what is there takes the place.
fn put_route(key: RouteKey, hop: NextHop, observed: &BTreeMap<RouteKey, NextHop>) -> Op {
    let with_protocol = |protocol| RouteKey { protocol, ..key };
    let same_place = with_protocol(u8::MIN)..=with_protocol(u8::MAX);
    // Our blackhole is on no device: it may be there although the device is not.
    if hop == NextHop::Blackhole || observed.range(same_place).next().is_some() {
        Op::PutRoute(key, hop)
    } else {
        Op::AddRoute(key, hop)
    }
}

/// The differences of one table.
struct TableDiff<K, V> {
    put: Vec<(K, V)>,
    del: Vec<(K, V)>,
}

impl<K, V> TableDiff<K, V> {
    const fn len(&self) -> usize {
        self.put.len() + self.del.len()
    }
}

fn diff<K: Ord + Copy, V: PartialEq + Copy>(
    desired: &BTreeMap<K, V>,
    observed: &BTreeMap<K, V>,
) -> TableDiff<K, V> {
    let missing = desired
        .iter()
        .filter(|(key, value)| observed.get(key) != Some(*value));
    let extra = observed
        .iter()
        .filter(|(key, _)| !desired.contains_key(key));
    TableDiff {
        put: missing.map(|(key, value)| (*key, *value)).collect(),
        del: extra.map(|(key, value)| (*key, *value)).collect(),
    }
}

#[cfg(test)]
mod tests;
