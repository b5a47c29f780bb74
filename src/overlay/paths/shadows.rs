//! Finds the routes and rules that hide entries of ours: what the kernel finds before it comes to our route. What is found
//! here is a suspect until the kernel itself says that it sends packets elsewhere.
//!
//! It costs time for each foreign route in the overlay network, of which most hosts have none, not for each peer. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::rc::Rc;

use ipnetwork::Ipv4Network;

use crate::model::addr::{covers, overlap};
use crate::overlay::desired::DesiredOverlay;
use crate::overlay::paths::route::{BY_KERNEL, ForeignRoute, LOCAL_TABLE, MAIN_TABLE, RouteKind};
use crate::overlay::paths::rule::{self, Rule, SearchOrder, Step, StepKind};
use crate::overlay::paths::takeover::takes_place_of;
use crate::overlay::paths::{ForeignPaths, PathQuery, Sender};
use crate::overlay::peer_entries::index::PeerIndex;
use crate::overlay::state::RouteKey;

/// What is in front of our routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A route, and the rule that leads to its table if that is not the main one.
    Route(ForeignRoute, Option<Rule>),
    /// An address of this host, on this interface: the kernel makes several routes for it.
    Address(Ipv4Network, Rc<str>),
    /// A rule that drops or refuses packets.
    Rule(Rule),
    /// Only the kernel's answer says so: a rule that applies to some packets, or a VRF.
    Answer(String, Option<Rule>),
}

/// Which peers it hides, wholly or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hides {
    Peers(Vec<Ipv4Network>),
    /// All that have addresses in this network.
    Range(Ipv4Network),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shadow {
    pub(crate) cause: Cause,
    pub(crate) hides: Hides,
    /// One of the peers.
    pub(crate) peer: Ipv4Network,
    /// The question whose answer proves or refutes it.
    pub(crate) query: PathQuery,
}

/// What the kernel has to be asked about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Suspects {
    pub(crate) shadows: Vec<Shadow>,
    /// Where there are rules of others: packets to some peers, of which each should go through our device.
    pub(crate) samples: Vec<Sample>,
}

/// A question that has to be asked because nothing else shows what a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) peer: Ipv4Network,
    pub(crate) query: PathQuery,
    /// The rule that is most likely to lead elsewhere.
    pub(crate) rule: Option<Rule>,
}

/// Returns what may hide peers of this overlay.
pub(crate) fn find(overlay: &DesiredOverlay, foreign: &ForeignPaths) -> Suspects {
    let mut search = Search {
        overlay,
        foreign,
        addresses: addresses(&foreign.routes),
        searched: BTreeSet::new(),
        shadows: Vec::new(),
    };
    let mut samples = Vec::new();
    let senders = senders(overlay, &foreign.routes);
    let shortest = shortest_route(overlay);
    if let Some(sender) = senders.first() {
        search.main_table(sender);
    }
    for sender in &senders {
        let order = rule::search_order(&foreign.rules, sender, overlay.network(), shortest);
        for step in &order.before_main {
            search.step(sender, step);
        }
        if !rule::are_default(&foreign.rules) {
            samples.extend(sample(overlay, foreign, sender, &order));
        }
    }
    Suspects {
        shadows: search.shadows,
        samples,
    }
}

/// Returns how many peers the shadows hide. Each peer is looked at once, however many shadows there are.
pub(crate) fn hidden_peers(shadows: &[Shadow], peers: &PeerIndex) -> usize {
    let mut single: BTreeSet<Ipv4Network> = BTreeSet::new();
    let mut ranges = Vec::new();
    for shadow in shadows {
        match &shadow.hides {
            Hides::Peers(hidden) => single.extend(hidden),
            Hides::Range(network) => ranges.push((network.network(), network.broadcast())),
        }
    }
    if ranges.is_empty() {
        return single.len();
    }
    let ranges = merged(ranges);
    let in_range = |peer: &Ipv4Network| {
        let first = ranges.partition_point(|(_, end)| *end < peer.network());
        ranges
            .get(first)
            .is_some_and(|(start, _)| *start <= peer.broadcast())
    };
    peers
        .subnets()
        .filter(|peer| single.contains(peer) || in_range(peer))
        .count()
}

