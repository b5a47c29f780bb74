//! The ports of the checks: what they need to know of the kernel and of the packet filters of this host.

use ipnetwork::Ipv4Network;

use crate::host::docker_nftables::NftRule;
use crate::host::firewall::FilterTable;
use crate::host::neighbour_table::NeighbourTable;
use crate::host::sysctls::HostSysctls;
use crate::host::vxlan_conflicts::PortUse;

/// What is asked once, at the start.
pub(crate) trait HostFacts {
    /// Returns the VXLAN devices and the UDP ports in use.
    ///
    /// # Errors
    /// What was tried, and what came back.
    async fn port_use(&self) -> Result<PortUse, String>;
}

/// What may change while the daemon runs, and is cheap to read.
pub(crate) trait HostKernel {
    /// Returns the kernel settings that matter for a host with this external interface and these bridges of pods.
    fn sysctls(&self, external: &str, bridges: &[String]) -> HostSysctls;

    /// Returns how full the kernel's table of neighbours is.
    fn neighbour_table(&self) -> NeighbourTable;

    /// Returns the interfaces, other than `device`, that have an address of the subnet: the bridges of the pods.
    fn bridges(&self, subnet: Ipv4Network, device: &str) -> Vec<String>;

    /// Returns the rules of Docker's nftables backend; none if it is not in use.
    fn docker_nftables(&self) -> Vec<NftRule>;
}

/// The packet filters of this host, whoever made them.
pub(crate) trait Firewalls {
    /// Reads all tables that filter. Starts processes.
    ///
    /// # Errors
    /// A tool failed. What was tried, and what came back.
    async fn tables(&mut self) -> Result<Vec<FilterTable>, String>;

    /// Whether there are rules whose changes are not announced.
    fn needs_polling(&self) -> bool;
}

/// What happens on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostEvent {
    /// A kernel setting of IPv4 changed.
    Settings,
    /// A program changed its packet filter.
    Firewalls,
    /// Docker changed the rules of its nftables backend.
    DockerNftables,
}

/// The events of this host.
pub(crate) trait HostEvents {
    /// Waits for the next event; for ever if the kernel announces none. Cancel-safe.
    async fn next(&mut self) -> HostEvent;
}
