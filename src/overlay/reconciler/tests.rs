use super::*;
use crate::conditions::table::Condition;
use crate::conditions::{ConditionType, Conditions};
use crate::model::addr::MacAddr;
use crate::model::external_interface::ExternalInterface;
use crate::model::lease::{Lease, OwnLease};
use crate::model::membership::Membership;
use crate::model::network_config;
use crate::overlay::desired::PeerMode;
use crate::overlay::fake::FakeKernel;
use crate::overlay::port::{Age, KernelChange};
use std::net::Ipv4Addr;
use tokio::task::LocalSet;

/// A runner over a fake kernel, driven by a test.
struct Rig {
    kernel: FakeKernel,
    updates: mpsc::Sender<PeerUpdate>,
    questions: mpsc::Receiver<Ipv4Network>,
    conditions: watch::Receiver<Conditions>,
}

impl Rig {
    fn start() -> Self {
        Self::start_as(PeerMode::Eager)
    }

    fn start_as(peering: PeerMode) -> Self {
        let kernel = FakeKernel::default();
        let (updates, receiver) = mpsc::channel(8);
        let (condition, conditions) = ConditionWriter::for_test(ConditionType::KernelInSync);
        let local = local(peering);
        let (ask, questions) = mpsc::channel(4);
        tokio::task::spawn_local(
            OverlayReconciler::new(kernel.clone(), local, condition, ask, || 0.0).run(receiver),
        );
        Self {
            kernel,
            updates,
            questions,
            conditions,
        }
    }

    async fn joined(leases: Vec<Lease>) -> Self {
        Self::joined_as(PeerMode::Eager, leases).await
    }

    async fn joined_as(peering: PeerMode, leases: Vec<Lease>) -> Self {
        let mut rig = Self::start_as(peering);
        rig.send(PeerUpdate::Joined(membership())).await;
        rig.send(PeerUpdate::Peers(leases)).await;
        rig.in_sync().await;
        rig
    }

    async fn send(&self, update: PeerUpdate) {
        self.updates.send(update).await.expect("the runner listens");
    }

    async fn in_sync(&mut self) {
        self.wait_for(|condition| condition.status == ConditionStatus::True)
            .await;
    }

    async fn wait_for(&mut self, wanted: fn(&Condition) -> bool) {
        let is_met = |table: &Conditions| wanted(table.get(ConditionType::KernelInSync));
        self.conditions
            .wait_for(is_met)
            .await
            .expect("the reconciler runs");
    }

    /// Lets the runner do all that it can do now.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

fn local(peering: PeerMode) -> OverlaySettings {
    let external = ExternalInterface {
        name: "eth0".to_owned(),
        mac: None,
        address: Ipv4Addr::new(10, 99, 0, 2),
        mtu: 1500,
    };
    let (alias, idle) = (String::new(), Duration::from_secs(600));
    OverlaySettings {
        external,
        alias,
        blackhole: false,
        checksums_in_software: false,
        peering,
        idle,
    }
}

fn membership() -> Membership {
    let own = OwnLease {
        subnet: "10.5.99.0/24".parse().expect("a subnet in a test"),
        public_ip: Ipv4Addr::new(10, 99, 0, 2),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, 1]),
    };
    let config = network_config::parse(br#"{"Network":"10.5.0.0/16"}"#)
        .expect("a configuration in a test")
        .config;
    Membership { own, config }
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
const PEER_40: &str = "02:00:00:00:00:28 dst 10.99.0.40\n10.5.40.0 lladdr 02:00:00:00:00:28\n10.5.40.0/24 via 10.5.40.0 metric 41 proto 102\n";

/// Runs a test on one thread, with a clock that jumps to the next timer when all is idle.
fn on_paused_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    LocalSet::new().block_on(&runtime.expect("a runtime for a test"), test);
}

#[test]
fn builds_the_overlay_after_the_first_complete_list() {
    on_paused_time(async {
        let rig = Rig::start();
        // A lease may take long; the audit must not take the place of the list.
        tokio::time::sleep(AUDIT * 2).await;
        rig.send(PeerUpdate::Joined(membership())).await;
        rig.settle().await;
        assert_eq!(
            rig.kernel.text(),
            "",
            "nothing before the list: leftovers may be wanted"
        );
        let rig = Rig::joined(vec![lease(40)]).await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
    });
}

