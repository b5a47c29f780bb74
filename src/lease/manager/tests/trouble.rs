//! An etcd that contradicts itself, refuses writes, or loses keys for a moment.

use super::*;
use crate::model::lease::TTL;

const ONE_SUBNET: &str =
    r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.4.0","SubnetMax":"10.5.4.0"}"#;

#[test]
fn lists_less_and_less_often_while_lists_do_not_help() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().taken_by_others =
            (1..=255).map(|n| format!("10.5.{n}.0-24")).collect();
        let rig = Rig::start(registry, None);
        pass(10).await;
        let lists = rig.registry.state.borrow().lists;
        assert!((5..=10).contains(&lists), "{lists} lists in 10 s");
    });
}

#[test]
fn attaches_a_key_to_a_new_etcd_lease_when_etcd_does_not_know_the_old_one() {
    on_paused_time(async {
        for value in [MINE, UNNAMED] {
            let registry = FakeRegistry::with_config(CONFIG);
            registry.put("10.5.1.0-24", value, Some(7));
            let rig = joined(registry).await;
            let state = rig.registry.state.borrow();
            let entry = &state.entries["10.5.1.0-24"];
            assert_eq!(
                (entry.lease, entry.value.as_slice()),
                (state.leases.first().copied(), MINE.as_bytes())
            );
            assert_eq!(state.lists, 2);
        }
    });
}

#[test]
fn leaves_a_lost_key_to_its_owner_for_a_moment_before_it_takes_the_subnet() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(ONE_SUBNET);
        registry.put("10.5.4.0-24", OTHER, Some(7));
        let mut rig = Rig::start(registry, None);
        pass(9).await;
        rig.registry.delete("10.5.4.0-24");
        pass(2).await;
        assert!(
            rig.registry.names().is_empty(),
            "its owner may return within seconds"
        );
        rig.registry.put("10.5.4.0-24", OTHER, Some(7));
        pass(60).await;
        assert!(rig.is_quiet());
        rig.registry.delete("10.5.4.0-24");
        assert_eq!(
            rig.next().await,
            "joined 10.5.4.0/24",
            "its owner did not return"
        );
    });
}

#[test]
fn reports_that_its_subnet_is_taken_although_it_cannot_get_another_one() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.put("10.5.9.0-24", OTHER, Some(7));
        registry.state.borrow_mut().read_only = true;
        let mut rig = Rig::start(registry.clone(), Some("10.5.9.0/24"));
        assert_eq!(rig.next().await, "10.5.9.0/24 taken");
        registry.state.borrow_mut().leases.insert(7);
        registry.put("10.5.9.0-24", MINE, Some(7));
        assert_eq!(rig.next().await, "joined 10.5.9.0/24");
    });
}

#[test]
fn publishes_the_peers_while_its_own_lease_cannot_be_written() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.put("10.5.30.0-24", OTHER, Some(7));
        let mut rig = joined(registry).await;
        pass(60).await;
        rig.registry.state.borrow_mut().read_only = true;
        rig.registry.delete("10.5.1.0-24");
        assert_eq!(
            rig.next().await,
            "suspect",
            "keys of others may be missing for the same reason"
        );
        assert_eq!(rig.next().await, "leases +10.5.30.0/24");
        rig.registry.put(
            "10.5.40.0-24",
            &OTHER.replace("10.99.0.3", "10.99.0.4"),
            Some(7),
        );
        assert_eq!(rig.next().await, "leases +10.5.30.0/24 +10.5.40.0/24");
        assert!(rig.etcd().contains("failed to create"));
        let held = rig.lease_held();
        let missing = "LeaseMissing: etcd does not hold our lease /test/subnets/10.5.1.0-24";
        assert!(held.starts_with(missing), "{held}");
        let before = rig.registry.state.borrow().lists;
        for _ in 0..600 {
            pass(1).await;
            while rig.updates.try_recv().is_ok() {}
        }
        assert!(
            rig.registry.state.borrow().lists - before < 600 / 4,
            "{}",
            rig.registry.state.borrow().lists
        );
        assert_eq!(rig.registry.state.borrow().leases.len(), 1);
        rig.registry.state.borrow_mut().read_only = false;
        assert_eq!(rig.next().await, "suspect");
        pass(1).await;
        assert_eq!(rig.lease_held(), "AsExpected");
        assert_eq!(
            rig.registry.names(),
            ["10.5.1.0-24", "10.5.30.0-24", "10.5.40.0-24"]
        );
    });
}

#[test]
fn a_watch_that_is_outdated_is_replaced_without_news() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        pass(60).await;
        rig.registry.compact();
        assert_eq!(rig.next().await, "leases ");
        assert_eq!(rig.etcd(), "reachable");
        assert_eq!(rig.lease_held(), "AsExpected");
        rig.registry.put("10.5.40.0-24", OTHER, Some(7));
        assert_eq!(rig.next().await, "changes +10.5.40.0/24");
        assert_eq!(rig.registry.state.borrow().lists, 2);
    });
}

#[test]
fn joins_with_a_lease_without_node_id_and_adds_it_later() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().leases.insert(7);
        registry.put("10.5.1.0-24", UNNAMED, Some(7));
        registry.state.borrow_mut().read_only = true;
        let rig = joined(registry).await;
        rig.registry.state.borrow_mut().read_only = false;
        tokio::time::sleep(TTL / 2).await;
        assert_eq!(rig.registry.value("10.5.1.0-24").as_deref(), Some(MINE));
    });
}

#[test]
fn a_grant_without_an_answer_leaves_no_second_etcd_lease() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().read_only = true;
        let mut rig = Rig::start(registry, None);
        pass(60).await;
        rig.registry.state.borrow_mut().read_only = false;
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.registry.state.borrow().leases.len(), 1);
    });
}

#[test]
fn does_not_join_with_a_network_config_that_is_gone() {
    on_paused_time(async {
        for broken in [Some("{}"), None] {
            let registry = FakeRegistry::with_config(ONE_SUBNET);
            registry.put("10.5.4.0-24", OTHER, Some(7));
            let mut rig = Rig::start(registry, None);
            pass(9).await;
            match broken {
                Some(json) => rig.registry.put_config(json),
                None => rig.registry.delete_config(),
            }
            rig.registry.delete("10.5.4.0-24");
            pass(60).await;
            assert!(rig.is_quiet());
            rig.registry.put_config(ONE_SUBNET);
            assert_eq!(rig.next().await, "joined 10.5.4.0/24");
        }
    });
}
