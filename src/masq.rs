//! Owns which packets are masqueraded and which are let through, as a list of rules that says nothing about nftables or
//! iptables. `nft` and `iptables` below turn it into their texts. Pure.
//!
//! Source of the rules: flannel v0.28 `pkg/trafficmngr/iptables`.

pub mod iptables;
pub mod nft;

use ipnetwork::Ipv4Network;

use crate::addr::Vni;

/// The mark that kube-proxy gives to packets which it masquerades itself.
pub const KUBE_MARK: u32 = 0x4000;
/// Multicast (RFC 5771): its source must stay, the answers go to it.
const MULTICAST: &str = "224.0.0.0/4";

/// What a rule does with the packets that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Leaves them to the rules of others.
    Return,
    /// Gives them the address of this host as source.
    Masquerade,
    /// Lets them through.
    Accept,
}

/// An address range, or everything but that range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Inside.
    In(Ipv4Network),
    /// Outside.
    NotIn(Ipv4Network),
}

/// One rule; all conditions must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Only packets that carry [`KUBE_MARK`].
    pub marked: bool,
    /// Where they come from.
    pub source: Option<Range>,
    /// Where they go to.
    pub destination: Option<Range>,
    /// What becomes of them.
    pub verdict: Verdict,
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
    /// Whether packets that leave or enter the overlay are masqueraded.
    pub masquerade: bool,
    /// Whether masqueraded packets get a random port: without, two connections that start at once may choose the same
    /// one and lose a packet.
    pub random_fully: bool,
    /// Whether forwarding from and to the overlay is allowed in the face of a policy that drops.
    pub forward: bool,
}

impl Wanted {
    /// The rules for packets that leave this host, in their order.
    ///
    /// - Packets that kube-proxy has marked are its own business.
    /// - Pod to pod keeps its addresses, on the way out and on the way in.
    /// - A client that comes from outside to a pod of this host is seen by the pod as it is.
    /// - Pods reach the world under the address of their host.
    /// - A client that comes from outside through this host to a pod of another host is masqueraded: the answer must
    ///   come back through this host, which has translated the address that the client asked for.
    pub fn masquerade_rules(&self) -> Vec<Rule> {
        if !self.masquerade {
            return Vec::new();
        }
        let (all, mine) = (self.network, self.subnet);
        let multicast = MULTICAST.parse().expect("the constant is a network");
        let rule = |source, destination, verdict| Rule {
            marked: false,
            source: Some(source),
            destination: Some(destination),
            verdict,
        };
        vec![
            Rule { marked: true, source: None, destination: None, verdict: Verdict::Return },
            rule(Range::In(mine), Range::In(all), Verdict::Return),
            rule(Range::In(all), Range::In(mine), Verdict::Return),
            rule(Range::NotIn(all), Range::In(mine), Verdict::Return),
            rule(Range::In(all), Range::NotIn(multicast), Verdict::Masquerade),
            rule(Range::NotIn(all), Range::In(all), Verdict::Masquerade),
        ]
    }

    /// The rules for packets that this host forwards.
    pub fn forward_rules(&self) -> Vec<Rule> {
        if !self.forward {
            return Vec::new();
        }
        let rule = |source, destination| Rule { marked: false, source, destination, verdict: Verdict::Accept };
        let overlay = Some(Range::In(self.network));
        vec![rule(overlay, None), rule(None, overlay)]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn wanted() -> Wanted {
        Wanted {
            vni: Vni::DEFAULT,
            network: "10.5.0.0/16".parse().expect("a network in a test"),
            subnet: "10.5.96.0/24".parse().expect("a network in a test"),
            masquerade: true,
            random_fully: true,
            forward: true,
        }
    }

    #[test]
    fn wants_nothing_when_told_so() {
        let wanted = Wanted { masquerade: false, forward: false, ..wanted() };
        assert!(wanted.masquerade_rules().is_empty() && wanted.forward_rules().is_empty());
    }
}