fn merged(mut ranges: Vec<(Ipv4Addr, Ipv4Addr)>) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    ranges.sort_unstable();
    let mut merged: Vec<(Ipv4Addr, Ipv4Addr)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            Some(_) | None => merged.push((start, end)),
        }
    }
    merged
}

struct Search<'a> {
    overlay: &'a DesiredOverlay,
    foreign: &'a ForeignPaths,
    /// The prefix lengths of the addresses of this host.
    addresses: BTreeMap<(Ipv4Addr, Rc<str>), u8>,
    /// Rules that were followed already, for another sender; `None` stands for the built-in order.
    searched: BTreeSet<Option<usize>>,
    shadows: Vec<Shadow>,
}

impl Search<'_> {
    /// In the table of our routes the longest prefix wins, then the smallest metric.
    fn main_table(&mut self, sender: &Sender) {
        for route in &self.foreign.routes {
            if route.table != MAIN_TABLE || covers(self.overlay.own_subnet(), route.destination) {
                continue;
            }
            let hides = self.hides_in_main(route);
            let found = self.shadow(sender, hides, route.destination, || self.cause(route, None));
            self.shadows.extend(found);
        }
    }

    fn hides_in_main(&self, route: &ForeignRoute) -> Hides {
        let (peers, to) = (self.overlay.peers(), route.destination);
        if let Some(ours) = self.overlay.network_route() {
            let is_longer = to.prefix() > ours.destination.prefix();
            let wins = is_longer || takes_place_of(route, &ours);
            return if covers(ours.destination, to) && wins {
                Hides::Range(to)
            } else {
                Hides::Peers(Vec::new())
            };
        }
        let wins = |ours: &RouteKey| route.metric < ours.metric || takes_place_of(route, ours);
        let ours = peers.route(to).map(|(ours, _)| ours);
        let same = ours.filter(wins).map(|_| to);
        let around = peers.index().around(to);
        Hides::Peers(same.into_iter().chain(around).collect())
    }

    fn step(&mut self, sender: &Sender, step: &Step) {
        if !self.searched.insert(step.rule) {
            return;
        }
        let rule = step.rule.and_then(|place| self.foreign.rules.get(place));
        let StepKind::Table(table, suppress) = step.kind else {
            let hides = Hides::Range(step.to);
            if let Some(rule) = rule {
                let found = self.shadow(sender, hides, step.to, || Cause::Rule(rule.clone()));
                self.shadows.extend(found);
            }
            return;
        };
        let named_rule = rule.filter(|_| table != LOCAL_TABLE);
        for route in &self.foreign.routes {
            let passed_over = suppress.is_some_and(|length| route.destination.prefix() <= length);
            let applies = route.table == table
                && route.kind != RouteKind::Throw
                && !passed_over
                && overlap(route.destination, step.to);
            if applies {
                let range = longer(route.destination, step.to);
                let cause = || self.cause(route, named_rule);
                let found = self.shadow(sender, Hides::Range(range), range, cause);
                self.shadows.extend(found);
            }
        }
    }

    fn cause(&self, route: &ForeignRoute, rule: Option<&Rule>) -> Cause {
        let made_for_address = route.protocol == BY_KERNEL && rule.is_none();
        match (route.source, &route.device) {
            (Some(address), Some(device)) if made_for_address => {
                let known = self.addresses.get(&(address, Rc::clone(device)));
                let network = Ipv4Network::new(address, known.copied().unwrap_or(32));
                let network = network.unwrap_or_else(|_| Ipv4Network::from(address));
                Cause::Address(network, Rc::clone(device))
            }
            _ => Cause::Route(route.clone(), rule.cloned()),
        }
    }

    /// `part` holds the destinations of which one is asked for.
    fn shadow(
        &self,
        sender: &Sender,
        hides: Hides,
        part: Ipv4Network,
        cause: impl FnOnce() -> Cause,
    ) -> Option<Shadow> {
        let index = self.overlay.peers().index();
        let peer = match &hides {
            Hides::Range(range) if covers(self.overlay.own_subnet(), *range) => return None,
            Hides::Range(range) => {
                let same = index.get(*range).map(|lease| lease.subnet);
                same.or_else(|| index.overlapping(*range).next())?
            }
            Hides::Peers(peers) => *peers.first()?,
        };
        let query = PathQuery {
            sender: sender.clone(),
            destination: sample_address(longer(part, peer)),
        };
        Some(Shadow {
            cause: cause(),
            hides,
            peer,
            query,
        })
    }
}

