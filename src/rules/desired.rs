//! Owns which packets are masqueraded, let through and left untracked, as lists of rules that say nothing about nftables
//! or iptables. `nft` and `iptables` below turn them into their texts, `choice` says which of the two carries them. Pure.
//!
//! Source of the rules for masquerading and forwarding: flannel v0.28 `pkg/trafficmngr/iptables`.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::Vni;

/// The mark that kube-proxy gives to packets which it masquerades itself.
pub const KUBE_MARK: u32 = 0x4000;
/// Multicast (RFC 5771): its source must stay, the answers go to it.
const MULTICAST: &str = "224.0.0.0/4";
/// The first port that a program without privileges may bind. NAT keeps a port below it below it
/// (net/netfilter/nf_nat_core.c, `nf_nat_l4proto_unique_tuple`).
const UNPRIVILEGED: u16 = 1024;

/// What a rule does with the packets that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Leaves them to the rules of others.
    Return,
    /// Gives them the address of this host as source, and a port out of these.
    Masquerade(Option<Ports>),
    /// Lets them through.
    Accept,
    /// Keeps them out of connection tracking, and so out of every NAT.
    NoTrack,
}

/// An address range, or everything but that range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortRange {
    /// Inside.
    In(Ipv4Network),
    /// Outside.
    NotIn(Ipv4Network),
}

/// Port numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The smallest.
    pub first: u16,
    /// The largest.
    pub last: u16,
}

/// A condition that only UDP packets meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Udp {
    /// They go to this port.
    To(u16),
    /// They come from one of these.
    From(Ports),
}

/// One rule; all conditions must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Only packets that carry [`KUBE_MARK`].
    pub marked: bool,
    /// Where they come from.
    pub source: Option<PortRange>,
    /// Where they go to.
    pub destination: Option<PortRange>,
    /// Only UDP, and only these ports.
    pub udp: Option<Udp>,
    /// What becomes of them.
    pub verdict: Verdict,
}

/// Where in the kernel a list of rules is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// For packets that come in, before connection tracking.
    RawPrerouting,
    /// For packets that start here, before connection tracking.
    RawOutput,
    /// For packets that leave, when their source may be changed.
    Postrouting,
    /// For packets that pass from one interface to another.
    Forward,
}

impl Hook {
    /// All of them. What may be missing in a kernel comes last: a failure there leaves the others in place.
    pub const ALL: [Self; 4] = [
        Self::Postrouting,
        Self::Forward,
        Self::RawPrerouting,
        Self::RawOutput,
    ];
}

/// What this host's part of the overlay asks of the packet filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Tells the instances on a host apart.
    pub vni: Vni,
    /// The whole overlay.
    pub network: Ipv4Network,
    /// Our own subnet.
    pub subnet: Ipv4Network,
    /// Address of the outer packets on this host.
    pub local: Ipv4Addr,
    /// UDP port of the outer packets.
    pub port: u16,
    /// Whether packets that leave or enter the overlay are masqueraded.
    pub masquerade: bool,
    /// Whether masqueraded packets get a random port: without, two connections that start at once may choose the same
    /// one and lose a packet.
    pub random_fully: bool,
    /// Whether forwarding from and to the overlay is allowed in the face of a policy that drops.
    pub forward: bool,
}

/// Which part of the rules one table, or one kind of iptables, carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carries {
    /// Masquerading, and keeping the outer packets out of it.
    pub masquerade: bool,
    /// Forwarding.
    pub forward: bool,
}

/// The rules for one instance, by the place where they are asked. Without any it says what is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    /// Ownership they are.
    pub vni: Vni,
    /// See [`Wanted::random_fully`].
    pub random_fully: bool,
    raw_prerouting: Vec<Rule>,
    raw_output: Vec<Rule>,
    postrouting: Vec<Rule>,
    forward: Vec<Rule>,
}

impl RuleSet {
    /// No rules.
    pub fn none(vni: Vni) -> Self {
        let (raw_prerouting, raw_output) = (Vec::new(), Vec::new());
        let (postrouting, forward) = (Vec::new(), Vec::new());
        Self {
            vni,
            random_fully: false,
            raw_prerouting,
            raw_output,
            postrouting,
            forward,
        }
    }

    /// The rules at one place, in their order.
    pub fn at(&self, hook: Hook) -> &[Rule] {
        match hook {
            Hook::RawPrerouting => &self.raw_prerouting,
            Hook::RawOutput => &self.raw_output,
            Hook::Postrouting => &self.postrouting,
            Hook::Forward => &self.forward,
        }
    }
}

impl Wanted {
    /// The part of the rules that `carries` names.
    pub fn rules(&self, carries: Carries) -> RuleSet {
        let mut set = RuleSet {
            random_fully: self.random_fully,
            ..RuleSet::none(self.vni)
        };
        if carries.masquerade && self.masquerade {
            set.postrouting = self.masquerade_rules();
        }
        if carries.masquerade && !self.is_nothing() {
            let outer = PortRange::In(self.local.into());
            set.raw_prerouting = vec![self.untracked(None, Some(outer))];
            set.raw_output = vec![self.untracked(Some(outer), None)];
        }
        if carries.forward && self.forward {
            let overlay = Some(PortRange::In(self.network));
            set.forward = vec![
                rule(overlay, None, Verdict::Accept),
                rule(None, overlay, Verdict::Accept),
            ];
        }
        set
    }

