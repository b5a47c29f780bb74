use super::*;
use std::cell::Cell;

use crate::conditions::Conditions;
use crate::conditions::readiness::etcd_text;

use crate::lease::fake::FakeRegistry;
use crate::model::addr::MacAddr;
use crate::model::lease::TTL;
use crate::model::node_id::NodeId;
use crate::model::previous_lease::PreviousLease;
use std::net::Ipv4Addr;
use tokio::task::LocalSet;

const CONFIG: &str = r#"{"Network":"10.5.0.0/16"}"#;
const MINE: &str = r#"{"PublicIP":"10.99.0.2","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"},"NodeID":"a"}"#;
const OTHER: &str = r#"{"PublicIP":"10.99.0.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:03"}}"#;

mod trouble;

/// A keeper over a registry in memory, and what it tells.
struct Rig {
    registry: FakeRegistry,
    updates: mpsc::Receiver<LeaseUpdate>,
    ask: mpsc::Sender<Ipv4Network>,
    conditions: watch::Receiver<Conditions>,
    ignored: watch::Receiver<BTreeMap<String, String>>,
}

thread_local! {
    /// Start of the runtime's clock, and for how long the machine has slept since.
    static CLOCK: (Instant, Cell<Duration>) = (Instant::now(), Cell::new(Duration::ZERO));
}

fn boot_time() -> Duration {
    CLOCK.with(|(start, slept)| start.elapsed() + slept.get())
}

impl Rig {
    fn start(registry: FakeRegistry, previous: Option<&str>) -> Self {
        let (sender, updates) = mpsc::channel(8);
        let (conditions, table) = LeaseConditions::for_test();
        let (ignored_sender, ignored) = watch::channel(BTreeMap::new());
        let past = PreviousLease {
            subnet: previous.map(|text| text.parse().expect("a subnet in a test")),
            vtep_mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
            public_ip: None,
        };
        let (node, public_ip) = (NodeId::named("a"), Ipv4Addr::new(10, 99, 0, 2));
        let identity = Identity {
            node,
            prefix: "/test".to_owned(),
            public_ip,
            previous: past,
        };
        let renew_margin = Duration::from_secs(3600);
        let settings = LeaseSettings {
            renew_margin,
            random: || 0.0,
            boot_time,
        };
        let (ask, questions) = mpsc::channel(4);
        let channels = LeaseChannels {
            updates: sender,
            conditions,
            ignored: ignored_sender,
            questions,
        };
        tokio::task::spawn_local(
            LeaseManager::new(registry.clone(), identity, settings, channels).run(),
        );
        Self {
            registry,
            updates,
            ask,
            conditions: table,
            ignored,
        }
    }

    /// The next update, as text.
    async fn next(&mut self) -> String {
        let hour = Duration::from_secs(3600);
        loop {
            let update = tokio::time::timeout(hour, self.updates.recv())
                .await
                .expect("an update within the hour");
            if let Some(text) = describe(update.expect("the lease manager runs")) {
                return text;
            }
        }
    }

    /// Whether nothing was told of leases since the last call.
    fn is_quiet(&mut self) -> bool {
        std::iter::from_fn(|| self.updates.try_recv().ok()).all(|update| describe(update).is_none())
    }

    /// The line `etcd` of `flanneld status`.
    fn etcd(&self) -> String {
        etcd_text(&self.conditions.borrow())
    }
}

/// An update about leases as text; `None` for one about the state of etcd.
fn describe(update: LeaseUpdate) -> Option<String> {
    match update {
        LeaseUpdate::Joined(membership) => Some(format!("joined {}", membership.own.subnet)),
        LeaseUpdate::Suspect => Some("suspect".to_owned()),
        LeaseUpdate::Leases(leases) => {
            let all = leases.iter().map(|lease| (lease.subnet, true));
            Some(format!("leases {}", subnets(all)))
        }
        LeaseUpdate::Changes(changes) => {
            let all = changes
                .iter()
                .map(|(subnet, lease)| (*subnet, lease.is_some()));
            Some(format!("changes {}", subnets(all)))
        }
        LeaseUpdate::SubnetTaken(subnet) => Some(format!("{subnet} taken")),
        LeaseUpdate::Unreachable { .. } | LeaseUpdate::Waiting | LeaseUpdate::Synced => None,
    }
}

