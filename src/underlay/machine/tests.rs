//! A host as text in, what the slices are told as text out.

use super::*;
use crate::underlay::fake::{interface, route};
use crate::underlay::observation::{Interface, MemberRoute};

const ETCD: &str = "http://etcd:2379";

/// A machine, and the clock of the test.
struct Rig {
    machine: UnderlayMachine,
    now: Duration,
    host: Observation,
}

impl Rig {
    /// A host with eth0 and eth1, which has the route to etcd on eth0.
    fn new(ifaces: &[&str]) -> Self {
        let selectors = Selectors {
            ifaces: ifaces.iter().map(ToString::to_string).collect(),
            ..Selectors::default()
        };
        let mut rig = Self {
            machine: UnderlayMachine::new(selectors, None),
            now: Duration::ZERO,
            host: Observation {
                interfaces: vec![
                    interface(2, "eth0", &["10.0.0.1"]),
                    interface(3, "eth1", &["10.1.0.1"]),
                ],
                ..Observation::default()
            },
        };
        rig.route_etcd(Some(("eth0", "10.0.0.1")));
        assert_eq!(rig.run(0), ["eth0 10.0.0.1 mtu 1500"]);
        rig
    }

    fn eth0(&mut self) -> &mut Interface {
        &mut self.host.interfaces[0]
    }

    fn route_etcd(&mut self, via: Option<(&str, &str)>) {
        let none = MemberRoute::None("no route".to_owned());
        let route = via.map_or(none, |(name, source)| MemberRoute::Via(route(name, source)));
        self.host.etcd = vec![(ETCD.to_owned(), route)];
    }

    /// Reports a change, and lets time pass. Returns what the slices are told.
    fn changed(&mut self, milliseconds: u64) -> Vec<String> {
        self.machine.handle(UnderlayEvent::Changed, self.now);
        self.run(milliseconds)
    }

    fn run(&mut self, milliseconds: u64) -> Vec<String> {
        let until = self.now + Duration::from_millis(milliseconds);
        let mut told = Vec::new();
        while self.machine.due() <= until {
            self.now = self.now.max(self.machine.due());
            for action in self.machine.handle(UnderlayEvent::Time, self.now) {
                assert_eq!(action, UnderlayAction::Look);
                let event = UnderlayEvent::Observed {
                    observation: self.host.clone(),
                    started: self.now,
                };
                let actions = self.machine.handle(event, self.now);
                told.extend(actions.into_iter().filter_map(text));
            }
        }
        self.now = until;
        told
    }
}

fn text(action: UnderlayAction) -> Option<String> {
    let UnderlayAction::Publish(underlay) = action else {
        return None;
    };
    let external = underlay.external;
    let ok = format!(
        "{} {} mtu {}",
        external.name, external.address, external.mtu
    );
    Some(
        underlay
            .problem
            .map_or(ok.clone(), |problem| format!("{ok}: {problem}")),
    )
}

#[test]
fn a_burst_of_changes_is_looked_at_once() {
    let mut rig = Rig::new(&["eth0"]);
    rig.eth0().mtu = 1400;
    rig.machine.handle(UnderlayEvent::Changed, rig.now);
    assert!(rig.changed(19).is_empty());
    assert_eq!(rig.run(1), ["eth0 10.0.0.1 mtu 1400"]);
    assert!(rig.run(59_000).is_empty());
}

#[test]
fn a_new_address_is_taken_at_once_when_the_old_one_is_gone() {
    for ifaces in [&["eth0"][..], &[]] {
        let mut rig = Rig::new(ifaces);
        *rig.eth0() = interface(2, "eth0", &["10.0.0.1", "10.0.0.2"]);
        assert!(
            rig.changed(1000).is_empty(),
            "the old one stays while it exists"
        );
        *rig.eth0() = interface(2, "eth0", &["10.0.0.2"]);
        rig.route_etcd(Some(("eth0", "10.0.0.2")));
        assert_eq!(rig.changed(20), ["eth0 10.0.0.2 mtu 1500"], "{ifaces:?}");
    }
}

#[test]
fn a_gap_between_two_addresses_moves_nothing() {
    for ifaces in [&["eth0"][..], &["eth0", "eth1"], &[]] {
        let mut rig = Rig::new(ifaces);
        rig.eth0().addresses.clear();
        rig.route_etcd(Some(("eth1", "10.1.0.1")));
        assert!(rig.changed(60).is_empty(), "{ifaces:?}");
        *rig.eth0() = interface(2, "eth0", &["10.0.0.2"]);
        rig.route_etcd(Some(("eth0", "10.0.0.2")));
        assert_eq!(rig.changed(1000), ["eth0 10.0.0.2 mtu 1500"], "{ifaces:?}");
    }
}

#[test]
fn another_interface_takes_over_when_it_stays_so() {
    let mut rig = Rig::new(&[]);
    rig.route_etcd(Some(("eth1", "10.1.0.1")));
    assert!(rig.changed(69).is_empty());
    assert_eq!(rig.run(1), ["eth1 10.1.0.1 mtu 1500"]);
    // Nothing is left to wait for on an interface that is gone.
    rig.host.interfaces.pop();
    rig.route_etcd(Some(("eth0", "10.0.0.1")));
    assert_eq!(rig.changed(20), ["eth0 10.0.0.1 mtu 1500"]);
}

