//! Every transition of the state machine, as tables: a state and an event in, the next state and the actions out, all as
//! text.

mod acquiring;
mod describe;
mod holding;
mod listing;
mod waiting;

use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::lease::manager::blocker::{Blocker, NoLease};
use crate::lease::manager::contact::Failure;
use crate::lease::manager::machine::tests::describe::{is_request, state_text, text};
use crate::lease::manager::state::{Acquisition, HeldLease, Holding, Renewal, ValueState};
use crate::lease::manager::test_data::{
    CONFIG, MINE, OTHER, UNNAMED, config, identity, joined_key, membership, own_lease,
};
use crate::lease::port::{Entry, Listing, RegistryChange, RegistryError};

/// The time of every event of the tables.
const NOW: Duration = Duration::from_secs(1000);
const NO_ANSWER: Failure<'static> = Failure {
    reason: "no answer",
    cause: "no answer",
};
const SUBNET: &str = "10.5.1.0/24";
const OWN_KEY: &str = "10.5.1.0-24";
const OTHER_KEY: &str = "10.5.40.0-24";
/// What is said while our key is missing.
const MISSING: &str = "etcd does not hold our lease /test/subnets/10.5.1.0-24, and it could not be created again: the \
    other hosts lose their way to the pods of this one";

/// A host that has had no lease yet.
fn new_host() -> LeaseMachine {
    LeaseMachine::new(identity(None), Duration::from_secs(3600))
}

/// A host that has joined with `SUBNET`.
fn joined_host() -> LeaseMachine {
    let mut machine = new_host();
    machine
        .progress
        .join(&membership(SUBNET), joined_key(SUBNET));
    machine.identity = identity(Some(SUBNET));
    machine
}

