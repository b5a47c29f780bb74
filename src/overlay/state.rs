//! What the kernel holds of one overlay: the device, its addresses and settings, FDB, neighbours and routes. The same
//! types hold the desired state and the observed state. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::{MacAddr, Vni};

/// Protocol number of our routes and neighbours (`RTA_PROTOCOL`, `NDA_PROTOCOL`), which `ip route` shows. iproute2's
/// `rt_protos` assigns it to nobody.
pub(crate) const PROTOCOL: u8 = 0x66;

/// A vxlan device. Its name identifies it; everything else may differ from the desired device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `flannel.<VNI>`.
    pub(crate) name: String,
    pub(crate) vni: Vni,
    /// Name of the interface that it sends through.
    pub(crate) parent: String,
    /// Source address of the outer packets.
    pub(crate) local: Ipv4Addr,
    /// UDP destination port.
    pub(crate) port: u16,
    /// The VTEP MAC of this host.
    pub(crate) mac: MacAddr,
    /// Size of the largest inner IP packet, in bytes.
    pub(crate) mtu: u32,
    /// Whether it makes FDB entries from the packets that it receives.
    pub(crate) learning: bool,
    /// Group based policy extension.
    pub(crate) gbp: bool,
    /// Free text that says whose device it is (`IFLA_IFALIAS`).
    pub(crate) alias: String,
}

impl Device {
    /// Returns why `observed` cannot be turned into this device, or `None` if it can. The kernel changes none of these
    /// properties on an existing vxlan device (`vxlan_changelink`: "Cannot change ..."). The parent is not among them: it
    /// can be changed since Linux 4.12.
    pub(crate) fn incompatible(&self, observed: &Self) -> Option<String> {
        if observed.vni != self.vni {
            differs("vni", &observed.vni, &self.vni)
        } else if observed.port != self.port {
            differs("port", &observed.port, &self.port)
        } else if observed.learning != self.learning {
            differs("learning", &observed.learning, &self.learning)
        } else if observed.gbp != self.gbp {
            differs("gbp", &observed.gbp, &self.gbp)
        } else {
            None
        }
    }
}

fn differs(what: &str, observed: &dyn fmt::Display, desired: &dyn fmt::Display) -> Option<String> {
    Some(format!("{what}: {observed} instead of {desired}"))
}

/// A kernel setting of the device under `/proc/sys/net`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sysctl {
    /// How often the kernel asks user space for a neighbour before it gives up. Without it there are no L3 misses.
    AppSolicit,
    /// Whether the device takes router advertisements: no router is on the overlay.
    AcceptRa,
    /// Whether packets that arrive on the device are forwarded, to pods. It counts only on a host that forwards at all.
    Forwarding,
}

impl Sysctl {
    pub(crate) const ALL: [Self; 3] = [Self::AppSolicit, Self::AcceptRa, Self::Forwarding];

    /// Returns its path for a device, below `/proc/sys`.
    pub(crate) fn path(self, device: &str) -> String {
        match self {
            Self::AppSolicit => format!("net/ipv4/neigh/{device}/app_solicit"),
            Self::AcceptRa => format!("net/ipv6/conf/{device}/accept_ra"),
            Self::Forwarding => format!("net/ipv4/conf/{device}/forwarding"),
        }
    }

    pub(crate) const fn desired(self) -> i32 {
        match self {
            Self::AppSolicit => 3,
            Self::AcceptRa => 0,
            Self::Forwarding => 1,
        }
    }

    /// Whether a new device needs it. A new device forwards as the host does.
    pub(crate) const fn is_set_at_creation(self) -> bool {
        match self {
            Self::AppSolicit | Self::AcceptRa => true,
            Self::Forwarding => false,
        }
    }
}

/// What identifies a route to the kernel, and says who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RouteKey {
    pub(crate) destination: Ipv4Network,
    /// Of two routes to one destination the kernel takes the one with the smaller metric.
    pub(crate) metric: u32,
    /// Who made it (`RTA_PROTOCOL`).
    pub(crate) protocol: u8,
}

/// Where a route sends packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextHop {
    /// Through the overlay device via this VTEP, which need not be in any network of the device (onlink).
    Vtep(Ipv4Addr),
    /// Through the overlay device; the destination is its own neighbour.
    Link,
    /// Nowhere: the kernel drops the packet without an answer.
    Blackhole,
}

/// The entries with which packets find their way: route to VTEP, neighbour to inner MAC, FDB to outer IP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Entries {
    /// Inner MAC address to outer IP address.
    pub(crate) fdb: BTreeMap<MacAddr, Ipv4Addr>,
    /// IP address to inner MAC address; permanent neighbours only.
    pub(crate) neighbours: BTreeMap<Ipv4Addr, MacAddr>,
    pub(crate) routes: BTreeMap<RouteKey, NextHop>,
}

/// All that belongs to one overlay in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OverlayState {
    pub(crate) device: Option<Device>,
    /// Whether the device is administratively up.
    pub(crate) up: bool,
    /// IPv4 addresses of the device.
    pub(crate) addresses: BTreeSet<Ipv4Network>,
    /// Settings of the device. One that this kernel does not have is missing.
    pub(crate) sysctls: BTreeMap<Sysctl, i32>,
    /// Whether the checksums of inner packets are left to the network card. In a desired state, `None` leaves it as it is.
    pub(crate) tx_checksum: Option<bool>,
    pub(crate) entries: Entries,
}
