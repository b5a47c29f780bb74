//! The port of the preflight checks: kernel settings, VXLAN devices and UDP ports of this host. It
//! decides nothing.

use crate::adapters::netlink::{Netlink, decode, sysctl};
use crate::error::chain;
use crate::host::port::HostFacts;
use crate::host::sysctls::HostSysctls;
use crate::host::vxlan_conflicts::PortUse;

impl HostFacts for &Netlink {
    fn sysctls(&self, external: &str) -> HostSysctls {
        HostSysctls {
            external: external.to_owned(),
            ip_forward: sysctl::read("net/ipv4/ip_forward"),
            rp_filter_all: rp_filter("all"),
            rp_filter_external: rp_filter(external),
            rp_filter_default: rp_filter("default"),
            bridge_nf: sysctl::read("net/bridge/bridge-nf-call-iptables"),
        }
    }

    async fn port_use(&self) -> Result<PortUse, String> {
        let links = self.links().await.map_err(|error| chain(&error))?;
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
