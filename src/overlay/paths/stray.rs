//! Routes of other programs through our device, to addresses outside of the overlay: a DHCP client that takes the device
//! for a network card sends the whole host into it. They are removed, and named. Pure.

use std::collections::BTreeSet;

use crate::overlay::paths::route::ForeignRoute;

/// Routes that are remembered as logged. A program that invents new ones for ever must not fill the memory.
const MAX_LOGGED: usize = 64;

/// The routes that were logged, so that each is logged once, however often it comes back.
#[derive(Debug, Default)]
pub(crate) struct LoggedStrays(BTreeSet<String>);

impl LoggedStrays {
    /// Returns what to log about a route through `device` that is about to be removed; `None` if that was logged before.
    pub(crate) fn message(&mut self, route: &ForeignRoute, device: &str) -> Option<String> {
        let shown = format!("{route}{}", Maker(route.protocol));
        if self.0.len() >= MAX_LOGGED || !self.0.insert(shown.clone()) {
            return None;
        }
        Some(format!(
            "removing a route of another program, which would send packets for outside of the overlay into {device}: \
             {shown}; keep that program off the device: denyinterfaces {device} in dhcpcd.conf, \
             unmanaged-devices=interface-name:{device} for NetworkManager, Unmanaged=yes for systemd-networkd"
        ))
    }
}

/// Who made a route, as `ip route` names it (iproute2, `rt_protos`).
struct Maker(u8);

impl std::fmt::Display for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.0 {
            // `ip route add` says nothing of its own.
            0 | 3 => return Ok(()),
            4 => "static",
            8 => "gated",
            9 => "ra",
            11 => "zebra",
            12 => "bird",
            16 => "dhcp",
            18 => "keepalived",
            42 => "babel",
            186 => "bgp",
            187 => "isis",
            188 => "ospf",
            189 => "rip",
            192 => "eigrp",
            other => return write!(f, " proto {other}"),
        };
        write!(f, " proto {name}")
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::overlay::paths::route::{MAIN_TABLE, RouteKind};

    fn route(metric: u32, protocol: u8) -> ForeignRoute {
        ForeignRoute {
            table: MAIN_TABLE,
            destination: "0.0.0.0/0".parse().expect("a network"),
            metric,
            kind: RouteKind::Unicast,
            protocol,
            gateway: Some([192, 168, 1, 254].into()),
            device: Some(Rc::from("flannel.1")),
            source: None,
        }
    }

    #[test]
    fn names_the_route_and_who_made_it_once() {
        let mut logged = LoggedStrays::default();
        for (protocol, expected) in [
            (
                16,
                "flannel.1: default via 192.168.1.254 dev flannel.1 metric 208 proto dhcp; keep",
            ),
            (
                3,
                "flannel.1: default via 192.168.1.254 dev flannel.1 metric 208; keep",
            ),
            (77, "metric 208 proto 77; keep"),
        ] {
            let message = logged.message(&route(208, protocol), "flannel.1");
            let message = message.expect("it is new");
            assert!(message.contains(expected), "{message}");
            assert_eq!(logged.message(&route(208, protocol), "flannel.1"), None);
        }
    }

    #[test]
    fn remembers_a_bounded_number_of_routes() {
        let mut logged = LoggedStrays::default();
        let all = (0..1000).filter_map(|metric| logged.message(&route(metric, 3), "flannel.1"));
        assert_eq!(all.count(), MAX_LOGGED);
    }
}
