use super::*;

pub(crate) const ALL: Carries = Carries {
    masquerade: true,
    forward: true,
};
pub(crate) const MASQUERADE: Carries = Carries {
    masquerade: true,
    forward: false,
};
pub(crate) const FORWARD: Carries = Carries {
    masquerade: false,
    forward: true,
};

pub(crate) fn wanted() -> Wanted {
    Wanted {
        vni: Vni::DEFAULT,
        network: "10.5.0.0/16".parse().expect("a network in a test"),
        subnet: "10.5.96.0/24".parse().expect("a network in a test"),
        local: Ipv4Addr::new(192, 168, 50, 11),
        port: 8472,
        masquerade: true,
        random_fully: true,
        forward: true,
    }
}

#[test]
fn wants_nothing_when_told_so() {
    let wanted = Wanted {
        masquerade: false,
        forward: false,
        ..wanted()
    };
    assert_eq!(
        wanted.rules(ALL),
        RuleSet {
            random_fully: true,
            ..RuleSet::none(Vni::DEFAULT)
        }
    );
}

#[test]
fn outer_packets_are_untracked_whoever_masquerades() {
    let wanted = Wanted {
        masquerade: false,
        ..wanted()
    };
    let rules = wanted.rules(MASQUERADE);
    assert_eq!(
        (
            rules.at(Hook::RawPrerouting).len(),
            rules.at(Hook::RawOutput).len()
        ),
        (1, 1)
    );
    assert!(rules.at(Hook::Postrouting).is_empty());
    assert!(
        wanted.rules(FORWARD).at(Hook::RawOutput).is_empty(),
        "somebody else carries that part"
    );
}

#[test]
fn masqueraded_ports_are_never_the_vxlan_port() {
    for port in [
        1, 1023, 1024, 1025, 4789, 8472, 33_279, 33_280, 60_000, 65_534, 65_535,
    ] {
        let (from, to) = (alike(port), other_ports(port));
        assert!((from.first..=from.last).contains(&port), "{port}: {from:?}");
        assert!(!(to.first..=to.last).contains(&port), "{port}: {to:?}");
        assert!(
            to.first >= 1024 && to.last - to.first > 32_000,
            "{port}: {to:?}"
        );
    }
}

#[test]
fn ports_are_kept_on_their_side_of_the_vxlan_port_unless_they_are_random() {
    let check = |port, random_fully, expected: &[(u16, u16)]| {
        let rules = Wanted {
            port,
            random_fully,
            ..wanted()
        }
        .rules(MASQUERADE);
        let kept = |rule: &Rule| match (rule.udp, rule.verdict) {
            (Some(Udp::From(from)), Verdict::Masquerade(Some(to))) if from == to => {
                Some((from.first, from.last))
            }
            _ => None,
        };
        let kept: Vec<(u16, u16)> = rules
            .at(Hook::Postrouting)
            .iter()
            .filter_map(kept)
            .collect();
        assert_eq!(
            kept,
            [expected, expected].concat(),
            "{port}: the same for both ways of masquerading"
        );
    };
    check(8472, true, &[]);
    check(8472, false, &[(1024, 8471), (8473, 65_535)]);
    check(4789, false, &[(1024, 4788), (4790, 65_535)]);
    check(1024, false, &[(1025, 65_535)]);
    check(1025, false, &[(1026, 65_535)]);
    check(65_535, false, &[(1024, 65_534)]);
    check(500, false, &[(1, 499), (501, 1023)]);
    check(1, false, &[(2, 1023)]);
    check(0, false, &[(1, 1023)]);
}

#[test]
fn a_rule_that_keeps_ports_never_gives_the_vxlan_port() {
    for port in (0..=2000)
        .chain([4789, 8472, 33_279])
        .chain(65_000..=65_535)
    {
        for side in sides(port) {
            assert!(
                !(side.first..=side.last).contains(&port),
                "{port}: {side:?}"
            );
        }
    }
}
