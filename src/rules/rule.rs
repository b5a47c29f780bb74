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
    /// Throws them away.
    Drop,
    /// Gives them the mark that Docker's nftables backend accepts.
    Mark,
    /// Keeps them out of connection tracking, and so out of every NAT.
    NoTrack,
}

/// An interface of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    /// The overlay device.
    Overlay,
    /// The one to the other hosts.
    External,
}

/// A condition on the connection of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// It is under way, or belongs to one that is.
    Established,
    /// Its destination was translated by this host: a node port, a cluster address, a published port.
    Translated,
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
    /// The interface by which they come in.
    pub(crate) input: Option<Interface>,
    /// The interface by which they leave.
    pub(crate) output: Option<Interface>,
    pub(crate) udp: Option<UdpMatch>,
    pub(crate) connection: Option<Connection>,
    pub(crate) verdict: Verdict,
}

impl Rule {
    /// A rule that matches everything.
    pub(crate) const fn of(verdict: Verdict) -> Self {
        Self::new(None, None, verdict)
    }

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
            input: None,
            output: None,
            udp: None,
            connection: None,
            verdict,
        }
    }
}

/// Where in the kernel a list of rules applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// To packets that come in, before connection tracking.
    RawPrerouting,
    /// The same, in front of the rules in which Docker drops what does not come by the bridge of a container.
    RawDocker,
    /// To packets that start here, before connection tracking.
    RawOutput,
    /// To packets that leave, where their source may be changed.
    Postrouting,
    /// To packets that pass from one interface to another.
    Forward,
    /// The same, behind the rules of Docker.
    ForwardEnd,
    /// The same, before any program filters, where packets may be changed.
    ForwardMangle,
}

impl Hook {
    /// All hooks. Those that a kernel may lack come last: a failure there leaves the others in place.
    pub(crate) const ALL: [Self; 7] = [
        Self::Postrouting,
        Self::Forward,
        Self::ForwardEnd,
        Self::RawDocker,
        Self::ForwardMangle,
        Self::RawPrerouting,
        Self::RawOutput,
    ];
}

/// The rules of one instance in one tool, by hook. One without rules stands for their removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleSet {
    /// Tells the instances on a host apart, and names the overlay device.
    pub(crate) vni: Vni,
    /// Name of the external interface.
    pub(crate) external: String,
    /// Whether masqueraded connections get random ports.
    pub(crate) random_fully: bool,
    pub(crate) raw_prerouting: Vec<Rule>,
    pub(crate) raw_docker: Vec<Rule>,
    pub(crate) raw_output: Vec<Rule>,
    pub(crate) postrouting: Vec<Rule>,
    pub(crate) forward: Vec<Rule>,
    pub(crate) forward_end: Vec<Rule>,
    pub(crate) forward_mangle: Vec<Rule>,
}

impl RuleSet {
    /// No rules.
    pub(crate) const fn none(vni: Vni) -> Self {
        Self {
            vni,
            external: String::new(),
            random_fully: false,
            raw_prerouting: Vec::new(),
            raw_docker: Vec::new(),
            raw_output: Vec::new(),
            postrouting: Vec::new(),
            forward: Vec::new(),
            forward_end: Vec::new(),
            forward_mangle: Vec::new(),
        }
    }

    /// The rules at one hook, in their order.
    pub(crate) fn at(&self, hook: Hook) -> &[Rule] {
        match hook {
            Hook::RawPrerouting => &self.raw_prerouting,
            Hook::RawDocker => &self.raw_docker,
            Hook::RawOutput => &self.raw_output,
            Hook::Postrouting => &self.postrouting,
            Hook::Forward => &self.forward,
            Hook::ForwardEnd => &self.forward_end,
            Hook::ForwardMangle => &self.forward_mangle,
        }
    }

    /// The name of an interface.
    pub(crate) fn interface(&self, interface: Interface) -> String {
        match interface {
            Interface::Overlay => self.vni.device(),
            Interface::External => self.external.clone(),
        }
    }
}
