use ipnetwork::Ipv4Network;
use proptest::collection::btree_map;
use proptest::prelude::*;

use super::*;
use crate::overlay::fake;
use crate::overlay::state::{NextHop, PROTOCOL, RouteKey, Sysctl};

fn network() -> Ipv4Network {
    "10.5.0.0/16".parse().expect("a network in a test")
}

fn device() -> Device {
    Device {
        name: "flannel.1".to_owned(),
        vni: crate::model::addr::Vni::DEFAULT,
        parent: "eth0".to_owned(),
        local: Ipv4Addr::new(10, 99, 0, 2),
        port: 8472,
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1450,
        learning: false,
        gbp: false,
        alias: "flanneld".to_owned(),
    }
}

fn desired() -> OverlayState {
    let mut state = OverlayState {
        device: Some(device()),
        up: true,
        ..OverlayState::default()
    };
    state
        .addresses
        .insert("10.5.99.0/32".parse().expect("an address in a test"));
    state
        .sysctls
        .extend(Sysctl::ALL.map(|sysctl| (sysctl, sysctl.desired())));
    state.entries = peer(40, 0x40, 3);
    state
}

/// The three entries of a peer with subnet 10.5.N.0/24.
fn peer(n: u8, mac: u8, host: u8) -> Entries {
    let vtep = Ipv4Addr::new(10, 5, n, 0);
    let mac = MacAddr([2, 0, 0, 0, 0, mac]);
    let destination = Ipv4Network::new(vtep, 24).expect("a subnet in a test");
    let key = RouteKey {
        destination,
        metric: u32::from(n) + 1,
        protocol: PROTOCOL,
    };
    let mut entries = Entries::default();
    entries.fdb.insert(mac, Ipv4Addr::new(10, 99, 0, host));
    entries.neighbours.insert(vtep, mac);
    entries.routes.insert(key, NextHop::Vtep(vtep));
    entries
}

fn commands(ops: &[Op]) -> String {
    ops.iter()
        .map(|op| format!("{}\n", op.command("flannel.1")))
        .collect()
}

fn check(observed: &OverlayState, expected: &str) {
    let expected: String = expected
        .trim()
        .lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    assert_eq!(commands(&plan(&desired(), observed)), expected);
}

#[test]
fn builds_everything_from_nothing_in_order() {
    check(
        &OverlayState::default(),
        "ip link add flannel.1 address 02:00:00:00:00:01 mtu 1450 type vxlan id 1 local 10.99.0.2 dev eth0 dstport 8472 nolearning l2miss
         ip link set flannel.1 alias \"flanneld\"
         ip address add 10.5.99.0/32 dev flannel.1
         ip link set flannel.1 up
         echo 3 > /proc/sys/net/ipv4/neigh/flannel.1/app_solicit
         echo 0 > /proc/sys/net/ipv6/conf/flannel.1/accept_ra
         bridge fdb replace 02:00:00:00:00:40 dev flannel.1 dst 10.99.0.3 self permanent
         ip neigh replace 10.5.40.0 lladdr 02:00:00:00:00:40 dev flannel.1 nud permanent
         ip route add 10.5.40.0/24 via 10.5.40.0 dev flannel.1 onlink metric 41 proto 102",
    );
}

#[test]
fn does_nothing_when_everything_is_in_place() {
    check(&desired(), "");
}

#[test]
fn restores_what_a_link_flap_removes() {
    let mut observed = OverlayState {
        up: false,
        ..desired()
    };
    observed.entries.neighbours.clear();
    observed.entries.routes.clear();
    check(
        &observed,
        "ip link set flannel.1 up
         ip neigh replace 10.5.40.0 lladdr 02:00:00:00:00:40 dev flannel.1 nud permanent
         ip route add 10.5.40.0/24 via 10.5.40.0 dev flannel.1 onlink metric 41 proto 102",
    );
}

