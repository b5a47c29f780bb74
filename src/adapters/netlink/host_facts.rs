//! Reads what the checks of the host need: kernel settings, and who uses UDP ports. Judges nothing.

use crate::adapters::netlink::{Netlink, decode, sysctl};
use crate::host::checks::{HostSettings, PortUse};
use crate::overlay::port::KernelError;

impl Netlink {
    /// Reads the kernel settings that the overlay depends on. `external` is the name of the external interface.
    pub(crate) fn settings(&self, external: &str) -> HostSettings {
        HostSettings {
            external: external.to_owned(),
            ip_forward: sysctl::read("net/ipv4/ip_forward"),
            rp_filter_all: rp_filter("all"),
            rp_filter_external: rp_filter(external),
            rp_filter_default: rp_filter("default"),
            bridge_nf: sysctl::read("net/bridge/bridge-nf-call-iptables"),
        }
    }

    /// Reads which vxlan devices and which UDP ports in use may keep our device from being made or brought up.
    ///
    /// # Errors
    /// The kernel refuses the request or does not answer in time.
    pub(crate) async fn preflight(&self) -> Result<PortUse, KernelError> {
        let links = self.links().await?;
        let (udp_ports, udp6_ports) = sysctl::udp_ports();
        Ok(PortUse {
            vxlans: links.iter().filter_map(decode::vxlan::port_user).collect(),
            udp_ports,
            udp6_ports,
        })
    }
}

fn rp_filter(interface: &str) -> Option<i32> {
    sysctl::read(&format!("net/ipv4/conf/{interface}/rp_filter"))
}
