use std::net::Ipv4Addr;

use tokio::sync::mpsc;

use super::*;
use crate::conditions::table::Condition;
use crate::conditions::{ConditionStatus, ConditionType, ConditionWriter, Conditions};
use crate::host::fake::FakeHost;
use crate::paused_time::on_paused_time;
use crate::peers::table::tests::membership;
use crate::reconcile::driver::Driver;

const DROP_ALL: &str = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n";

struct Rig {
    host: FakeHost,
    events: mpsc::Sender<HostEvent>,
    membership: watch::Sender<Option<Membership>>,
    peers: watch::Sender<PeerSummary>,
    leases: watch::Sender<LeaseCounts>,
    conditions: watch::Receiver<Conditions>,
    bridges: watch::Sender<Vec<PodBridge>>,
    warnings: watch::Receiver<Vec<String>>,
}

impl Rig {
    async fn start() -> Self {
        let host = FakeHost::default();
        let (events, receiver) = mpsc::channel(8);
        let (membership, joined) = watch::channel(None);
        let (peers, summary) = watch::channel(PeerSummary::default());
        let settings = HostSettings {
            external: "eth0".to_owned(),
            local: Ipv4Addr::new(10, 99, 0, 200),
            accepts_forward: true,
            has_rules: true,
        };
        let ports = (host.clone(), host.clone(), receiver);
        let (leases, counts) = watch::channel(LeaseCounts::default());
        let slice = HostSlice::new(
            ports,
            settings,
            joined,
            summary,
            counts,
            Followed::nothing(),
        );
        let (bridges, seen) = watch::channel(Vec::new());
        let (warnings_sender, warnings) = watch::channel(Vec::new());
        let slice = slice.judging_bridges(seen, warnings_sender);
        let (condition, conditions) = ConditionWriter::for_test(ConditionType::HostFit);
        tokio::task::spawn_local(Driver::new("host", slice, TIMING, condition, || 0.0).run());
        let rig = Self {
            host,
            events,
            membership,
            peers,
            leases,
            conditions,
            bridges,
            warnings,
        };
        rig.pass(1).await;
        rig
    }

