use std::net::Ipv4Addr;

use super::*;
use crate::model::addr::MacAddr;
use crate::overlay::desired::tests::{membership, settings};
use crate::overlay::settings::PeerMode;

fn lease(n: u8) -> Lease {
    Lease {
        subnet: Ipv4Network::new(Ipv4Addr::new(10, 5, n, 0), 24).expect("a length of 24"),
        public_ip: Ipv4Addr::new(10, 99, 0, n),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, n]),
        vni: None,
        revision: 1,
    }
}

/// The phase that `name` stands for, with the peer 10.5.40.0/24 where peers are known.
fn phase(name: &str) -> Phase {
    let settings = settings(PeerMode::Eager);
    let empty = DesiredOverlay::new(&membership(), &settings);
    let mut overlay = DesiredOverlay::new(&membership(), &settings);
    overlay.set_peers(vec![lease(40)]);
    match name {
        "no lease" => Phase::NoLease,
        "awaiting" => Phase::AwaitingPeers { overlay: empty },
        "installing" => Phase::Installing { overlay },
        "managing" => Phase::Managing { overlay },
        "foreign" => Phase::ForeignDevice {
            overlay,
            owner: "flanneld /red".to_owned(),
        },
        unknown => panic!("no phase is called {unknown}"),
    }
}

/// The phase as text, with the subnets of its peers.
fn describe(phase: &Phase) -> String {
    let (name, overlay) = match phase {
        Phase::NoLease => return "no lease".to_owned(),
        Phase::AwaitingPeers { overlay } => ("awaiting".to_owned(), overlay),
        Phase::Installing { overlay } => ("installing".to_owned(), overlay),
        Phase::Managing { overlay } => ("managing".to_owned(), overlay),
        Phase::ForeignDevice { overlay, owner } => (format!("foreign({owner})"), overlay),
    };
    let mut text = name;
    for subnet in overlay.peers().index().subnets() {
        text.push_str(&format!(" {}", subnet.ip()));
    }
    text
}

/// The action as text: of operations only the first two words of each command.
fn action(action: &Action) -> String {
    match action {
        Action::WarnOfConflicts(conflicts) => format!("warn({})", conflicts.join("; ")),
        Action::Apply(ops) | Action::TryNow(ops) => {
            let commands = ops.iter().map(|op| op.command("flannel.1").to_string());
            let words = commands.map(|command| {
                let words: Vec<&str> = command.split(' ').take(3).collect();
                words.join(" ")
            });
            format!("apply({})", words.collect::<Vec<_>>().join(", "))
        }
        Action::Run => "run".to_owned(),
        Action::Resync => "resync".to_owned(),
        Action::RequestLease(subnet) => format!("request({subnet})"),
        Action::LimitUnresolved(address) => format!("limit({address})"),
    }
}

/// Takes a step and compares the phase and the actions after it.
fn check(before: &str, event: PhaseEvent<'_>, after: &str, actions: &[&str]) {
    let what = format!("{before}: {event:?}");
    let (phase, done) = phase(before).step(event, &settings(PeerMode::Eager));
    assert_eq!(describe(&phase), after, "{what}");
    let done: Vec<String> = done.iter().map(action).collect();
    assert_eq!(done, actions, "{what}");
}

fn update(update: PeerUpdate) -> PhaseEvent<'static> {
    PhaseEvent::Update(update)
}

const PHASES: [&str; 5] = ["no lease", "awaiting", "installing", "managing", "foreign"];
const PUT_PEER: &str = "apply(bridge fdb replace, ip neigh replace, ip route add)";

#[test]
fn a_lease_of_this_host_keeps_the_peers() {
    let joined = || update(PeerUpdate::Joined(membership()));
    check("no lease", joined(), "awaiting", &[]);
    check("awaiting", joined(), "awaiting", &[]);
    check("installing", joined(), "installing 10.5.40.0", &[]);
    check("managing", joined(), "installing 10.5.40.0", &[]);
    let foreign = "foreign(flanneld /red) 10.5.40.0";
    check("foreign", joined(), foreign, &[]);
}

#[test]
fn a_complete_list_is_installed_by_a_run_unless_the_kernel_follows_already() {
    let list = || update(PeerUpdate::Peers(vec![lease(40), lease(41)]));
    let both = |phase: &str| format!("{phase} 10.5.40.0 10.5.41.0");
    check("no lease", list(), "no lease", &[]);
    check("awaiting", list(), &both("installing"), &["run"]);
    check("installing", list(), &both("installing"), &["run"]);
    check("managing", list(), &both("managing"), &[PUT_PEER]);
    check("foreign", list(), &both("foreign(flanneld /red)"), &["run"]);
    let same = || update(PeerUpdate::Peers(vec![lease(40)]));
    check("managing", same(), "managing 10.5.40.0", &[]);
    let none = || update(PeerUpdate::Peers(Vec::new()));
    let removed = "apply(ip route del, ip neigh del, bridge fdb del)";
    check("managing", none(), "managing", &[removed]);
}