#[test]
fn changes_in_place_what_the_kernel_allows_to_change() {
    let mut observed = desired();
    let found = Device {
        parent: "eth9".to_owned(),
        local: Ipv4Addr::new(10, 99, 0, 9),
        mtu: 1400,
        mac: MacAddr([2; 6]),
        ..device()
    };
    observed.device = Some(Device {
        alias: String::new(),
        ..found
    });
    check(
        &observed,
        "ip link set flannel.1 type vxlan dev eth0
         ip link set flannel.1 address 02:00:00:00:00:01
         ip link set flannel.1 type vxlan local 10.99.0.2
         ip link set flannel.1 mtu 1450
         ip link set flannel.1 alias \"flanneld\"
         ip neigh replace 10.5.40.0 lladdr 02:00:00:00:00:40 dev flannel.1 nud permanent",
    );
}

#[test]
fn replaces_a_device_that_cannot_be_changed_in_place_and_names_the_reason() {
    let found = Device {
        port: 4789,
        ..device()
    };
    assert_eq!(
        device().incompatible(&found).as_deref(),
        Some("port: 4789 instead of 8472")
    );
    let observed = OverlayState {
        device: Some(found),
        ..desired()
    };
    let ops = plan(&desired(), &observed);
    assert_eq!(ops[..2], [Op::DeleteDevice, Op::CreateDevice(device())]);
    assert_eq!(ops.len(), 2 + 1 + 1 + 1 + 2 + 3, "{}", commands(&ops));
}

#[test]
fn replaces_what_old_flannel_left_without_a_gap() {
    // v0.20.2 leaves a route without metric, proto boot; v0.5.5 an address as long as the network.
    let mut observed = desired();
    observed.addresses = ["10.5.99.0/16".parse().expect("an address in a test")].into();
    let hop = observed
        .entries
        .routes
        .values()
        .copied()
        .next()
        .expect("the route of the peer");
    let old = RouteKey {
        destination: "10.5.40.0/24".parse().expect("a subnet"),
        metric: 0,
        protocol: 3,
    };
    observed.entries.routes = [(old, hop)].into();
    check(
        &observed,
        "ip address add 10.5.99.0/32 dev flannel.1
         ip address del 10.5.99.0/16 dev flannel.1
         ip route add 10.5.40.0/24 via 10.5.40.0 dev flannel.1 onlink metric 41 proto 102
         ip route del 10.5.40.0/24 via 10.5.40.0 dev flannel.1 onlink proto 3",
    );
}

#[test]
fn leaves_alone_routes_to_destinations_outside_the_network() {
    let mut kernel = desired();
    let foreign = RouteKey {
        destination: "192.168.7.0/24".parse().expect("a subnet"),
        metric: 0,
        protocol: 4,
    };
    kernel.entries.routes.insert(foreign, NextHop::Link);
    check(&fake::observe(&kernel, network()), "");
}

#[test]
fn leaves_out_settings_that_this_kernel_does_not_have() {
    let mut observed = desired();
    observed.sysctls.remove(&Sysctl::AcceptRa);
    check(&observed, "");
}

#[test]
fn a_peer_with_a_new_mac_is_reachable_throughout() {
    let ops = plan_entries(&peer(40, 0x41, 3), &peer(40, 0x40, 3));
    assert_eq!(
        commands(&ops),
        "bridge fdb replace 02:00:00:00:00:41 dev flannel.1 dst 10.99.0.3 self permanent\n\
         ip neigh replace 10.5.40.0 lladdr 02:00:00:00:00:41 dev flannel.1 nud permanent\n\
         bridge fdb del 02:00:00:00:00:40 dev flannel.1 dst 10.99.0.3 self\n"
    );
}

#[test]
fn a_peer_leaves_in_the_opposite_order() {
    let ops = plan_entries(&Entries::default(), &peer(40, 0x40, 3));
    assert_eq!(
        commands(&ops),
        "ip route del 10.5.40.0/24 via 10.5.40.0 dev flannel.1 onlink metric 41 proto 102\n\
         ip neigh del 10.5.40.0 dev flannel.1\n\
         bridge fdb del 02:00:00:00:00:40 dev flannel.1 dst 10.99.0.3 self\n"
    );
}

