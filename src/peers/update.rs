//! What the peer table learns from the lease manager, and what it passes on to the overlay.

use ipnetwork::Ipv4Network;

use crate::model::lease::Lease;
use crate::model::membership::Membership;

/// The lease that the peer of a subnet has now; `None` if it has none any more.
pub(crate) type PeerChange = (Ipv4Network, Option<Lease>);

/// What the lease manager learns from etcd, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaseUpdate {
    /// etcd does not answer, for this reason.
    Unreachable { reason: String },
    /// etcd answers, but this host cannot have a lease now.
    Waiting,
    /// etcd answers, and this host holds its lease and watches the leases of the peers.
    Synced,
    /// The subnet of the last run belongs to another host now.
    SubnetTaken(Ipv4Network),
    /// This host holds a lease now. `Leases` follows.
    Joined(Membership),
    /// etcd lost the key of this host, so it may have lost others: peers that are missing in the next list may well live.
    Suspect,
    /// The leases of all other hosts: peers that are not among them have no lease.
    Leases(ListedLeases),
    /// Leases that appeared, changed or disappeared.
    Changes(Vec<LeaseChange>),
}

/// The leases of all other hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ListedLeases {
    pub(crate) usable: Vec<Lease>,
    /// Subnets that have a key, whose value is damaged.
    pub(crate) damaged: Vec<Ipv4Network>,
}

/// What a change in etcd means for the lease of a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaseChange {
    Usable(Lease),
    /// The key is there, but its value is damaged: its host may well live.
    Damaged(Ipv4Network),
    Gone(Ipv4Network),
}

/// What the overlay has to know of the peers, in the order in which it happened. The first is always `Joined`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerUpdate {
    /// This host holds a lease now. `Peers` follows.
    Joined(Membership),
    /// All peers.
    Peers(Vec<Lease>),
    /// Peers that appeared, changed or disappeared.
    Changes(Vec<PeerChange>),
}
