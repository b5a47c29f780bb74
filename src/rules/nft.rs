//! The texts of nftables: the script for `nft -f -` that replaces our table as a whole, and what its listing shows. Pure.

use std::fmt::Write as _;

use crate::model::addr::Vni;
use crate::model::docker;
use crate::rules::ports::PortRange;
use crate::rules::rule::{
    AddressMatch, Connection, Hook, KUBE_MARK, Rule, RuleSet, UdpMatch, Verdict,
};

/// The chains of the table and their hooks. None accepts forwarded packets: an accept in our table would not overrule a drop
/// in another table.
///
/// The first NAT rule that matches decides, over all tables. Priority 99 puts our source NAT before that of other programs
/// at `srcnat` (100): at equal priority the newest chain comes first, so whoever repaired last would decide the source address. In iptables our jump comes first
/// for the same reason.
const CHAINS: [(Hook, &str, &str); 4] = [
    (
        Hook::RawPrerouting,
        "prerouting",
        "type filter hook prerouting priority raw",
    ),
    (
        Hook::RawOutput,
        "output",
        "type filter hook output priority raw",
    ),
    (
        Hook::Postrouting,
        "postrouting",
        "type nat hook postrouting priority 99",
    ),
    (
        Hook::ForwardMangle,
        "forward",
        "type filter hook forward priority mangle",
    ),
];

/// Returns the name of our table: the same name as the device: it contains the VNI, so two instances on one host get different tables.
pub(crate) fn table(vni: Vni) -> String {
    vni.device()
}

/// Returns the script that replaces the table in one transaction. It makes the table first so that deleting it never fails,
/// deletes it with all that an earlier run put there, and makes it anew if there are rules for it.
pub(crate) fn script(rules: &RuleSet) -> String {
    let table = table(rules.vni);
    let chains: String = CHAINS
        .iter()
        .map(|(hook, name, place)| chain(rules, *hook, name, place))
        .collect();
    let made = if chains.is_empty() {
        String::new()
    } else {
        format!("table ip {table} {{\n{chains}}}\n")
    };
    format!("table ip {table}\ndelete table ip {table}\n{made}")
}

/// Returns how many rules a listing of the table should show. The listed text differs between versions of nft, so only the number of rules can be compared.
pub(crate) fn expected_rule_count(rules: &RuleSet) -> usize {
    CHAINS.iter().map(|(hook, ..)| rules.at(*hook).len()).sum()
}

/// Returns how many rules a listing of our table shows.
pub(crate) fn listed_rule_count(listing: &str) -> usize {
    listing
        .lines()
        .filter(|line| VERDICTS.iter().any(|verdict| line.contains(verdict)))
        .count()
}

/// Every rule of ours contains one of these, and no other line does.
const VERDICTS: [&str; 5] = [
    " return",
    " masquerade",
    " notrack",
    " drop",
    " meta mark set",
];

fn chain(rules: &RuleSet, hook: Hook, name: &str, place: &str) -> String {
    let lines = rules.at(hook);
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("\tchain {name} {{\n\t\t{place}; policy accept;\n");
    lines
        .iter()
        .for_each(|rule| _ = writeln!(text, "\t\t{}", line(rule, rules)));
    text + "\t}\n"
}

fn line(rule: &Rule, rules: &RuleSet) -> String {
    let interface = |word: &str, interface| format!("{word} \"{}\"", rules.interface(interface));
    let mut words = Vec::new();
    words.extend(rule.input.map(|input| interface("iifname", input)));
    words.extend(rule.output.map(|output| interface("oifname", output)));
    if rule.marked {
        words.push(format!("meta mark & {KUBE_MARK:#x} == {KUBE_MARK:#x}"));
    }
    words.extend(
        rule.source
            .map(|range| format!("ip saddr {}", operand(range))),
    );
    words.extend(
        rule.destination
            .map(|range| format!("ip daddr {}", operand(range))),
    );
    words.extend(rule.udp.map(udp));
    words.extend(rule.connection.map(connection));
    words.push(match rule.verdict {
        Verdict::Return => "return".to_owned(),
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Mark => format!("meta mark set meta mark | {:#x}", docker::MARK),
        Verdict::NoTrack => "notrack".to_owned(),
        Verdict::Masquerade(ports) => masquerade(ports, rules.random_fully),
    });
    words.join(" ")
}

