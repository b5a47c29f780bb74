//! Tools that fail, and other programs that change rules at the same moment.

use super::*;

const MAKE_ALL: &str = "iptables-nft-restore --wait --noflush # FLANNEL-POSTRTG, FLANNEL-FWD, FLANNEL-RAW-PRE, FLANNEL-RAW-OUT";

/// Returns the times between observations.
fn intervals(rig: &Rig) -> Vec<Duration> {
    rig.with(|host| {
        let times = host.observed_at.windows(2);
        times.map(|pair| pair[1] - pair[0]).collect()
    })
}

fn seconds(interval: Duration) -> u64 {
    interval
        .as_millis()
        .div_ceil(1000)
        .try_into()
        .expect("short")
}

#[test]
fn a_failure_before_the_first_installation_backs_off_to_thirty_seconds() {
    on_paused_time(async {
        let rig = Rig::start(RequestedTool::Iptables);
        rig.with(|host| host.failing_restores = usize::MAX);
        rig.join().await;
        assert_eq!(rig.status(), ConditionStatus::False);
        pass(200_000).await;
        // Each attempt causes messages of the kernel, and none of them brings the next one forward.
        let intervals: Vec<u64> = intervals(&rig).into_iter().map(seconds).collect();
        assert_eq!(intervals[..9], [1, 1, 1, 2, 4, 7, 13, 26, 30]);
        assert!(intervals[9..].iter().all(|interval| *interval == 30));
        let message = rig.message();
        let reason = "Resource temporarily unavailable";
        assert_eq!(
            message,
            format!("failed to run \"iptables-nft-restore --wait --noflush\": {reason}")
        );
    });
}

#[test]
fn a_failure_once_in_sync_backs_off_to_two_seconds_only() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.with(|host| {
            host.observed_at.clear();
            host.failing_observations = usize::MAX;
            host.delete_table();
        });
        pass(60_000).await;
        let intervals = intervals(&rig);
        let two_seconds = Duration::from_secs(2)..Duration::from_millis(2002);
        assert!(
            intervals[4..]
                .iter()
                .all(|interval| two_seconds.contains(interval)),
            "{intervals:?}"
        );
        assert!(intervals[0] < Duration::from_millis(202));
        assert_eq!(
            rig.message(),
            "failed to run \"iptables-save\": out of memory"
        );
        rig.with(|host| host.failing_observations = 0);
        pass(2002).await;
        assert_eq!(rig.status(), ConditionStatus::True);
    });
}

#[test]
fn a_change_brings_a_retry_forward_once_in_sync() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.with(|host| {
            host.failing_observations = 8;
            host.delete_table();
        });
        pass(5000).await;
        rig.with(|host| host.failing_observations = 0);
        rig.with(FakeHost::delete_table);
        pass(25).await;
        assert_eq!(rig.status(), ConditionStatus::True);
    });
}

#[test]
fn a_program_that_keeps_deleting_the_table_is_met_each_two_seconds() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.take_applied();
        let end = Instant::now() + Duration::from_secs(600);
        while Instant::now() < end {
            if rig.has_table() {
                rig.with(FakeHost::delete_table);
            }
            pass(5).await;
        }
        let repairs = rig.take_applied().len();
        assert!((300..=365).contains(&repairs), "{repairs}");
    });
}

#[test]
fn a_program_that_deletes_the_table_before_the_read_back_is_met_like_a_slower_one() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.take_applied();
        rig.with(|host| {
            host.other_programs = [FakeHost::delete_table as fn(&mut FakeHost); 1000].into();
            host.delete_table();
        });
        pass(2_000).await;
        assert_eq!(rig.take_applied().len(), 60, "the budget of repairs");
        pass(600_000).await;
        let repairs = rig.take_applied().len();
        assert!((295..=305).contains(&repairs), "{repairs}");
        assert_eq!(
            rig.message(),
            "nft shows 0 rules in the table that it has just made, instead of 10"
        );
    });
}

