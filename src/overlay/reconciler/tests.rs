use crate::paused_time::on_paused_time;
use std::net::Ipv4Addr;

use tokio::sync::watch;

use super::*;
use crate::conditions::table::Condition;
use crate::conditions::{ConditionStatus, ConditionType, ConditionWriter, Conditions};
use crate::model::addr::MacAddr;
use crate::model::lease::Lease;
use crate::overlay::desired::tests::{membership, settings};
use crate::overlay::fake::FakeKernel;
use crate::overlay::port::{KernelChange, Miss};
use crate::overlay::state::Sysctl;
use crate::reconcile::driver::Driver;

mod external;
mod foreign;
mod misses;
mod on_demand;
mod paths;

const AUDIT: Duration = Duration::from_secs(60);

/// A driver of the slice over a kernel in memory.
struct Rig {
    kernel: FakeKernel,
    updates: mpsc::Sender<PeerUpdate>,
    lease_requests: mpsc::Receiver<Ipv4Network>,
    underlay: watch::Sender<Underlay>,
    owner: watch::Receiver<DeviceOwnership>,
    /// The table with `PathsClear`.
    paths: watch::Receiver<Conditions>,
    conditions: watch::Receiver<Conditions>,
}

impl Rig {
    fn start() -> Self {
        Self::start_as(PeerMode::Eager, None)
    }

    fn start_as(mode: PeerMode, heartbeat: Option<Heartbeat>) -> Self {
        let kernel = FakeKernel::default();
        let (updates, receiver) = mpsc::channel(8);
        let (condition, conditions) = ConditionWriter::for_test(ConditionType::KernelInSync);
        let (sender, lease_requests) = mpsc::channel(4);
        let (underlay, followed) = watch::channel(Underlay {
            external: settings(mode).external,
            index: 2,
            problem: None,
        });
        let (paths_clear, paths) = ConditionWriter::for_test(ConditionType::PathsClear);
        let ownership = watch::Sender::new(DeviceOwnership::Unknown);
        let owner = ownership.subscribe();
        let outputs = OverlayOutputs {
            lease_requests: sender,
            ownership,
            paths_clear,
        };
        let slice = OverlaySlice::new(kernel.clone(), settings(mode), receiver, outputs)
            .following(followed)
            .with_heartbeat(heartbeat.clone());
        let driver = Driver::new("overlay", slice, TIMING, condition, || 0.0);
        tokio::task::spawn_local(driver.with_heartbeat(heartbeat).run());
        Self {
            kernel,
            updates,
            lease_requests,
            underlay,
            owner,
            paths,
            conditions,
        }
    }

    /// A rig whose kernel holds the overlay with these peers.
    async fn in_sync(leases: Vec<Lease>) -> Self {
        Self::in_sync_as(PeerMode::Eager, leases).await
    }

    async fn in_sync_as(mode: PeerMode, leases: Vec<Lease>) -> Self {
        let mut rig = Self::start_as(mode, None);
        rig.join(leases).await;
        rig.wait_for_sync().await;
        rig
    }

    async fn join(&self, leases: Vec<Lease>) {
        self.send(PeerUpdate::Joined(membership())).await;
        self.send(PeerUpdate::Peers(leases)).await;
    }

    /// Changes the external interface.
    async fn change_underlay(&self, change: impl FnOnce(&mut Underlay)) {
        self.underlay.send_modify(change);
        self.settle().await;
    }

    async fn send(&self, update: PeerUpdate) {
        self.updates.send(update).await.expect("the slice listens");
    }

    /// A packet needs the neighbour `address`.
    fn l3_miss(&self, address: [u8; 4]) {
        let miss = Miss::L3(Ipv4Addr::from(address));
        self.kernel.report(KernelEvent::Miss(miss));
    }

    fn link_changed(&self, name: &str) {
        let change = KernelChange::Link(name.to_owned());
        self.kernel.report(KernelEvent::Changed(change));
    }

    async fn wait_for_sync(&mut self) {
        self.wait_for(|condition| condition.status == ConditionStatus::True)
            .await;
    }

    async fn wait_for_failure(&mut self, text: &str) {
        self.wait_for(|condition| {
            condition.status == ConditionStatus::False && condition.message.contains(text)
        })
        .await;
    }