    async fn pass(&self, milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    async fn join(&self) {
        self.membership.send_replace(Some(membership()));
        self.pass(1).await;
    }

    /// Reports an event after a quiet time, and lets the slice answer.
    async fn report(&self, event: HostEvent) {
        self.pass(3000).await;
        self.events.send(event).await.expect("the slice listens");
        self.pass(200).await;
    }

    fn condition(&self) -> Condition {
        self.conditions.borrow().get(ConditionType::HostFit).clone()
    }

    fn is_fit(&self) -> bool {
        self.condition().status == ConditionStatus::True
    }
}

#[test]
fn a_setting_that_is_changed_shows_at_once() {
    on_paused_time(async {
        let rig = Rig::start().await;
        rig.join().await;
        assert!(rig.is_fit());
        rig.host.0.borrow_mut().sysctls.ip_forward = Some(0);
        rig.report(HostEvent::Settings).await;
        let condition = rig.condition();
        assert_eq!(condition.reason, Reason::KernelSetting);
        assert!(condition.message.contains("sysctl -w"), "{condition:?}");
        rig.host.0.borrow_mut().sysctls.ip_forward = Some(1);
        rig.report(HostEvent::Settings).await;
        assert!(rig.is_fit());
    });
}

#[test]
fn a_bridge_in_the_subnets_of_others_is_a_warning_while_it_is_there() {
    on_paused_time(async {
        let rig = Rig::start().await;
        let docker0 = |address: &str| PodBridge {
            name: "docker0".to_owned(),
            address: address.parse().expect("an address in a test"),
        };
        rig.bridges.send_replace(vec![docker0("10.5.0.1/16")]);
        rig.pass(200).await;
        assert!(rig.warnings.borrow().is_empty(), "our subnet is not known");
        rig.join().await;
        rig.pass(200).await;
        assert_eq!(rig.warnings.borrow().len(), 1);
        assert!(rig.is_fit(), "Docker waits for us");
        rig.bridges.send_replace(vec![docker0("10.5.200.1/24")]);
        rig.pass(3000).await;
        assert!(rig.warnings.borrow().is_empty());
        assert!(rig.is_fit());
    });
}

#[test]
fn a_firewall_is_judged_once_this_host_has_a_lease_and_again_when_it_changes() {
    on_paused_time(async {
        let rig = Rig::start().await;
        rig.host.0.borrow_mut().iptables = DROP_ALL.to_owned();
        rig.report(HostEvent::Firewalls).await;
        let status = rig.condition().status;
        assert_eq!(
            status,
            ConditionStatus::Unknown,
            "the port of the overlay is not known yet"
        );
        rig.join().await;
        assert_eq!(rig.condition().reason, Reason::Firewall);
        rig.host.0.borrow_mut().iptables.clear();
        rig.report(HostEvent::Firewalls).await;
        assert!(rig.is_fit());
    });
}

#[test]
fn packet_filters_are_read_when_they_change_and_not_otherwise() {
    on_paused_time(async {
        let rig = Rig::start().await;
        rig.join().await;
        rig.report(HostEvent::Settings).await;
        rig.pass(600_000).await;
        assert_eq!(rig.host.0.borrow().reads, 1);
        rig.report(HostEvent::Firewalls).await;
        assert_eq!(rig.host.0.borrow().reads, 2);
        rig.host.0.borrow_mut().polled = true;
        rig.pass(121_000).await;
        assert!(rig.host.0.borrow().reads >= 4, "once a minute");
    });
}

#[test]
fn a_tool_that_fails_leaves_what_was_known() {
    on_paused_time(async {
        let rig = Rig::start().await;
        rig.host.0.borrow_mut().iptables = DROP_ALL.to_owned();
        rig.join().await;
        rig.report(HostEvent::Firewalls).await;
        assert!(!rig.is_fit());
        rig.host.0.borrow_mut().tool_fails = true;
        rig.report(HostEvent::Firewalls).await;
        assert!(!rig.is_fit());
        // The tool is asked again, though nothing else changes.
        {
            let mut host = rig.host.0.borrow_mut();
            host.tool_fails = false;
            host.iptables.clear();
        }
        rig.pass(61_000).await;
        assert!(rig.is_fit());
    });
}

#[test]
fn all_problems_are_named_and_many_peers_are_no_problem() {
    on_paused_time(async {
        let rig = Rig::start().await;
        rig.join().await;
        rig.peers.send_replace(PeerSummary {
            peers: 60_000,
            held: 0,
        });
        {
            let mut host = rig.host.0.borrow_mut();
            host.neighbours.limit = Some(1024);
            host.neighbours.overflows = Some(0);
        }
        rig.report(HostEvent::Settings).await;
        assert!(rig.is_fit());
        {
            let mut host = rig.host.0.borrow_mut();
            host.neighbours.overflows = Some(5);
            host.sysctls.ip_forward = Some(0);
        }
        rig.report(HostEvent::Settings).await;
        let message = rig.condition().message;
        assert!(message.contains("ip_forward is 0"), "{message}");
        assert!(message.contains("was full 5 times"), "{message}");
    });
}

#[test]
fn a_host_that_most_others_ignore_is_not_fit() {
    on_paused_time(async {
        let rig = Rig::start().await;
        rig.join().await;
        let excluded = LeaseCounts {
            used: 1,
            other_vni: 2,
            ..LeaseCounts::default()
        };
        rig.leases.send_replace(excluded);
        rig.pass(1000).await;
        assert_eq!(rig.condition().reason, Reason::ExcludesOthers);
        rig.leases.send_replace(LeaseCounts::default());
        rig.pass(1000).await;
        assert!(rig.is_fit());
    });
}

#[test]
fn a_lease_that_is_damaged_for_a_moment_does_not_make_a_host_unfit() {
    on_paused_time(async {
        let rig = Rig::start().await;
        rig.join().await;
        let counts = |used, other_backend| LeaseCounts {
            used,
            other_backend,
            ..LeaseCounts::default()
        };
        rig.leases.send_replace(counts(1, 0));
        rig.pass(3000).await;
        rig.leases.send_replace(counts(0, 1));
        rig.pass(500).await;
        assert!(rig.is_fit());
        rig.leases.send_replace(counts(1, 0));
        rig.pass(3000).await;
        assert!(rig.is_fit());
        rig.leases.send_replace(counts(0, 1));
        rig.pass(1500).await;
        assert_eq!(rig.condition().reason, Reason::ExcludesOthers);
    });
}