fn subnets(each: impl Iterator<Item = (Ipv4Network, bool)>) -> String {
    let text = each.map(|(subnet, there)| format!("{}{subnet}", if there { "+" } else { "-" }));
    text.collect::<Vec<_>>().join(" ")
}

/// Runs a test on one thread, with a clock that jumps to the next timer when all is idle.
fn on_paused_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    LocalSet::new().block_on(&runtime.expect("a runtime for a test"), test);
}

#[test]
fn creates_a_lease_and_tells_who_the_others_are() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.put("10.5.1.0-24", OTHER, Some(7));
        let mut rig = Rig::start(registry, None);
        assert_eq!(rig.next().await, "joined 10.5.2.0/24");
        assert_eq!(rig.next().await, "leases +10.5.1.0/24");
        assert_eq!(rig.registry.value("10.5.2.0-24").as_deref(), Some(MINE));
    });
}

#[test]
fn follows_the_others() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), Some("10.5.9.0/24"));
        assert_eq!(rig.next().await, "joined 10.5.9.0/24");
        assert_eq!(rig.next().await, "suspect");
        assert_eq!(rig.next().await, "leases ");
        rig.registry.put("10.5.40.0-24", OTHER, Some(7));
        assert_eq!(rig.next().await, "changes +10.5.40.0/24");
        rig.registry.put("10.5.40.0-24", "garbage", Some(7));
        assert_eq!(rig.next().await, "changes -10.5.40.0/24");
        rig.registry.put("8.8.8.0-24", OTHER, Some(7));
        assert_eq!(rig.next().await, "changes -8.8.8.0/24");
        rig.registry.put("nonsense", OTHER, Some(7));
        rig.registry.delete("10.5.40.0-24");
        assert_eq!(rig.next().await, "changes -10.5.40.0/24");
    });
}

#[test]
fn takes_over_its_lease_after_a_restart_without_writing_anything() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().leases.insert(7);
        let revision = registry.put("10.5.9.0-24", MINE, Some(7));
        let mut rig = Rig::start(registry, None);
        assert_eq!(rig.next().await, "joined 10.5.9.0/24");
        assert_eq!(rig.next().await, "leases ");
        let state = rig.registry.state.borrow();
        assert_eq!(state.entries["10.5.9.0-24"].revision, revision);
        assert_eq!((state.renewals, state.leases.len()), (1, 1));
    });
}

#[test]
fn completes_an_old_value_and_leaves_a_reservation_without_lease() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.put("10.5.9.0-24", &MINE.replace(r#""VNI":1,"#, ""), None);
        let mut rig = Rig::start(registry, None);
        assert_eq!(rig.next().await, "joined 10.5.9.0/24");
        assert_eq!(rig.registry.value("10.5.9.0-24").as_deref(), Some(MINE));
        assert_eq!(
            rig.registry.state.borrow().entries["10.5.9.0-24"].lease,
            None
        );
        assert!(rig.registry.state.borrow().leases.is_empty());
    });
}

#[test]
fn tries_another_subnet_when_another_host_is_quicker() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().taken_by_others =
            vec!["10.5.1.0-24".to_owned(), "10.5.2.0-24".to_owned()];
        let mut rig = Rig::start(registry, None);
        assert_eq!(rig.next().await, "joined 10.5.3.0/24");
        assert_eq!(
            rig.registry.state.borrow().leases.len(),
            1,
            "one lease of etcd for one host"
        );
    });
}

#[test]
fn a_creation_that_fails_leaves_no_lease_behind() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().fail_next_creation = true;
        let mut rig = Rig::start(registry, None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.registry.state.borrow().leases.len(), 1);
    });
}

