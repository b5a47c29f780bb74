//! The port to the kernel: the facts that the preflight checks judge.

use crate::host::sysctls::HostSysctls;
use crate::host::vxlan_conflicts::PortUse;

/// Facts about this host.
pub(crate) trait HostFacts {
    /// Returns the kernel settings that matter for a host with this external interface.
    fn sysctls(&self, external: &str) -> HostSysctls;

    /// Returns the VXLAN devices and the UDP ports in use.
    ///
    /// # Errors
    /// What was tried, and what came back.
    async fn port_use(&self) -> Result<PortUse, String>;
}
