//! What the kernel of a host says about a device, as values that a test can compare. It only
//! reads, through the JSON of `ip` and `bridge`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::netns::Netns;

/// `RTPROT_BOOT` of rtnetlink(7), which `ip` does not print: made by hand.
const BOOT: u8 = 3;

/// A route, without its destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The next hop.
    pub via: Option<String>,
    /// The preferred source address.
    pub src: Option<String>,
    /// The metric; 0 when none was given.
    pub metric: u64,
    /// Who made it, as a number: 2 is the kernel, 3 is `ip` by hand.
    pub protocol: u8,
    /// `onlink`, `linkdown` and the like.
    pub flags: Vec<String>,
}

/// A neighbour, without its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Its link-layer address, once it is known.
    pub lladdr: Option<String>,
    /// `PERMANENT`, `REACHABLE`, `INCOMPLETE` and so on.
    pub state: String,
}

/// An entry of the forwarding database of a VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FdbEntry {
    /// The inner destination.
    pub mac: String,
    /// The outer destination.
    pub dst: Option<String>,
    /// `permanent`, or empty.
    pub state: String,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, which changes when it is made again.
    pub index: u64,
    /// Its link-layer address.
    pub mac: String,
    /// Its MTU.
    pub mtu: u64,
    /// Whether it is set up.
    pub up: bool,
    /// Its addresses with their lengths, link-local ones included.
    pub addresses: Vec<String>,
    /// `vxlan`, `bridge` and so on; empty for others.
    pub kind: String,
    /// What `ip -d -j link` tells in `linkinfo.info_data`: for vxlan `id`, `local`, `link`, `port`,
    /// `learning` and more.
    pub data: Value,
}

impl Link {
    /// A number of its kind's data, such as `id` or `port` of vxlan.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.data.get(key).and_then(Value::as_u64)
    }

    /// Its IPv4 addresses with their lengths.
    pub fn addresses_v4(&self) -> Vec<&str> {
        self.addresses
            .iter()
            .map(String::as_str)
            .filter(|address| address.contains('.'))
            .collect()
    }

    /// A text of its kind's data, such as `local` or `link` of vxlan.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.data.get(key).and_then(Value::as_str)
    }
}

impl Netns {
    /// The IPv4 routes of the main table that leave by `dev`, by destination as `ip` prints it.
    /// Of several routes to one destination only the last is kept.
    ///
    /// # Errors
    /// When there is no such device; so for all that follow.
    pub fn routes(&self, dev: &str) -> Result<BTreeMap<String, Route>> {
        let found = self.json(&["ip", "-4", "-N", "-j", "route", "show", "dev", dev])?;
        found
            .iter()
            .map(|route| Ok((required(route, "dst")?, route_of(route))))
            .collect()
    }

    /// The IPv4 neighbours on `dev`, by address.
    ///
    /// # Errors
    /// See [`Netns::routes`].
    pub fn neighbours(&self, dev: &str) -> Result<BTreeMap<IpAddr, Neighbour>> {
        let found = self.json(&["ip", "-4", "-j", "neigh", "show", "dev", dev])?;
        found
            .iter()
            .map(|entry| Ok((required(entry, "dst")?.parse()?, neighbour_of(entry))))
            .collect()
    }

    /// The forwarding database of `dev`, sorted.
    ///
    /// # Errors
    /// See [`Netns::routes`].
    pub fn fdb(&self, dev: &str) -> Result<Vec<FdbEntry>> {
        let found = self.json(&["bridge", "-j", "fdb", "show", "dev", dev])?;
        let entries = found.iter().map(fdb_entry);
        let mut entries: Vec<FdbEntry> = entries.collect::<Result<_>>()?;
        entries.sort();
        Ok(entries)
    }

    /// The device `dev`.
    ///
    /// # Errors
    /// See [`Netns::routes`].
    pub fn link(&self, dev: &str) -> Result<Link> {
        let found = self.json(&["ip", "-d", "-j", "address", "show", "dev", dev])?;
        // `ip` prints an empty object for each device that its filter left out.
        let found = found.iter().find(|link| link.get("ifname").is_some());
        link_of(found.with_context(|| format!("no device {dev} in {}", self.name()))?)
    }

    /// Runs a command that prints a JSON array, or nothing at all for an empty one.
    fn json(&self, argv: &[&str]) -> Result<Vec<Value>> {
        let text = self.run(argv)?;
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_str(&text).with_context(|| format!("expected JSON, got {text:?}"))
    }
}

fn route_of(route: &Value) -> Route {
    let protocol = optional(route, "protocol").unwrap_or_default();
    Route {
        via: optional(route, "gateway"),
        src: optional(route, "prefsrc"),
        metric: number(route, "metric"),
        protocol: protocol.parse().unwrap_or(BOOT),
        flags: texts(route, "flags"),
    }
}

fn neighbour_of(entry: &Value) -> Neighbour {
    Neighbour {
        lladdr: optional(entry, "lladdr"),
        state: texts(entry, "state").join(","),
    }
}

fn fdb_entry(entry: &Value) -> Result<FdbEntry> {
    Ok(FdbEntry {
        mac: required(entry, "mac")?,
        dst: optional(entry, "dst"),
        state: optional(entry, "state").unwrap_or_default(),
    })
}

fn link_of(link: &Value) -> Result<Link> {
    let info = link.get("linkinfo").unwrap_or(&Value::Null);
    let addresses = link.get("addr_info").and_then(Value::as_array);
    Ok(Link {
        index: number(link, "ifindex"),
        mac: required(link, "address")?,
        mtu: number(link, "mtu"),
        up: texts(link, "flags").iter().any(|flag| flag == "UP"),
        addresses: addresses.into_iter().flatten().map(address_of).collect(),
        kind: optional(info, "info_kind").unwrap_or_default(),
        data: info.get("info_data").cloned().unwrap_or_default(),
    })
}

fn address_of(address: &Value) -> String {
    let local = optional(address, "local").unwrap_or_default();
    format!("{local}/{}", number(address, "prefixlen"))
}

fn required(value: &Value, key: &str) -> Result<String> {
    optional(value, key).with_context(|| format!("no {key} in {value}"))
}

fn optional(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    let items = value.get(key).and_then(Value::as_array);
    let items = items.into_iter().flatten().filter_map(Value::as_str);
    items.map(str::to_owned).collect()
}