    async fn wait_for(&mut self, is_met: impl Fn(&Condition) -> bool) {
        let is_met = |table: &Conditions| is_met(table.get(ConditionType::KernelInSync));
        let met = self.conditions.wait_for(is_met);
        // The clock is paused: an hour costs nothing, and no test waits for ever.
        let met = tokio::time::timeout(Duration::from_secs(3600), met)
            .await
            .expect("the condition within the hour");
        met.expect("the driver runs");
    }

    /// Lets the driver do all that it can do without time passing.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

fn lease(n: u8) -> Lease {
    Lease {
        subnet: format!("10.5.{n}.0/24")
            .parse()
            .expect("a subnet in a test"),
        public_ip: Ipv4Addr::new(10, 99, 0, n),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, n]),
        vni: None,
        revision: 1,
    }
}

const DEVICE: &str =
    "flannel.1 02:00:00:00:00:01 id 1 local 10.99.0.2 dev eth0 mtu 1450 up\ninet 10.5.99.0/32\n";
const PEER_40: &str = "02:00:00:00:00:28 dst 10.99.0.40\n10.5.40.0 lladdr 02:00:00:00:00:28\n10.5.40.0/24 via 10.5.40.0 metric 0 proto 102\n";

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[test]
fn builds_the_overlay_after_the_first_complete_list() {
    on_paused_time(async {
        let rig = Rig::start();
        // A lease may take long; the audit must not take the place of the list.
        pass(AUDIT * 2).await;
        rig.send(PeerUpdate::Joined(membership())).await;
        rig.settle().await;
        assert_eq!(
            rig.kernel.text(),
            "",
            "nothing before the list: leftovers may belong to peers"
        );
        let rig = Rig::in_sync(vec![lease(40)]).await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
    });
}

#[test]
fn follows_leases_that_come_and_go() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![]).await;
        rig.send(PeerUpdate::Changes(vec![(
            lease(40).subnet,
            Some(lease(40)),
        )]))
        .await;
        rig.settle().await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
        rig.send(PeerUpdate::Changes(vec![(lease(40).subnet, None)]))
            .await;
        rig.settle().await;
        assert_eq!(rig.kernel.text(), DEVICE);
    });
}

#[test]
fn touches_nothing_when_everything_is_in_place() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        let applied = rig.kernel.shared.borrow().applied;
        rig.send(PeerUpdate::Peers(vec![lease(40)])).await;
        pass(AUDIT * 3).await;
        assert_eq!(rig.kernel.shared.borrow().applied, applied);
    });
}

#[test]
fn retries_after_a_failure_until_the_kernel_holds_everything() {
    on_paused_time(async {
        let mut rig = Rig::in_sync(vec![]).await;
        rig.kernel.shared.borrow_mut().fail_after = Some(1);
        rig.send(PeerUpdate::Changes(vec![(
            lease(40).subnet,
            Some(lease(40)),
        )]))
        .await;
        rig.wait_for_failure("ip neigh replace").await;
        rig.wait_for_sync().await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
    });
}

#[test]
fn the_audit_puts_back_what_is_missing() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        rig.kernel.lose_everything();
        pass(AUDIT + Duration::from_secs(1)).await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
    });
}

#[test]
fn lost_changes_lead_to_a_run_at_once() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        rig.kernel.entries().routes.clear();
        let before = Instant::now();
        rig.kernel.report(KernelEvent::ChangesLost);
        pass(Duration::from_millis(30)).await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
        assert!(before.elapsed() < AUDIT);
    });
}

#[test]
fn a_change_by_another_program_is_repaired_soon_and_our_own_echoes_start_no_run() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        let (mac, ip) = (lease(40).vtep_mac, lease(40).public_ip);
        let observed = rig.kernel.shared.borrow().observed;
        rig.kernel
            .report(KernelEvent::Changed(KernelChange::Fdb(mac, Some(ip))));
        pass(Duration::from_millis(30)).await;
        assert_eq!(rig.kernel.shared.borrow().observed, observed);
        rig.kernel.entries().fdb.clear();
        rig.kernel
            .report(KernelEvent::Changed(KernelChange::Fdb(mac, None)));
        pass(Duration::from_millis(30)).await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
    });
}

