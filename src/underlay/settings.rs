//! What the slice needs from the options and from the last run.

use std::net::Ipv4Addr;

use regex::Regex;

/// What the operator asks for. Without any of it, the route to etcd names the interface.
#[derive(Debug, Clone, Default)]
pub struct Selectors {
    /// Names, addresses, or labels of addresses; the first that exists wins.
    pub ifaces: Vec<String>,
    /// Patterns for names or addresses, tried in order after `ifaces`.
    pub patterns: Vec<Regex>,
    /// An address; tried last, it selects the interface of the route to it.
    pub can_reach: Option<Ipv4Addr>,
    /// The address that is published (`--public-ip`). Without any of the others, the interface that has it is selected, if
    /// one has: behind a NAT none has.
    pub public_ip: Option<Ipv4Addr>,
}

impl Selectors {
    /// Whether the operator names no interface.
    pub fn name_no_interface(&self) -> bool {
        self.ifaces.is_empty() && self.patterns.is_empty() && self.can_reach.is_none()
    }
}

/// A member of etcd.
#[derive(Debug, Clone)]
pub(crate) struct EtcdHost {
    /// Its URL, for messages.
    pub(crate) url: String,
    /// Name or address.
    pub(crate) host: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct UnderlaySettings {
    pub(crate) selectors: Selectors,
    pub(crate) etcd: Vec<EtcdHost>,
    /// Name of the external interface of the last run.
    pub(crate) last_interface: Option<String>,
}
