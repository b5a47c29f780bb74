//! Owns the arithmetic of one address family's part of the configuration: network, length of subnets, first
//! and last subnet to hand out. IPv4 and IPv6 obey the same rules with other numbers, so both are counted
//! in `u128` here. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network};
use serde_json::Value;

use crate::model::network_config::ConfigError;
use crate::model::network_config::fields::Fields;

/// What tells the families apart.
pub(super) struct Family {
    network_key: &'static str,
    len_key: &'static str,
    min_key: &'static str,
    max_key: &'static str,
    example: &'static str,
    bits: u8,
    /// The longest network that still holds four subnets of four addresses.
    longest_network: u8,
    /// Networks up to this length are cut into subnets of `default_len`, longer ones into four.
    roomy_network: u8,
    default_len: u8,
}

pub(super) const IPV4: Family = Family {
    network_key: "Network",
    len_key: "SubnetLen",
    min_key: "SubnetMin",
    max_key: "SubnetMax",
    example: "10.5.0.0/16",
    bits: 32,
    longest_network: 28,
    roomy_network: 22,
    default_len: 24,
};

pub(super) const IPV6: Family = Family {
    network_key: "IPv6Network",
    len_key: "IPv6SubnetLen",
    min_key: "IPv6SubnetMin",
    max_key: "IPv6SubnetMax",
    example: "fd00:5::/48",
    bits: 128,
    longest_network: 124,
    roomy_network: 62,
    default_len: 64,
};

/// Subnets of one family: addresses as numbers.
#[derive(Debug)]
pub(super) struct Range {
    base: u128,
    prefix: u8,
    bits: u8,
    pub(super) subnet_len: u8,
    min: u128,
    max: u128,
}

impl Range {
    /// The whole network; only for the range of [`IPV4`].
    pub(super) fn network(&self) -> Result<Ipv4Network, ConfigError> {
        Ipv4Network::new(v4(self.base), self.prefix).map_err(|error| ConfigError {
            key: IPV4.network_key.to_owned(),
            value: self.prefix.to_string(),
            expected: error.to_string(),
        })
    }

    /// The first subnet to hand out; only for the range of [`IPV4`].
    pub(super) fn min_v4(&self) -> Ipv4Addr {
        v4(self.min)
    }

    /// The last subnet to hand out; only for the range of [`IPV4`].
    pub(super) fn max_v4(&self) -> Ipv4Addr {
        v4(self.max)
    }

    fn contains(&self, address: u128) -> bool {
        address & mask(self.bits, self.prefix) == self.base
    }
}

/// Takes the keys of one family out of the fields without reading them.
pub(super) fn forget(fields: &mut Fields, family: &Family) {
    for key in [
        family.network_key,
        family.len_key,
        family.min_key,
        family.max_key,
    ] {
        fields.forget(key);
    }
}

/// Reads and checks the keys of one family.
pub(super) fn read(fields: &mut Fields, family: &Family) -> Result<Range, ConfigError> {
    let (base, prefix) = network(fields, family)?;
    let subnet_len = subnet_len(fields, family, prefix)?;
    let step = 1u128 << (family.bits - subnet_len);
    let end = base | !mask(family.bits, prefix) & mask(128, 128) >> (128 - family.bits);
    let mut range = Range {
        base,
        prefix,
        bits: family.bits,
        subnet_len,
        min: base + step,
        max: end - (step - 1),
    };
    if let Some(min) = boundary(fields, family, &range, family.min_key)? {
        range.min = min;
    }
    if let Some(max) = boundary(fields, family, &range, family.max_key)? {
        range.max = max;
    }
    if range.min > range.max {
        let min = Value::String(text(family.bits, range.min));
        let expected = format!(
            "expected at most {}, which is {}",
            family.max_key,
            text(family.bits, range.max)
        );
        return Err(fields.refuse(family.min_key, &min, &expected));
    }
    Ok(range)
}

