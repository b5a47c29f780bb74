//! Which interface is the external interface, the one that carries the VXLAN packets. Pure: interfaces and routes are
//! arguments.
//!
//! A choice that still holds is kept: of several addresses of one interface the present one stays while it exists, and
//! without a route to etcd the present interface stays. Only what the operator names, or a route that leads elsewhere,
//! moves it.

use std::net::Ipv4Addr;

use regex::Regex;

use crate::model::addr::MacAddr;
use crate::model::external_interface::ExternalInterface;
use crate::underlay::settings::Selectors;

/// A network interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its number, which stays when it is renamed.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address, if its kind has one.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Kind of a virtual interface, such as `bridge`; empty for others.
    pub kind: String,
    /// Its IPv4 addresses, in the kernel's order.
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: Ipv4Addr,
    /// Length of the subnet that it is in: 32 if it stands alone.
    pub prefix: u8,
    /// Its label: the name of the interface, or `eth0:1`, which looks like a second interface to old tools.
    pub label: String,
}

impl Interface {
    /// Whether it has this address.
    pub(crate) fn has(&self, ip: Ipv4Addr) -> bool {
        self.addresses.iter().any(|address| address.ip == ip)
    }
}

/// The route that a packet to some address would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLookup {
    /// Name of the interface.
    pub interface: String,
    /// Source address that the kernel would choose.
    pub source: Ipv4Addr,
    /// The router that it leads to first, if there is one.
    pub gateway: Option<Ipv4Addr>,
}

/// The way to a member of etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberRoute {
    /// It leaves this host.
    Via(RouteLookup),
    /// The member is on this host, or has no IPv4 address: it says nothing about the network between the hosts.
    OnThisHost,
    /// No route leads there; the text is for people.
    None(String),
    /// Its address is unknown; the text is for people.
    Unknown(String),
}

/// What a choice is made from, as the kernel has it at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    pub(crate) interfaces: Vec<Interface>,
    /// The route to the address of `--iface-can-reach`.
    pub(crate) can_reach: Option<RouteLookup>,
    /// The way to each member of etcd, by its URL, in the order of the options.
    pub(crate) etcd: Vec<(String, MemberRoute)>,
    /// The address of each member of etcd that is not on this host, by its URL.
    pub(crate) etcd_addresses: Vec<(String, Ipv4Addr)>,
    /// The default route.
    pub(crate) default: Option<RouteLookup>,
}

/// An interface that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) external: ExternalInterface,
    pub(crate) index: u32,
    /// Whether it is administratively up.
    pub(crate) up: bool,
}

/// No interface fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoInterface {
    /// None matches what the operator asks for.
    #[error("no interface with an IPv4 address matches {options}; there are: {present}")]
    NoMatch { options: String, present: String },
    /// The operator asks for none, and no route names one.
    #[error(
        "neither the route to etcd nor a default route names an interface; use --iface; there are: {present}"
    )]
    NoRoute { present: String },
    /// The operator asks for none, and the route to etcd is unknown. That is no reason to take another route: at boot,
    /// names and routes may appear late.
    #[error("no route to etcd at {url} yet (or use --iface): {reason}")]
    EtcdUnreached { url: String, reason: String },
}

/// Chooses the external interface: `--iface` in the order given, then `--iface-regex`, then `--iface-can-reach`. Without
/// any of them, the interface that has the address of `--public-ip`, then that of the route to etcd, which other hosts use
/// too, and else the default route. `current` is the present choice.
///
/// # Errors
/// No interface fits.
pub(crate) fn choose(
    selectors: &Selectors,
    observed: &Observation,
    current: Option<&Chosen>,
) -> Result<Chosen, NoInterface> {
    if selectors.name_no_interface() {
        return choose_by_public_ip(selectors, observed, current)
            .unwrap_or_else(|| choose_by_route(observed, current));
    }
    let interfaces = &observed.interfaces;
    let mut ifaces = selectors.ifaces.iter();
    let mut patterns = selectors.patterns.iter();
    ifaces
        .find_map(|iface| by_name_or_address(iface, interfaces, current))
        .or_else(|| patterns.find_map(|pattern| by_pattern(pattern, interfaces, current)))
        .or_else(|| by_route(observed.can_reach.as_ref(), interfaces))
        // A route that is away for a moment is no reason to give up an interface that works.
        .or_else(|| selectors.can_reach.and_then(|_| kept(interfaces, current)))
        .ok_or_else(|| no_match(describe_selectors(selectors), interfaces))
}

