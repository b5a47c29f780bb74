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