#[test]
fn a_change_of_peers_is_applied_at_once_only_on_our_own_device() {
    let changes = || {
        update(PeerUpdate::Changes(vec![(
            lease(41).subnet,
            Some(lease(41)),
        )]))
    };
    let both = |phase: &str| format!("{phase} 10.5.40.0 10.5.41.0");
    check("no lease", changes(), "no lease", &[]);
    check("awaiting", changes(), "awaiting 10.5.41.0", &[]);
    check("installing", changes(), &both("installing"), &["run"]);
    check("managing", changes(), &both("managing"), &[PUT_PEER]);
    check("foreign", changes(), &both("foreign(flanneld /red)"), &[]);
}

#[test]
fn conflicts_are_reported_before_the_change_is_applied() {
    let mut rival = lease(41);
    rival.public_ip = lease(40).public_ip;
    let changes = || {
        update(PeerUpdate::Changes(vec![(
            rival.subnet,
            Some(rival.clone()),
        )]))
    };
    let warning = "warn(10.5.40.0/24 and 10.5.41.0/24 claim the same PublicIP)";
    let after = "managing 10.5.40.0 10.5.41.0";
    check("managing", changes(), after, &[warning, PUT_PEER]);
}

#[test]
fn a_miss_is_answered_in_all_phases_that_know_peers_but_not_on_a_foreign_device() {
    let miss = |address: [u8; 4]| PhaseEvent::Miss(Miss::L3(address.into()));
    let answer = "apply(bridge fdb replace, ip neigh replace)";
    let unknown = ["request(10.5.77.0/24)", "limit(10.5.77.3)"];
    let cases: [(&str, &[&str], &[&str]); 5] = [
        ("no lease", &[], &[]),
        ("awaiting", &[], &[]),
        ("installing", &[answer], &unknown),
        ("managing", &[answer], &unknown),
        ("foreign", &[], &unknown[..1]),
    ];
    for (name, known, unknown) in cases {
        let same = describe(&phase(name));
        check(name, miss([10, 5, 40, 0]), &same, known);
        check(name, miss([10, 5, 77, 3]), &same, unknown);
        check(name, miss([8, 8, 8, 8]), &same, &[]);
        let mac = MacAddr([0xff; 6]);
        check(name, PhaseEvent::Miss(Miss::L2(mac)), &same, &[]);
    }
}

#[test]
fn only_a_change_that_contradicts_the_desired_state_asks_for_a_run() {
    let gone = KernelChange::Fdb(lease(40).vtep_mac, None);
    let echo = KernelChange::Fdb(lease(40).vtep_mac, Some(lease(40).public_ip));
    for (name, actions) in [
        ("no lease", &[][..]),
        ("awaiting", &[]),
        ("installing", &["resync"]),
        ("managing", &["resync"]),
        ("foreign", &["resync"]),
    ] {
        let same = describe(&phase(name));
        check(name, PhaseEvent::Changed(&gone), &same, actions);
        check(name, PhaseEvent::Changed(&echo), &same, &[]);
    }
}

#[test]
fn what_a_run_observes_decides_whether_the_device_is_managed() {
    let observed = OverlayState::default();
    let managing = "managing 10.5.40.0";
    let blue = "foreign(flanneld /blue) 10.5.40.0";
    for name in PHASES {
        let waits = ["no lease", "awaiting"].contains(&name);
        let after = if waits {
            [name, name]
        } else {
            [managing, blue]
        };
        check(name, PhaseEvent::Observed(&observed), after[0], &[]);
        check(
            name,
            PhaseEvent::FoundForeign("flanneld /blue"),
            after[1],
            &[],
        );
    }
}

#[test]
fn neighbours_that_an_earlier_run_made_on_demand_are_taken_over() {
    let settings = settings(PeerMode::OnDemand);
    let mut overlay = DesiredOverlay::new(&membership(), &settings);
    overlay.set_peers(vec![lease(40)]);
    let (pod, stranger) = (Ipv4Addr::new(10, 5, 40, 2), Ipv4Addr::new(10, 5, 77, 2));
    let mut observed = OverlayState::default();
    let neighbours = [(pod, lease(40).vtep_mac), (stranger, lease(40).vtep_mac)];
    observed.entries.neighbours.extend(neighbours);
    let before = Phase::Installing { overlay };
    let (after, _) = before.step(PhaseEvent::Observed(&observed), &settings);
    let overlay = after.known_overlay().expect("the peers are known");
    assert!(overlay.peers().is_in_use(pod) && !overlay.peers().is_in_use(stranger));
}
