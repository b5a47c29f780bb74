use super::*;
use crate::host::firewall::{iptables_table, nft_base_tables, nft_table};

/// What firewalld 1.3.3 makes of its default configuration, and of the commands that our message names.
const FIREWALLD: &str = include_str!("../testdata/firewalld.json");
const FIREWALLD_CURED: &str = include_str!("../testdata/firewalld-cured.json");
/// What ufw 0.36.2 makes of its default configuration.
const UFW: &str = include_str!("../testdata/ufw.save");

fn setup() -> FirewallSetup {
    FirewallSetup {
        external: "eth0".to_owned(),
        local: Ipv4Addr::new(10, 99, 1, 1),
        device: "flannel.1".to_owned(),
        our_chain: "FLANNEL-FWD".to_owned(),
        port: 8472,
        network: "10.5.0.0/16".parse().expect("a network in a test"),
        subnet: "10.5.1.0/24".parse().expect("a subnet in a test"),
        bridge: Some("docker0".to_owned()),
        untracked: true,
        accepts_forward: true,
    }
}

fn messages(setup: &FirewallSetup, table: FilterTable) -> Vec<String> {
    let problems = problems(setup, &[table]);
    problems
        .into_iter()
        .map(|problem| problem.message)
        .collect()
}

fn firewalld(json: &str) -> FilterTable {
    nft_table("inet", "firewalld", json).expect("a listing of nft")
}

#[test]
fn firewalld_is_named_with_the_commands_that_cure_it() {
    let expected = "firewalld (nft table inet firewalld) drops VXLAN packets from other hosts (UDP port 8472), and \
        packets from flannel.1 to pods of this host, and packets of pods of this host to flannel.1 (chain filter_INPUT, \
        in filter_IN_public); firewall-cmd --zone=public --add-port=8472/udp && \
        firewall-cmd --permanent --zone=public --add-port=8472/udp && \
        firewall-cmd --zone=trusted --add-source=10.5.0.0/16 && \
        firewall-cmd --permanent --zone=trusted --add-source=10.5.0.0/16";
    assert_eq!(messages(&setup(), firewalld(FIREWALLD)), [expected]);
    assert_eq!(messages(&setup(), firewalld(FIREWALLD_CURED)), [""; 0]);
}

/// As firewalld 2.5 names its chains.
#[test]
fn a_zone_of_firewalld_is_named_without_the_rest_of_the_chain() {
    let table = FIREWALLD.replace("filter_IN_public", "filter_IN_public_to_HOST");
    let found = messages(&setup(), firewalld(&table));
    assert!(
        found[0].contains("in filter_IN_public_to_HOST); firewall-cmd --zone=public --add-port"),
        "{found:?}"
    );
}

#[test]
fn ufw_is_named_with_the_commands_that_cure_it() {
    let expected = "ufw (iptables-nft table filter) drops VXLAN packets from other hosts (UDP port 8472) \
        (chain INPUT); ufw allow 8472/udp";
    let ufw = |text: &str| iptables_table("iptables-nft", "filter", text);
    assert_eq!(messages(&setup(), ufw(UFW)), [expected]);
    let cured = UFW.replace(
        "COMMIT",
        "-A ufw-user-input -p udp -m udp --dport 8472 -j ACCEPT\nCOMMIT",
    );
    assert_eq!(messages(&setup(), ufw(&cured)), [""; 0]);
    let bare = FirewallSetup {
        accepts_forward: false,
        ..setup()
    };
    let found = messages(&bare, ufw(UFW));
    let routes = "ufw route allow in on flannel.1 && ufw route allow out on flannel.1";
    assert!(found[0].ends_with(routes), "{found:?}");
}

/// Whether iptables rules of `filter` keep the overlay from working.
fn check_iptables(input: &str, drops: bool) {
    let text = format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:A - [0:0]\n{input}\nCOMMIT\n*nat\n:INPUT DROP [0:0]\nCOMMIT\n"
    );
    let found = messages(&setup(), iptables_table("iptables-legacy", "filter", &text));
    assert_eq!(!found.is_empty(), drops, "{input}: {found:?}");
}

