//! Owns the port to the kernel: what the overlay needs of it, and how it fails. `crate::adapters::netlink` implements it;
//! tests use `vxlan::fake`.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::model::addr::MacAddr;
use crate::overlay::plan::Op;
use crate::overlay::state::{Hop, OverlayState, RouteKey};
use ipnetwork::Ipv4Network;

/// An address that the kernel needs and does not know; it asks user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// No neighbour for this address: which Ethernet address has it?
    L3(Ipv4Addr),
    /// No FDB entry for this Ethernet address: behind which outer address is it?
    L2(MacAddr),
}

/// What the kernel holds now where somebody changed it; `None` for what is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelChange {
    /// A link came, went, or changed.
    Link(String),
    /// The device has this address, or has it no more.
    Address(Ipv4Network, bool),
    /// An FDB entry.
    Fdb(MacAddr, Option<Ipv4Addr>),
    /// A neighbour; `None` also if it is there but not permanent.
    Neighbour(Ipv4Addr, Option<MacAddr>),
    /// A route.
    Route(RouteKey, Option<Hop>),
}

/// Something that the kernel says on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A packet needs an address.
    Miss(Miss),
    /// Somebody changed something; it may have been us.
    Changed(KernelChange),
    /// Misses were lost: it said more than we could hear.
    MissesLost,
    /// Changes were lost.
    ChangesLost,
}

/// How long a neighbour has not been used.
///
/// The kernel notes the use of an entry only while it doubts it (`neigh_event_send` is off the fast path of permanent and
/// reachable ones): `used` of a permanent entry is the time since it was made, or since it was doubted and used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Its address.
    pub address: Ipv4Addr,
    /// Time since its last use that the kernel has noted.
    pub used: Duration,
    /// Whether it is doubted and nobody has used it since.
    pub untouched: bool,
}

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to run \"{command}\"")]
pub struct OpFailure {
    /// The operation as a command.
    pub command: String,
    /// What the kernel answered.
    #[source]
    pub source: std::io::Error,
}

/// The kernel could not be asked.
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
    /// A device of our name is of another kind, and we do not delete what we did not make.
    #[error(
        "device \"{name}\" exists and is a {kind}, not a vxlan; remove it or choose another VNI"
    )]
    NotVxlan {
        /// The name that we need.
        name: String,
        /// What it is.
        kind: String,
    },
    /// Another instance on this host has the device.
    #[error(
        "device \"{device}\" is that of \"{owner}\"; give each network on a host a VNI of its own, \
         or remove the device if that instance is gone"
    )]
    OtherOwner {
        /// The name that we need.
        device: String,
        /// What the device's alias says.
        owner: String,
    },
}

/// The part of the kernel that carries one overlay.
pub trait Kernel {
    /// Returns what the kernel holds of this overlay: the device, its addresses and settings, its permanent FDB entries
    /// and neighbours, and the routes to destinations inside `network` that use the device or are blackhole routes with
    /// our protocol number. Routes to other destinations belong to other programs: they are left out.
    ///
    /// # Errors
    /// The kernel refuses or does not answer a request, or the device is not a vxlan device.
    fn observe(
        &mut self,
        device: &str,
        network: Ipv4Network,
    ) -> impl Future<Output = Result<OverlayState, KernelError>>;

    /// Does the operations in their order, all of them, whatever happens to one. Answers those that failed.
    fn apply(&mut self, device: &str, ops: &[Op]) -> Vec<OpFailure>;

    /// How long the neighbours on this device have not been used.
    fn ages(&mut self, device: &str) -> impl Future<Output = Result<Vec<Age>, KernelError>>;

    /// The addresses for which packets wait on this device: what is left to answer when misses were lost.
    fn unresolved(
        &mut self,
        device: &str,
    ) -> impl Future<Output = Result<Vec<Ipv4Addr>, KernelError>>;

    /// Waits for the kernel to say something about this device. Cancel-safe.
    fn event(&mut self, device: &str) -> impl Future<Output = Result<Event, KernelError>>;
}
