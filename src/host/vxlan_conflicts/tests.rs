use super::*;

fn ours() -> NeededDevice {
    NeededDevice {
        name: "flannel.1".to_owned(),
        vni: Vni::DEFAULT,
        port: 8472,
        gbp: false,
    }
}

fn other(name: &str, vni: u32, port: u16, receives: &[&'static str]) -> Vxlan {
    let vni = Vni::try_from(vni).expect("a VNI in a test");
    Vxlan {
        name: name.to_owned(),
        vni,
        port,
        up: true,
        ipv6: false,
        receives: receives.iter().copied().collect(),
    }
}

fn check_conflicts(
    needed: &NeededDevice,
    vxlans: &[Vxlan],
    udp: &[u16],
    udp6: &[u16],
    expected: &[&str],
) {
    let (vxlans, udp_ports, udp6_ports) = (vxlans.to_vec(), udp.to_vec(), udp6.to_vec());
    let sentences = warnings(
        needed,
        &PortUse {
            vxlans,
            udp_ports,
            udp6_ports,
        },
    );
    assert_eq!(sentences.len(), expected.len(), "{sentences:?}");
    sentences
        .iter()
        .zip(expected)
        .for_each(|(s, start)| assert!(s.starts_with(start), "{s}"));
}

#[test]
fn names_the_device_that_has_our_port() {
    let check = |needed: &NeededDevice, others: &[Vxlan], expected: &[&str]| {
        check_conflicts(needed, others, &[8472, 4789], &[8472], expected);
    };
    let (ours, flannel) = (ours(), other("flannel.1", 1, 8472, &[]));
    check(
        &ours,
        &[
            flannel,
            other("flannel.7", 7, 8472, &[]),
            other("x", 1, 4789, &[]),
        ],
        &[],
    );
    check(
        &ours,
        &[other("vxlan.calico", 1, 8472, &[])],
        &["device vxlan.calico has VNI 1"],
    );
    let differs =
        "device cilium_vxlan on UDP port 8472 differs in the kinds of packets that it receives";
    let external = other("cilium_vxlan", 0, 8472, &[EXTERNAL]);
    check(
        &ours,
        std::slice::from_ref(&external),
        &[&format!("{differs} (external): flannel.1")],
    );
    check(
        &ours,
        &[Vxlan {
            ipv6: true,
            ..external.clone()
        }],
        &[&format!("{differs} (external)")],
    );
    check(
        &ours,
        &[other("cilium_vxlan", 1, 8472, &["gpe"])],
        &[&format!("{differs} (gpe)")],
    );
    let with_gbp = NeededDevice { gbp: true, ..ours };
    check(
        &with_gbp,
        &[external],
        &[&format!("{differs} (external, gbp)")],
    );
    check(&with_gbp, &[other("x", 2, 8472, &[GBP])], &[]);
    check(
        &with_gbp,
        &[Vxlan {
            ipv6: true,
            ..other("flannel-v6.1", 1, 8472, &[])
        }],
        &[],
    );
}

#[test]
fn names_the_program_that_has_our_port() {
    let check = |vxlans: &[Vxlan], udp: &[u16], udp6: &[u16], expected: &[&str]| {
        check_conflicts(&ours(), vxlans, udp, udp6, expected);
    };
    check(&[], &[53], &[53], &[]);
    check(&[], &[53, 8472], &[8472], &["UDP port 8472 is taken"]);
    check(
        &[],
        &[53],
        &[8472],
        &["UDP port 8472 may be taken by a program that has it for IPv6"],
    );
    let failed = Vxlan {
        up: false,
        ..other("flannel.1", 1, 8472, &[])
    };
    check(&[failed], &[8472], &[], &["UDP port 8472 is taken"]);
}
