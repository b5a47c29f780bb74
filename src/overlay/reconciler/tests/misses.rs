use super::*;

#[test]
fn packets_whose_misses_were_lost_are_found_and_answered() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        rig.kernel.entries().neighbours.clear();
        rig.kernel.shared.borrow_mut().unresolved =
            vec![Ipv4Addr::new(10, 5, 40, 0), Ipv4Addr::new(10, 5, 41, 0)];
        rig.kernel.report(KernelEvent::MissesLost);
        pass(Duration::from_millis(30)).await;
        assert!(
            rig.kernel
                .text()
                .contains("10.5.40.0 lladdr 02:00:00:00:00:28")
        );
    });
}

#[test]
fn etcd_is_asked_for_a_subnet_without_a_peer_once_in_a_while() {
    on_paused_time(async {
        let mut rig = Rig::in_sync_as(PeerMode::OnDemand, vec![lease(40)]).await;
        for last in 1..200 {
            rig.l3_miss([10, 5, 77, last]);
        }
        rig.settle().await;
        assert_eq!(
            rig.lease_requests
                .try_recv()
                .map(|subnet| subnet.to_string())
                .as_deref(),
            Ok("10.5.77.0/24")
        );
        assert!(rig.lease_requests.try_recv().is_err());
        pass(Duration::from_secs(2)).await;
        rig.l3_miss([10, 5, 77, 1]);
        rig.settle().await;
        assert!(rig.lease_requests.try_recv().is_ok());
    });
}

#[test]
fn a_scan_of_addresses_without_a_peer_does_not_fill_the_table_of_the_kernel() {
    on_paused_time(async {
        let rig = Rig::in_sync_as(PeerMode::OnDemand, vec![lease(40)]).await;
        let applied = rig.kernel.shared.borrow().applied;
        for n in 0..1000u16 {
            let [high, low] = n.to_be_bytes();
            rig.l3_miss([10, 5, 50 + high, low]);
        }
        for _ in 0..1000 {
            rig.l3_miss([10, 5, 50, 0]);
        }
        for _ in 0..30 {
            rig.settle().await;
        }
        assert_eq!(
            rig.kernel.shared.borrow().applied - applied,
            1000 - 256,
            "the first ones keep their place"
        );
    });
}

#[test]
fn misses_are_answered_in_the_middle_of_a_large_change() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        rig.kernel.entries().neighbours.clear();
        rig.l3_miss([10, 5, 40, 0]);
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
