//! What the slice needs from the options.

use std::time::Duration;

use crate::model::external_interface::ExternalInterface;

/// The tool that the operator asks for (`--firewall`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedTool {
    /// The one that fits the host.
    Auto,
    /// An nftables table of our own, apart from the accept in FORWARD, which only works in iptables.
    Nftables,
    /// iptables for everything.
    Iptables,
}

#[derive(Debug, Clone)]
pub(crate) struct RulesSettings {
    pub(crate) tool: RequestedTool,
    /// Whether packets that leave or enter the overlay are masqueraded.
    pub(crate) ip_masq: bool,
    /// Whether masqueraded connections get random ports.
    pub(crate) random_fully: bool,
    /// Whether forwarding from and to the overlay is accepted.
    pub(crate) forward: bool,
    /// Time between two audits of rules whose changes the kernel does not announce.
    pub(crate) resync: Duration,
    /// Its address is that of the outer packets. As it is now; the slice follows it.
    pub(crate) external: ExternalInterface,
}
