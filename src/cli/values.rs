//! Reads the values of options. Each error says what to write instead. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::model::addr::Vni;
use crate::model::docker_networks::DockerNetworks;
use crate::model::key_prefix::normalize;
use crate::model::lease::validate::validate_address;

const MAX_NODE_ID_LEN: usize = 128;
/// A network of Docker names its bridge; the kernel allows 15 bytes.
const MAX_BRIDGE_NAME_LEN: usize = 15;
/// A lease lasts a day: a margin of a whole day would mean to renew it all the time.
const MAX_RENEW_MARGIN_MINUTES: u16 = 24 * 60 - 1;

/// Reads a name that needs no quoting as a value in etcd, in the log or on the command line.
pub(super) fn node_id(text: &str) -> Result<String, String> {
    let is_short = (1..=MAX_NODE_ID_LEN).contains(&text.len());
    if is_short && text.chars().all(is_node_id_char) {
        Ok(text.to_owned())
    } else {
        Err("expected up to 128 letters, digits, and -_.:".to_owned())
    }
}

fn is_node_id_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.:".contains(c)
}

/// Reads what a shell and systemd accept as the name of a variable.
pub(super) fn variable_name(text: &str) -> Result<String, String> {
    let starts_well = text.starts_with(|c: char| !c.is_ascii_digit());
    if starts_well && text.chars().all(is_variable_char) {
        Ok(text.to_owned())
    } else {
        Err("expected letters, digits and _, such as DOCKER_OPTS".to_owned())
    }
}

fn is_variable_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

pub(super) fn docker_networks(text: &str) -> Result<DockerNetworks, String> {
    text.parse()
}

/// Reads a name that both a network of Docker and its bridge can have.
pub(super) fn bridge_name(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_BRIDGE_NAME_LEN).contains(&text.len());
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_name_char = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if fits && starts_well && text.chars().all(is_name_char) {
        Ok(text.to_owned())
    } else {
        Err("expected up to 15 letters, digits, and -_., such as pods".to_owned())
    }
}

/// Reads the words of Go's `strconv.ParseBool`.
pub(super) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

pub(super) fn vni(text: &str) -> Result<Vni, String> {
    parsed::<u32>(text)
        .and_then(|number| Vni::try_from(number).ok())
        .ok_or_else(|| "expected a number from 0 to 16777215".to_owned())
}

pub(super) fn seconds(text: &str) -> Result<u32, String> {
    parsed(text).ok_or_else(|| "expected a number of seconds".to_owned())
}

pub(super) fn positive_seconds(text: &str) -> Result<u32, String> {
    parsed(text)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "expected a number of seconds, at least 1".to_owned())
}

pub(super) fn renew_margin(text: &str) -> Result<u16, String> {
    parsed(text)
        .filter(|minutes| (1..=MAX_RENEW_MARGIN_MINUTES).contains(minutes))
        .ok_or_else(|| format!("expected a number of minutes from 1 to {MAX_RENEW_MARGIN_MINUTES}"))
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    parsed(text).ok_or_else(|| "expected a port from 0 to 65535".to_owned())
}

pub(super) fn verbosity(text: &str) -> Result<u8, String> {
    parsed(text).ok_or_else(|| "expected a number from 0 to 255".to_owned())
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    parsed(text).ok_or_else(|| "expected an IP address such as 127.0.0.1".to_owned())
}

pub(super) fn ipv4_address(text: &str) -> Result<Ipv4Addr, String> {
    parsed(text).ok_or_else(|| "expected an IPv4 address such as 192.168.56.11".to_owned())
}

/// Reads an address at which other hosts can reach this one.
pub(super) fn public_ip(text: &str) -> Result<Ipv4Addr, String> {
    let ip = ipv4_address(text)?;
    validate_address(ip).map_err(|rejection| {
        format!("{rejection}; expected the address at which other hosts reach this one")
    })?;
    Ok(ip)
}

/// Reads the prefix of keys in etcd.
pub(super) fn key_prefix(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("expected a prefix of keys such as /coreos.com/network".to_owned());
    }
    Ok(normalize(text))
}

pub(super) fn ipv6_address(text: &str) -> Result<Ipv6Addr, String> {
    parsed(text).ok_or_else(|| "expected an IPv6 address such as fd00::1".to_owned())
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}
