//! Rules as data: what they match and what they do, in the words of neither nftables nor iptables. Pure.

use ipnetwork::Ipv4Network;

use crate::model::addr::Vni;
use crate::rules::ports::PortRange;

/// The mark that kube-proxy gives to packets which it masquerades itself.
pub(crate) const KUBE_MARK: u32 = 0x4000;

/// What a rule does with the packets that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Leaves them to the rules of other programs.
    Return,
    /// Gives them the address of this host as source, and a port out of the range.
    Masquerade(Option<PortRange>),
    /// Lets them through.
    Accept,
    /// Keeps them out of connection tracking, and so out of every NAT.
    NoTrack,
}

/// A condition on an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressMatch {
    In(Ipv4Network),
    NotIn(Ipv4Network),
}

/// A condition that only UDP packets meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UdpMatch {
    /// Their destination port.
    To(u16),
    /// Their source port.
    From(PortRange),
}

/// One rule; all conditions must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Only packets that carry [`KUBE_MARK`].
    pub(crate) marked: bool,
    pub(crate) source: Option<AddressMatch>,
    pub(crate) destination: Option<AddressMatch>,
    pub(crate) udp: Option<UdpMatch>,
    pub(crate) verdict: Verdict,
}

impl Rule {
    /// A rule that matches addresses only.
    pub(crate) const fn new(
        source: Option<AddressMatch>,
        destination: Option<AddressMatch>,
        verdict: Verdict,
    ) -> Self {
        Self {
            marked: false,
            source,
            destination,
            udp: None,
            verdict,
        }
    }
}

/// Where in the kernel a list of rules applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// To packets that come in, before connection tracking.
    RawPrerouting,
    /// To packets that start here, before connection tracking.
    RawOutput,
    /// To packets that leave, where their source may be changed.
    Postrouting,
    /// To packets that pass from one interface to another.
    Forward,
}

impl Hook {
    /// All hooks. Those that a kernel may lack come last: a failure there leaves the others in place.
    pub(crate) const ALL: [Self; 4] = [
        Self::Postrouting,
        Self::Forward,
        Self::RawPrerouting,
        Self::RawOutput,
    ];
}

/// The rules of one instance in one tool, by hook. One without rules stands for their removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleSet {
    /// Tells the instances on a host apart.
    pub(crate) vni: Vni,
    /// Whether masqueraded connections get random ports.
    pub(crate) random_fully: bool,
    pub(crate) raw_prerouting: Vec<Rule>,
    pub(crate) raw_output: Vec<Rule>,
    pub(crate) postrouting: Vec<Rule>,
    pub(crate) forward: Vec<Rule>,
}

impl RuleSet {
    /// No rules.
    pub(crate) const fn none(vni: Vni) -> Self {
        Self {
            vni,
            random_fully: false,
            raw_prerouting: Vec::new(),
            raw_output: Vec::new(),
            postrouting: Vec::new(),
            forward: Vec::new(),
        }
    }

    /// The rules at one hook, in their order.
    pub(crate) fn at(&self, hook: Hook) -> &[Rule] {
        match hook {
            Hook::RawPrerouting => &self.raw_prerouting,
            Hook::RawOutput => &self.raw_output,
            Hook::Postrouting => &self.postrouting,
            Hook::Forward => &self.forward,
        }
    }
}
