//! What the overlay needs from the options of this host. It parses nothing.

use std::time::Duration;

use crate::model::external_interface::ExternalInterface;
use crate::model::key_prefix::normalize;

/// The first part of the alias of every device that flanneld creates. The prefix of the keys in etcd follows, so that two
/// instances on one host recognize each other's devices.
pub(crate) const ALIAS_PREFIX: &str = "flanneld ";

/// When the kernel entries of a peer are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerMode {
    /// As soon as its lease is known: a route, a neighbour and an FDB entry for each peer.
    Eager,
    /// The layout of flannel before 0.9: FDB entries at once, one route for the whole overlay, and a neighbour for each
    /// pod address when a packet to it needs one.
    OnDemand,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverlaySettings {
    /// As it is now; the slice follows it.
    pub(crate) external: ExternalInterface,
    /// Alias of the device; begins with [`ALIAS_PREFIX`].
    pub(crate) alias: String,
    /// Whether this host drops packets to addresses of its own subnet that no pod has.
    pub(crate) blackhole: bool,
    /// Whether the kernel computes the checksums of inner packets, for a network card that corrupts them.
    pub(crate) tx_checksum_in_software: bool,
    pub(crate) peer_mode: PeerMode,
    /// How long a neighbour made on demand may be unused before it is removed.
    pub(crate) on_demand_idle: Duration,
}

/// Whether two aliases mark the device of one flanneld. An earlier version wrote the prefix as it was given.
pub(crate) fn is_same_alias(one: &str, other: &str) -> bool {
    let prefix = |alias: &str| alias.strip_prefix(ALIAS_PREFIX).map(normalize);
    one == other || prefix(one).is_some_and(|one| prefix(other) == Some(one))
}