prop_compose! {
    fn any_entries()(
        fdb in btree_map(0u8..8, 0u8..4, 0..8),
        neighbours in btree_map(0u8..8, 0u8..4, 0..8),
        routes in btree_map((0u8..8, 0u32..3), (0u8..2, 0u8..3), 0..8),
    ) -> Entries {
        let vtep = |n: u8| Ipv4Addr::new(10, 5, n, 0);
        let subnet = |n| Ipv4Network::new(vtep(n), 24).expect("a length of 24");
        let hop = |kind, n| [NextHop::Vtep(vtep(n)), NextHop::Link, NextHop::Blackhole][usize::from(kind % 3)];
        Entries {
            fdb: fdb.into_iter().map(|(m, ip)| (MacAddr([2, 0, 0, 0, 0, m]), Ipv4Addr::new(10, 99, 0, ip))).collect(),
            neighbours: neighbours.into_iter().map(|(n, m)| (vtep(n), MacAddr([2, 0, 0, 0, 0, m]))).collect(),
            routes: routes.into_iter().map(|((n, metric), (protocol, kind))| {
                (RouteKey { destination: subnet(n), metric, protocol }, hop(kind, n))
            }).collect(),
        }
    }
}

prop_compose! {
    fn any_state()(
        mac in 1u8..3, entries in any_entries(), up in any::<bool>(), there in 0u8..4, port in 0u16..2, mtu in 1400u32..1402,
        local in 0u8..2, sysctl in 0i32..4, address in 0u8..3,
    ) -> OverlayState {
        let local = Ipv4Addr::new(10, 99, 0, local);
        let mac = MacAddr([2, 0, 0, 0, 0, mac]);
        let device = Device { port: 8472 + port, mtu, local, mac, ..device() };
        if there == 0 {
            return OverlayState::default();
        }
        let mut state = OverlayState { device: Some(device), up, entries, ..OverlayState::default() };
        state.addresses.extend(Ipv4Network::new(Ipv4Addr::new(10, 5, address, 0), 32));
        state.sysctls.extend(Sysctl::ALL.map(|s| (s, sysctl)));
        state
    }
}

fn run(state: &mut OverlayState, ops: &[Op]) {
    ops.iter().for_each(|op| _ = fake::apply(state, op));
}

proptest! {
    #[test]
    fn converges_and_is_then_empty(mut observed in any_state(), entries in any_entries()) {
        let desired = OverlayState { entries, ..desired() };
        let ops = plan(&desired, &observed);
        run(&mut observed, &ops);
        prop_assert_eq!(&observed, &desired);
        prop_assert_eq!(plan(&desired, &observed), Vec::new());
    }

    #[test]
    fn converges_after_a_failure_at_any_step(mut observed in any_state(), entries in any_entries(), lost in any::<prop::sample::Index>()) {
        let desired = OverlayState { entries, ..desired() };
        let mut ops = plan(&desired, &observed);
        if !ops.is_empty() {
            ops.remove(lost.index(ops.len()));
        }
        run(&mut observed, &ops);
        // If the creation of the device failed, nothing is there: a second plan covers that, too.
        let ops = plan(&desired, &observed);
        run(&mut observed, &ops);
        prop_assert_eq!(observed, desired);
    }

    #[test]
    fn foreign_routes_never_appear_in_a_plan(mut kernel in any_state(), n in any::<u8>(), metric in 0u32..9) {
        let destination = Ipv4Network::new(Ipv4Addr::new(192, 168, n, 0), 24).expect("a length of 24");
        let key = RouteKey { destination, metric, protocol: 4 };
        kernel.entries.routes.insert(key, NextHop::Link);
        let ops = plan(&desired(), &fake::observe(&kernel, network()));
        let touches = |op: &Op| matches!(op, Op::AddRoute(k, _) | Op::PutRoute(k, _) | Op::DelRoute(k, _) if *k == key);
        prop_assert!(!ops.iter().any(touches));
    }

    #[test]
    fn nothing_old_is_deleted_before_everything_new_is_there(from in any_entries(), to in any_entries()) {
        let first_words = ["bridge fdb replace", "ip neigh replace", "ip route add", "ip route del", "ip neigh del", "bridge fdb del"];
        let command = |op: &Op| op.command("flannel.1").to_string().replace("ip route replace", "ip route add");
        let rank = |op: &Op| first_words.iter().position(|words| command(op).starts_with(words));
        let ranks: Vec<_> = plan_entries(&to, &from).iter().map(rank).collect();
        prop_assert!(ranks.is_sorted());
    }
}
