//! The port to the kernel: what the overlay needs of it, what it reports, and how it fails. `adapters::netlink` implements
//! it, and `fake` does for tests.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::model::addr::MacAddr;
use crate::overlay::paths::{ForeignPaths, PathAnswer, PathQuery};
use crate::overlay::plan::Op;
use crate::overlay::state::{NextHop, OverlayState, RouteKey, Sysctl};

/// An address that the kernel needs and does not know; it asks user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    /// No neighbour for this IP address: which MAC address has it?
    L3(Ipv4Addr),
    /// No FDB entry for this MAC address: behind which outer IP address is it?
    L2(MacAddr),
}

/// What the kernel holds now where something changed; `None` for what is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KernelChange {
    /// A link appeared, changed or disappeared.
    Link(String),
    /// The device has this address, or has it no more.
    Address(Ipv4Network, bool),
    Fdb(MacAddr, Option<Ipv4Addr>),
    /// `None` also for a neighbour that is not permanent.
    Neighbour(Ipv4Addr, Option<MacAddr>),
    Route(RouteKey, Option<NextHop>),
    /// A route of another program to this destination, in the table with this number, appeared, changed or disappeared.
    ForeignRoute(u32, Ipv4Network),
    /// A route of another program through the device, in a table that has none of ours, appeared, or is gone.
    Stray(bool),
    /// A rule appeared or disappeared.
    Rules,
    /// Some setting of some interface.
    Settings,
}

/// What the kernel reports by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KernelEvent {
    /// A packet needs an address.
    Miss(Miss),
    /// Something changed. We may have changed it ourselves.
    Changed(KernelChange),
    /// The kernel sent more misses than the socket could hold: some are lost.
    MissesLost,
    /// The kernel sent more changes than the socket could hold: some are lost.
    ChangesLost,
}

/// How long a neighbour has not been used.
///
/// The kernel notes the use of an entry only while its state is `stale` (`neigh_event_send` is not on the fast path of
/// permanent and reachable entries): `used` of a permanent entry is the time since it was made, or since it was last used
/// during a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeighbourUse {
    pub(crate) address: Ipv4Addr,
    /// Time since the last use that the kernel has noted.
    pub(crate) used: Duration,
    /// Whether it is under test and was not used since the test began.
    pub(crate) stale: bool,
}

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to run \"{command}\"")]
pub(crate) struct OpError {
    /// The operation as a command.
    pub(crate) command: String,
    /// What the kernel answered.
    #[source]
    pub(crate) source: std::io::Error,
}

/// The kernel could not be observed, or holds a device that we must not touch.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A request failed or took too long.
    #[error("failed to {operation}")]
    Request {
        /// What was asked.
        operation: String,
        /// What came back.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The device with our name is of another kind: flanneld deletes no device that it did not make.
    #[error(
        "device \"{name}\" exists and is a {kind}, not a vxlan; remove it with \"ip link del {name}\" \
         or choose another VNI"
    )]
    NotVxlan {
        /// Name of the device.
        name: String,
        /// Its kind.
        kind: String,
    },
    /// Another instance of flanneld on this host has the device.
    #[error(
        "device \"{device}\" belongs to \"{owner}\"; give each network on a host a VNI of its own, \
         or remove the device with \"ip link del {device}\" if that instance is gone"
    )]
    OtherOwner {
        /// Name of the device.
        device: String,
        /// Alias of the device.
        owner: String,
    },
}

impl KernelError {
    /// Returns whose the device with our name is, if it is not ours.
    pub(crate) fn foreign_owner(&self) -> Option<&str> {
        match self {
            Self::Request { .. } => None,
            Self::NotVxlan { kind, .. } => Some(kind),
            Self::OtherOwner { owner, .. } => Some(owner),
        }
    }
}

/// What one look at the kernel shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Observed {
    /// What is ours.
    pub(crate) overlay: OverlayState,
    /// What others have, and what may be in front of it.
    pub(crate) foreign: ForeignPaths,
}

/// The part of the kernel that carries one overlay.
pub(crate) trait Kernel {
    /// Returns what the kernel holds of this overlay: the device, its addresses and settings, its permanent FDB entries
    /// and neighbours, and the routes to destinations inside `network` that use the device or are blackhole routes with
    /// our protocol number. Besides, all routes and rules of others that may touch `network`, and routes of others through the
    /// device.
    ///
    /// # Errors
    /// The kernel refuses or does not answer a request, or the device is not a vxlan device.
    async fn observe(
        &mut self,
        device: &str,
        network: Ipv4Network,
    ) -> Result<Observed, KernelError>;

    /// Returns the settings of the device, as far as this kernel has them and they count on this host. It is asked each
    /// second: the kernel announces a change of forwarding only.
    fn sysctls(&self, device: &str) -> BTreeMap<Sysctl, i32>;

    /// Asks where the kernel would send a packet: `ip route get`.
    ///
    /// # Errors
    /// The kernel does not answer the request.
    async fn lookup(&mut self, query: &PathQuery) -> Result<PathAnswer, KernelError>;

    /// Returns the names of all vxlan devices with this alias.
    ///
    /// # Errors
    /// The kernel refuses or does not answer the request.
    async fn devices_with_alias(&mut self, alias: &str) -> Result<Vec<String>, KernelError>;

    /// Applies all operations in their order, whatever happens to one of them. Returns those that failed.
    fn apply(&mut self, device: &str, ops: &[Op]) -> Vec<OpError>;

    /// Returns how long the neighbours of the device have not been used.
    ///
    /// # Errors
    /// The kernel refuses or does not answer the request.
    async fn neighbour_uses(&mut self, device: &str) -> Result<Vec<NeighbourUse>, KernelError>;

    /// Returns the addresses for which packets wait on the device: what is left to answer when misses were lost.
    ///
    /// # Errors
    /// The kernel refuses or does not answer the request.
    async fn unresolved(&mut self, device: &str) -> Result<Vec<Ipv4Addr>, KernelError>;

    /// Waits for an event of the device. Cancel-safe.
    ///
    /// # Errors
    /// The kernel's reports cannot be received.
    async fn event(&mut self, device: &str) -> Result<KernelEvent, KernelError>;
}
