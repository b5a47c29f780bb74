//! Owns what a member of the overlay learns over time: what it is itself, and who the others are. Pure.

use ipnetwork::Ipv4Network;

use crate::model::lease::Lease;
use crate::model::membership::Membership;

/// What changed, in the order in which it happened. The first is always `Joined`, followed by `Leases`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// We hold this lease now.
    Joined(Membership),
    /// The store seems to have lost keys: ours was among them. Who is missing in the next list may well be there.
    Doubt,
    /// These are all the others; whoever is not among them is gone.
    Leases(Vec<Lease>),
    /// Leases that came, changed, or went (`None`).
    Changes(Vec<(Ipv4Network, Option<Lease>)>),
}
