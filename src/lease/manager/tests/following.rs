//! Following the leases of the other hosts.

use super::*;

const DUAL: &str = "10.5.40.0-24&fd00:5::-64";

#[test]
fn publishes_each_change_of_a_peer() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), Some("10.5.9.0/24"));
        assert_eq!(rig.next().await, "joined 10.5.9.0/24");
        assert_eq!(rig.next().await, "suspect");
        assert_eq!(rig.next().await, "leases ");
        rig.registry.put("10.5.40.0-24", OTHER, Some(7));
        assert_eq!(rig.next().await, "changes +10.5.40.0/24");
        rig.registry.put("10.5.40.0-24", "garbage", Some(7));
        assert_eq!(rig.next().await, "changes ?10.5.40.0/24");
        let udp = OTHER.replace("vxlan", "udp");
        rig.registry.put("10.5.40.0-24", &udp, Some(7));
        assert_eq!(rig.next().await, "changes -10.5.40.0/24");
        rig.registry.put("8.8.8.0-24", OTHER, Some(7));
        assert_eq!(rig.next().await, "changes -8.8.8.0/24");
        rig.registry.put("nonsense", OTHER, Some(7));
        rig.registry.delete("10.5.40.0-24");
        assert_eq!(rig.next().await, "changes -10.5.40.0/24");
    });
}

#[test]
fn looks_up_a_subnet_that_a_packet_needs() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        rig.registry.put_unwatched("10.5.40.0-24", OTHER);
        for subnet in ["10.5.41.0/24", "10.5.40.0/24"] {
            rig.lookups
                .send(subnet.parse().expect("a subnet in a test"))
                .await
                .expect("the lease manager runs");
        }
        assert_eq!(rig.next().await, "changes +10.5.40.0/24");
    });
}

#[test]
fn publishes_all_changes_after_etcd_was_unreachable() {
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
fn shows_which_keys_it_ignores() {
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
fn a_second_key_of_a_subnet_does_not_disturb_its_peer() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        rig.registry.put("10.5.40.0-24", OTHER, Some(7));
        assert_eq!(rig.next().await, "changes +10.5.40.0/24");
        rig.registry.put("10.5.40.0-024", "garbage", Some(7));
        rig.registry.put(DUAL, OTHER, Some(7));
        pass(1).await;
        assert_eq!(
            rig.ignored.borrow()[DUAL],
            "another key of subnet 10.5.40.0/24 is in use"
        );
        rig.registry.put(DUAL, "garbage", Some(7));
        rig.registry.delete(DUAL);
        rig.registry.delete("10.5.40.0-024");
        pass(60).await;
        assert!(rig.is_quiet(), "the peer is unchanged");
        rig.registry.delete("10.5.40.0-24");
        assert_eq!(rig.next().await, "changes -10.5.40.0/24");
    });
}

#[test]
fn a_dual_stack_key_counts_when_the_plain_one_is_gone() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.put("10.5.40.0-24", OTHER, Some(7));
        registry.put(DUAL, &OTHER.replace("10.99.0.3", "10.99.0.4"), Some(7));
        let mut rig = joined(registry).await;
        rig.registry.delete("10.5.40.0-24");
        assert_eq!(rig.next().await, "leases +10.5.40.0/24");
        rig.registry.delete(DUAL);
        assert_eq!(rig.next().await, "changes -10.5.40.0/24");
    });
}

#[test]
fn counts_the_leases_that_it_uses_and_those_that_it_does_not() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.put(
            "10.5.41.0-24",
            &OTHER.replace(r#""VNI":1"#, r#""VNI":9"#),
            None,
        );
        let mut rig = joined(registry).await;
        rig.registry.put("10.5.40.0-24", OTHER, Some(7));
        rig.registry
            .put("10.5.42.0-24", &OTHER.replace("vxlan", "udp"), Some(7));
        rig.registry.put("nonsense", "", Some(7));
        rig.registry
            .put_config(r#"{"Network":"10.5.0.0/16","Backend":{"Port":4789}}"#);
        pass(1).await;
        let counts = rig.counts.borrow_and_update().clone();
        let numbers = [
            counts.used,
            counts.other_vni,
            counts.other_backend,
            counts.otherwise_unusable,
        ];
        assert_eq!(numbers, [1; 4]);
        let example = ("10.5.41.0-24".to_owned(), "VNI is 9, ours is 1".to_owned());
        assert_eq!(counts.example, Some(example));
        assert!(
            counts.config_differences[0].contains("Backend.Port 8472 -> 4789"),
            "{counts:?}"
        );
        rig.registry.delete("10.5.41.0-24");
        rig.registry.put("10.5.40.0-24", "garbage", Some(7));
        pass(1).await;
        assert_eq!(
            (rig.counts.borrow().used, rig.counts.borrow().other_vni),
            (0, 0)
        );
    });
}
