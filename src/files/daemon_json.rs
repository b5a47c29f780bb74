//! The keys of Docker's daemon.json that connect Docker to the overlay, in the order in which they are written. Pure.

use std::collections::BTreeMap;

use ipnetwork::Ipv4Network;
use serde::Serialize;

/// Keys that are `None` or empty are left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::files) struct DaemonJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::files) bip: Option<Ipv4Network>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::files) mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::files) ip_masq: Option<bool>,
    /// The name of the default bridge; `none` for no such bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::files) bridge: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::files) default_address_pools: Vec<AddressPool>,
    /// Options of new networks, by driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::files) default_network_opts:
        BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

/// Addresses from which Docker takes networks.
#[derive(Debug, Serialize)]
pub(in crate::files) struct AddressPool {
    pub(in crate::files) base: Ipv4Network,
    /// The prefix length of each network.
    pub(in crate::files) size: u8,
}

impl DaemonJson {
    pub(in crate::files) fn render(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("numbers, booleans and strings are JSON") + "\n"
    }
}