/// Of two networks that share addresses, the smaller one.
fn longer(one: Ipv4Network, other: Ipv4Network) -> Ipv4Network {
    if other.prefix() > one.prefix() {
        other
    } else {
        one
    }
}

/// An address that is likely to be a pod's: the first ones are the VTEP's and the bridge's.
fn sample_address(network: Ipv4Network) -> Ipv4Addr {
    let wanted = u32::from(network.network()).saturating_add(2);
    Ipv4Addr::from(wanted).min(network.broadcast())
}

fn addresses(routes: &[ForeignRoute]) -> BTreeMap<(Ipv4Addr, Rc<str>), u8> {
    let made = routes.iter().filter(|route| route.protocol == BY_KERNEL);
    let connected = made.filter(|route| route.kind == RouteKind::Unicast);
    let entry = |route: &ForeignRoute| {
        let owner = (route.source?, route.device.clone()?);
        Some((owner, route.destination.prefix()))
    };
    connected.filter_map(entry).collect()
}

/// Leaves one shadow for each address: the kernel makes several routes for it.
pub(crate) fn without_repeats(shadows: Vec<Shadow>) -> Vec<Shadow> {
    let mut seen: BTreeSet<(Ipv4Network, Rc<str>)> = BTreeSet::new();
    let mut is_new = |shadow: &Shadow| match &shadow.cause {
        Cause::Address(address, device) => seen.insert((*address, Rc::clone(device))),
        Cause::Route(..) | Cause::Rule(_) | Cause::Answer(..) => true,
    };
    shadows
        .into_iter()
        .filter(|shadow| is_new(shadow))
        .collect()
}

/// Pods first: most packets are theirs.
fn senders(overlay: &DesiredOverlay, routes: &[ForeignRoute]) -> Vec<Sender> {
    let own = overlay.own_subnet();
    let bridge = routes.iter().find(|route| {
        route.protocol == BY_KERNEL && route.kind == RouteKind::Unicast && route.destination == own
    });
    let bridge: Option<Rc<str>> = bridge.and_then(|route| route.device.clone());
    let last = Ipv4Addr::from(u32::from(own.broadcast()).saturating_sub(1));
    let pods = bridge.map(|bridge| Sender::Pod {
        address: last,
        bridge,
    });
    pods.into_iter().chain([Sender::Host]).collect()
}

fn shortest_route(overlay: &DesiredOverlay) -> u8 {
    match overlay.network_route() {
        Some(ours) => ours.destination.prefix(),
        None => overlay.peers().index().shortest_prefix().unwrap_or(32),
    }
}

/// The first peer, one from the middle and the last.
fn sample(
    overlay: &DesiredOverlay,
    foreign: &ForeignPaths,
    sender: &Sender,
    order: &SearchOrder,
) -> Vec<Sample> {
    let suspect = order.unclear.or_else(|| {
        let step = order.before_main.iter().rev().find_map(|step| step.rule);
        step.filter(|_| !order.reaches_main)
    });
    let rule = suspect.and_then(|place| foreign.rules.get(place)).cloned();
    let index = overlay.peers().index();
    let mut peers: Vec<Ipv4Network> = [0, index.len() / 2, index.len().saturating_sub(1)]
        .into_iter()
        .filter_map(|place| index.subnets().nth(place))
        .collect();
    peers.dedup();
    let ask = |peer: Ipv4Network| Sample {
        peer,
        query: PathQuery {
            sender: sender.clone(),
            destination: sample_address(peer),
        },
        rule: rule.clone(),
    };
    peers.into_iter().map(ask).collect()
}
