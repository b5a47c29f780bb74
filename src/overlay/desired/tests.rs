use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::addr::MacAddr;
use crate::model::external_interface::ExternalInterface;
use crate::model::lease::OwnLease;
use crate::model::network_config;
use crate::overlay::fake::{apply, render};
use crate::overlay::misses::{answer, unknown_subnet};
use crate::overlay::peer_entries::MAX_PEERS_AT_METRIC_0;
use crate::overlay::plan::plan;
use crate::overlay::port::Miss;

pub(in crate::overlay) fn membership() -> Membership {
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

pub(in crate::overlay) fn settings(peer_mode: PeerMode) -> OverlaySettings {
    let external = ExternalInterface {
        name: "eth0".to_owned(),
        mac: None,
        address: Ipv4Addr::new(10, 99, 0, 2),
        mtu: 1500,
    };
    OverlaySettings {
        external,
        alias: "flanneld".to_owned(),
        blackhole: false,
        tx_checksum_in_software: false,
        peer_mode,
        on_demand_idle: Duration::from_secs(600),
    }
}

fn eager() -> OverlaySettings {
    settings(PeerMode::Eager)
}

fn overlay() -> DesiredOverlay {
    DesiredOverlay::new(&membership(), &eager())
}

fn overlay_with(settings: &OverlaySettings) -> DesiredOverlay {
    DesiredOverlay::new(&membership(), settings)
}

fn lease(subnet: u8, mac: u8, host: u8, revision: i64) -> Lease {
    Lease {
        subnet: Ipv4Network::new(Ipv4Addr::new(10, 5, subnet, 0), 24).expect("a subnet in a test"),
        public_ip: Ipv4Addr::new(10, 99, 0, host),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, mac]),
        vni: None,
        revision,
    }
}

fn put(lease: Lease) -> (Ipv4Network, Option<Lease>) {
    (lease.subnet, Some(lease))
}

fn commands(ops: &[Op]) -> Vec<String> {
    ops.iter()
        .map(|op| op.command("flannel.1").to_string())
        .collect()
}

#[test]
fn checksum_offload_is_turned_off_only_when_the_operator_asks_for_it() {
    let keep = overlay().state();
    let off = overlay_with(&OverlaySettings {
        tx_checksum_in_software: true,
        ..eager()
    })
    .state();
    let op = Op::SetTxChecksum(false);
    let observed = |on| OverlayState {
        tx_checksum: Some(on),
        ..keep.clone()
    };
    assert!(plan(&keep, &observed(true)).is_empty());
    assert_eq!(plan(&off, &observed(true)), std::slice::from_ref(&op));
    assert!(plan(&off, &observed(false)).is_empty());
    assert!(
        plan(&off, &OverlayState::default()).contains(&op),
        "on a new device"
    );
}

#[test]
fn the_device_has_the_lease_and_the_configuration_of_the_network() {
    assert_eq!(
        render(&overlay().state()),
        "flannel.1 02:00:00:00:00:01 id 1 local 10.99.0.2 dev eth0 mtu 1450 up\ninet 10.5.99.0/32\n"
    );
}

#[test]
fn a_blackhole_route_drops_packets_to_unused_addresses_of_ours() {
    let overlay = overlay_with(&OverlaySettings {
        blackhole: true,
        ..eager()
    });
    assert!(render(&overlay.state()).ends_with("blackhole 10.5.99.0/24\n"));
}

#[test]
fn a_host_that_moved_to_another_subnet_keeps_its_fdb_entry_when_the_old_lease_goes() {
    let mut overlay = overlay();
    overlay.change_peers(vec![put(lease(40, 0x40, 3, 1))]);
    overlay.change_peers(vec![put(lease(41, 0x40, 3, 2))]);
    let ops = overlay.change_peers(vec![(lease(40, 0x40, 3, 1).subnet, None)]);
    assert_eq!(
        commands(&ops),
        [
            "ip route del 10.5.40.0/24 via 10.5.40.0 dev flannel.1 onlink proto 102",
            "ip neigh del 10.5.40.0 dev flannel.1"
        ]
    );
}

#[test]
fn of_two_leases_with_one_mac_the_later_wins_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let leases = [lease(40, 0x40, 3, 5), lease(41, 0x40, 4, 6)];
        let mut overlay = overlay();
        order
            .iter()
            .for_each(|i| _ = overlay.change_peers(vec![put(leases[*i].clone())]));
        assert_eq!(
            overlay.peers().fdb(MacAddr([2, 0, 0, 0, 0, 0x40])),
            Some(Ipv4Addr::new(10, 99, 0, 4))
        );
    }
}

#[test]
fn does_not_take_the_device_of_another_instance() {
    let ours = overlay_with(&OverlaySettings {
        alias: "flanneld /blue".to_owned(),
        ..eager()
    });
    let refused = |alias: &str| {
        let mut observed = ours.state();
        if let Some(device) = &mut observed.device {
            device.alias = alias.to_owned();
        }
        let observed = Observed {
            overlay: observed,
            ..Observed::default()
        };
        let refused = ours.refuse_foreign(observed).err();
        refused.map(|error| error.to_string())
    };
    assert_eq!(
        refused("flanneld /red").as_deref(),
        Some(
            "device \"flannel.1\" belongs to \"flanneld /red\"; give each network on a host a VNI of its own, \
             or remove the device with \"ip link del flannel.1\" if that instance is gone"
        )
    );
    assert_eq!(refused("flanneld /blue"), None);
    assert_eq!(refused(""), None);
    assert!(ours.refuse_foreign(Observed::default()).is_ok());
}

