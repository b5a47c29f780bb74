//! The time in which this host cannot have a lease. `blocker` has the table of changes that end it.

use super::*;
use crate::lease::manager::progress::Courtesy;

#[test]
fn lists_again_when_a_change_may_help_and_passes_on_the_others() {
    let rival = || NoLease {
        blocker: Blocker::Rival {
            lease: entry(OTHER_KEY, "{}"),
            on_link: false,
        },
        message: "a rival".to_owned(),
    };
    let ended = "relisting in 50ms; close watch";
    for (machine, no_lease, change, expected) in [
        (new_host(), no_lease(), delete(OTHER_KEY), ended),
        (
            new_host(),
            NoLease::no_config("/test"),
            RegistryChange::Config(None),
            ended,
        ),
        (
            new_host(),
            NoLease::no_config("/test"),
            delete(OTHER_KEY),
            "waiting: NoConfig",
        ),
        (
            new_host(),
            no_lease(),
            put(OTHER_KEY, OTHER),
            "waiting: NoFreeSubnet",
        ),
        (
            joined_host(),
            no_lease(),
            put(OTHER_KEY, OTHER),
            "waiting: NoFreeSubnet; count 1; tell 1 changes",
        ),
        (
            joined_host(),
            no_lease(),
            RegistryChange::Config(None),
            "waiting: NoFreeSubnet",
        ),
        (joined_host(), rival(), put(OTHER_KEY, OTHER), ended),
    ] {
        let event = LeaseEvent::Changed(vec![change]);
        check(machine, waiting(no_lease), event, expected);
    }
}

#[test]
fn a_new_network_config_ends_the_courtesy() {
    for (change, expected) in [
        (RegistryChange::Config(None), Courtesy::NotOwed),
        (delete(OTHER_KEY), Courtesy::Owed),
    ] {
        let mut machine = new_host();
        machine.progress.waiting_for_others();
        machine.state = waiting(no_lease());
        let (now, random) = (NOW, 0.0);
        machine.handle(
            LeaseEvent::Changed(vec![change]),
            StepContext { now, random },
        );
        assert_eq!(machine.progress.courtesy(), expected);
    }
}

#[test]
fn lists_again_after_a_while() {
    for (waited, expected) in [
        (599, "waiting: NoFreeSubnet"),
        (600, "relisting in 50ms; close watch"),
    ] {
        let since = NOW - seconds(waited);
        let no_lease = no_lease();
        let state = LeaseState::Waiting { no_lease, since };
        check(new_host(), state, LeaseEvent::Time, expected);
    }
}

#[test]
fn retries_when_the_watch_fails() {
    check(
        new_host(),
        waiting(no_lease()),
        failed(),
        "unreachable, retry in 100ms; close watch; etcd false (failed to list: no answer); tell unreachable",
    );
}
