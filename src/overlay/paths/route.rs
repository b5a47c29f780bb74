//! A route of another program: what of it matters for the overlay, and the command that shows it. Pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;

use ipnetwork::Ipv4Network;

/// The table that `ip route` shows (`RT_TABLE_MAIN`): ours are there.
pub(crate) const MAIN_TABLE: u32 = 254;
/// The table of the addresses of this host (`RT_TABLE_LOCAL`), which the kernel keeps.
pub(crate) const LOCAL_TABLE: u32 = 255;
/// `RTPROT_KERNEL`: the kernel made the route for an address.
pub(crate) const BY_KERNEL: u8 = 2;

/// What the kernel does with a packet that takes a route (`rtm_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RouteKind {
    Unicast,
    /// An address of this host.
    Local,
    Broadcast,
    Blackhole,
    Unreachable,
    Prohibit,
    /// The search goes on with the next rule.
    Throw,
    Other,
}

impl RouteKind {
    /// Returns the word that `ip route` prints in front of the destination.
    const fn word(self) -> &'static str {
        match self {
            Self::Unicast | Self::Other => "",
            Self::Local => "local ",
            Self::Broadcast => "broadcast ",
            Self::Blackhole => "blackhole ",
            Self::Unreachable => "unreachable ",
            Self::Prohibit => "prohibit ",
            Self::Throw => "throw ",
        }
    }
}

/// A route that we did not make. It prints itself as `ip route` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignRoute {
    pub(crate) table: u32,
    pub(crate) destination: Ipv4Network,
    pub(crate) metric: u32,
    pub(crate) kind: RouteKind,
    /// Who made it (`RTA_PROTOCOL`).
    pub(crate) protocol: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
    /// Name of the interface. A route over several has none here.
    pub(crate) device: Option<Rc<str>>,
    /// The address of this host that belongs to it.
    pub(crate) source: Option<Ipv4Addr>,
}

impl ForeignRoute {
    /// Returns the command that shows it.
    pub(crate) fn show(&self) -> String {
        let table = TableArgument(self.table);
        format!("ip route show {}{table}", Destination(self.destination))
    }
}

impl fmt::Display for ForeignRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.word(), Destination(self.destination))?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(device) = &self.device {
            write!(f, " dev {device}")?;
        }
        write!(f, "{}", TableArgument(self.table))?;
        if self.metric > 0 {
            write!(f, " metric {}", self.metric)?;
        }
        Ok(())
    }
}

struct Destination(Ipv4Network);

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix() == 0 {
            f.write_str("default")
        } else {
            self.0.fmt(f)
        }
    }
}

/// Prints nothing for the table that `ip route` takes anyway.
struct TableArgument(u32);

impl fmt::Display for TableArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            MAIN_TABLE => Ok(()),
            LOCAL_TABLE => f.write_str(" table local"),
            table => write!(f, " table {table}"),
        }
    }
}