#[test]
fn writing_the_same_lease_again_does_nothing() {
    let mut overlay = overlay();
    overlay.change_peers(vec![put(lease(40, 0x40, 3, 1))]);
    assert_eq!(
        overlay.change_peers(vec![put(lease(40, 0x40, 3, 2))]),
        Vec::new()
    );
}

#[test]
fn a_complete_list_removes_the_peers_that_are_not_in_it() {
    let mut overlay = overlay();
    overlay.replace_peers(vec![lease(40, 0x40, 3, 1), lease(41, 0x41, 4, 1)]);
    let ops = overlay.replace_peers(vec![lease(41, 0x41, 5, 2)]);
    assert_eq!(
        commands(&ops),
        [
            "bridge fdb replace 02:00:00:00:00:41 dev flannel.1 dst 10.99.0.5 self permanent",
            "ip route del 10.5.40.0/24 via 10.5.40.0 dev flannel.1 onlink proto 102",
            "ip neigh del 10.5.40.0 dev flannel.1",
            "bridge fdb del 02:00:00:00:00:40 dev flannel.1 dst 10.99.0.3 self",
        ]
    );
}

#[test]
fn answers_a_miss_with_the_fdb_entry_first() {
    let mut overlay = overlay();
    overlay.replace_peers(vec![lease(40, 0x40, 3, 1)]);
    assert_eq!(
        commands(&answer(
            overlay.peers_mut(),
            Miss::L3(Ipv4Addr::new(10, 5, 40, 0))
        )),
        [
            "bridge fdb replace 02:00:00:00:00:40 dev flannel.1 dst 10.99.0.3 self permanent",
            "ip neigh replace 10.5.40.0 lladdr 02:00:00:00:00:40 dev flannel.1 nud permanent",
        ]
    );
    assert_eq!(
        commands(&answer(
            overlay.peers_mut(),
            Miss::L2(MacAddr([2, 0, 0, 0, 0, 0x40]))
        )),
        ["bridge fdb replace 02:00:00:00:00:40 dev flannel.1 dst 10.99.0.3 self permanent"]
    );
}

#[test]
fn does_not_answer_for_addresses_that_no_peer_has() {
    let mut overlay = overlay();
    overlay.replace_peers(vec![lease(40, 0x40, 3, 1)]);
    for miss in [
        Miss::L3(Ipv4Addr::new(10, 5, 41, 0)),
        Miss::L3(Ipv4Addr::new(8, 8, 8, 8)),
        Miss::L2(MacAddr([0xff; 6])),
    ] {
        assert_eq!(answer(overlay.peers_mut(), miss), Vec::new(), "{miss:?}");
    }
}

#[test]
fn etcd_is_asked_only_for_subnets_of_the_network() {
    let subnet = |address: [u8; 4]| unknown_subnet(&overlay(), address.into());
    assert_eq!(subnet([10, 5, 77, 3]), "10.5.77.0/24".parse().ok());
    assert_eq!(subnet([8, 8, 8, 8]), None);
}

#[test]
fn up_to_a_number_of_peers_routes_have_metric_0_and_then_each_has_its_own() {
    let peer = |n: usize| {
        let n = u32::try_from(n).expect("a small number");
        let subnet = Ipv4Network::new((0x0a05_0000 + n * 16).into(), 28).expect("a subnet");
        Lease {
            subnet,
            ..lease(0, 1, 3, 1)
        }
    };
    let metrics = |overlay: &DesiredOverlay| -> BTreeSet<u32> {
        overlay
            .state()
            .entries
            .routes
            .keys()
            .map(|key| key.metric)
            .collect()
    };
    let mut overlay = overlay();
    overlay.replace_peers((0..MAX_PEERS_AT_METRIC_0).map(peer).collect());
    assert_eq!(metrics(&overlay), [0].into());
    let one_more = peer(MAX_PEERS_AT_METRIC_0);
    let ops = overlay.change_peers(vec![put(one_more.clone())]);
    assert_eq!(metrics(&overlay), (1..=1025).collect());
    let added = ops
        .iter()
        .filter(|op| matches!(op, Op::AddRoute(..)))
        .count();
    let first_deleted = ops.iter().position(|op| matches!(op, Op::DelRoute(..)));
    assert_eq!(added, MAX_PEERS_AT_METRIC_0 + 1);
    // All new routes are there before the first old one goes.
    assert!(first_deleted.is_some_and(|first| ops[first..].iter().all(Op::removes)));
    // A number that goes up and down does not move all routes each time.
    let ops = overlay.change_peers(vec![(one_more.subnet, None)]);
    assert!(ops.iter().all(Op::removes), "{:?}", commands(&ops));
    assert_eq!(metrics(&overlay).len(), MAX_PEERS_AT_METRIC_0);
}

fn any_change() -> impl Strategy<Value = (Ipv4Network, Option<Lease>)> {
    let lease = (0u8..6, 0u8..4, 0u8..3, 0i64..50)
        .prop_map(|(subnet, mac, host, rev)| lease(subnet, mac, host, rev));
    (lease, any::<bool>()).prop_map(|(lease, there)| (lease.subnet, there.then_some(lease)))
}

proptest! {
    /// Applying changes one batch after the other leads to the same state as installing everything.
    #[test]
    fn small_steps_and_a_big_one_lead_to_the_same(batches in prop::collection::vec(prop::collection::vec(any_change(), 1..5), 1..8)) {
        let mut overlay = overlay();
        let mut kernel = overlay.state();
        for batch in batches {
            for op in overlay.change_peers(batch) {
                apply(&mut kernel, &op).expect("the device is there");
            }
            prop_assert_eq!(&kernel, &overlay.state());
        }
    }
}
