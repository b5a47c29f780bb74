//! The packets that the overlay needs, as far as a filter may look at them. Pure.

use ipnetwork::Ipv4Network;

/// Where in the kernel a packet meets a filter (netfilter's hooks).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FilterHook {
    Prerouting,
    Input,
    Forward,
    Output,
}

impl FilterHook {
    /// Returns the hook with this name in nftables.
    pub(super) fn of_nft(name: &str) -> Option<Self> {
        match name {
            "prerouting" => Some(Self::Prerouting),
            "input" => Some(Self::Input),
            "forward" => Some(Self::Forward),
            "output" => Some(Self::Output),
            _ => None,
        }
    }

    /// Returns the hook of this chain of iptables, if the kernel calls it.
    pub(super) fn of_iptables(chain: &str) -> Option<Self> {
        Self::of_nft(&chain.to_lowercase()).filter(|_| chain.chars().all(char::is_uppercase))
    }
}

/// What is known of the port or protocol of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// A UDP packet to this port, from any port.
    UdpTo(u16),
    /// A TCP packet between any ports.
    Tcp,
}

/// How connection tracking sees a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracking {
    /// The first of its connection.
    New,
    /// Left out of connection tracking by our own rules.
    Untracked,
}

/// A packet of which some things are known. What is not known may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) hook: FilterHook,
    /// Interface on which it came in; `None` if it is not known, or the packet starts here.
    pub(super) in_interface: Option<String>,
    /// Interface by which it leaves; `None` if it is not known, or the packet ends here.
    pub(super) out_interface: Option<String>,
    /// Its source is one of these.
    pub(super) source: Ipv4Network,
    /// Its destination is one of these.
    pub(super) destination: Ipv4Network,
    pub(super) protocol: Protocol,
    pub(super) tracking: Tracking,
}
