//! The states that an attempt to acquire a lease leads to.

use super::*;
use crate::lease::manager::progress::Courtesy;
use crate::lease::manager::state::KeyOrigin;

fn acquired(acquisition: Acquisition) -> LeaseEvent {
    LeaseEvent::Acquired(acquisition)
}

#[test]
fn a_lease_is_published_with_the_peers_and_the_watch_is_opened() {
    use KeyOrigin::{Created, Found, Recreated};
    let other = "10.5.2.0/24";
    for (machine, subnet, origin, expected) in [
        (
            new_host(),
            SUBNET,
            Found,
            "opening watch for 10.5.1.0/24; tell joined 10.5.1.0/24; tell 1 leases; watch from 6",
        ),
        (
            new_host(),
            SUBNET,
            Created,
            "opening watch for 10.5.1.0/24; tell joined 10.5.1.0/24; tell 1 leases; watch from 6",
        ),
        (
            new_host(),
            SUBNET,
            Recreated,
            "opening watch for 10.5.1.0/24; tell joined 10.5.1.0/24; tell suspect; tell 1 leases; watch from 6",
        ),
        (
            joined_host(),
            SUBNET,
            Found,
            "opening watch for 10.5.1.0/24; tell 1 leases; watch from 6",
        ),
        (
            joined_host(),
            SUBNET,
            Recreated,
            "opening watch for 10.5.1.0/24; tell suspect; tell 1 leases; watch from 6",
        ),
        (
            joined_host(),
            other,
            Created,
            "opening watch for 10.5.2.0/24; tell joined 10.5.2.0/24; tell 1 leases; watch from 6",
        ),
    ] {
        let event = acquired(Acquisition::Lease(held(subnet), origin));
        check(
            machine,
            acquiring(vec![entry(OTHER_KEY, OTHER)]),
            event,
            expected,
        );
    }
}

#[test]
fn without_a_lease_a_change_is_awaited_and_known_peers_are_followed() {
    for (machine, expected) in [
        (new_host(), "opening watch: NoFreeSubnet; watch from 6"),
        (
            joined_host(),
            "opening watch: NoFreeSubnet; tell 1 leases; watch from 6",
        ),
    ] {
        let event = acquired(Acquisition::NoLease(no_lease()));
        check(
            machine,
            acquiring(vec![entry(OTHER_KEY, OTHER)]),
            event,
            expected,
        );
    }
}

#[test]
fn waiting_for_others_obliges_to_courtesy_until_their_owner_had_time_to_return() {
    let context = StepContext {
        now: NOW,
        random: 0.0,
    };
    let mut machine = new_host();
    machine.state = acquiring(vec![]);
    machine.handle(acquired(Acquisition::NoLease(no_lease())), context);
    assert_eq!(machine.progress.courtesy(), Courtesy::Owed);
    machine.state = acquiring(vec![]);
    machine.handle(acquired(Acquisition::OwnerMayReturn), context);
    assert_eq!(machine.progress.courtesy(), Courtesy::NotOwed);
    assert_eq!(machine.deadline(), Some(NOW + seconds(3)));
}

#[test]
fn an_owner_gets_time_to_return_before_everything_is_listed_again() {
    check(
        new_host(),
        acquiring(vec![]),
        acquired(Acquisition::OwnerMayReturn),
        "awaiting owner for 3000ms",
    );
    for (until, expected) in [
        (NOW, "relisting in 50ms"),
        (NOW + seconds(1), "awaiting owner for 1000ms"),
    ] {
        let state = LeaseState::AwaitingOwner { until };
        check(new_host(), state, LeaseEvent::Time, expected);
    }
}

#[test]
fn a_list_that_is_out_of_date_is_made_again() {
    for (acquisition, expected) in [
        (RelistReason::OthersWereFaster, "relisting in 50ms"),
        (RelistReason::RivalExpired, "relisting in 50ms"),
    ] {
        let event = acquired(Acquisition::Relist(acquisition));
        check(new_host(), acquiring(vec![]), event, expected);
    }
}

#[test]
fn a_failure_is_retried_and_known_peers_are_followed() {
    let unreachable = "etcd false (failed to list: no answer); tell unreachable";
    let missing = format!("lease false ({MISSING})");
    let (own, other) = (entry(OWN_KEY, MINE), entry(OTHER_KEY, OTHER));
    let mut suspected = joined_host();
    suspected.progress.write_failed(true);
    for (machine, entries, expected) in [
        (
            new_host(),
            vec![other.clone()],
            "unreachable, retry in 100ms".to_owned(),
        ),
        (
            joined_host(),
            vec![own, other.clone()],
            "unreachable, retry in 150ms; tell 1 leases".to_owned(),
        ),
        (
            joined_host(),
            vec![other.clone()],
            format!("unreachable, retry in 150ms; tell suspect; tell 1 leases; {missing}"),
        ),
        (
            suspected,
            vec![other],
            format!("unreachable, retry in 150ms; tell 1 leases; {missing}"),
        ),
    ] {
        let expected = format!("{expected}; {unreachable}");
        check(machine, acquiring(entries), failed(), &expected);
    }
}

#[test]
fn a_new_lease_is_the_previous_one_of_the_next_attempt() {
    let mut machine = new_host();
    machine.identity.previous.vtep_mac = None;
    machine.state = acquiring(vec![]);
    let event = acquired(Acquisition::Lease(held(SUBNET), KeyOrigin::Created));
    let (now, random) = (NOW, 0.0);
    machine.handle(event, StepContext { now, random });
    let (previous, own) = (machine.identity.previous, own_lease(SUBNET));
    assert_eq!(previous.subnet, Some(own.subnet));
    assert_eq!(previous.vtep_mac, Some(own.vtep_mac));
}
