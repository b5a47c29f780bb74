use super::*;
use crate::rules::desired::tests::desired_rules;

const DOCKER: &str = "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\nCOMMIT\n";
const KUBE: &str = "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n";
const NO_NFT: Option<&str> = Some("nft is not installed");

fn host(nft: &str, legacy: &str) -> ObservedRules {
    ObservedRules::for_test(nft, legacy)
}

/// Compares the choice in words: masquerade, forward: why.
fn check(desired: &DesiredRules, host: &ObservedRules, no_nft: Option<&str>, expected: &str) {
    let text = match choose(desired, host, no_nft) {
        Ok(Some(choice)) => text(&choice),
        Ok(None) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    };
    assert_eq!(text, expected);
}

fn text(choice: &Choice) -> String {
    let forward: Vec<String> = choice.forward.iter().map(ToString::to_string).collect();
    let (masquerade, forward, why) = (choice.masquerade, forward.join("+"), &choice.why);
    let warning = choice.warning.as_ref().map_or("", |_| "; warns");
    format!("{masquerade}, {forward}: {why}{warning}")
}

fn asked(tool: RequestedTool, enable_nftables: Option<bool>) -> DesiredRules {
    DesiredRules {
        tool,
        enable_nftables,
        ..desired_rules()
    }
}

fn check_auto(host: &ObservedRules, no_nft: Option<&str>, expected: &str) {
    check(&asked(RequestedTool::Auto, None), host, no_nft, expected);
}

#[test]
fn a_filter_that_holds_our_own_rules_only_does_not_keep_them_there() {
    const OURS: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [9:9]\n:FLANNEL-FWD - [0:0]\n\
                        -A FORWARD -j FLANNEL-FWD\n-A FLANNEL-FWD -s 10.5.0.0/16 -j ACCEPT\nCOMMIT\n";
    let check = |nft: &str, expected| {
        let host = ObservedRules {
            default_variant: Some(IptablesVariant::Legacy),
            ..host(nft, "")
        };
        assert_eq!(forward(&host), [expected]);
    };
    check(OURS, IptablesVariant::Legacy);
    let drops = OURS.replace(":FORWARD ACCEPT", ":FORWARD DROP");
    check(&drops, IptablesVariant::Nft);
}

#[test]
fn nftables_is_chosen_wherever_it_works() {
    check_auto(
        &host("", ""),
        None,
        "nftables, iptables-nft: nft works here, and there are no chains of kube-proxy or Docker",
    );
    check_auto(
        &host("", DOCKER),
        None,
        "nftables, iptables-legacy: nft works here, and chains of kube-proxy or Docker are in iptables-legacy",
    );
    check_auto(
        &host(DOCKER, DOCKER),
        None,
        "nftables, iptables-nft+iptables-legacy: nft works here, and chains of kube-proxy or Docker are in \
         iptables-nft and iptables-legacy; warns",
    );
}

#[test]
fn without_nft_the_iptables_of_the_other_programs_is_chosen() {
    check_auto(
        &host("", KUBE),
        NO_NFT,
        "iptables-legacy, iptables-nft: nftables cannot be used (nft is not installed), and chains of kube-proxy \
         or Docker are in iptables-legacy",
    );
    check_auto(
        &host(DOCKER, KUBE),
        NO_NFT,
        "iptables-nft, iptables-nft: nftables cannot be used (nft is not installed), and iptables here means \
         iptables-nft; warns",
    );
}

/// A host on which no iptables is installed.
fn bare() -> ObservedRules {
    ObservedRules {
        default_variant: None,
        saved: [].into(),
        ..host("", "")
    }
}

#[test]
fn without_iptables_only_nftables_is_left() {
    check_auto(
        &bare(),
        None,
        "nftables, : nft works here, and there are no chains of kube-proxy or Docker; iptables is not installed, so it has no rules that could drop forwarded packets",
    );
    check_auto(
        &bare(),
        NO_NFT,
        "neither nftables (nft is not installed) nor iptables can be used; install one, or use --ip-masq=false",
    );
}

#[test]
fn the_accept_alone_needs_no_tool_and_no_rules_need_none() {
    let accept = DesiredRules {
        masquerade: false,
        ..desired_rules()
    };
    check(&accept, &bare(), NO_NFT, "nothing");
    let nothing = DesiredRules {
        forward: false,
        ..accept
    };
    check(&nothing, &host(DOCKER, ""), None, "nothing");
}

#[test]
fn hidden_tables_are_named_and_warned_of_only_where_they_seem_to_be_used() {
    let why = "nft works here, and as far as we may look (not at iptables-legacy), there are no chains of \
               kube-proxy or Docker";
    let check = |default_variant, legacy, expected: String| {
        let host = ObservedRules {
            default_variant: Some(default_variant),
            legacy,
            ..host("", "")
        };
        check_auto(&host, None, &expected);
    };
    check(
        IptablesVariant::Nft,
        LegacyTables::Hidden,
        format!("nftables, iptables-nft: {why}"),
    );
    check(
        IptablesVariant::Legacy,
        LegacyTables::Hidden,
        format!("nftables, iptables-legacy: {why}; warns"),
    );
    check(
        IptablesVariant::Nft,
        LegacyTables::HiddenAndLoaded,
        format!("nftables, iptables-nft: {why}; warns"),
    );
}

#[test]
fn the_option_wins_over_the_config_and_the_config_over_the_host() {
    let there = host("", KUBE);
    let legacy = "chains of kube-proxy or Docker are in iptables-legacy";
    check(
        &asked(RequestedTool::Iptables, Some(true)),
        &there,
        None,
        &format!("iptables-legacy, iptables-nft: --firewall asks for iptables, and {legacy}"),
    );
    check(
        &asked(RequestedTool::Nftables, Some(false)),
        &there,
        None,
        "nftables, iptables-nft: --firewall asks for nftables",
    );
    let config = "EnableNFTables in the network's config asks for";
    check(
        &asked(RequestedTool::Auto, Some(false)),
        &there,
        None,
        &format!("iptables-legacy, iptables-nft: {config} iptables, and {legacy}"),
    );
    check(
        &asked(RequestedTool::Nftables, None),
        &there,
        NO_NFT,
        "--firewall asks for nftables, which cannot be used: nft is not installed; install it, or use \
         --firewall=iptables",
    );
}
