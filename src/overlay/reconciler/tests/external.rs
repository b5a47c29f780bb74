use super::*;
use crate::conditions::Reason;

const MOVED: &str =
    "flannel.1 02:00:00:00:00:01 id 1 local 10.98.0.2 dev eth1 mtu 1350 up\ninet 10.5.99.0/32\n";

fn another_interface(underlay: &mut Underlay) {
    underlay.external.name = "eth1".to_owned();
    underlay.external.address = Ipv4Addr::new(10, 98, 0, 2);
    underlay.external.mtu = 1400;
    underlay.index = 3;
}

#[test]
fn the_device_follows_the_external_interface_in_place_and_at_once() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        let applied = rig.kernel.shared.borrow().applied;
        rig.change_underlay(another_interface).await;
        assert_eq!(rig.kernel.text(), format!("{MOVED}{PEER_40}"));
        // The entries were not touched.
        assert_eq!(rig.kernel.shared.borrow().applied, applied + 3);
        // A peer that comes later, and the audit, know the new interface.
        rig.send(PeerUpdate::Changes(vec![(
            lease(41).subnet,
            Some(lease(41)),
        )]))
        .await;
        pass(AUDIT * 2).await;
        assert!(rig.kernel.text().starts_with(MOVED));
        assert_eq!(rig.kernel.shared.borrow().applied, applied + 6);
    });
}

#[test]
fn a_kernel_that_cannot_change_the_parent_gets_a_new_device_with_all_entries() {
    on_paused_time(async {
        let mut rig = Rig::in_sync(vec![lease(40)]).await;
        rig.kernel.shared.borrow_mut().parent_is_fixed = true;
        rig.change_underlay(another_interface).await;
        pass(Duration::from_millis(1)).await;
        rig.wait_for_sync().await;
        assert_eq!(rig.kernel.text(), format!("{MOVED}{PEER_40}"));
    });
}

#[test]
fn an_interface_that_changes_before_the_first_list_is_known_when_the_device_is_made() {
    on_paused_time(async {
        let mut rig = Rig::start();
        rig.send(PeerUpdate::Joined(membership())).await;
        rig.change_underlay(another_interface).await;
        rig.send(PeerUpdate::Peers(vec![lease(40)])).await;
        rig.wait_for_sync().await;
        assert_eq!(rig.kernel.text(), format!("{MOVED}{PEER_40}"));
    });
}

#[test]
fn without_an_external_interface_everything_is_kept_in_order_and_the_condition_says_why() {
    on_paused_time(async {
        let mut rig = Rig::in_sync(vec![lease(40)]).await;
        let gone = |underlay: &mut Underlay| underlay.problem = Some("eth0 is gone".to_owned());
        rig.change_underlay(gone).await;
        rig.wait_for_failure("eth0 is gone").await;
        let reason = rig
            .conditions
            .borrow()
            .get(ConditionType::KernelInSync)
            .reason;
        assert_eq!(reason, Reason::NoExternalInterface);
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
        // What another program removes is put back all the same.
        rig.kernel.entries().fdb.clear();
        rig.link_changed("flannel.1");
        pass(Duration::from_secs(1)).await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
        // Nothing can be made without an interface; it is made at once when that is back.
        rig.kernel.lose_everything();
        rig.link_changed("flannel.1");
        pass(Duration::from_secs(1)).await;
        assert_eq!(rig.kernel.text(), "");
        rig.change_underlay(|underlay| underlay.problem = None)
            .await;
        rig.wait_for_sync().await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
    });
}
