//! The time in which this host holds its lease.

use super::*;

#[test]
fn renews_when_it_is_time() {
    let due = HeldLease {
        renewal: Some(Renewal { lease: 7, at: NOW }),
        ..held(SUBNET)
    };
    let reservation = HeldLease {
        renewal: None,
        ..held(SUBNET)
    };
    for (held, expected) in [
        (due, "holding 10.5.1.0/24, renewal in 0ms; keep alive 7"),
        (held(SUBNET), "holding 10.5.1.0/24, renewal in 50000ms"),
        (reservation, "holding 10.5.1.0/24, renewal never"),
    ] {
        check(joined_host(), holding(held), LeaseEvent::Time, expected);
    }
}

#[test]
fn goes_on_after_a_renewal_unless_there_is_more_to_do() {
    let unnamed = HeldLease {
        value: ValueState::LacksNodeId,
        ..held(SUBNET)
    };
    let ttl = Some(seconds(24 * 3600));
    for (held, ttl, expected) in [
        (
            held(SUBNET),
            ttl,
            "holding 10.5.1.0/24, renewal in 24480000ms",
        ),
        (held(SUBNET), None, "relisting in 50ms; close watch"),
        (unnamed.clone(), ttl, "relisting in 50ms; close watch"),
        (unnamed, None, "relisting in 50ms; close watch"),
    ] {
        check(
            joined_host(),
            holding(held),
            LeaseEvent::Renewed(ttl),
            expected,
        );
    }
}

#[test]
fn publishes_changes_of_peers_and_lists_again_when_its_own_lease_may_not_stand() {
    let config = |json: &str| RegistryChange::Config(Some(json.as_bytes().to_vec()));
    let goes_on = "holding 10.5.1.0/24, renewal in 50000ms";
    for (changes, expected) in [
        (
            vec![put(OTHER_KEY, OTHER)],
            format!("{goes_on}; count 1; tell 1 changes"),
        ),
        (
            vec![delete(OTHER_KEY)],
            format!("{goes_on}; tell 1 changes"),
        ),
        (
            vec![put(OTHER_KEY, "garbage")],
            format!("{goes_on}; ignored 1; count 0; tell 1 changes"),
        ),
        (
            vec![put("nonsense", OTHER)],
            format!("{goes_on}; ignored 1; count 0"),
        ),
        (vec![put(OWN_KEY, MINE)], goes_on.to_owned()),
        (vec![config("{}")], goes_on.to_owned()),
        (
            vec![delete(OWN_KEY)],
            "relisting in 50ms; close watch".to_owned(),
        ),
        (
            vec![put(OWN_KEY, UNNAMED)],
            "relisting in 50ms; close watch".to_owned(),
        ),
        (
            vec![put(OTHER_KEY, OTHER), put(OWN_KEY, OTHER)],
            format!(
                "{goes_on}, write back in 0ms; count 1; tell 1 changes; write back over 5 on Some(7)"
            ),
        ),
        (
            vec![put(OWN_KEY, "garbage"), put(OWN_KEY, MINE)],
            goes_on.to_owned(),
        ),
    ] {
        let event = LeaseEvent::Changed(changes);
        check(joined_host(), holding(held(SUBNET)), event, &expected);
    }
}

#[test]
fn lists_again_when_another_key_of_a_subnet_may_count() {
    let mut machine = joined_host();
    let dual = "10.5.40.0-24&fd00:5::-64";
    let entries = [entry(OTHER_KEY, OTHER), entry(dual, OTHER)];
    machine.followed.list(&entries, &membership(SUBNET));
    let event = LeaseEvent::Changed(vec![delete(OTHER_KEY)]);
    check(
        machine,
        holding(held(SUBNET)),
        event,
        "relisting in 50ms; close watch",
    );
}

#[test]
fn looks_up_subnets_of_others() {
    let subnet = |text: &str| text.parse().expect("a subnet in a test");
    let goes_on = "holding 10.5.1.0/24, renewal in 50000ms";
    let looked_up = |entry| LeaseEvent::LookedUp {
        subnet: subnet("10.5.40.0/24"),
        entry,
    };
    for (event, expected) in [
        (
            LeaseEvent::LookupRequested(subnet("10.5.40.0/24")),
            format!("{goes_on}; look up 10.5.40.0/24"),
        ),
        (
            LeaseEvent::LookupRequested(subnet(SUBNET)),
            goes_on.to_owned(),
        ),
        (looked_up(None), goes_on.to_owned()),
        (
            looked_up(Some(entry(OTHER_KEY, OTHER))),
            format!("{goes_on}; count 1; tell 1 changes"),
        ),
    ] {
        check(joined_host(), holding(held(SUBNET)), event, &expected);
    }
    let mut machine = joined_host();
    assert!(!machine.answers_lookups());
    machine.state = holding(held(SUBNET));
    assert!(machine.answers_lookups());
}

#[test]
fn retries_when_a_request_or_the_watch_fails() {
    check(
        joined_host(),
        holding(held(SUBNET)),
        failed(),
        "unreachable, retry in 100ms; close watch; etcd false (failed to list: no answer); tell unreachable",
    );
}

#[test]
fn delays_start_anew_after_a_watch_that_lasted() {
    for (lasted, unreachable, relisting) in [(10, "200ms", "100ms"), (11, "100ms", "50ms")] {
        let state = || {
            LeaseState::Holding(Holding {
                held: held(SUBNET),
                since: NOW - seconds(lasted),
                write_back: None,
                refused: None,
                next_answer: Duration::ZERO,
            })
        };
        let machine = || {
            let mut machine = joined_host();
            machine
                .contact
                .record_unreachable(&NO_ANSWER, Duration::ZERO);
            machine.contact.retry_delay(0.0);
            machine.relists.delay(RelistReason::RecheckDue, 0.0);
            machine
        };
        let expected = format!(
            "unreachable, retry in {unreachable}; close watch; etcd false (failed to list: no answer)"
        );
        check(machine(), state(), failed(), &expected);
        let expected = format!("relisting in {relisting}; close watch");
        let event = LeaseEvent::Changed(vec![delete(OWN_KEY)]);
        check(machine(), state(), event, &expected);
    }
}
