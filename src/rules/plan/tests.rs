use super::*;
use crate::rules::desired::tests::{ALL, FORWARD, MASQUERADE, desired_rules};
use crate::rules::fake::FakeHost;
use crate::rules::iptables::tests::ACCEPT;
use crate::rules::observed::LegacyTables;
use crate::rules::settings::RequestedTool;

const DOCKER: &str = "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\nCOMMIT\n";

/// Compares a plan as the summaries of its commands.
fn check(
    desired: &DesiredRules,
    observed: &ObservedRules,
    own_table: &OwnTable,
    installs: &[&str],
    removals: &[&str],
) {
    let plan = plan(desired, observed, own_table).expect("a tool that works");
    let texts = |ops: &[RuleOp]| ops.iter().map(RuleOp::summary).collect::<Vec<_>>();
    assert_eq!(texts(&plan.installs), installs, "installs");
    assert_eq!(texts(&plan.removals), removals, "removals");
}

fn with_tool(tool: RequestedTool) -> DesiredRules {
    DesiredRules {
        tool,
        ..desired_rules()
    }
}

#[test]
fn an_operation_prints_the_command_that_does_the_same() {
    let accept = DesiredRules {
        masquerade: false,
        ..with_tool(RequestedTool::Iptables)
    };
    let rules = accept.rules(FORWARD);
    let op = RuleOp::Install {
        tool: RuleTool::Iptables(IptablesVariant::Nft),
        script: iptables::missing(&rules, "").expect("nothing is there"),
        rules,
    };
    let expected = format!("iptables-nft-restore --wait --noflush <<'END'\n{ACCEPT}END");
    assert_eq!(op.to_string(), expected);
    let delete = delete_table(&RuleSet::none(accept.vni));
    let expected = "nft -f - <<'END'\ntable ip flannel.1\ndelete table ip flannel.1\nEND";
    assert_eq!(delete.to_string(), expected);
}

#[test]
fn a_bare_host_gets_the_table_and_the_accept() {
    check(
        &desired_rules(),
        &ObservedRules::for_test("", ""),
        &OwnTable::Untried,
        &[
            "nft -f - # table ip flannel.1",
            "iptables-nft-restore --wait --noflush # FLANNEL-FWD",
        ],
        &[],
    );
}

#[test]
fn the_table_is_made_anew_unless_it_is_as_nft_listed_it_then() {
    let desired = DesiredRules {
        forward: false,
        ..desired_rules()
    };
    let rules = desired.rules(MASQUERADE);
    let listed = |listing: String| ObservedRules {
        table: ObservedTable::Listed(listing),
        ..ObservedRules::for_test("", "")
    };
    let observed = listed(nft::script(&rules));
    let install = ["nft -f - # table ip flannel.1"];
    check(&desired, &observed, &OwnTable::Untried, &install, &[]);
    let mut own_table = OwnTable::Untried;
    own_table.made(rules.clone(), &observed).expect("all rules");
    check(&desired, &observed, &own_table, &[], &[]);
    let edited = nft::script(&rules).replace("0x4000", "0x8000");
    check(&desired, &listed(edited), &own_table, &install, &[]);
    let moved = DesiredRules {
        subnet: "10.5.97.0/24".parse().expect("a network in a test"),
        ..desired
    };
    check(&moved, &observed, &own_table, &install, &[]);
}

#[test]
fn a_table_that_lacks_rules_was_not_made() {
    let rules = desired_rules().rules(MASQUERADE);
    let observed = ObservedRules {
        table: ObservedTable::Listed("\tip saddr 10.5.0.0/16 return\n".to_owned()),
        ..ObservedRules::for_test("", "")
    };
    let mut own_table = OwnTable::Untried;
    assert_eq!(
        own_table
            .made(rules, &observed)
            .as_ref()
            .map_err(String::as_str),
        Err("nft shows 1 rules in the table that it has just made, instead of 10")
    );
    assert_eq!(own_table, OwnTable::Untried);
}

