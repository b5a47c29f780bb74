use super::*;
use crate::underlay::choice::Interface;
use crate::underlay::fake::FakeLinks;

const ETCD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

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

fn interface(name: &str, address: Ipv4Addr) -> Interface {
    Interface {
        name: name.to_owned(),
        mac: None,
        mtu: 1500,
        addresses: vec![address],
    }
}

fn route(interface: &str, source: Ipv4Addr) -> RouteLookup {
    RouteLookup {
        interface: interface.to_owned(),
        source,
    }
}

/// A host with one interface, which the name and the route of etcd are missing.
fn links() -> FakeLinks {
    let links = FakeLinks::default();
    links.host.borrow_mut().interfaces = vec![interface("eth0", OURS)];
    links
}

fn add_name_and_route(links: &FakeLinks) {
    let mut host = links.host.borrow_mut();
    host.names.insert("etcd.example".to_owned(), ETCD);
    host.routes.insert(ETCD, route("eth0", OURS));
}

fn finder(links: &FakeLinks, settings: UnderlaySettings) -> InterfaceFinder<FakeLinks, FakeLinks> {
    InterfaceFinder::new(links.clone(), links.clone(), settings)
}

/// Waits for the interface for at most `seconds`; returns its name.
async fn wait(links: &FakeLinks, settings: UnderlaySettings, seconds: u64) -> Option<String> {
    let limit = Duration::from_secs(seconds);
    let found = tokio::time::timeout(limit, finder(links, settings).wait()).await;
    found.ok().map(|external| external.name)
}

#[tokio::test(start_paused = true)]
async fn takes_the_interface_of_the_route_to_etcd_at_once() {
    let links = links();
    add_name_and_route(&links);
    let started = Instant::now();
    let external = finder(&links, settings()).wait().await;
    assert_eq!((external.name.as_str(), external.address), ("eth0", OURS));
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
    let (external, ()) = tokio::join!(finder(&links, settings()).wait(), boot);
    assert_eq!(external.name, "eth0");
    assert_eq!(started.elapsed(), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn does_not_take_the_default_route_while_the_route_to_etcd_is_unknown() {
    let links = links();
    links
        .host
        .borrow_mut()
        .routes
        .insert(NO_HOST, route("eth0", OURS));
    assert_eq!(wait(&links, settings(), 600).await, None);
    let reason = finder(&links, settings()).find().await;
    assert_eq!(
        reason.expect_err("there is no route"),
        "no route to etcd at http://etcd.example:2379 yet (or use --iface): no such name"
    );
}

#[tokio::test(start_paused = true)]
async fn takes_the_default_route_when_etcd_is_on_this_host() {
    let links = links();
    {
        let mut host = links.host.borrow_mut();
        host.names.insert("etcd.example".to_owned(), OURS);
        host.routes.insert(OURS, route("lo", OURS));
        host.routes.insert(NO_HOST, route("eth0", OURS));
    }
    assert_eq!(wait(&links, settings(), 1).await.as_deref(), Some("eth0"));
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_does_not_answer_is_asked_again() {
    let links = links();
    add_name_and_route(&links);
    links.host.borrow_mut().failing_lists = 3;
    let started = Instant::now();
    assert_eq!(wait(&links, settings(), 60).await.as_deref(), Some("eth0"));
    assert_eq!(started.elapsed(), RETRY_INTERVAL * 3);
}

#[tokio::test(start_paused = true)]
async fn takes_the_interface_of_the_last_run_after_five_seconds() {
    let links = links();
    let settings = UnderlaySettings {
        last_interface: Some("eth0".to_owned()),
        ..settings()
    };
    let started = Instant::now();
    assert_eq!(wait(&links, settings, 60).await.as_deref(), Some("eth0"));
    // The first attempt after the timeout.
    assert_eq!(started.elapsed(), ETCD_ROUTE_TIMEOUT + RETRY_INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn does_not_take_the_interface_of_the_last_run_when_the_operator_asks_for_another() {
    let links = links();
    let selectors = Selectors {
        ifaces: vec!["eth1".to_owned()],
        ..Selectors::default()
    };
    let settings = UnderlaySettings {
        selectors,
        last_interface: Some("eth0".to_owned()),
        ..settings()
    };
    assert_eq!(wait(&links, settings, 600).await, None);
}

#[tokio::test(start_paused = true)]
async fn does_not_take_the_interface_of_the_last_run_when_it_is_gone() {
    let links = links();
    let settings = UnderlaySettings {
        last_interface: Some("eth7".to_owned()),
        ..settings()
    };
    assert_eq!(wait(&links, settings, 600).await, None);
    // One list a second for the interface of the last run: the route to etcd fails before the first one.
    assert!((590..=600).contains(&links.host.borrow().lists));
}

#[test]
fn each_reason_is_logged_once() {
    let mut finder = finder(&links(), settings());
    finder.log_failure("no such name");
    assert!(!finder.failures.is_new("no such name"));
    assert!(finder.failures.is_new("no route to 10.0.0.9"));
}