#[test]
fn its_key_on_another_lease_of_etcd_is_renewed_there() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        rig.registry.state.borrow_mut().leases = [7].into();
        rig.registry.put("10.5.1.0-24", MINE, Some(7));
        assert_eq!(rig.next().await, "leases ");
        assert_eq!(rig.registry.state.borrow().renewals, 1);
    });
}

#[test]
fn looks_up_a_subnet_that_somebody_needs() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        rig.registry.put_unwatched("10.5.40.0-24", OTHER);
        for subnet in ["10.5.41.0/24", "10.5.40.0/24"] {
            rig.ask
                .send(subnet.parse().expect("a subnet in a test"))
                .await
                .expect("the keeper listens");
        }
        assert_eq!(rig.next().await, "changes +10.5.40.0/24");
    });
}

#[test]
fn renews_well_before_the_end_and_wakes_nobody() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        tokio::time::sleep(TTL * 3).await;
        assert!(
            (8..=12).contains(&rig.registry.state.borrow().renewals),
            "{}",
            rig.registry.state.borrow().renewals
        );
        assert_eq!(rig.registry.state.borrow().lists, 1);
        assert!(rig.is_quiet());
    });
}

#[test]
fn comes_back_with_the_same_subnet_after_its_key_was_deleted() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), Some("10.5.9.0/24"));
        assert_eq!(rig.next().await, "joined 10.5.9.0/24");
        assert_eq!(
            rig.next().await,
            "suspect",
            "it had a lease before, and etcd has none"
        );
        assert_eq!(rig.next().await, "leases ");
        rig.registry.delete("10.5.9.0-24");
        assert_eq!(rig.next().await, "suspect");
        assert_eq!(rig.next().await, "leases ");
        assert_eq!(rig.registry.names(), ["10.5.9.0-24"]);
    });
}

#[test]
fn takes_another_subnet_when_its_own_went_to_another_host() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), Some("10.5.9.0/24"));
        assert_eq!(rig.next().await, "joined 10.5.9.0/24");
        assert_eq!(rig.next().await, "suspect");
        assert_eq!(rig.next().await, "leases ");
        rig.registry.put("10.5.9.0-24", OTHER, Some(99));
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases +10.5.9.0/24");
    });
}

#[test]
fn waits_for_a_configuration_that_it_can_use() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::default(), None);
        tokio::time::sleep(Duration::from_secs(9)).await;
        rig.registry.put_config(r#"{"Network":"10.5.3.0/16"}"#);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(rig.is_quiet());
        rig.registry.put_config(CONFIG);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
    });
}

#[test]
fn goes_on_with_the_old_configuration_until_a_restart() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        rig.registry.put_config(r#"{"Network":"10.6.0.0/16"}"#);
        rig.registry.put("10.5.40.0-24", OTHER, Some(7));
        assert_eq!(rig.next().await, "changes +10.5.40.0/24");
    });
}

#[test]
fn waits_for_a_subnet_when_all_are_taken() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.4.0","SubnetMax":"10.5.4.0"}"#,
        );
        registry.put("10.5.4.0-24", OTHER, Some(7));
        let mut rig = Rig::start(registry, None);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(rig.is_quiet());
        rig.registry.delete("10.5.4.0-24");
        assert_eq!(rig.next().await, "joined 10.5.4.0/24");
    });
}

#[test]
fn joins_when_the_configuration_makes_room() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.4.0","SubnetMax":"10.5.4.0"}"#,
        );
        registry.put("10.5.4.0-24", OTHER, Some(7));
        let mut rig = Rig::start(registry, None);
        tokio::time::sleep(Duration::from_secs(9)).await;
        rig.registry.put_config(
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.4.0","SubnetMax":"10.5.5.0"}"#,
        );
        assert_eq!(rig.next().await, "joined 10.5.5.0/24");
    });
}

#[test]
fn knows_all_changes_after_the_registry_was_away() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        rig.registry.set_unreachable(true);
        tokio::time::sleep(Duration::from_secs(600)).await;
        rig.registry.put("10.5.40.0-24", OTHER, Some(7));
        rig.registry.set_unreachable(false);
        assert_eq!(rig.next().await, "leases +10.5.40.0/24");
    });
}

