//! Which packets are masqueraded, accepted and left untracked. Says nothing about the tool that carries the rules.
//! Pure.
//!
//! The rules for masquerading and forwarding are those of flannel v0.28 (`pkg/trafficmngr/iptables`).

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::Vni;
use crate::model::membership::Membership;
use crate::rules::ports;
use crate::rules::rule::{AddressMatch, Connection, Interface, Rule, RuleSet, UdpMatch, Verdict};
use crate::rules::settings::{RequestedTool, RulesSettings};

/// Multicast (RFC 5771): the source must stay as it is, because answers go to it.
const MULTICAST: &str = "224.0.0.0/4";

/// What this host needs of the packet filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DesiredRules {
    /// Tells the instances on a host apart.
    pub(crate) vni: Vni,
    /// The whole overlay.
    pub(crate) network: Ipv4Network,
    /// The subnet of this host.
    pub(crate) subnet: Ipv4Network,
    /// Address of the outer packets on this host.
    pub(crate) local: Ipv4Addr,
    /// Name of the external interface.
    pub(crate) external: String,
    /// UDP port of the outer packets.
    pub(crate) port: u16,
    /// Whether packets that leave or enter the overlay are masqueraded.
    pub(crate) masquerade: bool,
    /// Whether masqueraded packets get a random port. Without, two connections that start at the same moment may choose
    /// the same port and lose a packet.
    pub(crate) random_fully: bool,
    /// Whether packets from and to the overlay are accepted although a policy drops them.
    pub(crate) forward: bool,
    /// The tool that the operator asks for.
    pub(crate) tool: RequestedTool,
    /// `EnableNFTables` of the network configuration.
    pub(crate) enable_nftables: Option<bool>,
}

/// Which part of the rules one tool carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RuleParts {
    /// Masquerading, and the outer packets that are not tracked.
    pub(crate) masquerade: bool,
    pub(crate) forward: bool,
    /// What opens the way through Docker's rules in this iptables, which has some.
    pub(crate) docker: bool,
    /// What opens the way that Docker's nftables backend leaves open.
    pub(crate) docker_nftables: bool,
}

/// Returns the rules that the lease, the network configuration and the options ask for.
pub(crate) fn desired(membership: &Membership, settings: &RulesSettings) -> DesiredRules {
    let Membership { own, config } = membership;
    DesiredRules {
        vni: config.vxlan.vni,
        network: config.network,
        subnet: own.subnet,
        local: settings.external.address,
        external: settings.external.name.clone(),
        port: config.vxlan.port,
        masquerade: settings.ip_masq,
        random_fully: settings.random_fully,
        forward: settings.forward,
        tool: settings.tool,
        enable_nftables: config.nftables,
    }
}

impl DesiredRules {
    /// Returns the rules of these parts.
    pub(crate) fn rules(&self, parts: RuleParts) -> RuleSet {
        let mut set = RuleSet {
            random_fully: self.random_fully,
            external: self.external.clone(),
            ..RuleSet::none(self.vni)
        };
        if parts.masquerade && self.masquerade {
            set.postrouting = self.masquerade_rules();
        }
        if parts.masquerade && !self.is_nothing() {
            let outer = AddressMatch::In(self.local.into());
            set.raw_prerouting = vec![self.untracked(None, Some(outer))];
            set.raw_output = vec![self.untracked(Some(outer), None)];
        }
        if parts.masquerade && parts.docker_nftables && !self.is_nothing() {
            set.raw_prerouting.push(self.kept_from_outside());
            set.forward_mangle = vec![self.marked_for_docker()];
        }
        if parts.forward && self.forward {
            set.forward = self.forward_rules();
            let rest = if parts.docker {
                &mut set.forward_end
            } else {
                &mut set.forward
            };
            rest.push(self.accept_from_own_pods());
        }
        if parts.docker && self.forward {
            set.raw_docker = vec![self.accept_from_overlay()];
        }
        set
    }

    /// Whether the operator wants no rules at all.
    pub(crate) const fn is_nothing(&self) -> bool {
        !self.masquerade && !self.forward
    }

    /// Whether neither the operator nor the network configuration names a tool.
    pub(crate) fn lets_the_host_choose(&self) -> bool {
        self.tool == RequestedTool::Auto && self.enable_nftables.is_none()
    }

