use super::*;
use crate::model::addr::MacAddr;
use crate::model::lease::OwnLease;
use proptest::prelude::*;

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

fn leases(range: std::ops::RangeInclusive<u8>) -> LeaseUpdate {
    LeaseUpdate::Leases(range.map(lease).collect())
}

fn gone(range: std::ops::RangeInclusive<u8>) -> LeaseUpdate {
    LeaseUpdate::Changes(range.map(|n| (subnet(n), None)).collect())
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A roster of so many peers, told at time 0.
fn roster(count: u8) -> PeerTable {
    let mut roster = PeerTable::new(GRACE, Vec::new());
    roster.take(LeaseUpdate::Joined(membership()), at(0));
    roster.take(leases(1..=count), at(0));
    roster
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
fn a_few_may_leave_and_do_so_a_moment_later() {
    let mut roster = roster(8);
    assert_eq!(roster.take(gone(1..=2), at(1000)), (vec![], None));
    assert_eq!(roster.due(), Some(at(1200)));
    assert_eq!(roster.tick(at(1199)), (vec![], None));
    let (updates, decision) = roster.tick(at(1200));
    assert_eq!((text(&updates).as_str(), decision), ("-1 -2", None));
    assert_eq!((roster.peers().len(), roster.due()), (6, None));
}

#[test]
fn a_lease_that_is_back_in_a_moment_was_never_gone() {
    let mut roster = roster(8);
    roster.take(gone(1..=1), at(1000));
    let (updates, _) = roster.take(
        LeaseUpdate::Changes(vec![(subnet(1), Some(lease(1)))]),
        at(1050),
    );
    assert_eq!((text(&updates).as_str(), roster.due()), ("+1", None));
}

#[test]
fn most_at_once_are_kept_for_the_time_of_grace() {
    let mut roster = roster(8);
    roster.take(gone(1..=5), at(1000));
    assert_eq!(
        roster.tick(at(1200)),
        (vec![], Some(Decision::Hold { gone: 5, of: 8 }))
    );
    assert_eq!(
        (roster.peers().len(), roster.kept(), roster.due()),
        (8, 5, Some(at(61_200)))
    );
    let (updates, decision) = roster.tick(at(61_200));
    assert_eq!(
        (text(&updates).as_str(), decision),
        ("-1 -2 -3 -4 -5", Some(Decision::Remove { gone: 5 }))
    );
    assert_eq!(roster.due(), None);
}

#[test]
fn a_list_without_most_of_them_keeps_them_too_and_is_over_when_all_are_back() {
    let mut roster = roster(8);
    let (updates, decision) = roster.take(leases(7..=8), at(1000));
    assert_eq!(
        (text(&updates).as_str(), decision),
        ("8 leases", Some(Decision::Hold { gone: 6, of: 8 }))
    );
    let (_, decision) = roster.take(
        LeaseUpdate::Changes((1..=5).map(|n| (subnet(n), Some(lease(n)))).collect()),
        at(2000),
    );
    assert_eq!(decision, None);
    let (_, decision) = roster.take(
        LeaseUpdate::Changes(vec![(subnet(6), Some(lease(6)))]),
        at(3000),
    );
    assert_eq!(
        (decision, roster.due(), roster.kept()),
        (Some(Decision::AllBack), None, 0)
    );
    let (_, decision) = roster.take(leases(1..=8), at(4000));
    assert_eq!(decision, None);
}

#[test]
fn even_one_is_kept_when_our_own_lease_was_lost_too() {
    let mut roster = roster(8);
    assert_eq!(roster.take(LeaseUpdate::Suspect, at(1000)), (vec![], None));
    let (updates, decision) = roster.take(leases(2..=8), at(1000));
    assert_eq!(
        (text(&updates).as_str(), decision),
        ("8 leases", Some(Decision::Hold { gone: 1, of: 8 }))
    );
    let (_, decision) = roster.take(leases(1..=8), at(2000));
    assert_eq!(decision, Some(Decision::AllBack));
    let (updates, decision) = roster.take(leases(2..=8), at(3000));
    assert_eq!(
        (text(&updates).as_str(), decision),
        ("7 leases", None),
        "the doubt was about one list"
    );
}

#[test]
fn half_of_them_or_some_of_three_may_leave() {
    for (count, leaving) in [(8, 4), (3, 3)] {
        let mut roster = roster(count);
        roster.take(gone(1..=leaving), at(1000));
        let (updates, decision) = roster.tick(at(1200));
        assert!(!updates.is_empty() && decision.is_none());
        let (updates, decision) = self::roster(count).take(leases(leaving + 1..=count), at(1000));
        assert_eq!(
            (text(&updates), decision),
            (format!("{} leases", count - leaving), None)
        );
    }
}

#[test]
fn those_who_leave_one_after_the_other_are_counted_together() {
    let mut roster = roster(8);
    for n in 1..=4 {
        roster.take(gone(n..=n), at(1000 * u64::from(n)));
        assert_eq!(roster.tick(at(1000 * u64::from(n) + 200)).1, None);
    }
    roster.take(gone(5..=5), at(5000));
    assert_eq!(
        roster.tick(at(5200)).1,
        Some(Decision::Hold { gone: 1, of: 8 })
    );
}

#[test]
fn a_host_that_takes_another_subnet_is_not_kept_under_the_old_one() {
    let mut roster = roster(8);
    roster.take(gone(1..=8), at(1000));
    roster.tick(at(1200));
    let (updates, _) = roster.take(
        LeaseUpdate::Changes(vec![(subnet(99), Some(lease_of(99, 1)))]),
        at(2000),
    );
    assert_eq!(text(&updates), "-1 +99");
    let (updates, _) = roster.take(
        LeaseUpdate::Leases(vec![lease_of(99, 1), lease_of(98, 2)]),
        at(3000),
    );
    let Some(PeerUpdate::Peers(all)) = updates.first() else {
        panic!("a list is expected")
    };
    assert!(
        !all.iter().any(|lease| lease.subnet == subnet(2)),
        "{all:?}"
    );
    assert!(
        all.iter()
            .any(|lease| lease.subnet == subnet(3) && lease.revision == 0),
        "what etcd holds counts for more"
    );
}

#[test]
fn without_grace_they_go_at_once() {
    let mut roster = PeerTable::new(Duration::ZERO, Vec::new());
    roster.take(leases(1..=8), at(0));
    assert_eq!(
        text(&roster.take(gone(1..=7), at(1000)).0),
        "-1 -2 -3 -4 -5 -6 -7"
    );
}

#[test]
fn what_an_earlier_run_knew_is_kept_when_etcd_is_empty_now() {
    let mut roster = PeerTable::new(GRACE, (1..=8).map(lease).chain([lease(200)]).collect());
    assert_eq!(
        text(&roster.take(LeaseUpdate::Joined(membership()), at(10)).0),
        "joined"
    );
    let (updates, decision) = roster.take(LeaseUpdate::Leases(vec![]), at(20));
    assert_eq!(
        (text(&updates).as_str(), decision),
        ("8 leases", Some(Decision::Hold { gone: 8, of: 8 }))
    );
}

proptest! {
    /// Whatever happens, in the end the kernel was told to hold what etcd holds.
    #[test]
    fn comes_to_what_etcd_says(steps in prop::collection::vec((0u8..40, any::<bool>(), 0u64..9000), 0..120)) {
        let mut roster = roster(20);
        let mut etcd: BTreeMap<Ipv4Network, Lease> = (1..=20).map(|n| (subnet(n), lease(n))).collect();
        let mut kernel = etcd.clone();
        let mut now = 0;
        for (n, there, pause) in steps {
            let change = there.then(|| lease(n));
            match &change {
                Some(lease) => etcd.insert(subnet(n), lease.clone()),
                None => etcd.remove(&subnet(n)),
            };
            tell(&mut kernel, roster.take(LeaseUpdate::Changes(vec![(subnet(n), change)]), at(now)).0);
            now += pause;
            tell(&mut kernel, roster.tick(at(now)).0);
        }
        while let Some(due) = roster.due() {
            tell(&mut kernel, roster.tick(due).0);
        }
        prop_assert_eq!(kernel.keys().collect::<Vec<_>>(), etcd.keys().collect::<Vec<_>>());
    }
}

fn tell(kernel: &mut BTreeMap<Ipv4Network, Lease>, updates: Vec<PeerUpdate>) {
    for update in updates {
        let PeerUpdate::Changes(changes) = update else {
            continue;
        };
        for (subnet, lease) in changes {
            match lease {
                Some(lease) => kernel.insert(subnet, lease),
                None => kernel.remove(&subnet),
            };
        }
    }
}
