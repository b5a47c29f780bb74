//! Renewals of the etcd lease.

use super::*;
use crate::lease::manager::tests::rig::suspend;
use crate::model::lease::TTL;

#[test]
fn renews_well_before_expiry_and_publishes_nothing() {
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
fn renews_soon_after_the_machine_was_suspended() {
    on_paused_time(async {
        let mut rig = Rig::start(FakeRegistry::with_config(CONFIG), None);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24");
        assert_eq!(rig.next().await, "leases ");
        suspend(Duration::from_secs(20 * 3600));
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(rig.registry.state.borrow().renewals, 1);
    });
}

#[test]
fn renews_a_hundred_times_without_rewriting_the_key() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        let key = || rig.registry.state.borrow().entries["10.5.1.0-24"].clone();
        let before = key();
        // With no jitter, a renewal follows after 0.85 of a third of the time to live.
        tokio::time::sleep((TTL / 3).mul_f64(0.85 * 100.5)).await;
        assert_eq!(rig.registry.state.borrow().renewals, 100);
        assert_eq!(key(), before, "a write would wake every watch");
        assert_eq!(rig.registry.state.borrow().lists, 1);
        assert!(rig.is_quiet());
    });
}
