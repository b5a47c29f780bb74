use super::*;
use crate::rules::rule::Hook;

const NONE: RuleParts = RuleParts {
    masquerade: false,
    forward: false,
    docker: false,
    docker_nftables: false,
};
pub(crate) const MASQUERADE: RuleParts = RuleParts {
    masquerade: true,
    ..NONE
};
pub(crate) const FORWARD: RuleParts = RuleParts {
    forward: true,
    ..NONE
};
pub(crate) const ALL: RuleParts = RuleParts {
    masquerade: true,
    forward: true,
    ..NONE
};
/// Beside Docker.
pub(crate) const DOCKER: RuleParts = RuleParts {
    docker: true,
    ..FORWARD
};

pub(crate) fn desired_rules() -> DesiredRules {
    DesiredRules {
        vni: Vni::DEFAULT,
        network: "10.5.0.0/16".parse().expect("a network in a test"),
        subnet: "10.5.96.0/24".parse().expect("a network in a test"),
        local: Ipv4Addr::new(192, 168, 50, 11),
        external: "eth0".to_owned(),
        port: 8472,
        masquerade: true,
        random_fully: true,
        forward: true,
        tool: RequestedTool::Auto,
        enable_nftables: None,
    }
}

#[test]
fn there_are_no_rules_when_the_operator_wants_none() {
    let nothing = DesiredRules {
        masquerade: false,
        forward: false,
        ..desired_rules()
    };
    assert_eq!(
        nothing.rules(ALL),
        RuleSet {
            random_fully: true,
            external: "eth0".to_owned(),
            ..RuleSet::none(Vni::DEFAULT)
        }
    );
}

#[test]
fn outer_packets_are_untracked_even_if_nothing_is_masqueraded() {
    let desired = DesiredRules {
        masquerade: false,
        ..desired_rules()
    };
    let rules = desired.rules(MASQUERADE);
    assert_eq!(
        (
            rules.at(Hook::RawPrerouting).len(),
            rules.at(Hook::RawOutput).len()
        ),
        (1, 1)
    );
    assert!(rules.at(Hook::Postrouting).is_empty());
    assert!(
        desired.rules(FORWARD).at(Hook::RawOutput).is_empty(),
        "another tool carries that part"
    );
}

#[test]
fn docker_decides_about_its_containers_before_all_pods_may_go_anywhere() {
    let rules = desired_rules().rules(FORWARD);
    let everywhere = desired_rules().accept_from_own_pods();
    assert_eq!(rules.at(Hook::Forward).last(), Some(&everywhere));
    assert!(rules.at(Hook::ForwardEnd).is_empty() && rules.at(Hook::RawDocker).is_empty());
    let beside_docker = desired_rules().rules(DOCKER);
    assert!(!beside_docker.at(Hook::Forward).contains(&everywhere));
    assert_eq!(beside_docker.at(Hook::ForwardEnd), [everywhere]);
    assert_eq!(
        beside_docker.at(Hook::RawDocker),
        [desired_rules().accept_from_overlay()]
    );
}

#[test]
fn dockers_nftables_backend_gets_a_mark_and_what_comes_from_outside_is_kept_away() {
    let parts = RuleParts {
        docker_nftables: true,
        ..MASQUERADE
    };
    let rules = desired_rules().rules(parts);
    assert_eq!(rules.at(Hook::ForwardMangle).len(), 1);
    let dropped = rules.at(Hook::RawPrerouting).last();
    assert_eq!(
        dropped.map(|rule| (rule.input, rule.verdict)),
        Some((Some(Interface::External), Verdict::Drop))
    );
    let elsewhere = RuleParts {
        docker_nftables: true,
        ..FORWARD
    };
    assert!(
        desired_rules()
            .rules(elsewhere)
            .at(Hook::ForwardMangle)
            .is_empty()
    );
}

/// Compares the port ranges that keep their ports, for a VXLAN port.
fn check_kept(port: u16, random_fully: bool, expected: &[(u16, u16)]) {
    let rules = DesiredRules {
        port,
        random_fully,
        ..desired_rules()
    }
    .rules(MASQUERADE);
    let kept: Vec<(u16, u16)> = rules
        .at(Hook::Postrouting)
        .iter()
        .filter_map(|rule| match (rule.udp, rule.verdict) {
            (Some(UdpMatch::From(from)), Verdict::Masquerade(Some(to))) if from == to => {
                Some((from.first, from.last))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        kept,
        [expected, expected].concat(),
        "{port}: the same for both ways of masquerading"
    );
}

#[test]
fn ports_stay_below_or_above_the_vxlan_port_unless_they_are_random() {
    check_kept(8472, true, &[]);
    check_kept(8472, false, &[(1024, 8471), (8473, 65_535)]);
    check_kept(4789, false, &[(1024, 4788), (4790, 65_535)]);
    check_kept(1024, false, &[(1025, 65_535)]);
    check_kept(1025, false, &[(1026, 65_535)]);
    check_kept(65_535, false, &[(1024, 65_534)]);
    check_kept(500, false, &[(1, 499), (501, 1023)]);
    check_kept(1, false, &[(2, 1023)]);
    check_kept(0, false, &[(1, 1023)]);
}
