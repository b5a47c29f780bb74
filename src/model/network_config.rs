//! Owns the meaning of `PREFIX/config`: which keys there are, their defaults, and what is refused and why.
//! The operator writes that value, so everything in it is checked here, once. Pure.
//!
//! Source: flannel v0.28 `pkg/subnet/config.go` and `pkg/backend/vxlan/vxlan.go`, as fixed in the contract
//! with flannel (see `docs/config.md`).

mod fields;
mod range;

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::addr::Vni;
use crate::model::network_config::fields::Fields;
use crate::model::network_config::range::{IPV4, IPV6};

/// Bytes that VXLAN adds to a packet over IPv4: outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348).
pub const VXLAN_OVERHEAD: u32 = 50;
/// The UDP port of the Linux vxlan driver when none is named; not the port of RFC 7348 (4789).
pub const DEFAULT_PORT: u16 = 8472;
/// The smallest MTU that IPv4 allows (RFC 791).
const MIN_MTU: u32 = 68;

/// The network that all members of the cluster share, checked and complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// The whole overlay.
    pub network: Ipv4Network,
    /// Prefix length of the subnet of each host.
    pub subnet_len: u8,
    /// First address of the first subnet to hand out.
    pub subnet_min: Ipv4Addr,
    /// First address of the last subnet to hand out.
    pub subnet_max: Ipv4Addr,
    /// How packets cross between hosts.
    pub vxlan: VxlanConfig,
    /// Whether the rules of the packet filter are to be in nftables; the host decides if it is not said.
    pub nftables: Option<bool>,
}

/// The `Backend` key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VxlanConfig {
    /// VXLAN network identifier.
    pub vni: Vni,
    /// UDP destination port.
    pub port: u16,
    /// MTU of the network that carries the overlay, where it is not that of the external interface.
    pub mtu: Option<u32>,
    /// VXLAN group based policy, a flag of the device.
    pub gbp: bool,
    /// Whether the device learns where addresses are from the packets it receives.
    pub learning: bool,
}

impl NetworkConfig {
    /// MTU of the overlay, given the MTU of the external interface, which is an upper limit: the kernel refuses more.
    pub fn overlay_mtu(&self, external: u32) -> u32 {
        self.vxlan
            .mtu
            .map_or(external, |mtu| mtu.min(external))
            .saturating_sub(VXLAN_OVERHEAD)
    }

    /// Whether `subnet` is one that this configuration could have handed out.
    pub fn fits(&self, subnet: Ipv4Network) -> bool {
        subnet.prefix() == self.subnet_len
            && subnet.ip() == subnet.network()
            && (self.subnet_min..=self.subnet_max).contains(&subnet.ip())
    }
}

impl NetworkConfig {
    /// What a restart with the configuration `now` would change on this host: one sentence for each difference.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut differ = |name: &str, before: String, after: String, effect: &str| {
            if before != after {
                found.push(format!(
                    "{name} {before} -> {after}: a restart would {effect}"
                ));
            }
        };
        let subnets = "take another subnet where ours does not fit";
        differ(
            "Network",
            self.network.to_string(),
            now.network.to_string(),
            "take a subnet of the new network",
        );
        differ(
            "SubnetLen",
            self.subnet_len.to_string(),
            now.subnet_len.to_string(),
            "take a subnet of the new size",
        );
        differ(
            "SubnetMin",
            self.subnet_min.to_string(),
            now.subnet_min.to_string(),
            subnets,
        );
        differ(
            "SubnetMax",
            self.subnet_max.to_string(),
            now.subnet_max.to_string(),
            subnets,
        );
        let (old, new) = (&self.vxlan, &now.vxlan);
        let device = format!(
            "make the device {} beside {}",
            new.vni.device(),
            old.vni.device()
        );
        differ(
            "Backend.VNI",
            old.vni.to_string(),
            new.vni.to_string(),
            &device,
        );
        differ(
            "Backend.Port",
            old.port.to_string(),
            new.port.to_string(),
            "make the device again",
        );
        differ(
            "Backend.GBP",
            old.gbp.to_string(),
            new.gbp.to_string(),
            "make the device again",
        );
        differ(
            "Backend.Learning",
            old.learning.to_string(),
            new.learning.to_string(),
            "change the device",
        );
        let mtu = |mtu: Option<u32>| {
            mtu.map_or("that of the interface".to_owned(), |mtu| mtu.to_string())
        };
        differ(
            "Backend.MTU",
            mtu(old.mtu),
            mtu(new.mtu),
            "change the MTU of the device, and of pods that start then",
        );
        found
    }
}

