//! The port of the preflight checks: kernel settings, VXLAN devices and UDP ports of this host. It decides nothing.

use crate::adapters::netlink::Netlink;
use crate::error::chain;
use crate::host::port::HostFacts;
use crate::host::sysctls::HostSysctls;
use crate::host::vxlan_conflicts::PortUse;

impl HostFacts for &Netlink {
    fn sysctls(&self, external: &str) -> HostSysctls {
        Netlink::settings(self, external)
    }

    async fn port_use(&self) -> Result<PortUse, String> {
        let port_use = Netlink::preflight(self).await;
        port_use.map_err(|error| chain(&error))
    }
}