/// Docker puts its own jump first.
fn docker_comes_first(host: &mut FakeHost) {
    host.restore(
        IptablesVariant::Nft,
        "*filter\n-I FORWARD -j DOCKER-FORWARD\n",
    )
    .expect("the script runs");
}

#[test]
fn docker_may_change_rules_three_times_at_the_same_moment() {
    on_paused_time(async {
        let rig = Rig::start(RequestedTool::Auto);
        // The first operation is for nft.
        rig.with(|host| {
            host.other_programs.push_back(|_| ());
            host.other_programs
                .extend([docker_comes_first; 3].map(|program| program as fn(&mut FakeHost)));
        });
        rig.join().await;
        assert_eq!(rig.status(), ConditionStatus::True);
        assert_eq!(
            rig.take_applied(),
            [MAKE_TABLE, ACCEPT, ACCEPT, ACCEPT, ACCEPT]
        );
    });
}

#[test]
fn a_tool_that_never_shows_our_rules_is_asked_four_times_and_then_backs_off() {
    on_paused_time(async {
        let rig = Rig::start(RequestedTool::Iptables);
        rig.with(|host| {
            let iptables = host.iptables.get_mut(&IptablesVariant::Nft);
            let shown_as = &mut iptables.expect("it is there").shown_as;
            shown_as.insert("--random-fully", "--random");
        });
        rig.join().await;
        let masquerade = "iptables-nft-restore --wait --noflush # FLANNEL-POSTRTG";
        assert_eq!(
            rig.take_applied(),
            [MAKE_ALL, masquerade, masquerade, masquerade]
        );
        assert_eq!(rig.observations(), 1);
        assert_eq!(rig.status(), ConditionStatus::False);
        pass(60_000).await;
        assert!(rig.observations() <= 10, "{}", rig.observations());
    });
}

#[test]
fn a_change_while_another_tool_is_written_is_seen_in_the_same_run() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.take_applied();
        rig.with(|host| host.other_programs.push_back(FakeHost::delete_table));
        rig.restore(IptablesVariant::Nft, "*filter\n-F FORWARD\n");
        pass(21).await;
        assert_eq!(rig.take_applied(), [ACCEPT, MAKE_TABLE]);
        assert!(rig.has_table());
    });
}

#[test]
fn iptables_carries_the_rules_if_nft_cannot_make_the_table() {
    on_paused_time(async {
        let rig = Rig::start(RequestedTool::Auto);
        rig.with(|host| host.nft_failure = Some("Operation not supported"));
        rig.join().await;
        assert_eq!(rig.status(), ConditionStatus::True, "{}", rig.message());
        assert!(rig.saved(IptablesVariant::Nft).contains("MASQUERADE"));
        rig.take_applied();
        rig.restore(IptablesVariant::Nft, "*nat\n-F POSTROUTING\n");
        pass(21).await;
        let repair = "iptables-nft-restore --wait --noflush # FLANNEL-POSTRTG";
        assert_eq!(rig.take_applied(), [repair], "nft is not tried again");
    });
}

#[test]
fn there_is_no_other_tool_if_nftables_is_asked_for_or_has_worked() {
    on_paused_time(async {
        let asked = Rig::start(RequestedTool::Nftables);
        asked.with(|host| host.nft_failure = Some("Operation not supported"));
        asked.join().await;
        let worked = Rig::in_sync(RequestedTool::Auto).await;
        worked.with(|host| {
            host.nft_failure = Some("Operation not supported");
            host.delete_table();
        });
        pass(21).await;
        let message = "failed to run \"nft -f -\": Operation not supported".to_owned();
        for rig in [asked, worked] {
            assert_eq!(
                (rig.status(), rig.message()),
                (ConditionStatus::False, message.clone())
            );
            assert!(!rig.saved(IptablesVariant::Nft).contains("MASQUERADE"));
            rig.with(|host| host.nft_failure = None);
            pass(2000).await;
            assert_eq!(rig.status(), ConditionStatus::True);
        }
    });
}

/// A kernel that has no table for connections that are not tracked.
async fn without_raw() -> Rig {
    let rig = Rig::start(RequestedTool::Iptables);
    rig.with(|host| {
        let iptables = host.iptables.get_mut(&IptablesVariant::Nft);
        iptables.expect("it is there").unsupported.insert("raw");
    });
    rig.join().await;
    rig
}