#[test]
fn an_interface_that_flaps_all_the_time_takes_only_a_part_of_the_cpu_time() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        rig.kernel.shared.borrow_mut().observing_takes = Duration::from_millis(300);
        let before = rig.kernel.shared.borrow().observed;
        for _ in 0..10_000 {
            rig.link_changed("eth0");
            pass(Duration::from_millis(1)).await;
        }
        let runs = rig.kernel.shared.borrow().observed - before;
        assert!(
            (5..=8).contains(&runs),
            "{runs} runs in 10 s, each of 0.3 s"
        );
    });
}

#[test]
fn a_program_that_keeps_undoing_our_changes_is_throttled() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        let started = Instant::now();
        for _ in 0..100 {
            rig.kernel.entries().routes.clear();
            rig.kernel.report(KernelEvent::ChangesLost);
            while !rig.kernel.text().contains("metric 0") {
                pass(Duration::from_millis(1)).await;
            }
        }
        assert!(
            started.elapsed() > Duration::from_secs(60),
            "{:?}",
            started.elapsed()
        );
    });
}

#[test]
fn a_new_subnet_of_this_host_moves_the_device_and_keeps_the_peers() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        let mut moved = membership();
        moved.own.subnet = "10.5.7.0/24".parse().expect("a subnet in a test");
        rig.send(PeerUpdate::Joined(moved)).await;
        rig.send(PeerUpdate::Peers(vec![lease(40)])).await;
        rig.settle().await;
        assert_eq!(
            rig.kernel.text(),
            format!("{}{PEER_40}", DEVICE.replace("10.5.99.0", "10.5.7.0"))
        );
    });
}

#[test]
fn the_heart_beats_while_nothing_happens_and_stops_with_the_loop() {
    on_paused_time(async {
        let (sender, mut beats) = watch::channel(());
        let interval = Duration::from_secs(5);
        let rig = Rig::start_as(PeerMode::Eager, Some(Heartbeat::new(sender, interval)));
        for _ in 0..20 {
            let beat = tokio::time::timeout(interval + Duration::from_millis(1), beats.changed());
            assert!(matches!(beat.await, Ok(Ok(()))));
        }
        drop(rig.updates);
        while beats.changed().await.is_ok() {}
    });
}

#[test]
fn the_heart_beats_between_the_chunks_of_a_large_change() {
    on_paused_time(async {
        let (sender, mut beats) = watch::channel(());
        let heartbeat = Heartbeat::new(sender, Duration::from_secs(5));
        let mut rig = Rig::start_as(PeerMode::Eager, Some(heartbeat));
        rig.join(Vec::new()).await;
        rig.wait_for_sync().await;
        rig.settle().await;
        beats.mark_unchanged();
        let changes = (0..200).map(|n| (lease(n).subnet, Some(lease(n))));
        rig.send(PeerUpdate::Changes(changes.collect())).await;
        let mut counted = 0;
        for _ in 0..100 {
            tokio::task::yield_now().await;
            counted += u8::from(beats.has_changed().expect("the loop runs"));
            beats.mark_unchanged();
        }
        assert!(counted >= 3, "{counted} beats for 600 operations");
    });
}

#[test]
fn a_setting_of_the_device_is_put_right_within_a_second_though_no_event_tells() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        let observed = rig.kernel.shared.borrow().observed;
        pass(Duration::from_secs(30)).await;
        assert!(rig.kernel.shared.borrow().sysctls_read >= 29);
        assert_eq!(
            rig.kernel.shared.borrow().observed,
            observed,
            "nothing changed: no run"
        );
        for sysctl in Sysctl::ALL {
            let wrong = sysctl.desired() + 1;
            rig.kernel
                .shared
                .borrow_mut()
                .state
                .sysctls
                .insert(sysctl, wrong);
            pass(Duration::from_millis(1030)).await;
            let now = rig
                .kernel
                .shared
                .borrow()
                .state
                .sysctls
                .get(&sysctl)
                .copied();
            assert_eq!(now, Some(sysctl.desired()));
        }
    });
}

#[test]
fn a_setting_whose_change_the_kernel_announces_is_put_right_at_once() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        let settings = |kernel: &FakeKernel| kernel.shared.borrow().state.sysctls.clone();
        rig.kernel
            .shared
            .borrow_mut()
            .state
            .sysctls
            .insert(Sysctl::Forwarding, 0);
        rig.kernel
            .report(KernelEvent::Changed(KernelChange::Settings));
        pass(Duration::from_millis(30)).await;
        assert_eq!(settings(&rig.kernel).get(&Sysctl::Forwarding), Some(&1));
    });
}
