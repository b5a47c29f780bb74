//! Decides whether the lease of another host may become routes, neighbours and FDB entries on this
//! one. A lease that would take addresses from this host, or from the network that carries the
//! overlay, is refused. Pure.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::{MacAddr, Vni, covers, overlap};
use crate::model::host_network::HostNetwork;
use crate::model::lease::{Lease, OwnLease, Rejection};
use crate::model::network_config::NetworkConfig;

/// The smallest subnet of a host: an address each for the VTEP, the bridge and one pod.
const MAX_SUBNET_PREFIX: u8 = 30;
const INSIDE_OVERLAY: &str = "is inside the overlay that it should carry";

/// Decides whether this host may use the lease of another host.
///
/// # Errors
/// The first reason why it may not.
pub fn validate(lease: &Lease, config: &NetworkConfig, own: &OwnLease) -> Result<(), Rejection> {
    validate_subnet(lease.subnet, config, own)?;
    validate_public_ip(lease, config, own)?;
    validate_vtep_mac(lease.vtep_mac, own)?;
    validate_vni(lease.vni, config.vxlan.vni)
}

/// Decides whether this host may have routes to a subnet: they must not lead what it needs into the overlay.
///
/// # Errors
/// What they would take away.
pub(crate) fn validate_beside(
    subnet: Ipv4Network,
    config: &NetworkConfig,
    host: &HostNetwork,
) -> Result<(), Rejection> {
    match host.taken_by(subnet, config.network) {
        Some(needed) => Err(Rejection::NeededHere(
            subnet,
            needed.network,
            needed.what.clone(),
        )),
        None => Ok(()),
    }
}

/// Decides whether the other hosts would use a lease with our own PublicIP, by the rules by which we judge theirs.
///
/// # Errors
/// The first reason why they would not.
pub(crate) fn validate_own(
    public_ip: Ipv4Addr,
    config: &NetworkConfig,
    host: &HostNetwork,
) -> Result<(), Rejection> {
    let local = host.local.unwrap_or(public_ip);
    validate_address(public_ip)?;
    validate_address(local)?;
    validate_outside(public_ip, config, config.network.contains(local))
}

/// Whether a lease describes a host of this overlay, whatever its subnet is: one that can receive our packets.
pub(crate) fn describes_host(lease: &Lease, config: &NetworkConfig) -> bool {
    validate_address(lease.public_ip).is_ok()
        && lease.vtep_mac.is_unicast()
        && validate_vni(lease.vni, config.vxlan.vni).is_ok()
}

fn validate_subnet(
    subnet: Ipv4Network,
    config: &NetworkConfig,
    own: &OwnLease,
) -> Result<(), Rejection> {
    let refuse = |reason| Err(Rejection::Subnet(subnet, reason));
    if subnet == config.network || !covers(config.network, subnet) {
        return refuse("is not inside the network");
    }
    if subnet.prefix() > MAX_SUBNET_PREFIX {
        return refuse("is too small for a host");
    }
    if overlap(subnet, own.subnet) {
        return refuse("overlaps our own");
    }
    // The route to this subnet would be more specific than the route to the hosts' network: packets
    // to the other hosts, and to etcd, would enter the overlay that they should carry.
    if subnet.contains(own.public_ip) {
        return refuse("holds our own PublicIP");
    }
    Ok(())
}

fn validate_public_ip(
    lease: &Lease,
    config: &NetworkConfig,
    own: &OwnLease,
) -> Result<(), Rejection> {
    let ip = lease.public_ip;
    let refuse = |reason| Err(Rejection::PublicIp(ip, reason));
    if ip == own.public_ip {
        return refuse("is our own");
    }
    validate_address(ip)?;
    if lease.subnet.contains(ip) || own.subnet.contains(ip) {
        return refuse(INSIDE_OVERLAY);
    }
    validate_outside(ip, config, config.network.contains(own.public_ip))
}

/// Some clusters choose a Network so large that the hosts' own addresses are inside it. The address of this host shows
/// whether this is such a cluster.
fn validate_outside(
    ip: Ipv4Addr,
    config: &NetworkConfig,
    hosts_are_inside: bool,
) -> Result<(), Rejection> {
    if config.network.contains(ip) && !hosts_are_inside {
        return Err(Rejection::PublicIp(ip, INSIDE_OVERLAY));
    }
    Ok(())
}

/// Decides whether a host can have an address, whatever the network is.
///
/// # Errors
/// The reason why none can.
pub(crate) fn validate_address(ip: Ipv4Addr) -> Result<(), Rejection> {
    let refuse = |reason| Err(Rejection::PublicIp(ip, reason));
    // 0.0.0.0/8 means "this network" (RFC 1122, section 3.2.1.3): no packet can be sent there.
    if ip.octets()[0] == 0 || ip.is_broadcast() {
        return refuse("is not the address of a host");
    }
    if ip.is_multicast() {
        return refuse("is a multicast address");
    }
    if ip.is_loopback() {
        return refuse("is a loopback address");
    }
    Ok(())
}

fn validate_vtep_mac(mac: MacAddr, own: &OwnLease) -> Result<(), Rejection> {
    if !mac.is_unicast() {
        return Err(Rejection::VtepMac(mac, "is not the address of a device"));
    }
    if mac == own.vtep_mac {
        return Err(Rejection::VtepMac(mac, "is our own"));
    }
    Ok(())
}

fn validate_vni(vni: Option<Vni>, ours: Vni) -> Result<(), Rejection> {
    match vni {
        Some(vni) if vni != ours => Err(Rejection::OtherVni(vni, ours)),
        Some(_) | None => Ok(()),
    }
}
