//! The states before and after a list.

use super::*;
use crate::lease::manager::state::ListOutcome;

const OTHER_CONFIG: &str = r#"{"Network":"10.6.0.0/16"}"#;

#[test]
fn lists_when_the_delay_is_over() {
    let early = NOW + Duration::from_millis(1);
    for (state, expected) in [
        (LeaseState::Relisting { at: NOW }, "listing; list"),
        (LeaseState::Relisting { at: early }, "relisting in 1ms"),
        (LeaseState::Unreachable { retry_at: NOW }, "listing; list"),
        (
            LeaseState::Unreachable { retry_at: early },
            "unreachable, retry in 1ms",
        ),
        (LeaseState::Listing, "listing"),
    ] {
        check(new_host(), state, LeaseEvent::Time, expected);
    }
}

#[test]
fn looks_for_a_lease_with_a_network_config_and_waits_for_one_without() {
    let entries = vec![entry(OWN_KEY, OTHER)];
    let mut returning = new_host();
    returning.identity = identity(Some(SUBNET));
    let mut waited = new_host();
    waited.progress.waiting_for_others();
    for (machine, list, expected) in [
        (
            new_host(),
            listing(None, vec![]),
            "opening watch: NoConfig; watch from 6",
        ),
        (
            new_host(),
            listing(Some("{}"), vec![]),
            "opening watch: InvalidConfig; watch from 6",
        ),
        (
            new_host(),
            listing(Some(CONFIG), vec![]),
            "acquiring; acquire in 10.5.0.0/16 NotOwed",
        ),
        (
            waited,
            listing(Some(CONFIG), vec![]),
            "acquiring; acquire in 10.5.0.0/16 Owed",
        ),
        (
            returning,
            listing(Some(CONFIG), entries.clone()),
            "acquiring; tell 10.5.1.0/24 taken; acquire in 10.5.0.0/16 NotOwed",
        ),
        // After the first lease its network config is used, and the peer table knows about the subnet.
        (
            joined_host(),
            listing(None, entries.clone()),
            "acquiring; acquire in 10.5.0.0/16 NotOwed",
        ),
        (
            joined_host(),
            listing(Some(OTHER_CONFIG), vec![]),
            "acquiring; acquire in 10.5.0.0/16 NotOwed",
        ),
    ] {
        check(
            machine,
            LeaseState::Listing,
            LeaseEvent::Listed(list),
            expected,
        );
    }
}

#[test]
fn follows_the_others_or_waits_once_the_watch_is_open() {
    let lease = || LeaseState::OpeningWatch(ListOutcome::Lease(held(SUBNET)));
    let none = || LeaseState::OpeningWatch(ListOutcome::NoLease(no_lease()));
    let opened = || LeaseEvent::WatchOpened;
    check(
        joined_host(),
        lease(),
        opened(),
        "holding 10.5.1.0/24, renewal in 50000ms; lease true; ignored 0; etcd true; tell synced",
    );
    check(
        new_host(),
        none(),
        opened(),
        "waiting: NoFreeSubnet; lease false (no subnet is free); ignored 0; etcd true; tell waiting",
    );
    let mut synced = joined_host();
    synced.contact.record_synced();
    check(
        synced,
        lease(),
        opened(),
        "holding 10.5.1.0/24, renewal in 50000ms; lease true; ignored 0; etcd true",
    );
    for state in [lease(), none()] {
        check(
            joined_host(),
            state,
            failed(),
            "unreachable, retry in 100ms; etcd false (failed to list: no answer); tell unreachable",
        );
    }
}

#[test]
fn retries_when_the_list_fails_and_tells_it_once() {
    check(
        new_host(),
        LeaseState::Listing,
        failed(),
        "unreachable, retry in 100ms; etcd false (failed to list: no answer); tell unreachable",
    );
    let mut unreachable = new_host();
    unreachable
        .contact
        .record_unreachable(&NO_ANSWER, Duration::ZERO);
    unreachable.contact.retry_delay(0.0);
    check(
        unreachable,
        LeaseState::Listing,
        failed(),
        "unreachable, retry in 200ms; etcd false (failed to list: no answer)",
    );
}