#[test]
fn what_another_choice_left_is_removed() {
    let mut host = FakeHost::default();
    let legacy = with_tool(RequestedTool::Iptables);
    let rules = legacy.rules(ALL);
    let script = iptables::missing(&rules, "").expect("nothing is there");
    host.restore(IptablesVariant::Legacy, &script)
        .expect("the script runs");
    let observed = ObservedRules {
        table: ObservedTable::Listed(String::new()),
        ..ObservedRules::for_test(DOCKER, &host.saved(IptablesVariant::Legacy))
    };
    let (masquerade, accept) = ("FLANNEL-POSTRTG", "FLANNEL-FWD");
    let beside_docker = format!("{accept}, FLANNEL-FWD-END, FLANNEL-RAW-DOCKER");
    let notrack = "FLANNEL-RAW-PRE, FLANNEL-RAW-OUT";
    check(
        &with_tool(RequestedTool::Iptables),
        &observed,
        &OwnTable::Untried,
        &[&format!(
            "iptables-nft-restore --wait --noflush # {masquerade}, {beside_docker}, {notrack}"
        )],
        &[
            &format!(
                "iptables-legacy-restore --wait --noflush # {masquerade}, {accept}, {notrack}"
            ),
            "nft -f - # table ip flannel.1",
        ],
    );
}

#[test]
fn nothing_is_removed_before_everything_is_installed() {
    let desired = with_tool(RequestedTool::Iptables);
    let observed = ObservedRules {
        table: ObservedTable::Listed(String::new()),
        ..ObservedRules::for_test("", "")
    };
    let plan = plan(&desired, &observed, &OwnTable::Untried).expect("a tool that works");
    let installs = plan.installs.clone();
    assert!(!installs.is_empty() && !plan.removals.is_empty());
    assert_eq!(plan.ops(), installs);
}

/// Applies plans until one is empty, and returns how many there were.
fn converge(desired: &DesiredRules, host: &mut FakeHost, own_table: &mut OwnTable) -> usize {
    for round in 0..5 {
        let observed = observe(host);
        let ops = plan(desired, &observed, own_table)
            .expect("a tool that works")
            .ops();
        if ops.is_empty() {
            return round;
        }
        for op in ops {
            apply(&op, host, own_table);
            assert!(!has_masquerading(&observed) || has_masquerading(&observe(host)));
        }
    }
    panic!("still to do after five plans: {desired:?}");
}

fn observe(host: &FakeHost) -> ObservedRules {
    let table = host.table.clone();
    ObservedRules {
        table: table.map_or(ObservedTable::Absent, ObservedTable::Listed),
        default_variant: Some(IptablesVariant::Nft),
        saved: host
            .iptables
            .keys()
            .map(|variant| (*variant, host.saved(*variant)))
            .collect(),
        legacy: LegacyTables::Used,
        docker_nftables: host.docker_table,
    }
}

fn apply(op: &RuleOp, host: &mut FakeHost, own_table: &mut OwnTable) {
    match op.tool() {
        RuleTool::Nftables => host.run_nft(op.script()),
        RuleTool::Iptables(variant) => host.restore(variant, op.script()),
    }
    .expect("the script runs");
    if let RuleOp::Install {
        tool: RuleTool::Nftables,
        rules,
        ..
    } = op
    {
        own_table
            .made(rules.clone(), &observe(host))
            .expect("all rules");
    }
}

fn has_masquerading(observed: &ObservedRules) -> bool {
    let has_table = matches!(observed.table, ObservedTable::Listed(_));
    let has_jump = |saved: &String| saved.contains("-A POSTROUTING") && saved.contains("MASQ");
    has_table || observed.saved.values().any(has_jump)
}

#[test]
fn plans_converge_from_any_choice_to_any_other_and_masquerading_is_never_missing() {
    let (mut host, mut own_table) = (FakeHost::default(), OwnTable::Untried);
    let tools = [
        RequestedTool::Nftables,
        RequestedTool::Iptables,
        RequestedTool::Auto,
    ];
    for from in tools {
        for to in tools {
            for docker in [IptablesVariant::Legacy, IptablesVariant::Nft] {
                host.restore(docker, DOCKER).expect("the script runs");
                converge(&with_tool(from), &mut host, &mut own_table);
                converge(&with_tool(to), &mut host, &mut own_table);
                let again = converge(&with_tool(to), &mut host, &mut own_table);
                assert_eq!(again, 0, "{from:?} {to:?}");
            }
        }
    }
}

#[test]
fn a_removal_leaves_nothing_of_this_instance() {
    let (mut host, mut own_table) = (FakeHost::default(), OwnTable::Untried);
    for tool in [RequestedTool::Nftables, RequestedTool::Iptables] {
        converge(&with_tool(tool), &mut host, &mut own_table);
        let none = RuleSet::none(desired_rules().vni);
        for op in plan_removal(&none, &observe(&host)) {
            apply(&op, &mut host, &mut own_table);
        }
        assert_eq!(plan_removal(&none, &observe(&host)), []);
        assert!(host.table.is_none());
        assert!(!host.saved(IptablesVariant::Nft).contains("FLANNEL"));
    }
}