/// A configuration that cannot be used: which key, what it holds, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value}: {expected}")]
pub struct ConfigError {
    /// The key as the contract spells it, with its parent: `Backend.VNI`.
    pub key: String,
    /// What was found, as JSON; `missing` where there is none.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

/// A configuration, and what is odd about it but does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The configuration.
    pub config: NetworkConfig,
    /// One sentence for each key that is ignored.
    pub warnings: Vec<String>,
}

/// Reads the value of `PREFIX/config`.
///
/// # Errors
/// The first key that is refused.
pub fn parse(json: &[u8]) -> Result<Parsed, ConfigError> {
    let mut fields = Fields::parse("", json)?;
    check_families(&mut fields)?;
    let ipv4 = range::read(&mut fields, &IPV4)?;
    let nftables = fields.boolean("EnableNFTables")?;
    let (vxlan, mut warnings) = backend(fields.object("Backend")?)?;
    warnings.extend(fields.unknown());
    let config = NetworkConfig {
        network: ipv4.network()?,
        subnet_len: ipv4.subnet_len,
        subnet_min: ipv4.min_v4(),
        subnet_max: ipv4.max_v4(),
        vxlan,
        nftables,
    };
    Ok(Parsed { config, warnings })
}

/// IPv6 is checked like IPv4 and then refused: this version carries IPv4 only, and a member that keeps
/// silent about half of the network would be worse than none.
fn check_families(fields: &mut Fields) -> Result<(), ConfigError> {
    let ipv4 = fields.boolean("EnableIPv4")?.unwrap_or(true);
    let ipv6 = fields.boolean("EnableIPv6")?.unwrap_or(false);
    if !ipv4 && !ipv6 {
        return Err(fields.refuse(
            "EnableIPv4",
            &Value::Bool(false),
            "one of EnableIPv4 and EnableIPv6 must be true",
        ));
    }
    if ipv6 {
        range::read(fields, &IPV6)?;
        return Err(fields.refuse(
            "EnableIPv6",
            &Value::Bool(true),
            "this version of flanneld carries IPv4 only",
        ));
    }
    range::forget(fields, &IPV6);
    Ok(())
}

fn backend(fields: Option<Fields>) -> Result<(VxlanConfig, Vec<String>), ConfigError> {
    let mut fields = fields.unwrap_or_else(|| Fields::empty("Backend."));
    if let Some(kind) = fields.string("Type")?
        && !kind.eq_ignore_ascii_case("vxlan")
    {
        let expected = "\"vxlan\" is the only backend of this daemon";
        return Err(fields.refuse("Type", &Value::String(kind), expected));
    }
    let config = VxlanConfig {
        vni: vni(&mut fields)?,
        port: port(&mut fields)?,
        mtu: mtu(&mut fields)?,
        gbp: fields.boolean("GBP")?.unwrap_or(false),
        learning: fields.boolean("Learning")?.unwrap_or(false),
    };
    let direct_routing = fields.boolean("DirectRouting")?.unwrap_or(false);
    let mut warnings = fields.unknown();
    if direct_routing {
        warnings.push(
            "Backend.DirectRouting is ignored: packets to every peer go through VXLAN, which peers accept".to_owned(),
        );
    }
    Ok((config, warnings))
}

fn vni(fields: &mut Fields) -> Result<Vni, ConfigError> {
    let Some(number) = fields.integer("VNI")? else {
        return Ok(Vni::DEFAULT);
    };
    let vni = u32::try_from(number)
        .ok()
        .and_then(|n| Vni::try_from(n).ok());
    vni.ok_or_else(|| {
        fields.refuse(
            "VNI",
            &number.into(),
            "expected a number from 0 to 16777215",
        )
    })
}

fn port(fields: &mut Fields) -> Result<u16, ConfigError> {
    let Some(number) = fields.integer("Port")? else {
        return Ok(DEFAULT_PORT);
    };
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    port.ok_or_else(|| {
        fields.refuse(
            "Port",
            &number.into(),
            "expected a UDP port from 1 to 65535",
        )
    })
}

fn mtu(fields: &mut Fields) -> Result<Option<u32>, ConfigError> {
    const LEAST: u32 = MIN_MTU + VXLAN_OVERHEAD;
    // flannel takes 0 for "not set".
    let Some(number) = fields.integer("MTU")?.filter(|number| *number != 0) else {
        return Ok(None);
    };
    let mtu = u32::try_from(number)
        .ok()
        .filter(|mtu| (LEAST..=65_535).contains(mtu));
    let expected = format!("expected the MTU of the underlying network, from {LEAST} to 65535");
    mtu.map(Some)
        .ok_or_else(|| fields.refuse("MTU", &number.into(), &expected))
}

#[cfg(test)]
mod tests;
