//! Why no interface fits, in sentences that say which was asked for, which there are, and which may be meant. Pure.

use std::net::Ipv4Addr;

use crate::model::nearest::nearest;
use crate::underlay::observation::Interface;
use crate::underlay::settings::Selectors;

/// The most interfaces that a sentence lists: a host may have thousands for pods.
const MAX_SHOWN: usize = 12;

/// No interface fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoInterface {
    /// None matches what the operator asks for.
    #[error(
        "no interface with an IPv4 address that other hosts can reach matches {options}; there are: {present}"
    )]
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
    /// The source address is known, but not the interface by which packets leave.
    #[error(
        "{address} is on {holder}, by which no packet leaves this host, and the way to the other hosts is unknown \
         (name its interface with --iface=NAME --public-ip={address}): {reason}"
    )]
    NoWay {
        address: Ipv4Addr,
        holder: String,
        reason: String,
    },
}

impl NoInterface {
    /// None of the interfaces matches these options.
    pub(super) fn no_match(options: String, interfaces: &[Interface]) -> Self {
        Self::NoMatch {
            options,
            present: describe_interfaces(interfaces),
        }
    }

    /// None of the interfaces matches what the operator asks for.
    pub(super) fn none_selected(selectors: &Selectors, interfaces: &[Interface]) -> Self {
        Self::no_match(describe_selectors(selectors, interfaces), interfaces)
    }

    /// The address is on `holder`, and `self` is why the way to the other hosts is unknown.
    pub(super) fn without_way(self, address: Ipv4Addr, holder: &str) -> Self {
        let reason = match self {
            Self::NoRoute { .. } => {
                "no route leads to etcd, and there is no default route".to_owned()
            }
            Self::EtcdUnreached { url, reason } => {
                format!("no route to etcd at {url} yet: {reason}")
            }
            Self::NoMatch { .. } | Self::NoWay { .. } => self.to_string(),
        };
        let holder = holder.to_owned();
        Self::NoWay {
            address,
            holder,
            reason,
        }
    }

    pub(super) fn no_route(interfaces: &[Interface]) -> Self {
        Self::NoRoute {
            present: describe_interfaces(interfaces),
        }
    }
}

/// Lists the interfaces. Of many, those that programs for containers make come last.
fn describe_interfaces(interfaces: &[Interface]) -> String {
    let mut shown: Vec<&Interface> = interfaces.iter().collect();
    if shown.len() > MAX_SHOWN {
        shown.sort_by_key(|interface| interface.is_of_pods());
    }
    let each = shown.into_iter().take(MAX_SHOWN).map(describe_interface);
    let each: Vec<String> = each.collect();
    let listed = each.join(", ");
    match interfaces.len().saturating_sub(MAX_SHOWN) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
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

fn describe_selectors(selectors: &Selectors, interfaces: &[Interface]) -> String {
    let ifaces = selectors
        .ifaces
        .iter()
        .map(|iface| format!("--iface={iface}{}", tip(iface, interfaces)));
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

/// Names the interface that may be meant by the name of one that does not exist.
fn tip(iface: &str, interfaces: &[Interface]) -> String {
    let is_name = iface.contains(|c: char| !c.is_ascii_digit() && !"./".contains(c));
    let names = interfaces
        .iter()
        .filter(|interface| !interface.addresses.is_empty() && !interface.loopback)
        .flat_map(|interface| [&interface.name].into_iter().chain(&interface.altnames));
    let exists = interfaces.iter().any(|interface| interface.name == iface);
    let meant = nearest(iface, names.map(String::as_str), str::to_lowercase);
    match meant {
        Some(meant) if is_name && !exists => format!(" (did you mean {meant}?)"),
        Some(_) | None => String::new(),
    }
}
