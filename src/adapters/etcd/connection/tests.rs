//! The transitions as a table, and what the next request does in each state.

use std::time::Duration;

use super::*;
use crate::model::secret::{Credentials, Secret};

/// A client in these tests is only a name.
type State = ConnectionState<&'static str>;

fn with_password(password: &str) -> EtcdAccess {
    EtcdAccess {
        endpoints: ["http://a:1", "http://b:1", "http://c:1"]
            .map(str::to_owned)
            .to_vec(),
        credentials: Some(Credentials {
            user: "flannel".to_owned(),
            password: Secret(password.to_owned()),
        }),
        ..EtcdAccess::default()
    }
}

fn state(connection: Connection<&'static str>) -> State {
    State {
        connection,
        ..State::new(with_password("old"))
    }
}

fn connect(state: &mut State, client: &'static str) {
    let target = state
        .connect_target(Instant::now())
        .expect("no login is on hold");
    state.connected(&target, client);
}

fn refuse(state: &mut State) {
    state.refuse_login("no".to_owned(), Instant::now(), 0.0);
}

#[test]
fn each_event_leads_from_each_state_to_one_state() {
    use Connection::{Absent, Proven, Unproven};
    type Event = fn(&mut State);
    let events: [(&str, Event, [Connection<&str>; 3], &str); 7] = [
        // Event, then what follows from Absent, Unproven and Proven, then the endpoint.
        (
            "connected",
            |state| connect(state, "new"),
            [Unproven("new"); 3],
            "http://a:1",
        ),
        (
            "answered",
            State::answered,
            [Absent, Proven("old"), Proven("old")],
            "http://a:1",
        ),
        ("token", State::forget_client, [Absent; 3], "http://a:1"),
        ("login refused", refuse, [Absent; 3], "http://a:1"),
        ("endpoint failed", State::rotate, [Absent; 3], "http://b:1"),
        (
            "new files",
            |state| _ = state.replace_access(with_password("new")),
            [Absent; 3],
            "http://a:1",
        ),
        (
            "same files",
            |state| _ = state.replace_access(with_password("old")),
            [Absent, Unproven("old"), Proven("old")],
            "http://a:1",
        ),
    ];
    for (name, event, expected, url) in events {
        for (before, after) in [Absent, Unproven("old"), Proven("old")]
            .into_iter()
            .zip(expected)
        {
            let mut state = state(before);
            event(&mut state);
            assert_eq!(state.connection, after, "{name} in {before:?}");
            assert_eq!(state.url(), url, "{name} in {before:?}");
        }
    }
}

#[test]
fn the_files_are_read_again_when_there_is_no_client() {
    for (connection, client) in [
        (Connection::Absent, None),
        (Connection::Unproven("a"), Some("a")),
        (Connection::Proven("a"), Some("a")),
    ] {
        assert_eq!(state(connection).client(), client, "{connection:?}");
    }
}

#[test]
fn rotates_through_all_endpoints_and_begins_again() {
    let mut state = state(Connection::Absent);
    let mut urls = Vec::new();
    for _ in 0..4 {
        urls.push(state.url());
        state.rotate();
    }
    assert_eq!(
        urls,
        ["http://a:1", "http://b:1", "http://c:1", "http://a:1"]
    );
}

#[test]
fn a_client_that_was_made_for_another_endpoint_is_not_used() {
    let mut state = state(Connection::Absent);
    let target = state
        .connect_target(Instant::now())
        .expect("no login is on hold");
    state.rotate();
    state.connected(&target, "a");
    assert_eq!(state.client(), None);
}

#[test]
fn a_refused_login_is_sent_again_after_a_delay_or_with_other_files() {
    let now = Instant::now();
    let refused = || {
        let mut state = state(Connection::Proven("a"));
        state.refuse_login("no".to_owned(), now, 0.0);
        state
    };
    let on_hold = |state: &State, after: u64| {
        let later = now + Duration::from_millis(after);
        matches!(state.connect_target(later), Err(CallCause::LoginOnHold(words)) if words == "no")
    };
    let mut other_endpoint = refused();
    other_endpoint.rotate();
    let mut same_files = refused();
    same_files.replace_access(with_password("old"));
    let mut new_files = refused();
    new_files.replace_access(with_password("new"));
    for (name, state, after_ms, expected) in [
        ("at once", &refused(), 0, true),
        ("just before the delay ends", &refused(), 999, true),
        ("when the delay ends", &refused(), 1000, false),
        ("on another endpoint", &other_endpoint, 999, true),
        ("with the same files", &same_files, 999, true),
        ("with other files", &new_files, 0, false),
    ] {
        assert_eq!(on_hold(state, after_ms), expected, "{name}");
    }
}

#[test]
fn names_what_is_new_in_the_files_once() {
    let mut state = state(Connection::Absent);
    assert_eq!(state.replace_access(with_password("old")), None);
    assert_eq!(
        state.replace_access(with_password("new")).as_deref(),
        Some("password")
    );
    assert_eq!(state.replace_access(with_password("new")), None);
    assert_eq!(*state.access(), with_password("new"));
}