fn network(fields: &mut Fields, family: &Family) -> Result<(u128, u8), ConfigError> {
    let key = family.network_key;
    let wanted = format!(
        "expected the overlay in CIDR notation, such as \"{}\"",
        family.example
    );
    let Some(given) = fields.string(key)? else {
        return Err(fields.missing(key, &wanted));
    };
    let value = Value::String(given.clone());
    // A bare address would be read as a network of one address: more likely its length was forgotten.
    let parsed = given
        .contains('/')
        .then(|| given.parse::<IpNetwork>().ok())
        .flatten();
    let Some(net) = parsed.filter(|net| is_family(family, net.ip())) else {
        return Err(fields.refuse(key, &value, &wanted));
    };
    let (address, prefix) = (number(net.ip()), net.prefix());
    let base = address & mask(family.bits, prefix);
    if base != address {
        let probably = format!(
            "it has host bits set; \"{}/{prefix}\" was probably meant",
            text(family.bits, base)
        );
        return Err(fields.refuse(key, &value, &probably));
    }
    if prefix == 0 || prefix > family.longest_network {
        let expected = format!("expected a length from /1 to /{}", family.longest_network);
        return Err(fields.refuse(key, &value, &expected));
    }
    Ok((base, prefix))
}

fn subnet_len(fields: &mut Fields, family: &Family, prefix: u8) -> Result<u8, ConfigError> {
    // flannel takes 0 for "not set".
    let Some(given) = fields.integer(family.len_key)?.filter(|len| *len != 0) else {
        return Ok(if prefix <= family.roomy_network {
            family.default_len
        } else {
            prefix + 2
        });
    };
    // A subnet needs an address for the tunnel, one for the bridge and one for a container; the first subnet
    // of the network is not handed out, so that a network cut in two would serve one host only.
    let (least, most) = (prefix + 2, family.bits - 2);
    let len = u8::try_from(given)
        .ok()
        .filter(|len| (least..=most).contains(len));
    let expected = format!(
        "expected a length from {least} ({} /{prefix} plus 2) to {most}",
        family.network_key
    );
    len.ok_or_else(|| fields.refuse(family.len_key, &given.into(), &expected))
}

/// The first address of a subnet that `key` names.
fn boundary(
    fields: &mut Fields,
    family: &Family,
    range: &Range,
    key: &str,
) -> Result<Option<u128>, ConfigError> {
    let Some(given) = fields.string(key)? else {
        return Ok(None);
    };
    let value = Value::String(given.clone());
    let Some(address) = given
        .parse::<IpAddr>()
        .ok()
        .filter(|ip| is_family(family, *ip))
        .map(number)
    else {
        let expected = "expected the first address of a subnet";
        return Err(fields.refuse(key, &value, expected));
    };
    if !range.contains(address) {
        let expected = format!(
            "expected an address in {} {}/{}",
            family.network_key,
            text(range.bits, range.base),
            range.prefix
        );
        return Err(fields.refuse(key, &value, &expected));
    }
    let start = address & mask(range.bits, range.subnet_len);
    if start != address {
        let start = text(range.bits, start);
        let expected = format!(
            "expected the first address of a /{}, such as \"{start}\"",
            range.subnet_len
        );
        return Err(fields.refuse(key, &value, &expected));
    }
    Ok(Some(address))
}

fn is_family(family: &Family, address: IpAddr) -> bool {
    address.is_ipv4() == (family.bits == 32)
}

fn mask(bits: u8, prefix: u8) -> u128 {
    let all = u128::MAX >> (128 - bits);
    if prefix == 0 {
        0
    } else {
        all & (u128::MAX << (bits - prefix))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn v4(number: u128) -> Ipv4Addr {
    Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn text(bits: u8, number: u128) -> String {
    if bits == 32 {
        v4(number).to_string()
    } else {
        Ipv6Addr::from(number).to_string()
    }
}