    /// The rules for packets that leave this host, in their order.
    ///
    /// - Packets that kube-proxy has marked are masqueraded by kube-proxy.
    /// - Pod to pod keeps its addresses, on the way out and on the way in.
    /// - A pod of this host sees the address of a client outside the overlay.
    /// - Pods reach the world under the address of their host.
    /// - A client that comes from outside through this host to a pod of another host is masqueraded: the answer must
    ///   come back through this host, which has translated the address that the client asked for.
    fn masquerade_rules(&self) -> Vec<Rule> {
        let (all, mine) = (self.network, self.subnet);
        let multicast = MULTICAST.parse().expect("the constant is a network");
        let marked = Rule {
            marked: true,
            ..Rule::new(None, None, Verdict::Return)
        };
        let mut rules = vec![
            marked,
            keep(AddressMatch::In(mine), AddressMatch::In(all)),
            keep(AddressMatch::In(all), AddressMatch::In(mine)),
            keep(AddressMatch::NotIn(all), AddressMatch::In(mine)),
        ];
        rules.extend(self.masquerade(AddressMatch::In(all), AddressMatch::NotIn(multicast)));
        rules.extend(self.masquerade(AddressMatch::NotIn(all), AddressMatch::In(all)));
        rules
    }

    /// What the overlay needs, and nothing that others could come in by: a packet from outside passes if this host has
    /// translated its destination, or if a connection of a pod is under way.
    fn forward_rules(&self) -> Vec<Rule> {
        let own = Some(AddressMatch::In(self.subnet));
        let overlay = Some(Interface::Overlay);
        let accept = Rule::of(Verdict::Accept);
        vec![
            self.accept_from_overlay(),
            Rule {
                source: own,
                output: overlay,
                ..accept
            },
            // A client of a node port, to a pod of another host, and the answer.
            Rule {
                output: overlay,
                connection: Some(Connection::Translated),
                ..accept
            },
            Rule {
                input: overlay,
                connection: Some(Connection::Established),
                ..accept
            },
            Rule {
                destination: own,
                connection: Some(Connection::Established),
                ..accept
            },
            Rule {
                destination: own,
                connection: Some(Connection::Translated),
                ..accept
            },
        ]
    }

    /// Pods of this host to anywhere. Where Docker has rules, they come first: otherwise its networks would not be isolated
    /// from one another.
    fn accept_from_own_pods(&self) -> Rule {
        Rule::new(Some(AddressMatch::In(self.subnet)), None, Verdict::Accept)
    }

    /// Packets of other hosts to pods of this one.
    fn accept_from_overlay(&self) -> Rule {
        Rule {
            input: Some(Interface::Overlay),
            ..Rule::new(None, Some(AddressMatch::In(self.subnet)), Verdict::Accept)
        }
    }

    /// The mark that Docker's nftables backend accepts, if dockerd was told so.
    fn marked_for_docker(&self) -> Rule {
        Rule {
            verdict: Verdict::Mark,
            ..self.accept_from_overlay()
        }
    }

    /// With the option that lets packets of the overlay in, Docker's nftables backend lets those of other machines in as well,
    /// and unlike its iptables backend it forwards them to other hosts. What is sent to a published port has the address of
    /// the host as its destination here.
    fn kept_from_outside(&self) -> Rule {
        Rule {
            input: Some(Interface::External),
            ..Rule::new(None, Some(AddressMatch::In(self.network)), Verdict::Drop)
        }
    }

    /// UDP gets rules of its own: the kernel takes an answer to the VXLAN port of this host for an outer packet and never
    /// translates it back. NAT keeps a port in its class (below 1024 or not), so only ports in the class of the VXLAN port
    /// can become that port; the others need no rule.
    ///
    /// NAT keeps a free port within its range unless random ports are asked for. So without random ports, only a packet
    /// that comes from the VXLAN port itself gets another port.
    fn masquerade(&self, source: AddressMatch, destination: AddressMatch) -> Vec<Rule> {
        let plain = Rule::new(Some(source), Some(destination), Verdict::Masquerade(None));
        let kept = if self.random_fully {
            Vec::new()
        } else {
            ports::around(self.port)
        };
        let mut rules: Vec<Rule> = kept
            .into_iter()
            .map(|range| from_ports(plain, range, range))
            .collect();
        let (from, to) = (ports::same_class(self.port), ports::larger_side(self.port));
        rules.extend([from_ports(plain, from, to), plain]);
        rules
    }

    /// The outer packets of one direction. kube-proxy's mark on the inner packet is on the outer one as well, so its rules
    /// would masquerade the outer packet; a packet that is not tracked is never translated. Address and port together
    /// match no VXLAN that pods run among themselves.
    fn untracked(&self, source: Option<AddressMatch>, destination: Option<AddressMatch>) -> Rule {
        Rule {
            udp: Some(UdpMatch::To(self.port)),
            ..Rule::new(source, destination, Verdict::NoTrack)
        }
    }
}

fn keep(source: AddressMatch, destination: AddressMatch) -> Rule {
    Rule::new(Some(source), Some(destination), Verdict::Return)
}

/// The rule for UDP packets that come from one of these ports.
fn from_ports(rule: Rule, from: ports::PortRange, to: ports::PortRange) -> Rule {
    Rule {
        udp: Some(UdpMatch::From(from)),
        verdict: Verdict::Masquerade(Some(to)),
        ..rule
    }
}

#[cfg(test)]
pub(crate) mod tests;
