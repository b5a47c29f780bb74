//! Routes that Go flannel left behind and that would win over ours: they are removed once ours are there. Only what can be
//! nothing else is taken. Pure.

use std::collections::BTreeSet;

use crate::overlay::desired::DesiredOverlay;
use crate::overlay::paths::route::{ForeignRoute, MAIN_TABLE, RouteKind};
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

/// Returns the keys of routes of ours whose place in the main table another program has. The kernel would replace its route
/// by ours without a word (`NLM_F_REPLACE`): it is left alone, and named.
pub(crate) fn occupied(overlay: &DesiredOverlay, routes: &[ForeignRoute]) -> BTreeSet<RouteKey> {
    let peers = overlay.peers();
    let ours = |route: &ForeignRoute| {
        let of_peer = peers.route(route.destination).map(|(key, _)| key);
        of_peer
            .or_else(|| overlay.network_route())
            .filter(|key| takes_place_of(route, key))
    };
    routes.iter().filter_map(ours).collect()
}

/// Whether a route is where the kernel would put ours. One of ours through a device of an earlier VNI may be replaced.
pub(crate) fn takes_place_of(route: &ForeignRoute, ours: &RouteKey) -> bool {
    route.table == MAIN_TABLE
        && route.protocol != PROTOCOL
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