#[test]
fn follows_leases_that_come_and_go() {
    on_paused_time(async {
        let rig = Rig::joined(vec![]).await;
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
fn touches_nothing_after_a_restart_when_all_is_right() {
    on_paused_time(async {
        let rig = Rig::joined(vec![lease(40)]).await;
        let applied = rig.kernel.world.borrow().applied;
        rig.send(PeerUpdate::Peers(vec![lease(40)])).await;
        tokio::time::sleep(AUDIT * 3).await;
        assert_eq!(rig.kernel.world.borrow().applied, applied);
    });
}

#[test]
fn tries_again_after_a_failure_until_it_is_done() {
    on_paused_time(async {
        let mut rig = Rig::joined(vec![]).await;
        rig.kernel.world.borrow_mut().fail_after = Some(1);
        rig.send(PeerUpdate::Changes(vec![(
            lease(40).subnet,
            Some(lease(40)),
        )]))
        .await;
        rig.wait_for(|condition| {
            condition.status == ConditionStatus::False
                && condition.message.contains("ip neigh replace")
        })
        .await;
        rig.in_sync().await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
    });
}

#[test]
fn the_audit_puts_back_what_is_missing() {
    on_paused_time(async {
        let rig = Rig::joined(vec![lease(40)]).await;
        rig.kernel.world.borrow_mut().state = crate::overlay::state::OverlayState::default();
        tokio::time::sleep(AUDIT + Duration::from_secs(1)).await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
    });
}

#[test]
fn lost_messages_lead_to_a_look_at_once() {
    on_paused_time(async {
        let rig = Rig::joined(vec![lease(40)]).await;
        rig.kernel.world.borrow_mut().state.entries.routes.clear();
        let before = Instant::now();
        rig.kernel.say(Event::ChangesLost);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
        assert!(before.elapsed() < AUDIT);
    });
}

#[test]
fn a_change_by_others_is_put_right_soon_and_our_own_echoes_are_not_looked_at() {
    on_paused_time(async {
        let rig = Rig::joined(vec![lease(40)]).await;
        let (mac, ip) = (lease(40).vtep_mac, lease(40).public_ip);
        let observed = rig.kernel.world.borrow().observed;
        rig.kernel
            .say(Event::Changed(KernelChange::Fdb(mac, Some(ip))));
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(rig.kernel.world.borrow().observed, observed);
        rig.kernel.world.borrow_mut().state.entries.fdb.clear();
        rig.kernel.say(Event::Changed(KernelChange::Fdb(mac, None)));
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
    });
}

#[test]
fn an_interface_that_flaps_all_the_time_does_not_keep_us_looking_all_the_time() {
    on_paused_time(async {
        let rig = Rig::joined(vec![lease(40)]).await;
        rig.kernel.world.borrow_mut().observing_takes = Duration::from_millis(300);
        let before = rig.kernel.world.borrow().observed;
        for _ in 0..10_000 {
            rig.kernel
                .say(Event::Changed(KernelChange::Link("eth0".to_owned())));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let looks = rig.kernel.world.borrow().observed - before;
        assert!(
            (5..=8).contains(&looks),
            "{looks} looks in 10 s, each of 0.3 s"
        );
    });
}

#[test]
fn touches_nothing_on_the_device_of_another_instance() {
    on_paused_time(async {
        let mut rig = Rig::joined(vec![lease(40)]).await;
        let alias = "flanneld /other".to_owned();
        rig.kernel
            .world
            .borrow_mut()
            .state
            .device
            .iter_mut()
            .for_each(|device| device.alias.clone_from(&alias));
        rig.kernel
            .say(Event::Changed(KernelChange::Link("flannel.1".to_owned())));
        rig.wait_for(|condition| {
            condition.status == ConditionStatus::False && condition.message.contains("/other")
        })
        .await;
        let before = rig.kernel.text();
        rig.send(PeerUpdate::Changes(vec![
            (lease(41).subnet, Some(lease(41))),
            (lease(40).subnet, None),
        ]))
        .await;
        rig.kernel
            .say(Event::Miss(Miss::L3(Ipv4Addr::new(10, 5, 41, 0))));
        tokio::time::sleep(AUDIT).await;
        assert_eq!(rig.kernel.text(), before);
        // When the other one and its device are gone, all that happened meanwhile is made up for.
        rig.kernel.world.borrow_mut().state = crate::overlay::state::OverlayState::default();
        rig.in_sync().await;
        assert!(
            rig.kernel.text().contains("10.5.41.0/24")
                && !rig.kernel.text().contains("10.5.40.0/24")
        );
    });
}

#[test]
fn packets_whose_misses_were_lost_are_looked_for_and_answered() {
    on_paused_time(async {
        let rig = Rig::joined(vec![lease(40)]).await;
        rig.kernel
            .world
            .borrow_mut()
            .state
            .entries
            .neighbours
            .clear();
        rig.kernel.world.borrow_mut().unresolved =
            vec![Ipv4Addr::new(10, 5, 40, 0), Ipv4Addr::new(10, 5, 41, 0)];
        rig.kernel.say(Event::MissesLost);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(
            rig.kernel
                .text()
                .contains("10.5.40.0 lladdr 02:00:00:00:00:28")
        );
    });
}

#[test]
fn somebody_who_keeps_undoing_us_is_met_slowly() {
    on_paused_time(async {
        let rig = Rig::joined(vec![lease(40)]).await;
        let started = Instant::now();
        for _ in 0..100 {
            rig.kernel.world.borrow_mut().state.entries.routes.clear();
            rig.kernel.say(Event::ChangesLost);
            while !rig.kernel.text().contains("metric 41") {
                tokio::time::sleep(Duration::from_millis(1)).await;
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
fn on_demand_a_neighbour_comes_with_its_first_packet_and_goes_when_it_is_not_used() {
    on_paused_time(async {
        let rig = Rig::joined_as(PeerMode::OnDemand, vec![lease(40)]).await;
        let without =
            format!("{DEVICE}02:00:00:00:00:28 dst 10.99.0.40\n10.5.0.0/16 metric 0 proto 102\n");
        assert_eq!(rig.kernel.text(), without);
        let pods = [Ipv4Addr::new(10, 5, 40, 2), Ipv4Addr::new(10, 5, 40, 3)];
        pods.iter()
            .for_each(|pod| rig.kernel.say(Event::Miss(Miss::L3(*pod))));
        rig.settle().await;
        let neighbours = || {
            rig.kernel
                .world
                .borrow()
                .state
                .entries
                .neighbours
                .keys()
                .copied()
                .collect::<Vec<_>>()
        };
        assert_eq!(neighbours(), pods);
        // Both have not been used for long, as far as the kernel knows; when in doubt, the first is.
        let age = |address: Ipv4Addr, untouched| Age {
            address,
            used: Duration::from_secs(700),
            untouched,
        };
        rig.kernel.world.borrow_mut().ages = vec![age(pods[0], false), age(pods[1], true)];
        tokio::time::sleep(Duration::from_secs(70)).await;
        assert_eq!(neighbours(), [pods[0]]);
    });
}

#[test]
fn on_demand_a_subnet_that_nobody_has_is_asked_for_once_in_a_while() {
    on_paused_time(async {
        let mut rig = Rig::joined_as(PeerMode::OnDemand, vec![lease(40)]).await;
        for last in 1..200 {
            rig.kernel
                .say(Event::Miss(Miss::L3(Ipv4Addr::new(10, 5, 77, last))));
        }
        rig.settle().await;
        assert_eq!(
            rig.questions
                .try_recv()
                .map(|subnet| subnet.to_string())
                .as_deref(),
            Ok("10.5.77.0/24")
        );
        assert!(rig.questions.try_recv().is_err());
        tokio::time::sleep(Duration::from_secs(2)).await;
        rig.kernel
            .say(Event::Miss(Miss::L3(Ipv4Addr::new(10, 5, 77, 1))));
        rig.settle().await;
        assert!(rig.questions.try_recv().is_ok());
    });
}

#[test]
fn a_scan_of_addresses_that_nobody_has_does_not_fill_the_table() {
    on_paused_time(async {
        let rig = Rig::joined_as(PeerMode::OnDemand, vec![lease(40)]).await;
        let applied = rig.kernel.world.borrow().applied;
        for n in 0..1000u16 {
            let [high, low] = n.to_be_bytes();
            rig.kernel
                .say(Event::Miss(Miss::L3(Ipv4Addr::new(10, 5, 50 + high, low))));
        }
        for _ in 0..1000 {
            rig.kernel
                .say(Event::Miss(Miss::L3(Ipv4Addr::new(10, 5, 50, 0))));
        }
        for _ in 0..30 {
            rig.settle().await;
        }
        assert_eq!(
            rig.kernel.world.borrow().applied - applied,
            1000 - 256,
            "the first ones keep their place"
        );
    });
}

#[test]
fn answers_misses_also_in_the_middle_of_much_work() {
    on_paused_time(async {
        let rig = Rig::joined(vec![lease(40)]).await;
        rig.kernel
            .world
            .borrow_mut()
            .state
            .entries
            .neighbours
            .clear();
        rig.kernel
            .say(Event::Miss(Miss::L3(Ipv4Addr::new(10, 5, 40, 0))));
        rig.send(PeerUpdate::Changes(
            (41..=90)
                .map(|n| (lease(n).subnet, Some(lease(n))))
                .collect(),
        ))
        .await;
        rig.settle().await;
        assert!(
            rig.kernel
                .text()
                .contains("10.5.40.0 lladdr 02:00:00:00:00:28"),
            "{}",
            rig.kernel.text()
        );
    });
}

#[test]
fn a_new_subnet_of_ours_moves_the_device_and_keeps_the_peers() {
    on_paused_time(async {
        let rig = Rig::joined(vec![lease(40)]).await;
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
fn its_heart_beats_also_while_nothing_happens_and_not_after_its_end() {
    on_paused_time(async {
        let (updates, receiver) = mpsc::channel(8);
        let (condition, _) = ConditionWriter::for_test(ConditionType::KernelInSync);
        let (ask, _questions) = mpsc::channel(4);
        let (heart, mut beats) = watch::channel(());
        let every = Duration::from_secs(5);
        let runner = OverlayReconciler::new(
            FakeKernel::default(),
            local(PeerMode::Eager),
            condition,
            ask,
            || 0.0,
        );
        tokio::task::spawn_local(runner.with_heart(heart, every).run(receiver));
        for _ in 0..20 {
            let beat =
                tokio::time::timeout(every + Duration::from_millis(1), beats.changed()).await;
            assert!(matches!(beat, Ok(Ok(()))), "{beat:?}");
        }
        drop(updates);
        while beats.changed().await.is_ok() {}
    });
}