/// Returns the interface that has the published address. An address that this host has had is not behind a NAT: while it is
/// away, no other interface is right.
fn choose_by_public_ip(
    selectors: &Selectors,
    observed: &Observation,
    current: Option<&Chosen>,
) -> Option<Result<Chosen, NoInterface>> {
    let ip = selectors.public_ip?;
    let mut interfaces = observed.interfaces.iter();
    if let Some(interface) = interfaces.find(|interface| interface.has(ip)) {
        return Some(Ok(chosen(interface, ip)));
    }
    let had_it = current.is_some_and(|current| current.external.address == ip);
    had_it.then(|| {
        let options = format!("--public-ip={ip}");
        Err(no_match(options, &observed.interfaces))
    })
}

/// Takes the way to etcd: the present one if any member is still reached by it, else that to the first member.
fn choose_by_route(
    observed: &Observation,
    current: Option<&Chosen>,
) -> Result<Chosen, NoInterface> {
    let interfaces = &observed.interfaces;
    let to_etcd: Vec<Chosen> = observed
        .etcd
        .iter()
        .filter_map(|(_, route)| match route {
            MemberRoute::Via(route) => by_route(Some(route), interfaces),
            MemberRoute::OnThisHost | MemberRoute::None(_) | MemberRoute::Unknown(_) => None,
        })
        .collect();
    let is_current = |chosen: &&Chosen| {
        current.is_some_and(|current| {
            (chosen.index, chosen.external.address) == (current.index, current.external.address)
        })
    };
    if let Some(chosen) = to_etcd.iter().find(is_current).or(to_etcd.first()) {
        return Ok(chosen.clone());
    }
    if let Some(error) = unknown_route(observed) {
        // The present choice stays while it is there: it still carries the overlay.
        return kept(interfaces, current).ok_or(error);
    }
    by_route(observed.default.as_ref(), interfaces)
        .or_else(|| kept(interfaces, current))
        .ok_or_else(|| NoInterface::NoRoute {
            present: describe_interfaces(interfaces),
        })
}

/// Returns the last member to which the way is unknown.
fn unknown_route(observed: &Observation) -> Option<NoInterface> {
    let mut members = observed.etcd.iter().rev();
    members.find_map(|(url, route)| match route {
        MemberRoute::None(reason) | MemberRoute::Unknown(reason) => {
            Some(NoInterface::EtcdUnreached {
                url: url.clone(),
                reason: reason.clone(),
            })
        }
        MemberRoute::Via(_) | MemberRoute::OnThisHost => None,
    })
}

/// Returns the present choice as it is now, if the interface and the address are still there. A route may name a source
/// address that another interface has, such as the loopback interface.
fn kept(interfaces: &[Interface], current: Option<&Chosen>) -> Option<Chosen> {
    let current = current?;
    let interface = interfaces.iter().find(|i| i.index == current.index)?;
    let address = current.external.address;
    let is_there = interfaces.iter().any(|i| i.has(address));
    is_there.then(|| chosen(interface, address))
}

fn no_match(options: String, interfaces: &[Interface]) -> NoInterface {
    NoInterface::NoMatch {
        options,
        present: describe_interfaces(interfaces),
    }
}

