use std::net::Ipv4Addr;

use std::time::Duration;

use super::*;
use crate::conditions::{Problem, Reason};
use crate::model::addr::MacAddr;
use crate::model::lease::OwnLease;

/// The parts of a view that have changed since it was made.
#[derive(Debug, PartialEq, Eq)]
struct Woken {
    conditions: bool,
    ignored_leases: bool,
    membership: bool,
    peers: bool,
}

const NONE: Woken = Woken {
    conditions: false,
    ignored_leases: false,
    membership: false,
    peers: false,
};

/// Makes one change, checks which parts of the view it wakes, and returns the report that then shows it.
fn check(change: impl FnOnce(&StatusWriters), expected: &Woken) -> Report {
    let (writers, view) = status(|| SystemTime::UNIX_EPOCH);
    assert_eq!(woken(&view), NONE);
    change(&writers);
    assert_eq!(woken(&view), *expected);
    view.report(&Report::default())
}

fn woken(view: &StatusView) -> Woken {
    let expectation = "the writers are there";
    Woken {
        conditions: view.conditions.has_changed().expect(expectation),
        ignored_leases: view.ignored_leases.has_changed().expect(expectation),
        membership: view.membership.has_changed().expect(expectation),
        peers: view.peers.has_changed().expect(expectation),
    }
}

fn membership() -> Membership {
    let own = OwnLease {
        subnet: "10.5.9.0/24".parse().expect("a subnet in a test"),
        public_ip: Ipv4Addr::new(10, 99, 1, 1),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, 1]),
    };
    let config = crate::model::network_config::parse(br#"{"Network":"10.5.0.0/16"}"#)
        .expect("a configuration in a test")
        .config;
    Membership { own, config }
}

#[test]
fn a_condition_wakes_those_who_wait_for_conditions_and_changes_the_state() {
    let expected = Woken {
        conditions: true,
        ..NONE
    };
    for kind in ConditionType::ALL {
        check(|writers| writers.condition(kind).set_true(), &expected);
    }
    let lease = |writers: &StatusWriters| {
        let lease = writers.condition(ConditionType::LeaseHeld);
        lease.set_false(&Problem::new(Reason::NoFreeSubnet, "no subnet is free"));
    };
    assert_eq!(check(lease, &expected).state, "no subnet is free");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_condition_is_woken_by_it() {
    let (writers, mut view) = status(|| SystemTime::UNIX_EPOCH);
    let before = view.readiness();
    writers
        .condition(ConditionType::LeaseHeld)
        .set_false(&Problem::new(Reason::NoFreeSubnet, "no subnet is free"));
    let woken = tokio::time::timeout(Duration::from_secs(60), view.condition_changed());
    assert!(matches!(woken.await, Ok(Ok(()))));
    assert_ne!(view.readiness(), before);
    drop(writers);
    assert!(
        view.condition_changed().await.is_err(),
        "nobody can set one"
    );
}

#[test]
fn an_ignored_lease_shows_in_the_report_and_wakes_nobody_else() {
    let ignored = BTreeMap::from([("8.8.8.0-24".to_owned(), "not inside".to_owned())]);
    let change = |writers: &StatusWriters| {
        writers.ignored_leases.send_replace(ignored.clone());
    };
    let expected = Woken {
        ignored_leases: true,
        ..NONE
    };
    assert_eq!(check(change, &expected).ignored, ignored);
}

#[test]
fn a_membership_shows_in_the_report_and_wakes_those_who_follow_it() {
    let change = |writers: &StatusWriters| {
        writers.membership.send_replace(Some(membership()));
    };
    let expected = Woken {
        membership: true,
        ..NONE
    };
    let lease = check(change, &expected).lease.expect("a lease");
    assert_eq!(lease.subnet, "10.5.9.0/24");
    assert_eq!(lease.device, "flannel.1");
}

#[test]
fn a_peer_summary_shows_in_the_report_and_wakes_nobody_else() {
    let change = |writers: &StatusWriters| {
        writers
            .peers
            .send_replace(PeerSummary { peers: 8, held: 3 });
    };
    let expected = Woken {
        peers: true,
        ..NONE
    };
    let report = check(change, &expected);
    assert_eq!((report.peers, report.kept), (8, 3));
}