    /// Whether the operator wants us to leave the packet filter alone.
    pub fn is_nothing(&self) -> bool {
        !self.masquerade && !self.forward
    }

    /// The rules for packets that leave this host, in their order.
    ///
    /// - Packets that kube-proxy has marked are its own business.
    /// - Pod to pod keeps its addresses, on the way out and on the way in.
    /// - A client that comes from outside to a pod of this host is seen by the pod as it is.
    /// - Pods reach the world under the address of their host.
    /// - A client that comes from outside through this host to a pod of another host is masqueraded: the answer must
    ///   come back through this host, which has translated the address that the client asked for.
    fn masquerade_rules(&self) -> Vec<Rule> {
        let (all, mine) = (self.network, self.subnet);
        let multicast = MULTICAST.parse().expect("the constant is a network");
        let keep = |source, destination| rule(Some(source), Some(destination), Verdict::Return);
        let mut rules = vec![
            Rule {
                marked: true,
                ..rule(None, None, Verdict::Return)
            },
            keep(PortRange::In(mine), PortRange::In(all)),
            keep(PortRange::In(all), PortRange::In(mine)),
            keep(PortRange::NotIn(all), PortRange::In(mine)),
        ];
        rules.extend(self.masquerade(PortRange::In(all), PortRange::NotIn(multicast)));
        rules.extend(self.masquerade(PortRange::NotIn(all), PortRange::In(all)));
        rules
    }

    /// UDP apart: an answer to the VXLAN port of this host is taken for an outer packet, and is never translated back.
    /// Only ports on the same side of 1024 can become that port; the others are left as NAT makes them.
    ///
    /// NAT keeps a port that lies among those it may choose from, if it is free and random ports are not asked for: then
    /// only the VXLAN port itself has to change sides.
    fn masquerade(&self, source: PortRange, destination: PortRange) -> Vec<Rule> {
        let plain = rule(Some(source), Some(destination), Verdict::Masquerade(None));
        let udp = |from, to| Rule {
            udp: Some(Udp::From(from)),
            verdict: Verdict::Masquerade(Some(to)),
            ..plain
        };
        let kept = if self.random_fully {
            Vec::new()
        } else {
            sides(self.port)
        };
        let mut rules: Vec<Rule> = kept.into_iter().map(|side| udp(side, side)).collect();
        rules.extend([udp(alike(self.port), other_ports(self.port)), plain]);
        rules
    }

    /// The outer packets, one way. A mark of kube-proxy's on the inner packet is on the outer one as well, whose source it
    /// would have masqueraded; what is not tracked is never translated. Both conditions together match nothing else: not a
    /// VXLAN that pods run among themselves.
    fn untracked(&self, source: Option<PortRange>, destination: Option<PortRange>) -> Rule {
        Rule {
            udp: Some(Udp::To(self.port)),
            ..rule(source, destination, Verdict::NoTrack)
        }
    }
}

fn rule(source: Option<PortRange>, destination: Option<PortRange>, verdict: Verdict) -> Rule {
    Rule {
        marked: false,
        source,
        destination,
        udp: None,
        verdict,
    }
}

/// The ports among which NAT would choose `port`.
fn alike(port: u16) -> Ports {
    match port {
        UNPRIVILEGED.. => Ports {
            first: UNPRIVILEGED,
            last: u16::MAX,
        },
        _ => Ports {
            first: 0,
            last: UNPRIVILEGED - 1,
        },
    }
}

/// What `port` leaves of the ports alike, below it and above it, where that is enough to choose from: two pods that use the
/// same port get different ones.
fn sides(port: u16) -> Vec<Ports> {
    const ENOUGH: u16 = 256;
    let Ports { first, last } = alike(port);
    let below = Ports {
        first: first.max(1),
        last: port.saturating_sub(1),
    };
    let above = Ports {
        first: port.saturating_add(1),
        last,
    };
    [below, above]
        .into_iter()
        .filter(|side| side.last.saturating_sub(side.first) >= ENOUGH)
        .collect()
}

/// The larger part of the unprivileged ports that `port` leaves on one side of it.
fn other_ports(port: u16) -> Ports {
    let (below, above) = (
        port.saturating_sub(UNPRIVILEGED),
        u16::MAX - port.max(UNPRIVILEGED - 1),
    );
    match below > above {
        true => Ports {
            first: UNPRIVILEGED,
            last: port - 1,
        },
        false => Ports {
            first: port.max(UNPRIVILEGED - 1) + 1,
            last: u16::MAX,
        },
    }
}

#[cfg(test)]
pub(crate) mod tests;