#[test]
fn while_nothing_fits_the_last_interface_stays_and_the_reason_is_told() {
    let mut rig = Rig::new(&["eth0"]);
    rig.eth0().addresses.clear();
    let problem = "no external interface: no interface with an IPv4 address that other hosts can \
                   reach matches --iface=eth0; there are: eth0 (no IPv4), eth1 (10.1.0.1)";
    assert_eq!(
        rig.changed(1000),
        [format!("eth0 10.0.0.1 mtu 1500: {problem}")]
    );
    assert!(rig.changed(1000).is_empty());
    *rig.eth0() = interface(2, "eth0", &["10.0.0.1"]);
    assert_eq!(rig.changed(20), ["eth0 10.0.0.1 mtu 1500"]);
}

#[test]
fn an_interface_that_is_down_is_kept_and_named() {
    for ifaces in [&["eth0", "eth1"][..], &[]] {
        let mut rig = Rig::new(ifaces);
        rig.eth0().up = false;
        rig.route_etcd(None);
        let problem = "the external interface \"eth0\" is down: ip link set eth0 up";
        assert_eq!(
            rig.changed(1000),
            [format!("eth0 10.0.0.1 mtu 1500: {problem}")]
        );
        rig.eth0().up = true;
        assert_eq!(rig.changed(20), ["eth0 10.0.0.1 mtu 1500"]);
        // A flap that is over when it is looked at again is none.
        rig.eth0().up = false;
        assert!(rig.changed(60).is_empty());
        rig.eth0().up = true;
        assert!(rig.changed(1000).is_empty());
    }
}

#[test]
fn a_new_name_and_a_new_index_are_told() {
    let mut rig = Rig::new(&["10.0.0.1"]);
    rig.eth0().name = "lan0".to_owned();
    assert_eq!(rig.changed(20), ["lan0 10.0.0.1 mtu 1500"]);
    rig.eth0().index = 9;
    assert_eq!(rig.changed(20), ["lan0 10.0.0.1 mtu 1500"]);
    // An interface that was named and has another name now is still the one that carries the overlay.
    let mut rig = Rig::new(&["eth0"]);
    rig.eth0().name = "lan0".to_owned();
    let told = rig.changed(1000);
    assert!(
        told[0].starts_with("lan0 10.0.0.1 mtu 1500: no external interface"),
        "{told:?}"
    );
}

#[test]
fn the_source_address_of_the_route_to_etcd_is_followed_when_it_stays_so() {
    let mut rig = Rig::new(&[]);
    *rig.eth0() = interface(2, "eth0", &["10.0.0.1", "10.0.0.2"]);
    rig.route_etcd(Some(("eth0", "10.0.0.2")));
    assert!(rig.changed(69).is_empty());
    assert_eq!(rig.run(1), ["eth0 10.0.0.2 mtu 1500"]);
}

#[test]
fn a_host_whose_routes_change_all_the_time_looks_for_a_tenth_of_the_time() {
    let mut rig = Rig::new(&[]);
    let took = Duration::from_millis(10);
    let event = UnderlayEvent::Observed {
        observation: rig.host.clone(),
        started: rig.now,
    };
    rig.machine.handle(event, rig.now + took);
    rig.machine.handle(UnderlayEvent::Changed, rig.now + took);
    assert_eq!(rig.machine.due(), rig.now + took * 10);
    // A machine that is busy with other things must not delay the next look by seconds.
    let took = Duration::from_secs(2);
    let event = UnderlayEvent::Observed {
        observation: rig.host.clone(),
        started: rig.now,
    };
    rig.machine.handle(event, rig.now + took);
    rig.machine.handle(UnderlayEvent::Changed, rig.now + took);
    assert!(rig.machine.due() <= rig.now + took + MAX_REST);
}

#[test]
fn without_an_answer_of_the_kernel_everything_stays_and_is_looked_at_again() {
    let mut rig = Rig::new(&[]);
    let failed = UnderlayEvent::Failed("no answer".to_owned());
    assert_eq!(rig.machine.handle(failed, rig.now), []);
    assert_eq!(rig.machine.due(), rig.now + RETRY);
}

#[test]
fn an_address_on_lo_goes_with_the_interface_of_the_last_run_while_the_way_to_etcd_is_unknown() {
    let unknown = MemberRoute::Unknown("no such name".to_owned());
    let observation = Observation {
        interfaces: vec![
            interface(1, "lo", &["127.0.0.1", "10.200.0.1"]),
            interface(2, "eth0", &["10.0.0.1"]),
        ],
        etcd: vec![(ETCD.to_owned(), unknown)],
        ..Observation::default()
    };
    let selectors = Selectors {
        ifaces: vec!["lo".to_owned()],
        ..Selectors::default()
    };
    let mut machine = UnderlayMachine::new(selectors, Some("eth0".to_owned()));
    let mut look = |now| {
        let observation = observation.clone();
        let started = now;
        let event = UnderlayEvent::Observed {
            observation,
            started,
        };
        machine.handle(event, now)
    };
    let reason = "10.200.0.1 is on lo, by which no packet leaves this host, and the way to the other hosts is unknown \
                  (name its interface with --iface=NAME --public-ip=10.200.0.1): no route to etcd at \
                  http://etcd:2379 yet: no such name";
    let waiting = UnderlayAction::LogWaiting(reason.to_owned());
    assert!(look(Duration::ZERO).contains(&waiting));
    let told = look(ETCD_ROUTE_TIMEOUT).into_iter().filter_map(text);
    assert_eq!(told.collect::<Vec<_>>(), ["eth0 10.200.0.1 mtu 1500"]);
}
