//! What happens when others overwrite the key of our lease while our pods run.

use super::*;
use crate::lease::port::Entry;
use crate::model::lease::TTL;
use crate::peers::update::LeaseUpdate;

const KEY: &str = "10.5.1.0-24";
/// The etcd lease of another host.
const THEIRS: i64 = 8;

/// Values that are not ours.
fn spoilt() -> Vec<String> {
    let other = OTHER.to_owned();
    [
        "",
        " ",
        "not json",
        "\u{1b}[2J\u{0}",
        "{}",
        "[]",
        "null",
        r#"{"BackendType":"vxlan"}"#,
        r#"{"PublicIP":"10.99.0.3","BackendType":"udp"}"#,
        r#"{"PublicIP":"10.99.0.3","BackendType":"vxlan","BackendData":{}}"#,
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        other.clone(),
        other.replace("}}", r#"},"NodeID":"c"}"#),
        other.replace(r#""VNI":1"#, r#""VNI":9"#),
        MINE.replace("10.99.0.2", "10.99.0.9"),
        rivals(),
        "x".repeat(100_000),
    ])
    .collect()
}

fn entry(rig: &Rig) -> Entry {
    rig.registry.state.borrow().entries[KEY].clone()
}

/// Checks that our value is back on that etcd lease, and that nothing else has happened.
fn check_restored(rig: &mut Rig, lease: Option<i64>, case: &str) {
    let entry = entry(rig);
    assert_eq!(String::from_utf8_lossy(&entry.value), MINE, "{case}");
    assert_eq!(entry.lease, lease, "{case}");
    assert_eq!(rig.registry.names(), [KEY], "{case}");
    assert!(
        rig.is_quiet(),
        "the rest of the daemon sees nothing: {case}"
    );
}

#[test]
fn whatever_is_written_once_is_overwritten_and_nothing_else_happens() {
    on_paused_time(async {
        for value in spoilt() {
            for etcd_lease in ["ours", "none", "theirs", "unknown"] {
                let case = format!("{:.60} on {etcd_lease}", value);
                let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
                rig.registry.state.borrow_mut().leases.insert(THEIRS);
                let ours = entry(&rig).lease;
                let lease = match etcd_lease {
                    "ours" => ours,
                    "none" => None,
                    "theirs" => Some(THEIRS),
                    _ => Some(99),
                };
                rig.registry.put(KEY, &value, lease);
                pass(1).await;
                check_restored(&mut rig, ours, &case);
                assert_eq!(rig.lease_held(), "AsExpected", "{case}");
                let state = rig.registry.state.borrow();
                assert_eq!((state.lists, state.replacements), (1, 1), "{case}");
            }
        }
    });
}

#[test]
fn what_was_written_while_etcd_was_away_is_overwritten() {
    on_paused_time(async {
        for value in spoilt() {
            let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
            let ours = entry(&rig).lease;
            rig.registry.set_unreachable(true);
            pass(60).await;
            rig.registry.lease_with_time_left(THEIRS, TTL);
            rig.registry.put(KEY, &value, Some(THEIRS));
            rig.registry.set_unreachable(false);
            assert_eq!(rig.next().await, "leases ", "{value:.60}");
            pass(10).await;
            check_restored(&mut rig, ours, &value);
            assert_eq!(rig.lease_held(), "AsExpected");
        }
    });
}

#[test]
fn changes_of_our_own_value_leave_the_subnet_and_the_device() {
    on_paused_time(async {
        for value in [
            MINE.replace("02:00:00:00:00:01", "02:00:00:00:00:99"),
            UNNAMED.replace("02:00:00:00:00:01", "02:00:00:00:00:99"),
            UNNAMED.to_owned(),
            MINE.replace(r#""VNI":1"#, r#""VNI":9"#),
            r#"{"PublicIP":"10.99.0.2"}"#.to_owned(),
            r#"{"PublicIP":"10.99.0.2","BackendType":"udp","BackendData":null}"#.to_owned(),
        ] {
            let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
            let ours = entry(&rig).lease;
            rig.registry.put(KEY, &value, ours);
            assert_eq!(rig.next().await, "leases ", "{value}");
            check_restored(&mut rig, ours, &value);
        }
    });
}

#[test]
fn gives_way_to_a_host_that_undoes_two_writes_and_renews_its_own_etcd_lease() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        rig.registry.state.borrow_mut().leases.insert(THEIRS);
        for contested in [false, true] {
            rig.registry.put(KEY, OTHER, Some(THEIRS));
            pass(1).await;
            assert_eq!(rig.registry.value(KEY).as_deref(), Some(MINE));
            let held = rig.lease_held();
            assert_eq!(held.starts_with("Contested: "), contested, "{held}");
            let names = held.contains("a node of Go flannel at 10.99.0.3");
            assert_eq!(names, contested, "{held}");
        }
        assert!(rig.is_quiet());
        rig.registry.put(KEY, OTHER, Some(THEIRS));
        assert_eq!(rig.next().await, "joined 10.5.2.0/24");
        assert_eq!(rig.next().await, "leases +10.5.1.0/24");
        pass(1).await;
        assert_eq!(rig.lease_held(), "AsExpected");
        assert_eq!(rig.registry.names(), [KEY, "10.5.2.0-24"]);
    });
}

