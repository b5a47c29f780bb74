use std::time::Duration;

use super::*;
use crate::conditions::{ConditionStatus, ConditionType};
use crate::underlay::fake::{FakeLinks, interface, route};
use crate::underlay::machine::{ETCD_ROUTE_TIMEOUT, HOLD};
use crate::underlay::settings::{EtcdHost, Selectors};

const ETCD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const OURS: &str = "10.0.0.1";

fn settings() -> UnderlaySettings {
    let etcd = EtcdHost {
        url: "http://etcd.example:2379".to_owned(),
        host: "etcd.example".to_owned(),
    };
    UnderlaySettings {
        etcd: vec![etcd],
        ..UnderlaySettings::default()
    }
}

fn of_last_run(interface: &str) -> UnderlaySettings {
    UnderlaySettings {
        last_interface: Some(interface.to_owned()),
        ..settings()
    }
}

/// A host with one interface, which the name and the route of etcd are missing.
fn links() -> FakeLinks {
    let links = FakeLinks::default();
    links.host.borrow_mut().interfaces = vec![interface(2, "eth0", &[OURS])];
    links
}

fn add_name_and_route(links: &FakeLinks) {
    links.change(|host| {
        host.names.insert("etcd.example".to_owned(), ETCD);
        host.routes.insert(ETCD, route("eth0", OURS));
    });
}

fn lease_held() -> ConditionWriter {
    ConditionWriter::for_test(ConditionType::LeaseHeld).0
}

struct Rig {
    follower: UnderlayFollower<FakeLinks, FakeLinks>,
    etcd_path: watch::Receiver<u64>,
}

fn rig(links: &FakeLinks, settings: UnderlaySettings) -> Rig {
    let (sender, etcd_path) = watch::channel(0);
    Rig {
        follower: UnderlayFollower::new(links.clone(), links.clone(), settings, sender),
        etcd_path,
    }
}

/// Waits for the first interface for at most `seconds`; returns its name.
async fn first(links: &FakeLinks, settings: UnderlaySettings, seconds: u64) -> Option<String> {
    let limit = Duration::from_secs(seconds);
    let mut rig = rig(links, settings);
    let found = tokio::time::timeout(limit, rig.follower.first(lease_held())).await;
    found.ok().map(|underlay| underlay.external.name)
}

#[tokio::test(start_paused = true)]
async fn takes_the_interface_of_the_route_to_etcd_at_once() {
    let links = links();
    add_name_and_route(&links);
    let started = Instant::now();
    assert_eq!(first(&links, settings(), 1).await.as_deref(), Some("eth0"));
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn waits_until_the_name_of_etcd_resolves() {
    let links = links();
    let started = Instant::now();
    let boot = async {
        tokio::time::sleep(Duration::from_millis(3500)).await;
        add_name_and_route(&links);
    };
    let (name, ()) = tokio::join!(first(&links, settings(), 60), boot);
    assert_eq!(name.as_deref(), Some("eth0"));
    // The next lookup, and the debounce.
    assert_eq!(started.elapsed(), Duration::from_millis(4020));
}

#[tokio::test(start_paused = true)]
async fn a_route_that_comes_up_is_noticed_by_event() {
    let links = links();
    links
        .host
        .borrow_mut()
        .names
        .insert("etcd.example".to_owned(), ETCD);
    let started = Instant::now();
    let boot = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        add_name_and_route(&links);
    };
    let (name, ()) = tokio::join!(first(&links, settings(), 60), boot);
    assert_eq!(name.as_deref(), Some("eth0"));
    assert_eq!(started.elapsed(), Duration::from_millis(30_020));
}

#[tokio::test(start_paused = true)]
async fn does_not_take_the_default_route_while_the_route_to_etcd_is_unknown() {
    let links = links();
    links.change(|host| _ = host.routes.insert(NO_HOST, route("eth0", OURS)));
    assert_eq!(first(&links, settings(), 600).await, None);
}