const UNTRACKED: &str = "iptables-nft-restore --wait --noflush # FLANNEL-RAW-PRE, FLANNEL-RAW-OUT";

#[test]
fn optional_rules_that_fail_are_tried_once_more_after_two_seconds() {
    on_paused_time(async {
        let rig = without_raw().await;
        assert_eq!(rig.status(), ConditionStatus::True, "{}", rig.message());
        assert_eq!(rig.take_applied(), [MAKE_ALL]);
        pass(1990).await;
        assert_eq!(rig.take_applied(), [] as [&str; 0]);
        pass(20).await;
        assert_eq!(rig.take_applied(), [UNTRACKED]);
        pass(HOUR).await;
        assert_eq!(rig.take_applied(), [] as [&str; 0]);
        assert_eq!(rig.status(), ConditionStatus::True);
    });
}

#[test]
fn optional_rules_are_installed_by_a_later_run_when_they_can_be() {
    on_paused_time(async {
        let rig = without_raw().await;
        rig.with(|host| {
            let iptables = host.iptables.get_mut(&IptablesVariant::Nft);
            iptables.expect("it is there").unsupported.clear();
        });
        pass(2010).await;
        assert!(rig.saved(IptablesVariant::Nft).contains("CT --notrack"));
    });
}

#[test]
fn optional_rules_that_fail_in_each_run_are_no_repairs() {
    on_paused_time(async {
        let rig = without_raw().await;
        // As repairs these would use up the budget of the limiter.
        for _ in 0..200 {
            rig.with(|host| host.announce(vec![change("nat", None)]));
            pass(1100).await;
        }
        rig.restore(IptablesVariant::Nft, "*nat\n-F POSTROUTING\n");
        pass(1100).await;
        assert!(
            rig.saved(IptablesVariant::Nft)
                .contains("-j FLANNEL-POSTRTG")
        );
    });
}

#[test]
fn optional_rules_that_fail_keep_no_rules_of_an_earlier_run_in_place() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.with(|host| {
            let iptables = host.iptables.get_mut(&IptablesVariant::Nft);
            iptables.expect("it is there").unsupported.insert("raw");
        });
        let mut membership = membership();
        membership.config.nftables = Some(false);
        rig.membership.send_replace(Some(membership));
        pass(1).await;
        assert_eq!(rig.status(), ConditionStatus::True, "{}", rig.message());
        assert!(!rig.has_table());
    });
}

#[test]
fn the_accept_is_optional_only_where_no_other_program_filters() {
    on_paused_time(async {
        let rig = Rig::start(RequestedTool::Auto);
        rig.with(|host| host.failing_restores = usize::MAX);
        rig.join().await;
        assert_eq!(rig.status(), ConditionStatus::True, "{}", rig.message());
        rig.restore(IptablesVariant::Nft, DOCKER);
        pass(25).await;
        assert_eq!(rig.status(), ConditionStatus::False);
        rig.with(|host| host.failing_restores = 0);
        pass(2000).await;
        assert_eq!(rig.status(), ConditionStatus::True);
        assert!(rig.saved(IptablesVariant::Nft).contains("FLANNEL-FWD"));
    });
}

#[test]
fn nft_that_crashes_though_it_worked_before_gives_way_to_iptables() {
    on_paused_time(async {
        let rig = Rig::in_sync(RequestedTool::Auto).await;
        rig.take_applied();
        rig.with(|host| {
            host.nft_failure = Some("nft crashed (signal: 11 (SIGSEGV))");
            host.nft_crashes = true;
            host.delete_table();
        });
        pass(1_000).await;
        assert_eq!(rig.status(), ConditionStatus::True);
        let masquerade = "iptables-nft-restore --wait --noflush # FLANNEL-POSTRTG, FLANNEL-RAW-PRE, FLANNEL-RAW-OUT";
        assert_eq!(rig.take_applied(), [MAKE_TABLE, masquerade]);
    });
}