#[test]
fn keeps_the_subnet_against_whoever_does_not_prove_to_live_there() {
    on_paused_time(async {
        // The etcd lease of the writer: ours, none, one that etcd does not know, one that is not renewed.
        for etcd_lease in ["ours", "none", "unknown", "neglected"] {
            let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
            let ours = entry(&rig).lease;
            rig.registry.lease_with_time_left(THEIRS, TTL / 3);
            let lease = match etcd_lease {
                "ours" => ours,
                "none" => None,
                "unknown" => Some(99),
                _ => Some(THEIRS),
            };
            for _ in 0..3000 {
                rig.registry.put(KEY, OTHER, lease);
                tokio::time::sleep(Duration::from_millis(100)).await;
                while let Ok(update) = rig.updates.try_recv() {
                    let is_joined = matches!(update, LeaseUpdate::Joined(_));
                    assert!(!is_joined, "{etcd_lease}: {update:?}");
                }
            }
            let held = rig.lease_held();
            assert!(held.starts_with("Contested: "), "{etcd_lease}: {held}");
            {
                let state = rig.registry.state.borrow();
                let (writes, lists) = (state.replacements, state.lists);
                assert!((5..30).contains(&writes), "{etcd_lease}: {writes} in 300 s");
                assert!(lists < 30, "{etcd_lease}: {lists} in 300 s");
            }
            pass(61).await;
            assert_eq!(
                rig.registry.value(KEY).as_deref(),
                Some(MINE),
                "{etcd_lease}"
            );
            pass(61).await;
            assert_eq!(rig.lease_held(), "AsExpected", "{etcd_lease}");
            assert_eq!(entry(&rig).lease, ours, "{etcd_lease}");
            assert_eq!(rig.registry.names(), [KEY], "{etcd_lease}");
        }
    });
}

/// A host that was cut off from etcd until its key expired.
async fn expired(rig: &Rig) {
    rig.registry.set_unreachable(true);
    pass(60).await;
    rig.registry.state.borrow_mut().leases = [THEIRS].into();
    rig.registry.delete(KEY);
}

#[test]
fn gives_way_at_once_to_a_host_that_has_created_the_key_after_ours_expired() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        expired(&rig).await;
        rig.registry.put(KEY, OTHER, Some(THEIRS));
        rig.registry.set_unreachable(false);
        assert_eq!(rig.next().await, "joined 10.5.2.0/24");
    });
}

