use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::*;
use crate::model::addr::MacAddr;
use crate::model::lease::OwnLease;

const GRACE: Duration = Duration::from_secs(60);

pub(crate) fn membership() -> Membership {
    let own = OwnLease {
        subnet: "10.5.200.0/24".parse().expect("a subnet in a test"),
        public_ip: Ipv4Addr::new(10, 99, 0, 200),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, 200]),
    };
    let config = crate::model::network_config::parse(br#"{"Network":"10.5.0.0/16"}"#)
        .expect("a configuration in a test")
        .config;
    Membership { own, config }
}

fn subnet(n: u8) -> Ipv4Network {
    Ipv4Network::new(Ipv4Addr::new(10, 5, n, 0), 24).expect("24 is a length")
}

/// The lease of host `host` for subnet `n`.
fn lease_of(n: u8, host: u8) -> Lease {
    Lease {
        subnet: subnet(n),
        public_ip: Ipv4Addr::new(10, 99, 0, host),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, host]),
        vni: None,
        revision: 9,
    }
}

pub(crate) fn lease(n: u8) -> Lease {
    lease_of(n, n)
}

fn leases(range: RangeInclusive<u8>) -> ListedLeases {
    listed(range.map(lease).collect())
}

/// A list without a damaged lease.
pub(crate) fn listed(usable: Vec<Lease>) -> ListedLeases {
    ListedLeases {
        usable,
        damaged: Vec::new(),
    }
}

fn back(range: RangeInclusive<u8>) -> Vec<LeaseChange> {
    range.map(|n| LeaseChange::Usable(lease(n))).collect()
}

fn gone(range: RangeInclusive<u8>) -> Vec<LeaseChange> {
    range.map(|n| LeaseChange::Gone(subnet(n))).collect()
}

