//! What is known of the lease that this host held before: in this run, or in the run that left a snapshot or a
//! subnet.env. It is a hint for the next claim, never a proof that the lease still exists.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::MacAddr;

/// The previous lease of this host, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PreviousLease {
    /// The subnet: pods that still run have addresses of it.
    pub subnet: Option<Ipv4Network>,
    /// The MAC address of the device: the peers know it.
    pub vtep_mac: Option<MacAddr>,
    /// The PublicIP, if this very machine held the lease and not a copy of its disk.
    pub public_ip: Option<Ipv4Addr>,
}