#[test]
fn takes_the_key_back_if_nobody_lives_there_after_ours_expired() {
    on_paused_time(async {
        for (value, lease) in [
            ("garbage", Some(THEIRS)),
            ("", None),
            (OTHER, None),
            (OTHER, Some(99)),
        ] {
            let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
            expired(&rig).await;
            rig.registry.put(KEY, value, lease);
            rig.registry.set_unreachable(false);
            assert_eq!(rig.next().await, "leases ", "{value} {lease:?}");
            pass(1).await;
            let ours = rig.registry.state.borrow().leases.first().copied();
            check_restored(&mut rig, ours, value);
        }
    });
}

#[test]
fn keeps_the_subnet_when_a_restored_backup_gives_it_to_another_host() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        for _ in 0..9 {
            rig.registry.put_config(CONFIG);
        }
        rig.registry.put(KEY, MINE, entry(&rig).lease);
        pass(1).await;
        let ours = entry(&rig).lease;
        rig.registry.set_unreachable(true);
        pass(60).await;
        rig.registry.restore();
        rig.registry.state.borrow_mut().leases.insert(THEIRS);
        rig.registry.put(KEY, OTHER, Some(THEIRS));
        rig.registry.set_unreachable(false);
        assert_eq!(rig.next().await, "leases ");
        pass(1).await;
        check_restored(&mut rig, ours, "a backup");
    });
}

#[test]
fn a_reservation_is_written_back_without_an_etcd_lease() {
    on_paused_time(async {
        let registry = FakeRegistry::with_config(CONFIG);
        registry.put(KEY, MINE, None);
        let mut rig = joined(registry).await;
        for lease in [None, Some(THEIRS)] {
            rig.registry.put(KEY, OTHER, lease);
            pass(120).await;
            check_restored(&mut rig, None, "a reservation");
        }
    });
}

#[test]
fn an_etcd_lease_that_expired_meanwhile_is_replaced() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        rig.registry.set_unreachable(true);
        pass(60).await;
        rig.registry.state.borrow_mut().leases.clear();
        rig.registry.put(KEY, "garbage", Some(THEIRS));
        rig.registry.set_unreachable(false);
        assert_eq!(rig.next().await, "leases ");
        pass(1).await;
        let ours = rig.registry.state.borrow().leases.first().copied();
        assert!(ours.is_some());
        check_restored(&mut rig, ours, "expired");
    });
}

#[test]
fn a_write_that_is_refused_is_named_and_tried_again_slowly() {
    on_paused_time(async {
        let mut rig = joined(FakeRegistry::with_config(CONFIG)).await;
        let ours = entry(&rig).lease;
        rig.registry.state.borrow_mut().read_only = true;
        rig.registry.put(KEY, "garbage", ours);
        pass(600).await;
        let held = rig.lease_held();
        assert!(held.starts_with("OperationFailed: "), "{held}");
        assert!(rig.registry.state.borrow().lists < 5);
        rig.registry.state.borrow_mut().read_only = false;
        pass(61).await;
        assert_eq!(rig.lease_held(), "AsExpected");
        assert_eq!(rig.next().await, "leases ");
        check_restored(&mut rig, ours, "refused");
    });
}

#[test]
fn a_restart_takes_the_subnet_back_if_its_key_names_nobody() {
    on_paused_time(async {
        for (value, expected) in [
            ("", "joined 10.5.9.0/24"),
            ("{}", "joined 10.5.9.0/24"),
            (OTHER, "10.5.9.0/24 taken"),
        ] {
            let registry = FakeRegistry::with_config(CONFIG);
            registry.state.borrow_mut().leases.insert(7);
            registry.put("10.5.9.0-24", value, Some(7));
            let mut identity = identity(Some("10.5.9.0/24"));
            identity.previous.public_ip = Some(identity.public_ip);
            let mut rig = Rig::start_as(registry, identity);
            assert_eq!(rig.next().await, expected, "{value}");
            pass(1).await;
            if value != OTHER {
                let state = rig.registry.state.borrow();
                let entry = &state.entries["10.5.9.0-24"];
                let text = String::from_utf8_lossy(&entry.value);
                assert_eq!((text.as_ref(), entry.lease), (MINE, Some(7)));
            }
        }
    });
}
