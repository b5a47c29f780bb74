use super::*;
use crate::overlay::state::Device;

#[test]
fn touches_nothing_on_the_device_of_another_instance() {
    on_paused_time(async {
        let mut rig = Rig::in_sync(vec![lease(40)]).await;
        put_foreign_device(&rig.kernel);
        rig.link_changed("flannel.1");
        rig.wait_for_failure("belongs to \"flanneld /other\"").await;
        let before = rig.kernel.text();
        rig.send(PeerUpdate::Changes(vec![
            (lease(41).subnet, Some(lease(41))),
            (lease(40).subnet, None),
        ]))
        .await;
        rig.l3_miss([10, 5, 41, 0]);
        pass(AUDIT).await;
        assert_eq!(rig.kernel.text(), before);
        // When the device of the other instance is gone, all changes that came meanwhile are made up for.
        rig.kernel.lose_everything();
        rig.wait_for_sync().await;
        assert!(
            rig.kernel.text().contains("10.5.41.0/24")
                && !rig.kernel.text().contains("10.5.40.0/24")
        );
    });
}

/// The kernel holds a device with our name that another flanneld made.
fn put_foreign_device(kernel: &FakeKernel) {
    kernel.shared.borrow_mut().state.device = Some(foreign_device());
}

fn foreign_device() -> Device {
    let overlay = DesiredOverlay::new(&membership(), &settings(PeerMode::Eager));
    Device {
        alias: "flanneld /other".to_owned(),
        ..overlay.device().clone()
    }
}

#[test]
fn a_foreign_device_that_was_there_first_is_left_alone_until_it_is_gone() {
    on_paused_time(async {
        let mut rig = Rig::start();
        put_foreign_device(&rig.kernel);
        rig.join(vec![lease(40)]).await;
        rig.wait_for_failure("belongs to \"flanneld /other\"").await;
        rig.send(PeerUpdate::Peers(vec![lease(41)])).await;
        pass(AUDIT * 10).await;
        assert_eq!(rig.kernel.shared.borrow().applied, 0);
        rig.kernel.lose_everything();
        rig.link_changed("flannel.1");
        pass(Duration::from_millis(30)).await;
        let text = rig.kernel.text();
        assert!(
            text.contains("10.5.41.0/24") && !text.contains("10.5.40.0/24"),
            "{text}"
        );
    });
}

#[test]
fn a_lease_of_ours_that_changes_touches_nothing_on_a_foreign_device() {
    on_paused_time(async {
        let mut rig = Rig::start();
        put_foreign_device(&rig.kernel);
        rig.join(vec![lease(40)]).await;
        rig.wait_for_failure("/other").await;
        let mut moved = membership();
        moved.own.subnet = "10.5.7.0/24".parse().expect("a subnet in a test");
        rig.send(PeerUpdate::Joined(moved)).await;
        rig.send(PeerUpdate::Peers(vec![lease(40)])).await;
        rig.settle().await;
        assert_eq!(rig.kernel.shared.borrow().applied, 0);
        rig.kernel.lose_everything();
        rig.wait_for_sync().await;
        assert!(rig.kernel.text().contains("inet 10.5.7.0/32"));
    });
}

#[test]
fn others_learn_whose_the_device_is_and_each_change_of_it() {
    on_paused_time(async {
        let mut rig = Rig::start();
        assert_eq!(*rig.owner.borrow(), DeviceOwnership::Unknown);
        put_foreign_device(&rig.kernel);
        rig.join(vec![lease(40)]).await;
        rig.wait_for_failure("ip link del flannel.1").await;
        assert_eq!(*rig.owner.borrow(), DeviceOwnership::Foreign);
        rig.kernel.lose_everything();
        rig.wait_for_sync().await;
        assert_eq!(*rig.owner.borrow(), DeviceOwnership::Ours);
        // A device of ours that is gone is made again.
        rig.owner.mark_unchanged();
        rig.kernel.lose_everything();
        rig.link_changed("flannel.1");
        pass(AUDIT).await;
        assert!(!rig.owner.has_changed().expect("the slice runs"));
    });
}

#[test]
fn nothing_is_put_on_a_device_that_another_instance_made_a_moment_earlier() {
    on_paused_time(async {
        let mut rig = Rig::start();
        rig.kernel.shared.borrow_mut().made_meanwhile = Some(foreign_device());
        rig.join(vec![lease(40)]).await;
        rig.wait_for_failure("belongs to \"flanneld /other\"").await;
        assert_eq!(rig.kernel.shared.borrow().applied, 0);
        assert_eq!(*rig.owner.borrow(), DeviceOwnership::Foreign);
    });
}
