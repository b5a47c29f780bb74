//! Which packets the overlay needs, and what to say of a table that drops one. Pure.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::conditions::{Problem, Reason};
use crate::host::firewall::evaluate::dropped;
use crate::host::firewall::packet::{FilterHook, Packet, Protocol, Tracking};
use crate::host::firewall::ruleset::{FilterRule, FilterTable, FilterVerdict, TableName};
use crate::model::chains::DOCKER_USER;

/// What has to be known of this host to judge its filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirewallSetup {
    /// Name of the external interface.
    pub(crate) external: String,
    /// The address to which peers send.
    pub(crate) local: Ipv4Addr,
    /// Name of the overlay device.
    pub(crate) device: String,
    /// Name of our chain that accepts forwarded packets.
    pub(crate) our_chain: String,
    /// UDP port of the outer packets.
    pub(crate) port: u16,
    /// The whole overlay.
    pub(crate) network: Ipv4Network,
    /// The subnet of this host.
    pub(crate) subnet: Ipv4Network,
    /// Name of the bridge of the pods, if one has an address of the subnet.
    pub(crate) bridge: Option<String>,
    /// Whether our own rules keep the outer packets out of connection tracking.
    pub(crate) untracked: bool,
    /// Whether our own rules accept forwarded packets in iptables: then only what stands before them is a matter of this module.
    pub(crate) accepts_forward: bool,
}

/// What the overlay needs a packet for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// VXLAN packets of peers that come in.
    FromPeers,
    /// VXLAN packets to peers.
    ToPeers,
    /// Packets from peers' pods to pods of this host.
    ToPods,
    /// Packets of pods of this host to those of peers.
    FromPods,
}

/// Returns a problem for each table that drops packets of the overlay.
pub(crate) fn problems(setup: &FirewallSetup, tables: &[FilterTable]) -> Vec<Problem> {
    tables
        .iter()
        .filter_map(|table| problem(setup, table))
        .collect()
}

/// One kind of packets that a table drops.
struct Drop {
    flow: Flow,
    /// The chain that the kernel calls.
    base: String,
    /// The chain in which the packet ends.
    chain: String,
}

fn problem(setup: &FirewallSetup, table: &FilterTable) -> Option<Problem> {
    let drops: Vec<Drop> = packets(setup)
        .into_iter()
        .filter_map(|(flow, packet)| {
            let table = before_our_accept(setup, table, &packet);
            let (base, chain) = dropped(&table, &packet)?;
            let base = base.to_owned();
            Some(Drop { flow, base, chain })
        })
        .collect();
    let place = place(drops.first()?);
    let mut flows: Vec<Flow> = drops.iter().map(|drop| drop.flow).collect();
    flows.dedup();
    let what: Vec<String> = flows.iter().map(|flow| describe(*flow, setup)).collect();
    let message = format!(
        "{} drops {} ({place}); {}",
        owner(table),
        what.join(", and "),
        cure(setup, table, &drops)
    );
    Some(Problem::new(Reason::Firewall, message))
}

/// Our accept in the chain FORWARD of iptables ends what comes behind it, so only the rules before it count. The condition
/// `RulesInstalled` says whether it is there; until it is, the rules count behind which it will be put.
fn before_our_accept<'a>(
    setup: &FirewallSetup,
    table: &'a FilterTable,
    packet: &Packet,
) -> Cow<'a, FilterTable> {
    let is_filter = matches!(&table.name, TableName::Iptables { name, .. } if name == "filter");
    if !setup.accepts_forward || !is_filter || packet.hook != FilterHook::Forward {
        return Cow::Borrowed(table);
    }
    let mut cut = table.clone();
    for base in cut.base.iter_mut().filter(|base| base.hook == packet.hook) {
        base.drops_by_default = false;
        if let Some(rules) = cut.chains.get_mut(&base.name) {
            let ours = rules.iter().position(|rule| calls(rule, &setup.our_chain));
            let docker_user = rules.iter().rposition(|rule| calls(rule, DOCKER_USER));
            let place = ours.or(docker_user.map(|at| at + 1));
            rules.truncate(place.unwrap_or_default());
        }
    }
    Cow::Owned(cut)
}

fn calls(rule: &FilterRule, chain: &str) -> bool {
    matches!(&rule.verdict, FilterVerdict::Jump(to) if to == chain)
}

fn packets(setup: &FirewallSetup) -> [(Flow, Packet); 6] {
    let anywhere = Ipv4Network::from(Ipv4Addr::UNSPECIFIED);
    let anywhere = Ipv4Network::new(anywhere.ip(), 0).unwrap_or(anywhere);
    let local = Ipv4Network::from(setup.local);
    let outer = |hook| Packet {
        hook,
        in_interface: Some(setup.external.clone()),
        out_interface: None,
        source: anywhere,
        destination: local,
        protocol: Protocol::UdpTo(setup.port),
        tracking: if setup.untracked {
            Tracking::Untracked
        } else {
            Tracking::New
        },
    };
    let sent = Packet {
        in_interface: None,
        out_interface: Some(setup.external.clone()),
        source: local,
        destination: anywhere,
        ..outer(FilterHook::Output)
    };
    let to_pods = |hook| Packet {
        hook,
        in_interface: Some(setup.device.clone()),
        out_interface: setup.bridge.clone().filter(|_| hook == FilterHook::Forward),
        source: setup.network,
        destination: setup.subnet,
        protocol: Protocol::Tcp,
        tracking: Tracking::New,
    };
    let from_pods = Packet {
        in_interface: setup.bridge.clone(),
        out_interface: Some(setup.device.clone()),
        source: setup.subnet,
        destination: setup.network,
        ..to_pods(FilterHook::Forward)
    };
    [
        (Flow::FromPeers, outer(FilterHook::Prerouting)),
        (Flow::FromPeers, outer(FilterHook::Input)),
        (Flow::ToPeers, sent),
        (Flow::ToPods, to_pods(FilterHook::Prerouting)),
        (Flow::ToPods, to_pods(FilterHook::Forward)),
        (Flow::FromPods, from_pods),
    ]
}

