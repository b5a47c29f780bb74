use super::*;

pub(crate) const ALL: Carries = Carries { masquerade: true, forward: true };
pub(crate) const MASQUERADE: Carries = Carries { masquerade: true, forward: false };
pub(crate) const FORWARD: Carries = Carries { masquerade: false, forward: true };

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
    let wanted = Wanted { masquerade: false, forward: false, ..wanted() };
    assert_eq!(wanted.rules(ALL), RuleSet { random_fully: true, ..RuleSet::none(Vni::DEFAULT) });
}

#[test]
fn outer_packets_are_untracked_whoever_masquerades() {
    let wanted = Wanted { masquerade: false, ..wanted() };
    let rules = wanted.rules(MASQUERADE);
    assert_eq!((rules.at(Hook::RawPrerouting).len(), rules.at(Hook::RawOutput).len()), (1, 1));
    assert!(rules.at(Hook::Postrouting).is_empty());
    assert!(wanted.rules(FORWARD).at(Hook::RawOutput).is_empty(), "somebody else carries that part");
}

#[test]
fn masqueraded_ports_are_never_the_vxlan_port() {
    for port in [1, 1023, 1024, 1025, 4789, 8472, 33_279, 33_280, 60_000, 65_534, 65_535] {
        let (from, to) = (alike(port), other_ports(port));
        assert!((from.first..=from.last).contains(&port), "{port}: {from:?}");
        assert!(!(to.first..=to.last).contains(&port), "{port}: {to:?}");
        assert!(to.first >= 1024 && to.last - to.first > 32_000, "{port}: {to:?}");
    }
}
