mod trouble;

use crate::paused_time::on_paused_time;
use std::net::Ipv4Addr;

use tokio::time::Instant;

use super::*;
use crate::conditions::{ConditionStatus, ConditionType, ConditionWriter, Conditions};
use crate::model::external_interface::ExternalInterface;
use crate::peers::table::tests::membership;
use crate::reconcile::driver::Driver;
use crate::rules::fake::{FakeHost, FakePacketFilter, change};
use crate::rules::settings::RequestedTool;
use crate::rules::tool::IptablesVariant;

const RESYNC: Duration = Duration::from_secs(5);
const MAKE_TABLE: &str = "nft -f - # table ip flannel.1";
const ACCEPT: &str = "iptables-nft-restore --wait --noflush # FLANNEL-FWD";
const DOCKER: &str = "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\nCOMMIT\n";

/// A driver over the slice, and what a test sees and changes.
struct Rig {
    filter: FakePacketFilter,
    membership: watch::Sender<Option<Membership>>,
    conditions: watch::Receiver<Conditions>,
}

impl Rig {
    fn start(tool: RequestedTool) -> Self {
        let filter = FakePacketFilter::default();
        let events = Some(filter.clone());
        Self::start_with(tool, filter, events)
    }

    fn start_with(
        tool: RequestedTool,
        filter: FakePacketFilter,
        events: Option<FakePacketFilter>,
    ) -> Self {
        let (membership, receiver) = watch::channel(None);
        let settings = settings(tool);
        let timing = timing(&settings);
        let slice = RulesSlice::new(
            filter.clone(),
            events,
            settings,
            receiver,
            Followed::nothing(),
        );
        let (condition, conditions) = ConditionWriter::for_test(ConditionType::RulesInstalled);
        tokio::task::spawn_local(Driver::new("rules", slice, timing, condition, || 0.0).run());
        Self {
            filter,
            membership,
            conditions,
        }
    }

    /// A rig whose rules are in place.
    async fn in_sync(tool: RequestedTool) -> Self {
        let rig = Self::start(tool);
        rig.join().await;
        assert_eq!(rig.status(), ConditionStatus::True);
        rig
    }

    async fn join(&self) {
        self.membership.send_replace(Some(membership()));
        pass(1).await;
    }

    fn status(&self) -> ConditionStatus {
        let conditions = self.conditions.borrow();
        conditions.get(ConditionType::RulesInstalled).status
    }

    fn message(&self) -> String {
        let conditions = self.conditions.borrow();
        conditions
            .get(ConditionType::RulesInstalled)
            .message
            .clone()
    }

    fn with<R>(&self, act: impl FnOnce(&mut FakeHost) -> R) -> R {
        self.filter.with(act)
    }

    /// Returns the commands since the last call.
    fn take_applied(&self) -> Vec<String> {
        self.with(|host| std::mem::take(&mut host.applied))
    }

    fn observations(&self) -> usize {
        self.with(|host| host.observed_at.len())
    }

    fn has_table(&self) -> bool {
        self.with(|host| host.table.is_some())
    }

    fn saved(&self, variant: IptablesVariant) -> String {
        self.with(|host| host.saved(variant))
    }

    /// Another program runs a script for `iptables-restore --noflush`.
    fn restore(&self, variant: IptablesVariant, script: &str) {
        self.with(|host| host.restore(variant, script))
            .expect("the script runs");
    }
}

fn settings(tool: RequestedTool) -> RulesSettings {
    RulesSettings {
        tool,
        ip_masq: true,
        random_fully: true,
        forward: true,
        resync: RESYNC,
        external: ExternalInterface {
            name: "eth0".to_owned(),
            mac: None,
            address: Ipv4Addr::new(10, 99, 0, 2),
            mtu: 1500,
        },
    }
}

async fn pass(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

const HOUR: u64 = 3_600_000;

#[test]
fn the_rules_are_installed_with_the_lease_and_not_before() {
    on_paused_time(async {
        let rig = Rig::start(RequestedTool::Auto);
        rig.with(FakeHost::delete_table);
        pass(HOUR).await;
        assert_eq!(
            (rig.observations(), rig.status()),
            (0, ConditionStatus::Unknown)
        );
        rig.join().await;
        assert_eq!(rig.take_applied(), [MAKE_TABLE, ACCEPT]);
        assert_eq!(rig.status(), ConditionStatus::True);
    });
}

#[test]
fn what_another_program_flushed_is_repaired_after_the_debounce() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.take_applied();
        rig.with(FakeHost::delete_table);
        pass(19).await;
        assert!(!rig.has_table());
        pass(2).await;
        assert_eq!(rig.take_applied(), [MAKE_TABLE]);
        rig.restore(
            IptablesVariant::Nft,
            "*filter\n-F FORWARD\n-F FLANNEL-FWD\n",
        );
        pass(21).await;
        assert_eq!(rig.take_applied(), [ACCEPT]);
        assert_eq!(rig.status(), ConditionStatus::True);
    });
}

#[test]
fn nothing_is_looked_at_while_nothing_changes_and_our_own_changes_are_no_change() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        pass(HOUR).await;
        assert_eq!(rig.observations(), 1, "the installation");
        rig.with(FakeHost::delete_table);
        pass(HOUR).await;
        assert_eq!(rig.observations(), 2, "the repair");
    });
}