/// Handles one event and checks the result. A request has to be the last action, so that a step contains one at most.
fn check(mut machine: LeaseMachine, state: LeaseState, event: LeaseEvent, expected: &str) {
    let row = format!("{} + {event:?}", state_text(&state));
    machine.state = state;
    let random = 0.0;
    let actions = machine.handle(event, StepContext { now: NOW, random });
    let result = [state_text(&machine.state)]
        .into_iter()
        .chain(actions.iter().map(text))
        .collect::<Vec<_>>()
        .join("; ");
    assert_eq!(result, expected, "{row}");
    let requests = actions
        .iter()
        .rev()
        .skip(1)
        .filter(|action| is_request(action));
    assert_eq!(requests.count(), 0, "{row}: {result}");
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn entry(name: &str, value: &str) -> Entry {
    Entry {
        name: name.to_owned(),
        value: value.as_bytes().to_vec(),
        created: 1,
        revision: 5,
        lease: Some(7),
    }
}

fn put(name: &str, value: &str) -> RegistryChange {
    RegistryChange::Put(entry(name, value))
}

fn delete(name: &str) -> RegistryChange {
    RegistryChange::Delete(name.to_owned())
}

/// A list at revision 5.
fn listing(config: Option<&str>, entries: Vec<Entry>) -> Listing {
    Listing {
        revision: 5,
        config: config.map(|json| json.as_bytes().to_vec()),
        entries,
    }
}

fn failed() -> LeaseEvent {
    LeaseEvent::Failed(RegistryError {
        operation: "list".to_owned(),
        source: "no answer".into(),
    })
}

/// A lease on etcd lease 7, which is due for renewal 50 s from now.
fn held(subnet: &str) -> HeldLease {
    HeldLease {
        own: own_lease(subnet),
        renewal: Some(Renewal {
            lease: 7,
            at: NOW + seconds(50),
        }),
        created: 1,
        revision: 5,
        value: ValueState::Complete,
    }
}

fn no_lease() -> NoLease {
    NoLease {
        blocker: Blocker::NoFreeSubnet,
        message: "no subnet is free".to_owned(),
    }
}

/// A state whose watch was opened 5 s ago.
fn holding(held: HeldLease) -> LeaseState {
    let since = NOW - seconds(5);
    LeaseState::Holding(Holding {
        held,
        since,
        write_back: None,
        refused: None,
        next_answer: Duration::ZERO,
    })
}

/// A state whose watch was opened 5 s ago.
fn waiting(no_lease: NoLease) -> LeaseState {
    let since = NOW - seconds(5);
    LeaseState::Waiting { no_lease, since }
}

fn acquiring(entries: Vec<Entry>) -> LeaseState {
    LeaseState::Acquiring {
        listing: Rc::new(listing(Some(CONFIG), entries)),
        config: config(),
    }
}

#[test]
fn starts_with_a_list_at_once() {
    let machine = new_host();
    assert_eq!(machine.deadline(), Some(Duration::ZERO));
}

#[test]
fn each_state_that_waits_has_a_deadline() {
    let reservation = HeldLease {
        renewal: None,
        ..held(SUBNET)
    };
    for (state, expected) in [
        (LeaseState::Relisting { at: NOW }, Some(NOW)),
        (LeaseState::Unreachable { retry_at: NOW }, Some(NOW)),
        (LeaseState::AwaitingOwner { until: NOW }, Some(NOW)),
        (waiting(no_lease()), Some(NOW + seconds(595))),
        (holding(held(SUBNET)), Some(NOW + seconds(50))),
        (holding(reservation), None),
        (LeaseState::Listing, None),
        (acquiring(Vec::new()), None),
    ] {
        let mut machine = joined_host();
        machine.state = state;
        assert_eq!(machine.deadline(), expected, "{:?}", machine.state);
    }
}

#[test]
fn a_watch_that_cannot_go_on_is_no_news_and_leads_to_a_list() {
    let outdated = || LeaseEvent::WatchOutdated("compacted".to_owned());
    let again = "relisting in 50ms; close watch";
    check(joined_host(), holding(held(SUBNET)), outdated(), again);
    check(new_host(), waiting(no_lease()), outdated(), again);
    check(new_host(), LeaseState::Listing, outdated(), "listing");
}

#[test]
fn a_key_that_is_gone_is_told_when_etcd_fails_before_it_is_there_again() {
    let context = StepContext {
        now: NOW,
        random: 0.0,
    };
    let deleted = || {
        let mut machine = joined_host();
        machine.state = holding(held(SUBNET));
        let actions = machine.handle(LeaseEvent::Changed(vec![delete(OWN_KEY)]), context);
        assert_eq!(actions.len(), 1, "only the watch is closed: {actions:?}");
        machine
    };
    let failed_again = format!(
        "unreachable, retry in 100ms; lease false ({MISSING}); etcd false (failed to list: no answer); tell unreachable"
    );
    check(deleted(), LeaseState::Listing, failed(), &failed_again);
    // A list shows the same as the watch.
    let mut machine = joined_host();
    machine.state = LeaseState::Listing;
    machine.handle(LeaseEvent::Listed(listing(Some(CONFIG), vec![])), context);
    check(machine, LeaseState::Listing, failed(), &failed_again);
    // Others keep what we want to create: lists go on, and none fails.
    let mut machine = deleted();
    let mut told = 0;
    for _ in 0..20 {
        machine.state = acquiring(vec![]);
        let lost = Acquisition::Relist(RelistReason::OthersWereFaster);
        let actions = machine.handle(LeaseEvent::Acquired(lost), context);
        told += actions.len();
    }
    assert_eq!(told, 1);
}

#[test]
fn an_answer_to_another_state_changes_nothing() {
    for event in [
        LeaseEvent::WatchOpened,
        LeaseEvent::Renewed(None),
        LeaseEvent::Changed(vec![delete(OTHER_KEY)]),
        LeaseEvent::Listed(listing(None, Vec::new())),
        LeaseEvent::LookupRequested("10.5.40.0/24".parse().expect("a subnet in a test")),
    ] {
        check(
            joined_host(),
            LeaseState::Relisting { at: NOW },
            event,
            "relisting in 0ms",
        );
    }
}