#[test]
fn renews_soon_after_the_machine_has_slept() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        CLOCK.with(|(_, slept)| slept.set(Duration::from_secs(20 * 3600)));
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(rig.registry.state.borrow().renewals, 1);
    });
}

#[test]
fn gives_way_to_a_host_with_its_address_and_comes_back_when_that_is_gone() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().leases.insert(7);
        let theirs = MINE.replace(r#""NodeID":"a""#, r#""NodeID":"b""#);
        registry.put("10.5.40.0-24", &theirs, Some(7));
        let mut rig = Rig::start(registry, None);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(rig.is_quiet());
        assert_eq!(rig.registry.names(), ["10.5.40.0-24"], "nothing is written");
        let waiting = rig.etcd();
        assert!(
            waiting.contains("node b") && waiting.contains("node a"),
            "{waiting}"
        );
        rig.registry.delete("10.5.40.0-24");
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
    });
}

#[test]
fn takes_over_from_a_rival_that_has_not_renewed_for_long() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().leases.insert(7);
        registry.state.borrow_mut().time_left.insert(7, TTL / 3);
        registry.put(
            "10.5.40.0-24",
            &MINE.replace(r#""NodeID":"a""#, r#""NodeID":"b""#),
            Some(7),
        );
        let mut rig = Rig::start(registry, None);
        assert_eq!(rig.next().await, "joined 10.5.40.0/24");
        assert_eq!(rig.registry.value("10.5.40.0-24").as_deref(), Some(MINE));
    });
}

#[test]
fn of_two_copies_that_start_together_the_later_gives_way() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        // Wrote later than we did: it is not us who have to go.
        let copy = MINE.replace("10.99.0.2", "10.99.0.9");
        rig.registry.put("10.5.50.0-24", &copy, Some(8));
        assert_eq!(rig.next().await, "changes -10.5.50.0/24");
        rig.registry.delete("10.5.50.0-24");
        assert_eq!(rig.next().await, "changes -10.5.50.0/24");
        // Was there before us, and we had not seen it.
        rig.registry.put_old("10.5.50.0-24", &copy, 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(rig.etcd().contains("--node-id"));
        assert_eq!(
            rig.registry.names(),
            ["10.5.50.0-24"],
            "our lease does not stay behind"
        );
        // While it waits, pods still run here, and reach whoever joins or has left.
        assert_eq!(rig.next().await, "leases ", "one with our MAC is no peer");
        assert_eq!(
            rig.next().await,
            "leases ",
            "our own deletion is a reason to look again, as any is"
        );
        rig.registry.put("10.5.40.0-24", OTHER, Some(9));
        assert_eq!(rig.next().await, "changes +10.5.40.0/24");
        rig.registry.delete("10.5.50.0-24");
        assert_eq!(rig.next().await, "suspect");
        assert_eq!(rig.next().await, "leases +10.5.40.0/24");
        assert_eq!(
            rig.registry.names(),
            ["10.5.1.0-24", "10.5.40.0-24"],
            "the same subnet again"
        );
    });
}

#[test]
fn says_which_keys_it_does_not_use() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.put("nonsense", OTHER, None);
        let mut rig = Rig::start(registry, None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        rig.registry.put("8.8.8.0-24", OTHER, Some(7));
        assert_eq!(rig.next().await, "changes -8.8.8.0/24");
        let keys = |rig: &Rig| rig.ignored.borrow().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&rig), ["8.8.8.0-24", "nonsense"]);
        rig.registry.delete("nonsense");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(keys(&rig), ["8.8.8.0-24"]);
    });
}

#[test]
fn a_key_that_is_made_again_hangs_on_the_same_lease_of_etcd() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        rig.registry.delete("10.5.1.0-24");
        assert_eq!(
            (rig.next().await, rig.next().await),
            ("suspect".to_owned(), "leases ".to_owned())
        );
        assert_eq!(
            rig.registry.state.borrow().leases.len(),
            1,
            "the old one would live on for a day"
        );
    });
}