#[test]
fn changes_of_other_programs_elsewhere_start_no_process() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        for _ in 0..100 {
            rig.with(|host| host.announce(vec![change("nat", Some("KUBE-SERVICES"))]));
            pass(100).await;
        }
        assert_eq!(rig.observations(), 1);
        rig.with(|host| host.announce(vec![change("nat", Some("POSTROUTING"))]));
        pass(100).await;
        assert_eq!(rig.observations(), 2);
    });
}

#[test]
fn lost_messages_lead_to_a_run() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.with(|host| {
            host.table = None;
            host.lose_events();
        });
        pass(21).await;
        assert!(rig.has_table());
    });
}

/// Returns how many observations there are in twenty intervals of polling.
async fn polls(rig: &Rig) -> usize {
    let before = rig.observations();
    tokio::time::sleep(RESYNC * 20 + RESYNC / 2).await;
    rig.observations() - before
}

#[test]
fn only_what_the_kernel_does_not_announce_is_polled() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        assert_eq!(polls(&rig).await, 0, "the kernel announces everything");
        rig.with(|host| host.needs_polling = true);
        let polled = polls(&rig).await;
        assert!(
            (20..=21).contains(&polled),
            "{polled}: iptables-legacy is used"
        );
        rig.with(|host| host.needs_polling = false);
        assert_eq!(polls(&rig).await, 0, "its tables are gone");
        rig.with(FakeHost::break_events);
        pass(50).await;
        assert_eq!(polls(&rig).await, 20, "no messages any more");
    });
}

#[test]
fn a_kernel_that_sends_no_messages_is_polled() {
    on_paused_time(async {
        let rig = Rig::start_with(RequestedTool::Auto, FakePacketFilter::default(), None);
        rig.join().await;
        rig.with(FakeHost::delete_table);
        tokio::time::sleep(RESYNC).await;
        assert!(rig.has_table());
        assert_eq!(polls(&rig).await, 20);
    });
}

#[test]
fn polling_goes_on_beside_changes_that_do_not_concern_us() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.with(|host| host.needs_polling = true);
        let end = Instant::now() + RESYNC * 10 + RESYNC / 2;
        while Instant::now() < end {
            rig.with(|host| host.announce(vec![change("busy", None)]));
            pass(10).await;
        }
        assert_eq!(rig.observations(), 11);
    });
}

#[test]
fn a_changed_lease_is_installed_at_once_and_an_equal_one_changes_nothing() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.take_applied();
        let mut moved = membership();
        moved.own.subnet = "10.5.7.0/24".parse().expect("a subnet in a test");
        rig.membership.send_replace(Some(moved.clone()));
        pass(1).await;
        assert_eq!(rig.take_applied(), [MAKE_TABLE, ACCEPT]);
        let table = rig.with(|host| host.table.clone().unwrap_or_default());
        assert!(table.contains("ip saddr 10.5.7.0/24"), "{table}");
        let observations = rig.observations();
        rig.membership.send_replace(Some(moved));
        pass(1).await;
        assert_eq!(rig.observations(), observations);
    });
}

#[test]
fn the_network_config_moves_the_rules_to_another_tool_which_are_there_before_the_old_ones_go() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.take_applied();
        let mut membership = membership();
        membership.config.nftables = Some(false);
        rig.membership.send_replace(Some(membership));
        pass(1).await;
        let chains = "FLANNEL-POSTRTG, FLANNEL-RAW-PRE, FLANNEL-RAW-OUT";
        let install = format!("iptables-nft-restore --wait --noflush # {chains}");
        assert_eq!(rig.take_applied(), [install.as_str(), MAKE_TABLE]);
        assert!(!rig.has_table());
        assert!(rig.saved(IptablesVariant::Nft).contains("MASQUERADE"));
    });
}

#[test]
fn the_accept_follows_the_program_that_filters() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.with(|host| host.needs_polling = true);
        rig.take_applied();
        rig.restore(IptablesVariant::Legacy, DOCKER);
        tokio::time::sleep(RESYNC).await;
        let install = "iptables-legacy-restore --wait --noflush # FLANNEL-FWD, FLANNEL-FWD-END, FLANNEL-RAW-DOCKER";
        assert_eq!(rig.take_applied(), [install, ACCEPT]);
        assert!(!rig.saved(IptablesVariant::Nft).contains("FLANNEL"));
    });
}

#[test]
fn dockers_nftables_backend_is_met_with_a_mark_as_soon_as_its_table_is_there() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.take_applied();
        let has_mark = || {
            let table = rig.with(|host| host.table.clone().unwrap_or_default());
            table.contains("meta mark set meta mark | 0x1000")
        };
        for is_there in [true, false] {
            rig.with(|host| {
                host.docker_table = is_there;
                host.announce(vec![change("docker-bridges", None)]);
            });
            pass(100).await;
            assert_eq!(rig.take_applied(), [MAKE_TABLE]);
            assert_eq!(has_mark(), is_there);
        }
    });
}

#[test]
fn the_loop_ends_when_the_lease_cannot_change_any_more() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        let Rig {
            membership,
            mut conditions,
            ..
        } = rig;
        drop(membership);
        while conditions.changed().await.is_ok() {}
    });
}