fn place(drop: &Drop) -> String {
    let Drop { base, chain, .. } = drop;
    if base == chain {
        format!("chain {base}")
    } else {
        format!("chain {base}, in {chain}")
    }
}

fn describe(flow: Flow, setup: &FirewallSetup) -> String {
    let FirewallSetup { port, device, .. } = setup;
    match flow {
        Flow::FromPeers => format!("VXLAN packets from other hosts (UDP port {port})"),
        Flow::ToPeers => format!("VXLAN packets to other hosts (UDP port {port})"),
        Flow::ToPods => format!("packets from {device} to pods of this host"),
        Flow::FromPods => format!("packets of pods of this host to {device}"),
    }
}

/// Whose rules they are.
enum Owner {
    Firewalld,
    Ufw,
    Other,
}

fn owner_of(table: &FilterTable) -> Owner {
    match &table.name {
        TableName::Nft { name, .. } if name.starts_with("firewalld") => Owner::Firewalld,
        TableName::Iptables { .. } if table.chains.keys().any(|name| name.starts_with("ufw-")) => {
            Owner::Ufw
        }
        TableName::Nft { .. } | TableName::Iptables { .. } => Owner::Other,
    }
}

fn owner(table: &FilterTable) -> String {
    let name = &table.name;
    match owner_of(table) {
        Owner::Firewalld => format!("firewalld ({name})"),
        Owner::Ufw => format!("ufw ({name})"),
        Owner::Other => name.to_string(),
    }
}

/// Returns the commands that let the packets through.
fn cure(setup: &FirewallSetup, table: &FilterTable, drops: &[Drop]) -> String {
    let mut commands: Vec<String> = Vec::new();
    for command in drops
        .iter()
        .flat_map(|drop| commands_for(setup, table, drop))
    {
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    commands.join(" && ")
}

fn commands_for(setup: &FirewallSetup, table: &FilterTable, drop: &Drop) -> Vec<String> {
    let FirewallSetup { port, device, .. } = setup;
    match (owner_of(table), drop.flow) {
        (Owner::Firewalld, Flow::FromPeers | Flow::ToPeers) => {
            now_and_always(&format!("{}--add-port={port}/udp", zone(&drop.chain))).into()
        }
        // By source, since Docker puts its bridge into a zone of its own and fails if another zone has it.
        (Owner::Firewalld, Flow::ToPods | Flow::FromPods) => {
            now_and_always(&format!("--zone=trusted --add-source={}", setup.network)).into()
        }
        (Owner::Ufw, Flow::FromPeers) => vec![format!("ufw allow {port}/udp")],
        (Owner::Ufw, Flow::ToPeers) => vec![format!("ufw allow out {port}/udp")],
        (Owner::Ufw, Flow::ToPods) => vec![format!("ufw route allow in on {device}")],
        (Owner::Ufw, Flow::FromPods) => vec![format!("ufw route allow out on {device}")],
        (Owner::Other, _) => vec![insert(setup, table, drop)],
    }
}

/// The chains of a zone of firewalld end with its name; from version 2.4 on, with where its packets go as well. Without a name
/// firewalld means the default zone.
fn zone(chain: &str) -> String {
    let zone = chain.strip_prefix("filter_IN_");
    let zone = zone.map(|zone| zone.strip_suffix("_to_HOST").unwrap_or(zone));
    zone.map_or_else(String::new, |zone| format!("--zone={zone} "))
}

/// firewalld has settings for now, and settings for ever.
fn now_and_always(arguments: &str) -> [String; 2] {
    [
        format!("firewall-cmd {arguments}"),
        format!("firewall-cmd --permanent {arguments}"),
    ]
}

/// Returns the command that puts an accept before all other rules of the chain.
fn insert(setup: &FirewallSetup, table: &FilterTable, drop: &Drop) -> String {
    let FirewallSetup { port, device, .. } = setup;
    let chain = if drop.chain == DOCKER_USER {
        DOCKER_USER
    } else {
        &drop.base
    };
    match &table.name {
        TableName::Nft { family, name } => {
            let matches = match drop.flow {
                Flow::FromPeers | Flow::ToPeers => format!("udp dport {port}"),
                Flow::ToPods => format!("iifname {device}"),
                Flow::FromPods => format!("oifname {device}"),
            };
            format!("nft insert rule {family} {name} {chain} {matches} accept")
        }
        TableName::Iptables { program, name } => {
            let matches = match drop.flow {
                Flow::FromPeers | Flow::ToPeers => format!("-p udp --dport {port}"),
                Flow::ToPods => format!("-i {device}"),
                Flow::FromPods => format!("-o {device}"),
            };
            format!("{program} -t {name} -I {chain} {matches} -j ACCEPT")
        }
    }
}

#[cfg(test)]
mod tests;
