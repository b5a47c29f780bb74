//! What the checks of this host need from the options.

use std::net::Ipv4Addr;

/// The settings of the slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostSettings {
    /// Name of the external interface. As it is now; the slice follows it.
    pub(crate) external: String,
    /// The address to which peers send.
    pub(crate) local: Ipv4Addr,
    /// Whether our rules accept forwarded packets.
    pub(crate) accepts_forward: bool,
    /// Whether we have any rules: then the outer packets are not tracked.
    pub(crate) has_rules: bool,
}
