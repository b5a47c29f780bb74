//! Reads which subnets a host may take: the network, the length of a subnet, the first and the last
//! subnet. Pure.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use serde_json::Value;

use crate::model::addr::{network_of, overlap};
use crate::model::network_config::error::ConfigError;
use crate::model::network_config::fields::Fields;

/// The smallest network that still holds four subnets of four addresses.
const MAX_NETWORK_PREFIX: u8 = 28;
/// The length of a subnet unless `SubnetLen` says otherwise.
const DEFAULT_SUBNET_LEN: u8 = 24;
/// The smallest network that is cut into subnets of the default length. Smaller ones are cut in
/// four.
const MAX_PREFIX_FOR_DEFAULT_LEN: u8 = 22;
/// The smallest subnet: an address each for the VTEP, the bridge and one pod.
const MAX_SUBNET_LEN: u8 = 30;
/// A network is cut into at least four subnets. The first one is not handed out, so with two
/// subnets the network would serve one host only.
const MIN_BITS_OF_SUBNET_NUMBER: u8 = 2;

/// Addresses that no pod can have, whatever the hosts' own network is (RFC 6890).
const RESERVED: [(&str, &str); 5] = [
    ("0.0.0.0/8", "which no host can have"),
    ("127.0.0.0/8", "the loopback addresses of each host"),
    (
        "169.254.0.0/16",
        "the link-local addresses, which are never routed",
    ),
    ("224.0.0.0/4", "the multicast addresses"),
    ("240.0.0.0/4", "which is reserved"),
];

/// The subnets that hosts may take.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) network: Ipv4Network,
    pub(super) subnet_len: u8,
    /// The first address of the first subnet.
    pub(super) min: Ipv4Addr,
    /// The first address of the last subnet.
    pub(super) max: Ipv4Addr,
}

/// Reads `Network`, `SubnetLen`, `SubnetMin` and `SubnetMax`.
pub(super) fn read(fields: &mut Fields) -> Result<Range, ConfigError> {
    let network = network(fields)?;
    let subnet_len = subnet_len(fields, network.prefix())?;
    let subnet_min = boundary(fields, "SubnetMin", network, subnet_len)?;
    let subnet_max = boundary(fields, "SubnetMax", network, subnet_len)?;
    let range = Range {
        network,
        subnet_len,
        min: subnet_min.unwrap_or_else(|| second_subnet(network, subnet_len)),
        max: subnet_max.unwrap_or_else(|| subnet_start(network.broadcast(), subnet_len)),
    };
    if range.min > range.max {
        let value = Value::String(range.min.to_string());
        let expected = format!("expected at most SubnetMax, which is {}", range.max);
        return Err(fields.refuse("SubnetMin", &value, &expected));
    }
    Ok(range)
}

fn network(fields: &mut Fields) -> Result<Ipv4Network, ConfigError> {
    const EXPECTED: &str = "expected the overlay in CIDR notation, such as \"10.5.0.0/16\"";
    let Some(given) = fields.string("Network")? else {
        return Err(fields.missing("Network", EXPECTED));
    };
    let value = Value::String(given.clone());
    let Some(parsed) = parse_cidr(&given) else {
        return Err(fields.refuse("Network", &value, EXPECTED));
    };
    let prefix = parsed.prefix();
    let first = parsed.network();
    if first != parsed.ip() {
        let expected = format!("it has host bits set; \"{first}/{prefix}\" was probably meant");
        return Err(fields.refuse("Network", &value, &expected));
    }
    if prefix == 0 || prefix > MAX_NETWORK_PREFIX {
        let expected = format!("expected a length from /1 to /{MAX_NETWORK_PREFIX}");
        return Err(fields.refuse("Network", &value, &expected));
    }
    for (reserved, what) in RESERVED {
        let reserved = parse_cidr(reserved).expect("a constant in CIDR notation");
        if overlap(reserved, parsed) {
            let expected = format!(
                "it overlaps {reserved}, {what}; expected a private network, such as \"10.5.0.0/16\""
            );
            return Err(fields.refuse("Network", &value, &expected));
        }
    }
    Ok(parsed)
}

fn parse_cidr(text: &str) -> Option<Ipv4Network> {
    // `Ipv4Network` reads a bare address as a network of one address. Here it means that the length
    // was forgotten.
    if !text.contains('/') {
        return None;
    }
    text.parse().ok()
}

fn subnet_len(fields: &mut Fields, network_prefix: u8) -> Result<u8, ConfigError> {
    // flannel reads 0 as "not set".
    let Some(given) = fields.integer("SubnetLen")?.filter(|len| *len != 0) else {
        return Ok(default_subnet_len(network_prefix));
    };
    let min = network_prefix + MIN_BITS_OF_SUBNET_NUMBER;
    u8::try_from(given)
        .ok()
        .filter(|len| (min..=MAX_SUBNET_LEN).contains(len))
        .ok_or_else(|| {
            let expected = format!(
                "expected a length from {min} (Network /{network_prefix} plus 2) to {MAX_SUBNET_LEN}"
            );
            fields.refuse("SubnetLen", &given.into(), &expected)
        })
}

fn default_subnet_len(network_prefix: u8) -> u8 {
    if network_prefix <= MAX_PREFIX_FOR_DEFAULT_LEN {
        DEFAULT_SUBNET_LEN
    } else {
        network_prefix + MIN_BITS_OF_SUBNET_NUMBER
    }
}

/// Reads the first address of a subnet inside `network`.
fn boundary(
    fields: &mut Fields,
    key: &str,
    network: Ipv4Network,
    subnet_len: u8,
) -> Result<Option<Ipv4Addr>, ConfigError> {
    let Some(given) = fields.string(key)? else {
        return Ok(None);
    };
    let value = Value::String(given.clone());
    let Ok(address) = given.parse::<Ipv4Addr>() else {
        return Err(fields.refuse(key, &value, "expected the first address of a subnet"));
    };
    if !network.contains(address) {
        let expected = format!("expected an address in Network {network}");
        return Err(fields.refuse(key, &value, &expected));
    }
    let start = subnet_start(address, subnet_len);
    if start != address {
        let expected =
            format!("expected the first address of a /{subnet_len}, such as \"{start}\"");
        return Err(fields.refuse(key, &value, &expected));
    }
    Ok(Some(address))
}

/// Returns the first address of the subnet that `address` is in.
fn subnet_start(address: Ipv4Addr, subnet_len: u8) -> Ipv4Addr {
    network_of(address, subnet_len)
        .expect("the length of a subnet is at most 30")
        .ip()
}

/// Returns the first address of the second subnet: flannel does not hand out the first one, whose
/// first address is the network's own.
fn second_subnet(network: Ipv4Network, subnet_len: u8) -> Ipv4Addr {
    let addresses_per_subnet = 1 << (32 - subnet_len);
    Ipv4Addr::from(u32::from(network.ip()) + addresses_per_subnet)
}
