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
use crate::host::sysctls::{HostSysctls, InterfaceSysctls};
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
    fn sysctls(&self, external: &str, bridges: &[String]) -> HostSysctls {
        HostSysctls {
            ip_forward: sysctl::read("net/ipv4/ip_forward"),
            external: settings_of(external),
            bridges: bridges.iter().map(|name| settings_of(name)).collect(),
            all: settings_of("all"),
            default: settings_of("default"),
            bridge_nf: sysctl::read("net/bridge/bridge-nf-call-iptables"),
        }
    }

    fn neighbour_table(&self) -> NeighbourTable {
        NeighbourTable {
            limit: sysctl::read("net/ipv4/neigh/default/gc_thresh3"),
            overflows: neighbour_table::overflows(&sysctl::arp_statistics()),
        }
    }

    fn bridges(&self, subnet: Ipv4Network, device: &str) -> Vec<String> {
        let Ok(addresses) = getifaddrs() else {
            return Vec::new();
        };
        let in_subnet = addresses.filter(|one| {
            let address = one.address.as_ref().and_then(|any| any.as_sockaddr_in());
            address.is_some_and(|address| subnet.contains(address.ip()))
        });
        // An address with a label appears under the label: `cni0:1`.
        let names = in_subnet.map(|one| match one.interface_name.split_once(':') {
            Some((name, _)) => name.to_owned(),
            None => one.interface_name,
        });
        let mut names: Vec<String> = names.filter(|name| name != device).collect();
        names.dedup();
        names
    }

    fn docker_nftables(&self) -> Vec<NftRule> {
        nft_rules::rules(NFT_TABLE).unwrap_or_else(|error| {
            debug!(%error, "the rules of Docker's nftables backend are not known");
            Vec::new()
        })
    }
}

/// Reads the IPv4 settings of an interface, or of `all` or `default`.
fn settings_of(interface: &str) -> InterfaceSysctls {
    let read = |setting| sysctl::read(&format!("net/ipv4/conf/{interface}/{setting}"));
    InterfaceSysctls {
        name: interface.to_owned(),
        forwarding: read("forwarding"),
        rp_filter: read("rp_filter"),
        arp_ignore: read("arp_ignore"),
    }
}
