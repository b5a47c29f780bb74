//! Machines that have the PublicIP of this one: dead for good, alive, or come back.

use std::net::Ipv4Addr;

use super::*;
use crate::lease::port::LinkAnswer;
use crate::model::addr::MacAddr;
use crate::model::lease::TTL;

const THEIRS: i64 = 7;
const OURS: &str = "10.5.1.0-24";
const RIVALS: &str = "10.5.40.0-24";
const HOUR: Duration = Duration::from_secs(3600);

fn nobody() -> LinkAnswer {
    LinkAnswer::Nobody {
        interface: "eth0".to_owned(),
    }
}

fn another_machine() -> LinkAnswer {
    LinkAnswer::Other {
        mac: MacAddr([2, 0, 0, 0, 0, 9]),
        interface: "eth0".to_owned(),
    }
}

/// A registry that holds the lease of a host with our PublicIP, which renewed its etcd lease an hour ago.
fn with_rival() -> FakeRegistry {
    let registry = FakeRegistry::with_config(CONFIG);
    registry.lease_with_time_left(THEIRS, TTL - HOUR);
    registry.put(RIVALS, &rivals(), Some(THEIRS));
    registry
}

fn lives(registry: &FakeRegistry) {
    let mut state = registry.state.borrow_mut();
    state.renewed_on_write.insert(THEIRS);
}

fn etcd_lease(rig: &Rig, name: &str) -> Option<i64> {
    rig.registry.state.borrow().entries[name].lease
}

#[test]
fn takes_over_within_seconds_from_a_machine_that_shows_no_sign_of_life() {
    on_paused_time(async {
        let mut rig = Rig::start_on(with_rival(), nobody());
        pass(10).await;
        assert_eq!(rig.next().await, "joined 10.5.40.0/24");
        assert_eq!(rig.registry.value(RIVALS).as_deref(), Some(MINE));
        assert_ne!(
            etcd_lease(&rig, RIVALS),
            Some(THEIRS),
            "it is ours to renew"
        );
        assert_eq!(rig.lease_held(), "AsExpected");
    });
}

#[test]
fn waits_while_another_machine_answers_on_the_link_and_takes_over_after_minutes_of_silence() {
    on_paused_time(async {
        let mut rig = Rig::start_on(with_rival(), another_machine());
        pass(3600).await;
        let held = rig.lease_held();
        assert!(held.starts_with("Rival: "), "{held}");
        assert!(
            held.contains("MAC address 02:00:00:00:00:09 answers for this address on eth0"),
            "{held}"
        );
        assert!(rig.is_quiet());
        assert_eq!(
            rig.registry.state.borrow().replacements,
            0,
            "it writes nothing"
        );
        // It is cut off for a moment.
        rig.link.set(nobody());
        pass(75).await;
        rig.link.set(another_machine());
        pass(3600).await;
        assert!(rig.is_quiet());
        rig.link.set(nobody());
        pass(240).await;
        assert_eq!(rig.next().await, "joined 10.5.40.0/24");
    });
}

#[test]
fn waits_for_a_daemon_that_renews_although_the_link_is_silent() {
    on_paused_time(async {
        // As on Vagrant machines: each is alone on the link of its 10.0.2.15.
        let registry = with_rival();
        lives(&registry);
        let mut rig = Rig::start_on(registry, nobody());
        pass(60).await;
        assert!(rig.is_quiet());
        let held = rig.lease_held();
        assert!(held.contains("renews the lease when asked"), "{held}");
        assert_eq!(rig.registry.value(RIVALS), Some(rivals()));
        let asked = rig.registry.state.borrow().replacements;
        assert_eq!(asked, 1);
        pass(3600).await;
        let asked = rig.registry.state.borrow().replacements;
        assert!((3..9).contains(&asked), "{asked} in an hour");
    });
}

#[test]
fn waits_where_nothing_can_be_asked() {
    on_paused_time(async {
        // An address that is not ours (NAT), and a key that may not be written.
        let unknown = LinkAnswer::Unknown("no interface of this host has it".to_owned());
        for (answer, read_only, expected) in [
            (unknown, false, "no interface of this host has it"),
            (nobody(), true, "cannot be asked: failed to replace"),
        ] {
            let registry = with_rival();
            registry.state.borrow_mut().read_only = read_only;
            let mut rig = Rig::start_on(registry, answer);
            pass(3600).await;
            assert!(rig.is_quiet());
            let held = rig.lease_held();
            assert!(
                held.starts_with("Rival: ") && held.contains(expected),
                "{held}"
            );
            assert_eq!(rig.registry.state.borrow().replacements, 0);
        }
    });
}

#[test]
fn silence_proves_nothing_about_a_host_with_our_node_id_and_another_address() {
    on_paused_time(async {
        let registry = with_rival();
        let theirs = MINE.replace("10.99.0.2", "10.99.0.9");
        registry.put(RIVALS, &theirs, Some(THEIRS));
        let mut rig = Rig::start_on(registry, nobody());
        pass(3600).await;
        assert!(rig.is_quiet() && rig.lease_held().contains("--node-id"));
        assert_eq!(rig.registry.value(RIVALS), Some(theirs));
    });
}

#[test]
fn answers_a_host_that_asks_whether_we_live_and_not_too_often() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        let lease = etcd_lease(&rig, OURS);
        rig.registry.put(OURS, MINE, lease);
        pass(1).await;
        assert_eq!(rig.registry.state.borrow().renewals, 1);
        for _ in 0..100 {
            rig.registry.put(OURS, MINE, lease);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let renewals = rig.registry.state.borrow().renewals;
        assert!((10..13).contains(&renewals), "{renewals} in 11 s");
        assert!(rig.is_quiet());
        assert_eq!(rig.lease_held(), "AsExpected");
    });
}

#[test]
fn a_machine_that_was_replaced_while_it_was_cut_off_gives_way() {
    on_paused_time(async {
        for answer in [another_machine(), nobody()] {
            let rig = replaced(answer).await;
            pass(60).await;
            let held = rig.lease_held();
            assert!(held.starts_with("Rival: "), "{held}");
            assert_eq!(rig.registry.value(OURS), Some(rivals()));
            assert_eq!(rig.registry.names(), [OURS]);
            // It comes back under another address.
            rig.public_ip.send_replace(Ipv4Addr::new(10, 99, 0, 5));
            pass(20).await;
            assert_eq!(rig.lease_held(), "AsExpected");
            assert_eq!(rig.registry.value(OURS), Some(rivals()), "it stays");
            assert_eq!(rig.registry.names().len(), 2);
        }
    });
}

/// Returns a host that was cut off from etcd and replaced meanwhile, and is back.
async fn replaced(answer: LinkAnswer) -> Rig {
    let registry = FakeRegistry::with_config(CONFIG);
    lives(&registry);
    let rig = joined(registry).await;
    rig.link.set(answer);
    rig.registry.set_unreachable(true);
    pass(60).await;
    rig.registry.lease_with_time_left(THEIRS, TTL - HOUR);
    rig.registry.put(OURS, &rivals(), Some(THEIRS));
    rig.registry.set_unreachable(false);
    rig
}

#[test]
fn what_a_script_wrote_with_our_public_ip_is_written_over() {
    on_paused_time(async {
        let rig = replaced(nobody()).await;
        rig.registry.state.borrow_mut().renewed_on_write.clear();
        pass(30).await;
        assert_eq!(rig.registry.value(OURS).as_deref(), Some(MINE));
        assert_eq!(rig.lease_held(), "AsExpected");
    });
}
