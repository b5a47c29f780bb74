//! A host whose PublicIP changes while it runs.

use std::net::Ipv4Addr;

use super::*;

const NEW_IP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 22);

/// Our value with the new PublicIP.
fn moved() -> String {
    MINE.replace("10.99.0.2", "10.99.0.22")
}

#[test]
fn the_lease_follows_under_the_same_subnet() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        rig.public_ip.send_replace(NEW_IP);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24 at 10.99.0.22");
        assert_eq!(rig.next().await, "leases ");
        assert_eq!(rig.registry.value("10.5.1.0-24"), Some(moved()));
        assert_eq!(rig.registry.state.borrow().leases.len(), 1);
        pass(1).await;
        assert_eq!(rig.lease_held(), "AsExpected");
    });
}

#[test]
fn the_lease_is_written_when_etcd_is_back() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        rig.registry.set_unreachable(true);
        pass(9).await;
        rig.public_ip.send_replace(Ipv4Addr::new(10, 99, 0, 21));
        pass(9).await;
        rig.public_ip.send_replace(NEW_IP);
        pass(9).await;
        assert_eq!(
            rig.lease_held(),
            "PublicIpNotPublished: etcd holds PublicIP 10.99.0.2, but this host is at 10.99.0.22; writing the lease again"
        );
        rig.registry.set_unreachable(false);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24 at 10.99.0.22");
        assert_eq!(rig.registry.value("10.5.1.0-24"), Some(moved()));
    });
}

#[test]
fn a_write_whose_answer_was_lost_is_still_ours_after_the_next_change() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        rig.registry.set_unreachable(true);
        pass(9).await;
        rig.public_ip.send_replace(NEW_IP);
        pass(9).await;
        let lease = rig.registry.state.borrow().entries["10.5.1.0-24"].lease;
        rig.registry.put("10.5.1.0-24", &moved(), lease);
        rig.public_ip.send_replace(Ipv4Addr::new(10, 99, 0, 23));
        rig.registry.set_unreachable(false);
        assert_eq!(rig.next().await, "joined 10.5.1.0/24 at 10.99.0.23");
    });
}

/// The lease of another host at the new address.
fn rival() -> String {
    OTHER
        .replace("10.99.0.3", "10.99.0.22")
        .replace("}}", r#"},"NodeID":"b"}"#)
}

/// A host that has moved to the address of node b.
async fn refused() -> Rig {
    let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
    rig.registry.state.borrow_mut().leases.insert(8);
    rig.registry.put("10.5.40.0-24", &rival(), Some(8));
    assert_eq!(rig.next().await, "changes +10.5.40.0/24");
    rig.public_ip.send_replace(NEW_IP);
    assert_eq!(rig.next().await, "leases +10.5.40.0/24");
    pass(1).await;
    let held = rig.lease_held();
    let names_both = held.contains("in use by node b") && held.contains("this host is node a");
    assert!(held.starts_with("Rival: ") && names_both, "{held}");
    assert_eq!(rig.registry.value("10.5.1.0-24").as_deref(), Some(MINE));
    rig
}

#[test]
fn a_rival_at_the_new_address_is_named_and_the_running_lease_is_kept() {
    on_paused_time(async {
        let mut rig = refused().await;
        for _ in 0..20 {
            pass(8640).await;
            while rig.updates.try_recv().is_ok() {}
        }
        assert_eq!(rig.registry.names(), ["10.5.1.0-24", "10.5.40.0-24"]);
        assert_eq!(rig.registry.value("10.5.1.0-24").as_deref(), Some(MINE));
        assert!(rig.registry.state.borrow().renewals >= 5, "it is renewed");
        rig.registry.delete("10.5.40.0-24");
        while rig.next().await != "joined 10.5.1.0/24 at 10.99.0.22" {}
        pass(1).await;
        assert_eq!(rig.lease_held(), "AsExpected");
    });
}

#[test]
fn all_is_well_again_when_the_host_returns_to_its_earlier_address() {
    on_paused_time(async {
        let mut rig = refused().await;
        rig.public_ip.send_replace(Ipv4Addr::new(10, 99, 0, 2));
        assert_eq!(rig.next().await, "leases +10.5.40.0/24");
        pass(1).await;
        assert_eq!(rig.lease_held(), "AsExpected");
    });
}

#[test]
fn what_is_written_over_our_key_while_a_rival_refuses_us_is_written_over() {
    on_paused_time(async {
        let rig = refused().await;
        let ours = rig.registry.state.borrow().entries["10.5.1.0-24"].lease;
        rig.registry.put("10.5.1.0-24", "garbage", ours);
        pass(1).await;
        assert_eq!(rig.registry.value("10.5.1.0-24").as_deref(), Some(MINE));
    });
}
