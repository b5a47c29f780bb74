//! Hosts that use the node id or the PublicIP of this one.

use super::*;
use crate::model::lease::TTL;

#[test]
fn waits_for_a_rival_with_its_public_ip_and_joins_when_the_rival_is_gone() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().leases.insert(7);
        let rivals = MINE.replace(r#""NodeID":"a""#, r#""NodeID":"b""#);
        registry.put("10.5.40.0-24", &rivals, Some(7));
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
        registry.lease_with_time_left(7, TTL / 3);
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
fn of_two_copies_that_start_together_the_later_yields() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        // The copy has written later than we did, so we stay.
        let copy = MINE.replace("10.99.0.2", "10.99.0.9");
        rig.registry.put("10.5.50.0-24", &copy, Some(8));
        assert_eq!(rig.next().await, "changes ?10.5.50.0/24");
        rig.registry.delete("10.5.50.0-24");
        assert_eq!(rig.next().await, "changes -10.5.50.0/24");
        // The copy was there before us, and the watch shows it only now.
        rig.registry.put_old("10.5.50.0-24", &copy, 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(rig.etcd().contains("--node-id"));
        assert_eq!(
            rig.registry.names(),
            ["10.5.50.0-24"],
            "our own key is removed"
        );
        // Pods still run here while this host waits, so the peers are still followed.
        assert_eq!(
            rig.next().await,
            "leases ?10.5.50.0/24",
            "a lease with our MAC address is no peer"
        );
        assert_eq!(
            rig.next().await,
            "leases ?10.5.50.0/24",
            "any deletion is a reason to list again, also our own"
        );
        rig.registry.put("10.5.40.0-24", OTHER, Some(9));
        assert_eq!(rig.next().await, "changes +10.5.40.0/24");
        rig.registry.delete("10.5.50.0-24");
        assert_eq!(rig.next().await, "suspect");
        assert_eq!(rig.next().await, "leases +10.5.40.0/24");
        assert_eq!(
            rig.registry.names(),
            ["10.5.1.0-24", "10.5.40.0-24"],
            "the key has the same subnet as before"
        );
    });
}

#[test]
fn a_host_that_yielded_returns_on_the_etcd_lease_that_it_had() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().leases.extend([7, 8]);
        let copy = MINE.replace("10.99.0.2", "10.99.0.9");
        registry.put("10.5.50.0-24", &copy, Some(8));
        registry.put("10.5.1.0-24", MINE, Some(7));
        let mut rig = Rig::start(registry, None);
        pass(1).await;
        assert_eq!(rig.registry.names(), ["10.5.50.0-24"], "we came second");
        rig.registry.delete("10.5.50.0-24");
        let joined = rig.next().await;
        let name = joined.replace("joined ", "").replace("/24", "-24");
        let state = rig.registry.state.borrow();
        assert_eq!(state.entries[&name].lease, Some(7));
        assert_eq!(state.leases.len(), 2, "no third one was granted");
    });
}

#[test]
fn does_not_join_when_a_rival_has_created_its_key_just_before() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().written_before_creation = Some(("10.5.50.0-24", rivals()));
        let mut rig = Rig::start(registry, None);
        pass(9).await;
        assert!(rig.is_quiet(), "it was never up");
        assert!(rig.etcd().contains("in use by node b"));
        assert_eq!(rig.registry.names(), ["10.5.50.0-24"]);
        rig.registry.delete("10.5.50.0-24");
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
    });
}

#[test]
fn joins_when_another_host_that_is_no_rival_was_there_just_before() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        let other = Some(("10.5.40.0-24", OTHER.to_owned()));
        registry.state.borrow_mut().written_before_creation = other;
        let mut rig = Rig::start(registry, None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        assert_eq!(rig.next().await, "changes +10.5.40.0/24");
        assert_eq!(rig.registry.state.borrow().lists, 2);
    });
}

#[test]
fn waits_for_a_rival_whose_etcd_lease_etcd_does_not_know() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.put("10.5.40.0-24", &rivals(), Some(7));
        let rig = Rig::start(registry, None);
        pass(500).await;
        assert_eq!(rig.registry.state.borrow().lists, 2);
        assert!(rig.etcd().contains("in use by node b"));
    });
}

#[test]
fn keeps_its_reservation_when_it_yields_to_a_rival() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.state.borrow_mut().leases.insert(7);
        registry.put("10.5.40.0-24", &rivals(), Some(7));
        registry.put("10.5.1.0-24", MINE, None);
        let rig = Rig::start(registry, None);
        pass(60).await;
        assert!(rig.etcd().contains("in use by node b"));
        assert_eq!(rig.registry.names(), ["10.5.1.0-24", "10.5.40.0-24"]);
    });
}
