//! Owns the picture of the kernel: device, addresses, FDB, neighbours and routes of one overlay. The same types
//! hold what should be and what was seen. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::{MacAddr, Vni};

/// Protocol number of our routes and neighbours (`RTA_PROTOCOL`, `NDA_PROTOCOL`): says in `ip route` who made
/// them. Not assigned in iproute2's `rt_protos`.
pub const PROTOCOL: u8 = 0x66;

/// A vxlan device. `name` identifies it; all else can differ from what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `flannel.<VNI>`.
    pub name: String,
    /// VXLAN network identifier.
    pub vni: Vni,
    /// Name of the interface that it sends through.
    pub parent: String,
    /// Source address of the outer packets.
    pub local: Ipv4Addr,
    /// UDP destination port.
    pub port: u16,
    /// Its own Ethernet address.
    pub mac: MacAddr,
    /// Largest inner IP packet, in bytes.
    pub mtu: u32,
    /// Whether it learns from what it receives.
    pub learning: bool,
    /// Group based policy extension.
    pub gbp: bool,
    /// Free text that says whose device it is (`IFLA_IFALIAS`).
    pub alias: String,
}

impl Device {
    /// Why a device that is there cannot be turned into this one, in words, or `None` if it can: the kernel
    /// changes none of these on a living vxlan device (`vxlan_changelink`: "Cannot change ...").
    pub fn incompatible(&self, found: &Self) -> Option<String> {
        let differs = |what: &str, found: &dyn fmt::Display, wanted: &dyn fmt::Display| {
            Some(format!("{what}: {found} instead of {wanted}"))
        };
        match found {
            _ if found.vni != self.vni => differs("vni", &found.vni, &self.vni),
            _ if found.port != self.port => differs("port", &found.port, &self.port),
            _ if found.parent != self.parent => differs("dev", &found.parent, &self.parent),
            _ if found.learning != self.learning => {
                differs("learning", &found.learning, &self.learning)
            }
            _ if found.gbp != self.gbp => differs("gbp", &found.gbp, &self.gbp),
            _ => None,
        }
    }
}

/// A kernel setting of the device under `/proc/sys/net`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sysctl {
    /// Requests to user space before a neighbour is given up: without it there are no L3 misses.
    AppSolicit,
    /// Router advertisements from the overlay are nobody's.
    AcceptRa,
}

impl Sysctl {
    /// All that we set.
    pub const ALL: [Self; 2] = [Self::AppSolicit, Self::AcceptRa];

    /// Its path for a device, below `/proc/sys`.
    pub fn path(self, device: &str) -> String {
        match self {
            Self::AppSolicit => format!("net/ipv4/neigh/{device}/app_solicit"),
            Self::AcceptRa => format!("net/ipv6/conf/{device}/accept_ra"),
        }
    }

    /// What it should be.
    pub fn wanted(self) -> i32 {
        match self {
            Self::AppSolicit => 3,
            Self::AcceptRa => 0,
        }
    }
}

/// What identifies a route to the kernel, and says whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// Where it leads.
    pub destination: Ipv4Network,
    /// Priority; the smaller wins.
    pub metric: u32,
    /// Who made it (`RTA_PROTOCOL`).
    pub protocol: u8,
}

/// How a route gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// Through the overlay device via this VTEP, which need not be in any network of the device (onlink).
    Vtep(Ipv4Addr),
    /// Through the overlay device, the destination being its own neighbour.
    Link,
    /// Nowhere: dropped in silence.
    Blackhole,
}

/// The entries that make packets find their way.
///
/// A packet to a pod finds the *route* of the pod's subnet, which names the peer's VTEP address; the *neighbour*
/// turns that into the peer's inner Ethernet address; the *FDB* turns that into the peer's outer IP address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entries {
    /// Inner Ethernet address to outer IP address.
    pub fdb: BTreeMap<MacAddr, Ipv4Addr>,
    /// VTEP address to inner Ethernet address; permanent ones only.
    pub neighbours: BTreeMap<Ipv4Addr, MacAddr>,
    /// Routes into the overlay.
    pub routes: BTreeMap<RouteKey, Hop>,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.fdb.len() + self.neighbours.len() + self.routes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All that belongs to one overlay in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OverlayState {
    /// The device, if there is one.
    pub device: Option<Device>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its IPv4 addresses.
    pub addresses: BTreeSet<Ipv4Network>,
    /// Its settings; one that this kernel does not have is missing.
    pub sysctls: BTreeMap<Sysctl, i32>,
    /// Whether the checksums of inner packets are left to the hardware. As a wish: `None` leaves it as it is.
    pub tx_checksum: Option<bool>,
    /// FDB, neighbours and routes.
    pub entries: Entries,
}