fn damaged(range: RangeInclusive<u8>) -> Vec<LeaseChange> {
    range.map(|n| LeaseChange::Damaged(subnet(n))).collect()
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A table of so many peers, listed at time 0.
fn table_of(count: u8) -> PeerTable {
    let mut table = PeerTable::new(GRACE, Vec::new());
    table.join(membership());
    table.replace(leases(1..=count), at(0));
    table
}

/// Compares the updates of a step, as text, and its decision.
#[track_caller]
fn check(step: &TableStep, updates: &str, decision: Option<GuardDecision>) {
    assert_eq!(
        (text(&step.updates).as_str(), step.decision),
        (updates, decision)
    );
}

const fn hold(gone: usize, of: usize) -> Option<GuardDecision> {
    Some(GuardDecision::Hold { gone, of })
}

fn text(updates: &[PeerUpdate]) -> String {
    let each = |update: &PeerUpdate| match update {
        PeerUpdate::Joined(_) => "joined".to_owned(),
        PeerUpdate::Peers(peers) => format!("{} leases", peers.len()),
        PeerUpdate::Changes(changes) => {
            let change = |(net, lease): &(Ipv4Network, Option<Lease>)| {
                format!(
                    "{}{}",
                    if lease.is_some() { "+" } else { "-" },
                    net.ip().octets()[2]
                )
            };
            changes.iter().map(change).collect::<Vec<_>>().join(" ")
        }
    };
    updates.iter().map(each).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_few_may_leave_and_are_removed_a_moment_later() {
    let mut table = table_of(8);
    check(&table.change(gone(1..=2), at(1000)), "", None);
    assert_eq!(table.due(), Some(at(1200)));
    check(&table.tick(at(1199)), "", None);
    check(&table.tick(at(1200)), "-1 -2", None);
    assert_eq!((table.peers().len(), table.due()), (6, None));
}

#[test]
fn a_lease_that_is_back_in_a_moment_was_never_gone() {
    let mut table = table_of(8);
    table.change(gone(1..=1), at(1000));
    check(&table.change(back(1..=1), at(1050)), "+1", None);
    assert_eq!(table.due(), None);
}

#[test]
fn the_removal_of_most_peers_at_once_is_held_for_the_grace() {
    let mut table = table_of(8);
    table.change(gone(1..=5), at(1000));
    check(&table.tick(at(1200)), "", hold(5, 8));
    assert_eq!((table.peers().len(), table.missing()), (8, 5));
    assert_eq!(table.due(), Some(at(61_200)));
    let removed = Some(GuardDecision::Remove { gone: 5 });
    check(&table.tick(at(61_200)), "-1 -2 -3 -4 -5", removed);
    assert_eq!(table.due(), None);
}

#[test]
fn a_list_without_most_peers_holds_them_too_until_all_are_back() {
    let mut table = table_of(8);
    check(
        &table.replace(leases(7..=8), at(1000)),
        "8 leases",
        hold(6, 8),
    );
    let step = table.change(back(1..=5), at(2000));
    assert_eq!(step.decision, None);
    let step = table.change(back(6..=6), at(3000));
    assert_eq!(step.decision, Some(GuardDecision::AllBack));
    assert_eq!((table.due(), table.missing()), (None, 0));
    assert_eq!(table.replace(leases(1..=8), at(4000)).decision, None);
}

#[test]
fn even_one_removal_is_held_when_our_own_lease_was_lost_too() {
    let mut table = table_of(8);
    table.suspect_next_list();
    check(
        &table.replace(leases(2..=8), at(1000)),
        "8 leases",
        hold(1, 8),
    );
    let step = table.replace(leases(1..=8), at(2000));
    assert_eq!(step.decision, Some(GuardDecision::AllBack));
    // The suspicion was about one list.
    check(&table.replace(leases(2..=8), at(3000)), "7 leases", None);
}

#[test]
fn half_of_the_peers_or_all_of_three_may_leave() {
    for (count, leaving) in [(8, 4), (3, 3)] {
        let mut table = table_of(count);
        table.change(gone(1..=leaving), at(1000));
        let step = table.tick(at(1200));
        assert!(!step.updates.is_empty() && step.decision.is_none());
        let step = table_of(count).replace(leases(leaving + 1..=count), at(1000));
        check(&step, &format!("{} leases", count - leaving), None);
    }
}

#[test]
fn peers_that_leave_one_after_the_other_are_counted_together() {
    let mut table = table_of(8);
    for n in 1..=4 {
        table.change(gone(n..=n), at(1000 * u64::from(n)));
        let step = table.tick(at(1000 * u64::from(n) + 200));
        assert_eq!(step.decision, None);
    }
    table.change(gone(5..=5), at(5000));
    assert_eq!(table.tick(at(5200)).decision, hold(1, 8));
}

#[test]
fn a_missing_host_that_takes_another_subnet_loses_the_old_one() {
    let mut table = table_of(8);
    table.change(gone(1..=8), at(1000));
    table.tick(at(1200));
    let moved = vec![LeaseChange::Usable(lease_of(99, 1))];
    check(&table.change(moved, at(2000)), "-1 +99", None);
    let step = table.replace(listed(vec![lease_of(99, 1), lease_of(98, 2)]), at(3000));
    let Some(PeerUpdate::Peers(all)) = step.updates.first() else {
        panic!("a list is expected")
    };
    assert!(
        !all.iter().any(|lease| lease.subnet == subnet(2)),
        "{all:?}"
    );
    let held = all.iter().find(|lease| lease.subnet == subnet(3));
    let revision = held.map(|lease| lease.revision);
    assert_eq!(revision, Some(0), "a lease that etcd holds wins over it");
}

#[test]
fn a_peer_whose_lease_is_damaged_stays_for_a_day() {
    let day = 24 * 3600 * 1000;
    let mut table = table_of(8);
    check(&table.change(damaged(1..=7), at(1000)), "", None);
    check(&table.tick(at(500_000)), "", None);
    assert_eq!((table.peers().len(), table.missing()), (8, 0));
    // A list says the same, and does not start the time anew.
    let list = ListedLeases {
        damaged: (1..=7).map(subnet).collect(),
        ..leases(8..=8)
    };
    check(&table.replace(list, at(600_000)), "8 leases", None);
    assert_eq!(table.damaged().count(), 7);
    // What becomes of them: put back, deleted, moved to another subnet, still damaged.
    check(&table.change(back(1..=1), at(700_000)), "+1", None);
    table.change(gone(2..=2), at(700_000));
    check(&table.tick(at(700_200)), "-2", None);
    let moved = vec![LeaseChange::Usable(lease_of(99, 3))];
    check(&table.change(moved, at(700_300)), "-3 +99", None);
    assert_eq!(table.due(), Some(at(1000 + day)));
    check(&table.tick(at(999 + day)), "", None);
    check(&table.tick(at(1000 + day)), "-4 -5 -6 -7", None);
    assert_eq!((table.due(), table.damaged().count()), (None, 0));
}

#[test]
fn a_damaged_lease_of_nobody_known_is_no_peer_and_one_of_the_last_run_is() {
    let mut table = table_of(2);
    check(&table.change(damaged(9..=9), at(1000)), "", None);
    assert_eq!((table.peers().len(), table.due()), (2, None));
    let known = (1..=2).map(lease).collect();
    let mut table = PeerTable::new(GRACE, known);
    table.join(membership());
    let list = ListedLeases {
        damaged: vec![subnet(1), subnet(9)],
        ..leases(2..=2)
    };
    check(&table.replace(list, at(20)), "2 leases", None);
    let revision = table.peers().next().map(|lease| lease.revision);
    assert_eq!(revision, Some(0), "a lease that etcd holds wins over it");
}

#[test]
fn a_key_that_is_back_with_a_damaged_value_is_not_missing() {
    let mut table = table_of(8);
    table.change(gone(1..=1), at(1000));
    table.change(damaged(1..=1), at(1100));
    check(&table.tick(at(9000)), "", None);
    assert_eq!((table.missing(), table.damaged().count()), (0, 1));
}

#[test]
fn without_grace_peers_are_removed_at_once() {
    let mut table = PeerTable::new(Duration::ZERO, Vec::new());
    table.replace(leases(1..=8), at(0));
    let step = table.change(gone(1..=7), at(1000));
    check(&step, "-1 -2 -3 -4 -5 -6 -7", None);
}

#[test]
fn peers_of_an_earlier_run_are_held_when_etcd_is_empty_now() {
    let known = (1..=8).map(lease).chain([lease(200)]).collect();
    let mut table = PeerTable::new(GRACE, known);
    check(&table.join(membership()), "joined", None);
    check(
        &table.replace(listed(vec![]), at(20)),
        "8 leases",
        hold(8, 8),
    );
}

proptest! {
    /// Whatever happens, in the end the overlay carries the peers that etcd holds.
    #[test]
    fn comes_to_what_etcd_says(steps in prop::collection::vec((0u8..40, 0u8..3, 0u64..9000), 0..120)) {
        let mut table = table_of(20);
        let mut etcd: BTreeMap<Ipv4Network, Lease> = (1..=20).map(|n| (subnet(n), lease(n))).collect();
        let mut overlay = etcd.clone();
        let mut now = 0;
        for (n, kind, pause) in steps {
            let change = match kind {
                0 => LeaseChange::Gone(subnet(n)),
                1 => LeaseChange::Damaged(subnet(n)),
                _ => LeaseChange::Usable(lease(n)),
            };
            match &change {
                LeaseChange::Usable(lease) => etcd.insert(subnet(n), lease.clone()),
                LeaseChange::Damaged(_) | LeaseChange::Gone(_) => etcd.remove(&subnet(n)),
            };
            follow(&mut overlay, table.change(vec![change], at(now)));
            now += pause;
            follow(&mut overlay, table.tick(at(now)));
        }
        while let Some(due) = table.due() {
            follow(&mut overlay, table.tick(due));
        }
        prop_assert_eq!(overlay.keys().collect::<Vec<_>>(), etcd.keys().collect::<Vec<_>>());
    }
}

fn follow(overlay: &mut BTreeMap<Ipv4Network, Lease>, step: TableStep) {
    for update in step.updates {
        let PeerUpdate::Changes(changes) = update else {
            continue;
        };
        for (subnet, lease) in changes {
            match lease {
                Some(lease) => overlay.insert(subnet, lease),
                None => overlay.remove(&subnet),
            };
        }
    }
}