fn connection(connection: Connection) -> String {
    let text = match connection {
        Connection::Established => "ct state related,established",
        Connection::Translated => "ct status dnat",
    };
    text.to_owned()
}

fn masquerade(ports: Option<PortRange>, random_fully: bool) -> String {
    let ports = ports
        .map(|PortRange { first, last }| format!(" to :{first}-{last}"))
        .unwrap_or_default();
    let random = if random_fully { " fully-random" } else { "" };
    format!("masquerade{ports}{random}")
}

fn udp(udp: UdpMatch) -> String {
    match udp {
        UdpMatch::To(port) => format!("udp dport {port}"),
        UdpMatch::From(PortRange { first, last }) => format!("udp sport {first}-{last}"),
    }
}

fn operand(range: AddressMatch) -> String {
    match range {
        AddressMatch::In(net) if net.prefix() == 32 => net.ip().to_string(),
        AddressMatch::In(net) => net.to_string(),
        AddressMatch::NotIn(net) => format!("!= {net}"),
    }
}

/// Whether `nft list table` shows a table in which there is nothing at all.
pub(crate) fn is_bare(listing: &str) -> bool {
    let mut lines = listing
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let is_open = lines
        .next()
        .is_some_and(|head| head.starts_with("table ") && head.ends_with('{'));
    is_open && lines.next() == Some("}") && lines.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::desired::DesiredRules;
    use crate::rules::desired::tests::{ALL, desired_rules};

    const EXPECTED: &str = "table ip flannel.1\n\
        delete table ip flannel.1\n\
        table ip flannel.1 {\n\
        \tchain prerouting {\n\
        \t\ttype filter hook prerouting priority raw; policy accept;\n\
        \t\tip daddr 192.168.50.11 udp dport 8472 notrack\n\
        \t}\n\
        \tchain output {\n\
        \t\ttype filter hook output priority raw; policy accept;\n\
        \t\tip saddr 192.168.50.11 udp dport 8472 notrack\n\
        \t}\n\
        \tchain postrouting {\n\
        \t\ttype nat hook postrouting priority 99; policy accept;\n\
        \t\tmeta mark & 0x4000 == 0x4000 return\n\
        \t\tip saddr 10.5.96.0/24 ip daddr 10.5.0.0/16 return\n\
        \t\tip saddr 10.5.0.0/16 ip daddr 10.5.96.0/24 return\n\
        \t\tip saddr != 10.5.0.0/16 ip daddr 10.5.96.0/24 return\n\
        \t\tip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 udp sport 1024-65535 masquerade to :8473-65535 fully-random\n\
        \t\tip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random\n\
        \t\tip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 udp sport 1024-65535 masquerade to :8473-65535 fully-random\n\
        \t\tip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random\n\
        \t}\n\
        }\n";

    #[test]
    fn one_script_replaces_the_table() {
        let rules = desired_rules().rules(ALL);
        assert_eq!(script(&rules), EXPECTED);
        assert_eq!(
            (expected_rule_count(&rules), listed_rule_count(EXPECTED)),
            (10, 10)
        );
    }

    #[test]
    fn removes_its_table_when_no_rules_are_desired() {
        assert_eq!(
            script(&RuleSet::none(Vni::DEFAULT)),
            "table ip flannel.1\ndelete table ip flannel.1\n"
        );
    }

    #[test]
    fn instances_have_tables_of_their_own() {
        let other = DesiredRules {
            vni: Vni::try_from(7).expect("7 fits 24 bits"),
            random_fully: false,
            ..desired_rules()
        };
        let script = script(&other.rules(ALL));
        assert!(
            script.starts_with("table ip flannel.7\n") && !script.contains("fully-random"),
            "{script}"
        );
    }

    const WITH_MORE: &str = "table ip filter {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n\n\tchain FORWARD {\n\t\ttype \
                             filter hook forward priority filter; policy accept;\n\t}\n}\n";

    #[test]
    fn a_table_is_bare_only_with_nothing_in_it() {
        assert!(is_bare(
            "# Warning: table ip filter is managed by iptables-nft, do not touch!\ntable ip filter {\n}\n"
        ));
        for listing in [
            "",
            "table ip filter {\n\tflags dormant\n}\n",
            "table ip filter {\n}\ntable ip nat {\n}\n",
            WITH_MORE,
        ] {
            assert!(!is_bare(listing), "{listing}");
        }
    }
}
