//! The ports of the checks of this host: kernel settings, VXLAN devices, UDP ports and the bridge of the pods. It decides
//! nothing.

use ipnetwork::Ipv4Network;
use nix::ifaddrs::getifaddrs;
use tracing::debug;

use crate::adapters::netlink::{Netlink, decode, nft_rules, sysctl};
use crate::error::chain;
use crate::host::docker_nftables::NftRule;
use crate::host::neighbour_table::{self, NeighbourTable};
use crate::host::port::{HostFacts, HostKernel};
use crate::host::sysctls::HostSysctls;
use crate::host::vxlan_conflicts::PortUse;
use crate::model::docker::NFT_TABLE;

impl HostFacts for &Netlink {
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

/// What is read without a socket of our own.
#[derive(Debug, Default)]
pub(crate) struct KernelSettings;

impl HostKernel for KernelSettings {
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

    fn neighbour_table(&self) -> NeighbourTable {
        NeighbourTable {
            limit: sysctl::read("net/ipv4/neigh/default/gc_thresh3"),
            overflows: neighbour_table::overflows(&sysctl::arp_statistics()),
        }
    }

    fn bridge(&self, subnet: Ipv4Network, device: &str) -> Option<String> {
        let mut addresses = getifaddrs().ok()?;
        let has_address_of_subnet = |address: &nix::ifaddrs::InterfaceAddress| {
            let address = address.address.as_ref()?.as_sockaddr_in()?.ip();
            subnet.contains(address).then_some(())
        };
        let bridge = addresses.find(|address| {
            address.interface_name != device && has_address_of_subnet(address).is_some()
        });
        Some(bridge?.interface_name)
    }

    fn docker_nftables(&self) -> Vec<NftRule> {
        nft_rules::rules(NFT_TABLE).unwrap_or_else(|error| {
            debug!(%error, "the rules of Docker's nftables backend are not known");
            Vec::new()
        })
    }
}

fn rp_filter(interface: &str) -> Option<i32> {
    sysctl::read(&format!("net/ipv4/conf/{interface}/rp_filter"))
}
