//! Routes that Go flannel left behind and that would win over ours: they are removed once ours are there. Only what can be
//! nothing else is taken. Pure.

use std::collections::BTreeSet;

use crate::overlay::desired::DesiredOverlay;
use crate::overlay::paths::route::{ForeignRoute, MAIN_TABLE, RouteKind};
use crate::overlay::plan::Op;
use crate::overlay::state::{PROTOCOL, RouteKey};

/// `RTPROT_BOOT`: made by `ip route add`, or by Go's netlink library, which says nothing of its own.
const BY_BOOT: u8 = 3;
/// `RTPROT_STATIC`.
const BY_STATIC: u8 = 4;

/// Returns the routes of Go flannel among `routes`.
pub(crate) fn left_by_go<'a>(
    overlay: &'a DesiredOverlay,
    routes: &'a [ForeignRoute],
) -> impl Iterator<Item = &'a ForeignRoute> {
    routes
        .iter()
        .filter(|route| route.table == MAIN_TABLE && route.metric == 0)
        .filter(|route| is_direct(overlay, route) || is_blackhole(overlay, route))
}

/// Routes in the very places of ours in the main table.
#[derive(Debug, Default)]
pub(crate) struct TakenPlaces {
    /// Another program has them: its route is left alone, and named.
    foreign: BTreeSet<RouteKey>,
    /// Go flannel left them, or we ourselves, on a device of an earlier VNI: ours replaces them without a gap.
    replaceable: BTreeSet<RouteKey>,
}

impl TakenPlaces {
    pub(crate) fn new(overlay: &DesiredOverlay, routes: &[ForeignRoute]) -> Self {
        let mut taken = Self::default();
        for route in routes {
            let of_peer = overlay.peers().route(route.destination);
            let ours = of_peer
                .map(|(key, _)| key)
                .or_else(|| overlay.network_route());
            let Some(ours) = ours.filter(|ours| is_in_place_of(route, ours)) else {
                continue;
            };
            if route.protocol == PROTOCOL || is_direct(overlay, route) {
                taken.replaceable.insert(ours);
            } else {
                taken.foreign.insert(ours);
            }
        }
        taken
    }

    /// Returns what has to be done instead of an operation of the plan, if anything.
    pub(crate) fn adjust(&self, op: Op) -> Option<Op> {
        let Op::AddRoute(key, hop) = op else {
            return Some(op);
        };
        if self.foreign.contains(&key) {
            None
        } else if self.replaceable.contains(&key) {
            Some(Op::PutRoute(key, hop))
        } else {
            Some(op)
        }
    }
}

/// Whether a route is where the kernel would put ours. One of ours through a device of an earlier VNI may be replaced.
pub(crate) fn takes_place_of(route: &ForeignRoute, ours: &RouteKey) -> bool {
    route.protocol != PROTOCOL && is_in_place_of(route, ours)
}

fn is_in_place_of(route: &ForeignRoute, ours: &RouteKey) -> bool {
    route.table == MAIN_TABLE
        && route.destination == ours.destination
        && route.metric == ours.metric
}

/// Go's `DirectRouting`: a peer in our own network is reached through the external interface, by its PublicIP.
fn is_direct(overlay: &DesiredOverlay, route: &ForeignRoute) -> bool {
    let Some(lease) = overlay.peers().index().get(route.destination) else {
        return false;
    };
    route.kind == RouteKind::Unicast
        && matches!(route.protocol, BY_BOOT | BY_STATIC)
        && route.device.as_deref() == Some(overlay.device().parent.as_str())
        && route.gateway == Some(lease.public_ip)
}

/// Go's `--ip-blackhole-route`: it would swallow the packets to pods whose bridge comes up later.
fn is_blackhole(overlay: &DesiredOverlay, route: &ForeignRoute) -> bool {
    route.kind == RouteKind::Blackhole
        && route.protocol == BY_BOOT
        && route.destination == overlay.own_subnet()
}
