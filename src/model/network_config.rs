//! Reads the network config, the JSON value of `PREFIX/config`: which keys it has, their defaults,
//! and which values are refused and why. An operator writes it, so everything in it is checked
//! here, once. Pure.
//!
//! Source: flannel v0.28 `pkg/subnet/config.go` and `pkg/backend/vxlan/vxlan.go`;
//! `docs/reference/network-config.md` lists what this daemon accepts.

mod backend;
mod differences;
pub mod error;
mod fields;
mod not_json;
mod range;

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::addr::Vni;
use crate::model::network_config::error::ConfigError;
use crate::model::network_config::fields::Fields;

/// Bytes that VXLAN adds to a packet over IPv4: outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14
/// (RFC 7348).
const VXLAN_OVERHEAD: u32 = 50;

/// The network that all hosts of the cluster share: checked, with all defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// The whole overlay.
    pub network: Ipv4Network,
    /// The prefix length of each host's subnet.
    pub(crate) subnet_len: u8,
    /// The first address of the first subnet that a host may take.
    pub subnet_min: Ipv4Addr,
    /// The first address of the last subnet that a host may take.
    pub subnet_max: Ipv4Addr,
    /// How packets travel between the hosts.
    pub(crate) vxlan: VxlanConfig,
    /// Whether the packet filter's rules belong in nftables; with `None` each host decides for
    /// itself.
    pub(crate) nftables: Option<bool>,
}

/// The `Backend` key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VxlanConfig {
    pub(crate) vni: Vni,
    /// The UDP destination port of VXLAN packets.
    pub(crate) port: u16,
    /// The MTU of the network between the hosts, if it is lower than that of the external
    /// interface.
    pub(crate) mtu: Option<u32>,
    /// Whether the device carries VXLAN group policy ids.
    pub(crate) gbp: bool,
    /// Whether the device learns FDB entries from the packets that it receives.
    pub(crate) learning: bool,
}

impl NetworkConfig {
    /// Returns the MTU of the overlay on a host whose external interface has the MTU `external`. A
    /// larger `Backend.MTU` has no effect, because the kernel refuses it.
    pub(crate) fn overlay_mtu(&self, external: u32) -> u32 {
        self.vxlan
            .mtu
            .map_or(external, |mtu| mtu.min(external))
            .saturating_sub(VXLAN_OVERHEAD)
    }

    /// Whether a host may take `subnet` under this configuration.
    pub fn fits(&self, subnet: Ipv4Network) -> bool {
        subnet.prefix() == self.subnet_len
            && subnet.ip() == subnet.network()
            && (self.subnet_min..=self.subnet_max).contains(&subnet.ip())
    }
}

/// A usable network config, and warnings about keys in it that have no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The configuration.
    pub config: NetworkConfig,
    /// One sentence for each key that is ignored.
    pub(crate) warnings: Vec<String>,
}

/// Reads the value of `PREFIX/config`.
///
/// # Errors
/// The first key whose value cannot be used.
pub fn parse(json: &[u8]) -> Result<Parsed, ConfigError> {
    let mut fields = Fields::parse(json).map_err(|error| not_json::refuse(json, &error))?;
    check_families(&mut fields)?;
    let range = range::read(&mut fields)?;
    let nftables = fields.boolean("EnableNFTables")?;
    let (vxlan, mut warnings) = backend::read(fields.object("Backend")?)?;
    warnings.extend(fields.unknown());
    let config = NetworkConfig {
        network: range.network,
        subnet_len: range.subnet_len,
        subnet_min: range.min,
        subnet_max: range.max,
        vxlan,
        nftables,
    };
    Ok(Parsed { config, warnings })
}

/// Refuses IPv6: a host that silently carried half of the network would be worse than one that does
/// not start.
fn check_families(fields: &mut Fields) -> Result<(), ConfigError> {
    let ipv4 = fields.boolean("EnableIPv4")?.unwrap_or(true);
    let ipv6 = fields.boolean("EnableIPv6")?.unwrap_or(false);
    if ipv6 {
        let expected = "this version of flanneld carries IPv4 only";
        return Err(fields.refuse("EnableIPv6", &Value::Bool(true), expected));
    }
    if !ipv4 {
        let expected = "one of EnableIPv4 and EnableIPv6 must be true";
        return Err(fields.refuse("EnableIPv4", &Value::Bool(false), expected));
    }
    // flannel ignores these keys while IPv6 is off. Many clusters leave them in the value, so they
    // are no typing errors.
    for key in [
        "IPv6Network",
        "IPv6SubnetLen",
        "IPv6SubnetMin",
        "IPv6SubnetMax",
    ] {
        fields.ignore(key);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