#[test]
fn rules_of_iptables_are_read_as_the_kernel_reads_them() {
    let drop = "-A INPUT -p udp -m udp --dport 8472 -j DROP";
    check_iptables("", false);
    check_iptables(drop, true);
    check_iptables(
        "-A INPUT -p udp -m multiport --dports 53,8000:9000 -j REJECT",
        true,
    );
    check_iptables(
        "-A INPUT -p udp -m multiport --dports 53,9000:9999 -j REJECT",
        false,
    );
    check_iptables("-A INPUT ! -i lo -j DROP", true);
    check_iptables(
        "-A INPUT -i eth+ -m comment --comment \"a -j ACCEPT\" -j DROP",
        true,
    );
    check_iptables("-A INPUT -i eth1 -j DROP", false);
    check_iptables("-A INPUT -d 10.99.0.0/16 -j DROP", true);
    check_iptables(
        &format!("-A INPUT -d 10.99.1.1/32 -j ACCEPT\n{drop}"),
        false,
    );
    check_iptables(&format!("-A INPUT -p tcp -j ACCEPT\n{drop}"), true);
    check_iptables(
        &format!("-A INPUT -j LOG --log-prefix \"x \"\n{drop}"),
        true,
    );
    check_iptables(
        &format!("-A INPUT -j A\n{drop}\n-A A -p udp -j RETURN\n-A A -j ACCEPT"),
        true,
    );
    check_iptables(
        &format!("-A INPUT -j A\n{drop}\n-A A -p udp -j ACCEPT"),
        false,
    );
    check_iptables("-A INPUT -g A\n-A INPUT -j ACCEPT\n-A A -j DROP", true);
    check_iptables("-A INPUT -m conntrack --ctstate INVALID -j DROP", false);
    check_iptables(
        "-A INPUT -m conntrack ! --ctstate NEW,ESTABLISHED -j DROP",
        true,
    );
}

#[test]
fn what_is_not_understood_is_never_a_drop() {
    let drop = "-A INPUT -p udp -m udp --dport 8472 -j DROP";
    check_iptables("-A INPUT -m set --match-set friends src -j DROP", false);
    check_iptables("-A INPUT -s 10.99.1.7/32 -j DROP", false);
    check_iptables(
        &format!("-A INPUT -m set --match-set friends src -j ACCEPT\n{drop}"),
        false,
    );
    check_iptables(
        &format!("-A INPUT -s 10.99.0.0/16 -j ACCEPT\n{drop}"),
        false,
    );
    check_iptables(
        &format!("-A INPUT -m set --match-set others src -j A\n{drop}\n-A A -j DROP"),
        true,
    );
    check_iptables(&format!("-A INPUT -m socket -j ACCEPT\n{drop}"), false);
    check_iptables(&format!("-A INPUT -j NFQUEUE\n{drop}"), false);
    check_iptables(&format!("-A INPUT -j MISSING\n{drop}"), false);
}

#[test]
fn a_circle_of_chains_ends() {
    check_iptables("-A INPUT -j A\n-A A -j A\n-A A -j A", false);
}

fn chain(hook: &str, policy: &str) -> String {
    format!(
        r#"{{"chain":{{"family":"inet","table":"mine","name":"c","type":"filter","hook":"{hook}","prio":0,"policy":"{policy}"}}}}"#
    )
}

