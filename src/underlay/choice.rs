//! Which interface is the external interface, the one that carries the VXLAN packets. Pure: interfaces and routes are
//! arguments.

use std::net::Ipv4Addr;

use regex::Regex;

use crate::model::addr::MacAddr;
use crate::model::external_interface::ExternalInterface;
use crate::underlay::settings::Selectors;

/// A network interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address, if its kind has one.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its IPv4 addresses, in the kernel's order.
    pub addresses: Vec<Ipv4Addr>,
}

/// The route that a packet to some address would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLookup {
    /// Name of the interface.
    pub interface: String,
    /// Source address that the kernel would choose.
    pub source: Ipv4Addr,
}

/// The routes that can name an interface, as far as they exist.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouteLookups {
    /// To the address of `--iface-can-reach`.
    pub(crate) can_reach: Option<RouteLookup>,
    /// To etcd, unless all its members are on this host.
    pub(crate) etcd: Option<RouteLookup>,
    /// The default route.
    pub(crate) default: Option<RouteLookup>,
}

/// No interface fits.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoInterface {
    /// None matches what the operator asks for.
    #[error("no interface with an IPv4 address matches {options}; there are: {present}")]
    NoMatch { options: String, present: String },
    /// The operator asks for none, and no route names one.
    #[error(
        "neither the route to etcd nor a default route names an interface; use --iface; there are: {present}"
    )]
    NoRoute { present: String },
}

/// Chooses the external interface: `--iface` in the order given, then `--iface-regex`, then `--iface-can-reach`. Without
/// any of them, the route to etcd, which other hosts use too, and else the default route.
///
/// # Errors
/// No interface fits.
pub(crate) fn choose(
    selectors: &Selectors,
    interfaces: &[Interface],
    routes: &RouteLookups,
) -> Result<ExternalInterface, NoInterface> {
    if selectors.is_empty() {
        let present = || describe_interfaces(interfaces);
        return by_route(routes.etcd.as_ref(), interfaces)
            .or_else(|| by_route(routes.default.as_ref(), interfaces))
            .ok_or_else(|| NoInterface::NoRoute { present: present() });
    }
    let mut ifaces = selectors.ifaces.iter();
    let mut patterns = selectors.patterns.iter();
    ifaces
        .find_map(|iface| by_name_or_address(iface, interfaces))
        .or_else(|| patterns.find_map(|pattern| by_pattern(pattern, interfaces)))
        .or_else(|| by_route(routes.can_reach.as_ref(), interfaces))
        .ok_or_else(|| NoInterface::NoMatch {
            options: describe_selectors(selectors),
            present: describe_interfaces(interfaces),
        })
}

fn by_name_or_address(iface: &str, interfaces: &[Interface]) -> Option<ExternalInterface> {
    match iface.parse::<Ipv4Addr>() {
        Ok(address) => interfaces
            .iter()
            .find(|i| i.addresses.contains(&address))
            .map(|i| external(i, address)),
        Err(_) => interfaces
            .iter()
            .find(|i| i.name == iface)
            .and_then(with_main_address),
    }
}

/// An interface whose address matches comes before one whose name does: an address is more precise.
fn by_pattern(pattern: &Regex, interfaces: &[Interface]) -> Option<ExternalInterface> {
    let mut addresses = interfaces
        .iter()
        .flat_map(|i| i.addresses.iter().map(move |address| (i, *address)));
    let mut with_name = interfaces.iter().filter(|i| pattern.is_match(&i.name));
    addresses
        .find(|(_, address)| pattern.is_match(&address.to_string()))
        .map(|(i, address)| external(i, address))
        .or_else(|| with_name.find_map(with_main_address))
}

fn by_route(route: Option<&RouteLookup>, interfaces: &[Interface]) -> Option<ExternalInterface> {
    let route = route?;
    let interface = interfaces.iter().find(|i| i.name == route.interface)?;
    Some(external(interface, route.source))
}

/// Takes the first address that other hosts can reach: a link-local one only if there is no other.
fn with_main_address(interface: &Interface) -> Option<ExternalInterface> {
    let global = interface
        .addresses
        .iter()
        .find(|address| !address.is_link_local());
    global
        .or(interface.addresses.first())
        .map(|address| external(interface, *address))
}

fn external(interface: &Interface, address: Ipv4Addr) -> ExternalInterface {
    ExternalInterface {
        name: interface.name.clone(),
        mac: interface.mac,
        address,
        mtu: interface.mtu,
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
        .map(ToString::to_string)
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
