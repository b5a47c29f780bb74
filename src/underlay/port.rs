//! The ports of the slice: the interfaces and routes of this host, and the resolution of names.

use std::net::Ipv4Addr;

use crate::underlay::observation::{Interface, RouteLookup};

/// The interfaces and routes of this host.
pub(crate) trait Links {
    /// Returns all interfaces with their IPv4 addresses, in the order of their indexes.
    ///
    /// # Errors
    /// What was tried, and what came back.
    async fn interfaces(&self) -> Result<Vec<Interface>, String>;

    /// Returns the route that a packet to `address` would take, if there is one: `ip route get`.
    ///
    /// # Errors
    /// What was tried, and what came back.
    async fn lookup_route(&self, address: Ipv4Addr) -> Result<Option<RouteLookup>, String>;

    /// Waits until interfaces, addresses, routes or rules have changed, or may have. What this daemon changes itself does
    /// not count. Cancel-safe.
    ///
    /// # Errors
    /// The kernel's reports cannot be received. The next call comes back no sooner than a second later.
    async fn changed(&mut self) -> Result<(), String>;
}

/// The resolution of names.
pub(crate) trait Resolver {
    /// Returns an IPv4 address of a host, within a few seconds; `None` if it has only IPv6 addresses.
    ///
    /// # Errors
    /// The name is unknown, or there is no answer.
    async fn resolve(&self, host: &str) -> Result<Option<Ipv4Addr>, String>;
}
