//! Translates between a subnet and the name of its key below `PREFIX/subnets/`. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};

use crate::model::addr::network_of;
use crate::model::lease::Rejection;

/// Returns the name of the key of `subnet`, such as `10.5.1.0-24`.
pub fn key_name(subnet: Ipv4Network) -> String {
    format!("{}-{}", subnet.ip(), subnet.prefix())
}

/// Returns the subnet that a key names. A key of a dual-stack cluster, such as
/// `10.5.1.0-24&fd00:5:1::-64`, counts for its IPv4 part; its IPv6 part must be well formed.
///
/// # Errors
/// [`Rejection::Key`] if the name is not exactly what flannel writes for a subnet.
pub fn parse_key_name(name: &str) -> Result<Ipv4Network, Rejection> {
    let ipv4 = match name.split_once('&') {
        Some((ipv4, ipv6)) => {
            check_ipv6(ipv6)?;
            ipv4
        }
        None => name,
    };
    let (address, prefix) = ipv4.split_once('-').ok_or(Rejection::Key)?;
    let address: Ipv4Addr = address.parse().map_err(|_| Rejection::Key)?;
    let subnet = network_of(address, parse_prefix(prefix)?).ok_or(Rejection::Key)?;
    // Each subnet has one name: "10.5.1.0-024" would be a second key of the same subnet.
    if ipv4 == key_name(subnet) {
        Ok(subnet)
    } else {
        Err(Rejection::Key)
    }
}

fn check_ipv6(text: &str) -> Result<(), Rejection> {
    let (address, prefix) = text.rsplit_once('-').ok_or(Rejection::Key)?;
    let address: Ipv6Addr = address.parse().map_err(|_| Rejection::Key)?;
    Ipv6Network::new(address, parse_prefix(prefix)?).map_err(|_| Rejection::Key)?;
    Ok(())
}

fn parse_prefix(text: &str) -> Result<u8, Rejection> {
    // `u8::from_str` would also accept "+24".
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Rejection::Key);
    }
    text.parse().map_err(|_| Rejection::Key)
}
