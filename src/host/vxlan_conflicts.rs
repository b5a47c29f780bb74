//! What keeps our VXLAN device from being created or brought up: another VXLAN device, or a program that has the UDP port.
//! Pure: an adapter reads devices and ports.

use std::collections::BTreeSet;

use crate::model::addr::Vni;
use crate::model::network_config::NetworkConfig;

/// The word of `ip link` for a device that receives the packets of all VNIs and leaves it to others to tell them apart.
pub(crate) const EXTERNAL: &str = "external";
/// The word of `ip link` for the group based policy extension.
pub(crate) const GBP: &str = "gbp";

/// The VXLAN devices and UDP sockets of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortUse {
    /// All VXLAN devices.
    pub vxlans: Vec<Vxlan>,
    /// UDP ports in use for IPv4, those of VXLAN devices included.
    pub udp_ports: Vec<u16>,
    /// UDP ports in use for IPv6, and for IPv4 as well unless the socket declines it: the kernel's list does not tell.
    pub udp6_ports: Vec<u16>,
}

/// A VXLAN device, as far as another one may conflict with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// Name of the interface.
    pub name: String,
    /// VXLAN network identifier; 0 for a device that receives the packets of all VNIs.
    pub vni: Vni,
    /// UDP port.
    pub port: u16,
    /// Whether it is up. Only then it has a socket.
    pub up: bool,
    /// Whether its outer packets are IPv6.
    pub ipv6: bool,
    /// The kinds of packets that it receives, in the words of `ip link`.
    pub receives: BTreeSet<&'static str>,
}

impl Vxlan {
    /// An external device has a socket of each family.
    fn needs_ipv4(&self) -> bool {
        !self.ipv6 || self.receives.contains(EXTERNAL)
    }
}

/// The device that this host needs.
#[derive(Debug, Clone)]
pub(crate) struct NeededDevice {
    pub(crate) name: String,
    pub(crate) vni: Vni,
    pub(crate) port: u16,
    pub(crate) gbp: bool,
}

impl NeededDevice {
    pub(crate) fn of(config: &NetworkConfig) -> Self {
        Self {
            name: config.vxlan.vni.device(),
            vni: config.vxlan.vni,
            port: config.vxlan.port,
            gbp: config.vxlan.gbp,
        }
    }
}

/// Returns a sentence for each conflict.
pub(crate) fn warnings(needed: &NeededDevice, port_use: &PortUse) -> Vec<String> {
    let others = port_use
        .vxlans
        .iter()
        .filter(|device| device.name != needed.name && device.port == needed.port);
    let of_devices = others
        .filter(|other| other.needs_ipv4())
        .filter_map(|other| conflict_with_device(needed, other));
    of_devices
        .chain(conflict_with_program(needed, port_use))
        .collect()
}

/// The kernel lets two devices share a port if their VNIs differ and their kinds of packets do not (`vxlan_find_sock`).
fn conflict_with_device(needed: &NeededDevice, other: &Vxlan) -> Option<String> {
    let (device, name, port) = (&needed.name, &other.name, other.port);
    let kinds = kinds_that_differ(needed, other);
    if !kinds.is_empty() {
        return Some(format!(
            "device {name} on UDP port {port} differs in the kinds of packets that it receives ({}): {device} cannot be \
             brought up beside it; ip link del {name}, or set Backend.Port for the whole network",
            kinds.join(", ")
        ));
    }
    (other.vni == needed.vni).then(|| {
        format!(
            "device {name} has VNI {} on UDP port {port} already: {device} cannot be created beside it; \
             ip link del {name}, or set Backend.VNI for the whole network",
            other.vni
        )
    })
}

fn kinds_that_differ(needed: &NeededDevice, other: &Vxlan) -> Vec<&'static str> {
    let ours: BTreeSet<&'static str> = needed.gbp.then_some(GBP).into_iter().collect();
    ours.symmetric_difference(&other.receives)
        .copied()
        .collect()
}

fn conflict_with_program(needed: &NeededDevice, port_use: &PortUse) -> Option<String> {
    let (name, port) = (&needed.name, needed.port);
    let mut vxlans = port_use.vxlans.iter();
    // Then the socket is that of the device.
    if vxlans.any(|device| device.up && device.port == port) {
        return None;
    }
    let problem = if port_use.udp_ports.contains(&port) {
        format!("is taken by a program that is no VXLAN device: {name} cannot be brought up")
    } else if port_use.udp6_ports.contains(&port) {
        format!(
            "may be taken by a program that has it for IPv6: unless its socket is for IPv6 only, {name} cannot be \
             brought up"
        )
    } else {
        return None;
    };
    Some(format!(
        "UDP port {port} {problem}; find the program with ss -ulnp 'sport = :{port}', or set Backend.Port for the whole \
         network"
    ))
}

#[cfg(test)]
mod tests;
