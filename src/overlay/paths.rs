//! Which way packets to the peers really take: the routes and rules of other programs that are in front of ours, by the
//! kernel's own order (rule by rule, in each table the longest prefix, then the smallest metric).
//!
//! | file | what it holds |
//! |---|---|
//! | `route` | a route of another program, and the commands that show and remove it |
//! | `rule` | a rule, whether it applies to packets to the peers, and in which order tables are asked |
//! | `shadows` | the routes and rules that hide entries of ours |
//! | `report` | what is in the way, in one sentence |
//! | `takeover` | routes that Go flannel left behind: they are removed, not named |
//! | `stray` | routes of others through our device to outside of the overlay: they are removed and named |
//!
//! Pure: the reconciler asks the kernel about the suspects that are found here (`ip route get`).

pub(crate) mod report;
pub(crate) mod route;
pub(crate) mod rule;
pub(crate) mod shadows;
pub(crate) mod stray;
pub(crate) mod takeover;

use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;

use crate::overlay::paths::route::ForeignRoute;
use crate::overlay::paths::rule::Rule;

/// What other programs have in the tables of routes and rules, as far as it can touch the overlay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ForeignPaths {
    /// Routes of all tables that share addresses with the overlay network and do not lead through our device.
    pub(crate) routes: Vec<ForeignRoute>,
    /// Routes of all tables that lead through our device, and to outside of the overlay network.
    pub(crate) strays: Vec<ForeignRoute>,
    /// All rules, in the order in which the kernel asks them; empty if the kernel has none (`CONFIG_IP_MULTIPLE_TABLES`).
    pub(crate) rules: Vec<Rule>,
}

/// Whose packets: rules may tell them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sender {
    /// This host itself.
    Host,
    /// A pod with this address, behind this bridge.
    Pod { address: Ipv4Addr, bridge: Rc<str> },
}

/// A question to the kernel: where would a packet go? Prints itself as the command that asks the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathQuery {
    pub(crate) sender: Sender,
    pub(crate) destination: Ipv4Addr,
}

impl fmt::Display for PathQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ip route get {}", self.destination)?;
        match &self.sender {
            Sender::Host => Ok(()),
            Sender::Pod { address, bridge } => write!(f, " from {address} iif {bridge}"),
        }
    }
}

/// What the kernel answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathAnswer {
    /// It would send the packet through this device.
    Through(String),
    /// It would drop or refuse the packet, with this error.
    Refused(String),
    /// It says nothing about routes: packets of pods are not forwarded at all.
    NotForwarded,
}