fn by_name_or_address(
    iface: &str,
    interfaces: &[Interface],
    current: Option<&Chosen>,
) -> Option<Chosen> {
    if let Ok(address) = iface.parse::<Ipv4Addr>() {
        let interface = interfaces.iter().find(|i| i.has(address))?;
        return Some(chosen(interface, address));
    }
    match interfaces.iter().find(|i| i.name == iface) {
        Some(interface) => with_main_address(interface, current),
        // The usual label is the name of the interface.
        None if iface.contains(':') => interfaces.iter().find_map(|i| by_label(iface, i)),
        None => None,
    }
}

fn by_label(label: &str, interface: &Interface) -> Option<Chosen> {
    let mut addresses = interface.addresses.iter();
    let address = addresses.find(|address| address.label == label)?;
    Some(chosen(interface, address.ip))
}

/// An interface whose address matches comes before one whose name does: an address is more precise.
fn by_pattern(
    pattern: &Regex,
    interfaces: &[Interface],
    current: Option<&Chosen>,
) -> Option<Chosen> {
    let matches = |ip: Ipv4Addr| pattern.is_match(&ip.to_string());
    if let Some(kept) = kept(interfaces, current)
        && matches(kept.external.address)
    {
        return Some(kept);
    }
    let mut addresses = interfaces
        .iter()
        .flat_map(|i| i.addresses.iter().map(move |address| (i, address.ip)));
    let mut with_name = interfaces.iter().filter(|i| pattern.is_match(&i.name));
    addresses
        .find(|(_, ip)| matches(*ip))
        .map(|(i, ip)| chosen(i, ip))
        .or_else(|| with_name.find_map(|i| with_main_address(i, current)))
}

fn by_route(route: Option<&RouteLookup>, interfaces: &[Interface]) -> Option<Chosen> {
    let route = route?;
    let interface = interfaces.iter().find(|i| i.name == route.interface)?;
    Some(chosen(interface, route.source))
}

/// Takes the present address while the interface has it, and else the first that other hosts can reach: a link-local one
/// only if there is no other.
fn with_main_address(interface: &Interface, current: Option<&Chosen>) -> Option<Chosen> {
    let is_global = |ip: &Ipv4Addr| !ip.is_link_local();
    let present = current
        .filter(|current| current.index == interface.index)
        .map(|current| current.external.address)
        .filter(|ip| interface.has(*ip) && is_global(ip));
    let mut addresses = interface.addresses.iter().map(|address| address.ip);
    let first = interface.addresses.first().map(|address| address.ip);
    present
        .or_else(|| addresses.find(is_global))
        .or(first)
        .map(|ip| chosen(interface, ip))
}

fn chosen(interface: &Interface, address: Ipv4Addr) -> Chosen {
    Chosen {
        external: ExternalInterface {
            name: interface.name.clone(),
            mac: interface.mac,
            address,
            mtu: interface.mtu,
        },
        index: interface.index,
        up: interface.up,
    }
}

fn describe_interfaces(interfaces: &[Interface]) -> String {
    let each: Vec<String> = interfaces.iter().map(describe_interface).collect();
    each.join(", ")
}

fn describe_interface(interface: &Interface) -> String {
    let name = &interface.name;
    if interface.addresses.is_empty() {
        return format!("{name} (no IPv4)");
    }
    let addresses: Vec<String> = interface
        .addresses
        .iter()
        .map(|address| address.ip.to_string())
        .collect();
    format!("{name} ({})", addresses.join(", "))
}

fn describe_selectors(selectors: &Selectors) -> String {
    let ifaces = selectors
        .ifaces
        .iter()
        .map(|iface| format!("--iface={iface}"));
    let patterns = selectors
        .patterns
        .iter()
        .map(|pattern| format!("--iface-regex={pattern}"));
    let can_reach = selectors
        .can_reach
        .iter()
        .map(|address| format!("--iface-can-reach={address}"));
    ifaces
        .chain(patterns)
        .chain(can_reach)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests;