#[tokio::test(start_paused = true)]
async fn takes_the_default_route_when_etcd_is_on_this_host() {
    let links = links();
    links.change(|host| {
        let ours: Ipv4Addr = OURS.parse().expect("an address in a test");
        host.names.insert("etcd.example".to_owned(), ours);
        host.routes.insert(ours, route("lo", OURS));
        host.routes.insert(NO_HOST, route("eth0", OURS));
    });
    assert_eq!(first(&links, settings(), 1).await.as_deref(), Some("eth0"));
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_does_not_answer_is_asked_again() {
    let links = links();
    add_name_and_route(&links);
    links.host.borrow_mut().failing_lists = 3;
    let started = Instant::now();
    assert_eq!(first(&links, settings(), 60).await.as_deref(), Some("eth0"));
    assert!(started.elapsed() <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn takes_the_interface_of_the_last_run_after_five_seconds() {
    let links = links();
    let started = Instant::now();
    assert_eq!(
        first(&links, of_last_run("eth0"), 60).await.as_deref(),
        Some("eth0")
    );
    assert_eq!(started.elapsed(), ETCD_ROUTE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn does_not_take_the_interface_of_the_last_run_when_it_is_gone_or_not_wanted() {
    let links = links();
    assert_eq!(first(&links, of_last_run("eth7"), 600).await, None);
    let selectors = Selectors {
        ifaces: vec!["eth1".to_owned()],
        ..Selectors::default()
    };
    let named = UnderlaySettings {
        selectors,
        ..of_last_run("eth0")
    };
    assert_eq!(first(&links, named, 600).await, None);
}

/// A rig that follows eth0, and what the slices see.
async fn following(links: &FakeLinks) -> (watch::Receiver<Underlay>, watch::Receiver<u64>) {
    add_name_and_route(links);
    let Rig {
        mut follower,
        mut etcd_path,
    } = rig(links, settings());
    let underlay = follower.first(lease_held()).await;
    let (sender, receiver) = watch::channel(underlay);
    tokio::task::spawn_local(follower.run(FollowedValues {
        underlay: sender,
        public_ip: None,
    }));
    // The report of the route that was there before the start.
    tokio::time::sleep(Duration::from_secs(1)).await;
    etcd_path.mark_unchanged();
    (receiver, etcd_path)
}

async fn in_local_set(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_address_is_told_by_event_and_connections_to_etcd_are_renewed_before() {
    in_local_set(async {
        let links = links();
        let (mut underlay, etcd_path) = following(&links).await;
        let started = Instant::now();
        links.change(|host| {
            host.interfaces = vec![interface(2, "eth0", &["10.0.0.2"])];
            host.routes.insert(ETCD, route("eth0", "10.0.0.2"));
        });
        assert!(underlay.changed().await.is_ok());
        assert_eq!(
            underlay.borrow().external.address,
            Ipv4Addr::new(10, 0, 0, 2)
        );
        assert_eq!(started.elapsed(), Duration::from_millis(20));
        assert!(etcd_path.has_changed().is_ok_and(|changed| changed));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_stays_away_is_told_and_names_are_not_asked_for_it() {
    in_local_set(async {
        let links = links();
        let (mut underlay, _etcd_path) = following(&links).await;
        let lookups = links.host.borrow().lookups;
        let started = Instant::now();
        for _ in 0..10 {
            links.change(|host| {
                host.interfaces = vec![interface(2, "eth0", &[])];
                host.routes.clear();
            });
            tokio::task::yield_now().await;
        }
        assert!(underlay.changed().await.is_ok());
        assert!(underlay.borrow().problem.is_some());
        assert!(started.elapsed() <= HOLD + Duration::from_millis(20));
        assert_eq!(links.host.borrow().lookups, lookups);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_host_is_looked_at_once_a_minute() {
    in_local_set(async {
        let links = links();
        let (_underlay, _etcd_path) = following(&links).await;
        let lists = links.host.borrow().lists;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(links.host.borrow().lists, lists + 10);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn while_an_interface_is_waited_for_the_condition_of_the_lease_says_so() {
    let links = links();
    let selectors = Selectors {
        ifaces: vec!["eth7".to_owned()],
        ..Selectors::default()
    };
    let settings = UnderlaySettings {
        selectors,
        ..settings()
    };
    let (lease_held, view) = ConditionWriter::for_test(ConditionType::LeaseHeld);
    let mut rig = rig(&links, settings);
    let first = rig.follower.first(lease_held);
    let boot = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waiting = view.borrow().get(ConditionType::LeaseHeld).clone();
        assert_eq!(waiting.reason, Reason::NoExternalInterface);
        let expected = "matches --iface=eth7 (did you mean eth0?); there are: eth0 (10.0.0.1)";
        assert!(waiting.message.ends_with(expected), "{}", waiting.message);
        links.change(|host| host.interfaces.push(interface(3, "eth7", &["10.7.0.1"])));
    };
    let (found, ()) = tokio::join!(first, boot);
    assert_eq!(found.external.name, "eth7");
    let found = view.borrow().get(ConditionType::LeaseHeld).status;
    assert_eq!(found, ConditionStatus::Unknown);
}
