//! The lease manager over a registry in memory, on a paused clock.

mod following;
mod host;
mod overwritten;
mod readdressing;
mod renewal;
mod replaced;
mod rig;
mod rivals;
mod trouble;

use std::time::Duration;

use crate::lease::fake::FakeRegistry;
use crate::lease::manager::test_data::{CONFIG, MINE, OTHER, UNNAMED, identity, rivals};
use crate::lease::manager::tests::rig::{Rig, joined, on_paused_time, pass};

#[test]
fn creates_a_lease_and_publishes_the_peers() {
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
fn takes_over_its_lease_after_a_restart_without_a_write() {
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
fn completes_an_old_value_and_leaves_a_reservation_without_an_etcd_lease() {
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
fn tries_another_subnet_when_another_host_is_faster() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().taken_by_others =
            vec!["10.5.1.0-24".to_owned(), "10.5.2.0-24".to_owned()];
        let mut rig = Rig::start(registry, None);
        assert_eq!(rig.next().await, "joined 10.5.3.0/24");
        assert_eq!(
            rig.registry.state.borrow().leases.len(),
            1,
            "a host has one etcd lease"
        );
    });
}

#[test]
fn a_creation_that_fails_leaves_no_second_etcd_lease() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().fail_next_creation = true;
        let mut rig = Rig::start(registry, None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.registry.state.borrow().leases.len(), 1);
    });
}

#[test]
fn renews_another_etcd_lease_after_its_key_was_attached_to_it() {
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
fn creates_the_same_subnet_again_after_its_key_was_deleted() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), Some("10.5.9.0/24"));
        assert_eq!(rig.next().await, "joined 10.5.9.0/24");
        assert_eq!(
            rig.next().await,
            "suspect",
            "this host had a lease before, and etcd has none"
        );
        assert_eq!(rig.next().await, "leases ");
        rig.registry.delete("10.5.9.0-24");
        assert_eq!(rig.next().await, "suspect");
        assert_eq!(rig.next().await, "leases ");
        assert_eq!(rig.registry.names(), ["10.5.9.0-24"]);
    });
}

#[test]
fn waits_for_a_network_config_that_it_can_use() {
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
fn uses_the_network_config_of_its_lease_until_a_restart() {
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
fn joins_when_a_new_network_config_has_room() {
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
fn a_key_that_is_created_again_is_attached_to_the_same_etcd_lease() {
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
            "the old etcd lease would live on for a day"
        );
    });
}

#[test]
fn a_key_that_was_taken_over_is_created_again_on_its_etcd_lease() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().leases.insert(7);
        registry.put("10.5.1.0-24", MINE, Some(7));
        let mut rig = joined(registry).await;
        rig.registry.delete("10.5.1.0-24");
        assert_eq!(rig.next().await, "suspect");
        let state = rig.registry.state.borrow();
        assert_eq!(state.entries["10.5.1.0-24"].lease, Some(7));
        assert_eq!(state.leases.len(), 1);
    });
}
