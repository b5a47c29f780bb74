//! How packets to etcd leave this host, and whether that has changed, so that connections to etcd are dead or better made
//! anew. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::underlay::observation::{MemberRoute, Observation, RouteLookup};

/// The routes to the members of etcd as they were last.
#[derive(Debug, Default)]
pub(crate) struct EtcdPath {
    /// By the URL of the member; `None` while packets cannot leave. A member that is missing was never seen.
    routes: BTreeMap<String, Option<RouteLookup>>,
}

impl EtcdPath {
    /// Takes the present routes. Returns whether a connection that was made before may be dead: its source address has
    /// left the host, or packets leave by another interface or with another source address now. A route that is gone while
    /// its source address stays does not count: it is back after a link flap, and the connection lives on.
    pub(crate) fn update(&mut self, observed: &Observation) -> bool {
        let addresses = observed.interfaces.iter().flat_map(|i| &i.addresses);
        let addresses: BTreeSet<Ipv4Addr> = addresses.map(|address| address.ip).collect();
        let members = observed.etcd.iter();
        let changes = members.filter(|(url, route)| self.update_member(url, route, &addresses));
        changes.count() > 0
    }

    fn update_member(
        &mut self,
        url: &str,
        route: &MemberRoute,
        addresses: &BTreeSet<Ipv4Addr>,
    ) -> bool {
        let before = self.routes.get(url);
        let now = match (route, before) {
            // Another gateway breaks no connection.
            (MemberRoute::Via(now), _) => Some(RouteLookup {
                gateway: None,
                ..now.clone()
            }),
            (MemberRoute::OnThisHost | MemberRoute::Unknown(_), None) => return false,
            (MemberRoute::None(_), None) => None,
            (
                MemberRoute::OnThisHost | MemberRoute::None(_) | MemberRoute::Unknown(_),
                Some(before),
            ) => before
                .clone()
                .filter(|before| addresses.contains(&before.source)),
        };
        let changed = before.is_some_and(|before| *before != now);
        self.routes.insert(url.to_owned(), now);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::underlay::fake::{interface, route};

    fn observed(addresses: &[&str], member: MemberRoute) -> Observation {
        Observation {
            interfaces: vec![interface(1, "eth0", addresses)],
            etcd: vec![("http://etcd:2379".to_owned(), member)],
            ..Observation::default()
        }
    }

    #[test]
    fn connections_are_dropped_when_their_source_goes_or_the_way_is_another() {
        let none = || MemberRoute::None("no route".to_owned());
        let via = |interface, source| MemberRoute::Via(route(interface, source));
        let mut path = EtcdPath::default();
        for (step, addresses, member, expected) in [
            ("no address yet", &[][..], none(), false),
            ("the first", &["10.0.0.1"], via("eth0", "10.0.0.1"), true),
            ("nothing", &["10.0.0.1"], via("eth0", "10.0.0.1"), false),
            ("the link goes down", &["10.0.0.1"], none(), false),
            (
                "and comes back",
                &["10.0.0.1"],
                via("eth0", "10.0.0.1"),
                false,
            ),
            (
                "another address",
                &["10.0.0.1", "10.0.0.2"],
                via("eth0", "10.0.0.2"),
                true,
            ),
            ("all addresses go", &[], none(), true),
            ("they stay away", &[], none(), false),
            (
                "one comes back",
                &["10.0.0.2"],
                via("eth0", "10.0.0.2"),
                true,
            ),
            (
                "another interface",
                &["10.0.0.2"],
                via("eth1", "10.1.0.2"),
                true,
            ),
        ] {
            let changed = path.update(&observed(addresses, member));
            assert_eq!(changed, expected, "{step}");
        }
        // Nothing was sent over a way that was not known yet.
        let mut late = EtcdPath::default();
        let unknown = MemberRoute::Unknown("no such name".to_owned());
        assert!(!late.update(&observed(&["10.0.0.1"], unknown)));
        assert!(!late.update(&observed(&["10.0.0.1"], via("eth0", "10.0.0.1"))));
    }
}
