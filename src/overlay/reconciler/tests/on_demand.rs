use super::*;
use crate::overlay::port::NeighbourUse;

#[test]
fn a_neighbour_is_made_for_the_first_packet_and_removed_when_it_is_not_used() {
    on_paused_time(async {
        let rig = Rig::in_sync_as(PeerMode::OnDemand, vec![lease(40)]).await;
        let without =
            format!("{DEVICE}02:00:00:00:00:28 dst 10.99.0.40\n10.5.0.0/16 metric 0 proto 102\n");
        assert_eq!(rig.kernel.text(), without);
        let pods = [Ipv4Addr::new(10, 5, 40, 2), Ipv4Addr::new(10, 5, 40, 3)];
        pods.iter().for_each(|pod| rig.l3_miss(pod.octets()));
        rig.settle().await;
        let neighbours = || {
            rig.kernel
                .shared
                .borrow()
                .state
                .entries
                .neighbours
                .keys()
                .copied()
                .collect::<Vec<_>>()
        };
        assert_eq!(neighbours(), pods);
        // As far as the kernel knows, both have not been used for long; during the test, the first is used.
        let unused = |address: Ipv4Addr, stale| NeighbourUse {
            address,
            used: Duration::from_secs(700),
            stale,
        };
        rig.kernel.shared.borrow_mut().neighbour_uses =
            vec![unused(pods[0], false), unused(pods[1], true)];
        pass(Duration::from_secs(70)).await;
        assert_eq!(neighbours(), [pods[0]]);
    });
}