/// Whether a table with one chain and these expressions of rules drops packets of the overlay.
fn check_nft(hook: &str, policy: &str, rules: &[&str], expected: &[&str]) {
    let rules = rules
        .iter()
        .map(|rule| format!(r#",{{"rule":{{"chain":"c","expr":[{rule}]}}}}"#));
    let rules: String = rules.collect();
    let json = format!(r#"{{"nftables":[{}{rules}]}}"#, chain(hook, policy));
    let table = nft_table("inet", "mine", &json).expect("a listing of nft");
    let found = messages(&setup(), table);
    let ends: Vec<&str> = found
        .iter()
        .map(|message| message.rsplit("; ").next().unwrap_or_default())
        .collect();
    assert_eq!(ends, expected, "{json}");
}

#[test]
fn a_forward_chain_of_another_program_with_policy_drop_is_named() {
    let both = "nft insert rule inet mine c iifname flannel.1 accept && nft insert rule inet mine c oifname flannel.1 accept";
    check_nft("forward", "drop", &[], &[both]);
    check_nft("forward", "accept", &[], &[]);
    let device = |key: &str| {
        format!(
            r#"{{"match":{{"op":"==","left":{{"meta":{{"key":"{key}"}}}},"right":"flannel.1"}}}},{{"accept":null}}"#
        )
    };
    let (inwards, outwards) = (device("iifname"), device("oifname"));
    check_nft("forward", "drop", &[&inwards, &outwards], &[]);
    let rest = "nft insert rule inet mine c oifname flannel.1 accept";
    check_nft("forward", "drop", &[&inwards], &[rest]);
}

#[test]
fn matches_of_nft_are_read_as_the_kernel_reads_them() {
    let insert = "nft insert rule inet mine c udp dport 8472 accept";
    let port = |right: &str, verdict: &str| {
        format!(
            r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"udp","field":"dport"}}}},"right":{right}}}}},{{"counter":{{"packets":0,"bytes":0}}}},{{"{verdict}":null}}"#
        )
    };
    check_nft("input", "accept", &[&port("8472", "drop")], &[insert]);
    check_nft(
        "input",
        "accept",
        &[&port("{\"set\":[53,{\"range\":[8000,9000]}]}", "drop")],
        &[insert],
    );
    check_nft("input", "accept", &[&port("\"@ports\"", "drop")], &[]);
    check_nft("input", "drop", &[&port("8472", "accept")], &[]);
    check_nft("input", "drop", &[&port("53", "accept")], &[insert]);
    let state = r#"{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["established",{"accept":null}],["invalid",{"drop":null}],["untracked",{"accept":null}]]}}}"#;
    check_nft("input", "drop", &[state], &[]);
    let without_untracked = state.replace("untracked", "related");
    check_nft("input", "drop", &[&without_untracked], &[insert]);
    let named = r#"{"vmap":{"key":{"meta":{"key":"iifname"}},"data":"@zones"}}"#;
    check_nft("input", "drop", &[named], &[]);
    let ipv6 =
        r#"{"match":{"op":"==","left":{"meta":{"key":"nfproto"}},"right":"ipv6"}},{"drop":null}"#;
    check_nft("input", "accept", &[ipv6], &[]);
    let not_ipv6 = ipv6.replace("==", "!=");
    check_nft("input", "accept", &[&not_ipv6], &[insert]);
    let limited = r#"{"limit":{"rate":5,"per":"second"}},{"accept":null}"#;
    check_nft("input", "drop", &[limited], &[]);
}

#[test]
fn only_tables_of_ipv4_that_filter_are_read_and_not_those_of_iptables() {
    let chain = |family: &str, table: &str, kind: &str, hook: &str| {
        format!(
            r#"{{"chain":{{"family":"{family}","table":"{table}","name":"c","type":"{kind}","hook":"{hook}","prio":0,"policy":"accept"}}}}"#
        )
    };
    let chains = [
        chain("inet", "firewalld", "filter", "input"),
        chain("ip", "filter", "filter", "forward"),
        chain("ip6", "mine", "filter", "forward"),
        chain("inet", "nat", "nat", "prerouting"),
        chain("ip", "late", "filter", "postrouting"),
    ];
    let json = format!(r#"{{"nftables":[{}]}}"#, chains.join(","));
    let tables = nft_base_tables(&json).expect("a listing of nft");
    let expected = ("inet".to_owned(), "firewalld".to_owned());
    assert_eq!(tables.into_iter().collect::<Vec<_>>(), [expected]);
    assert!(nft_base_tables("").is_err() && nft_base_tables("{}").is_err());
}

#[test]
fn of_the_chain_forward_only_what_stands_before_our_accept_counts() {
    let check = |rules: &str, expected: &[&str]| {
        let text = format!("*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n{rules}COMMIT\n");
        let found = messages(&setup(), iptables_table("iptables-nft", "filter", &text));
        assert_eq!(found, expected, "{rules}");
    };
    let (user, ours) = ("-A FORWARD -j DOCKER-USER\n", "-A FORWARD -j FLANNEL-FWD\n");
    let reject = "-A FORWARD -j REJECT\n";
    check("", &[]);
    check(&format!("{user}{ours}{reject}"), &[]);
    check(&format!("{user}{reject}"), &[]);
    check(
        &format!("{user}{ours}-A DOCKER-USER -i eth0 -j DROP\n"),
        &[],
    );
    let closed = "iptables-nft table filter drops packets from flannel.1 to pods of this host";
    check(
        &format!("{user}{ours}-A DOCKER-USER -i flannel.1 -j DROP\n"),
        &[&format!(
            "{closed} (chain FORWARD, in DOCKER-USER); iptables-nft -t filter -I DOCKER-USER -i flannel.1 -j ACCEPT"
        )],
    );
    check(
        &format!("-A FORWARD -i flannel+ -j REJECT\n{user}{ours}"),
        &[&format!(
            "{closed} (chain FORWARD); iptables-nft -t filter -I FORWARD -i flannel.1 -j ACCEPT"
        )],
    );
}
