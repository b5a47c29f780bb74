//! Owns the text for `nft -f -`: one table of our own, replaced as a whole. Pure.

use std::fmt::Write as _;

use crate::model::addr::Vni;
use crate::rules::desired::{Hook, KUBE_MARK, PortRange, Ports, Rule, RuleSet, Udp, Verdict};

/// The chains of the table and where they hang. There is none for forwarding: packets pass the chains of all tables, and
/// an accept in one of them keeps no other from dropping.
///
/// The first NAT rule that fits decides, over all tables. Our source NAT is asked before that of others at `srcnat` (100),
/// where those of equal priority would take turns by who came last; iptables has our jump first for the same reason.
const CHAINS: [(Hook, &str, &str); 3] = [
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
];

/// Name of the table: that of the device, which tells the instances on a host apart.
pub fn table(vni: Vni) -> String {
    vni.device()
}

/// A script that leaves the table as it should be, in one transaction: made first so that deleting it never fails,
/// then deleted with all that an earlier run put there, then made anew if there is anything to put in it.
pub fn script(rules: &RuleSet) -> String {
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

/// How many rules the table should show when it is listed. Their words differ between versions of nft, their number does
/// not.
pub fn count(rules: &RuleSet) -> usize {
    CHAINS.iter().map(|(hook, ..)| rules.at(*hook).len()).sum()
}

/// How many rules a listing of our table shows.
pub fn listed(listing: &str) -> usize {
    let of_rule = |line: &&str| VERDICTS.iter().any(|verdict| line.contains(verdict));
    listing.lines().filter(of_rule).count()
}

/// One of these is in every rule of ours, and in no other line.
const VERDICTS: [&str; 3] = [" return", " masquerade", " notrack"];

fn chain(rules: &RuleSet, hook: Hook, name: &str, place: &str) -> String {
    let lines = rules.at(hook);
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("\tchain {name} {{\n\t\t{place}; policy accept;\n");
    lines
        .iter()
        .for_each(|rule| _ = writeln!(text, "\t\t{}", line(rule, rules.random_fully)));
    text + "\t}\n"
}

fn line(rule: &Rule, random_fully: bool) -> String {
    let mut words = Vec::new();
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
    words.push(match rule.verdict {
        Verdict::Return => "return".to_owned(),
        Verdict::Accept => "accept".to_owned(),
        Verdict::NoTrack => "notrack".to_owned(),
        Verdict::Masquerade(ports) => masquerade(ports, random_fully),
    });
    words.join(" ")
}

fn masquerade(ports: Option<Ports>, random_fully: bool) -> String {
    let ports = ports
        .map(|Ports { first, last }| format!(" to :{first}-{last}"))
        .unwrap_or_default();
    let random = if random_fully { " fully-random" } else { "" };
    format!("masquerade{ports}{random}")
}

fn udp(udp: Udp) -> String {
    match udp {
        Udp::To(port) => format!("udp dport {port}"),
        Udp::From(Ports { first, last }) => format!("udp sport {first}-{last}"),
    }
}

fn operand(range: PortRange) -> String {
    match range {
        PortRange::In(net) if net.prefix() == 32 => net.ip().to_string(),
        PortRange::In(net) => net.to_string(),
        PortRange::NotIn(net) => format!("!= {net}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::desired::Wanted;
    use crate::rules::desired::tests::{ALL, wanted};

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
    fn replaces_its_table_in_one_script() {
        let rules = wanted().rules(ALL);
        assert_eq!(script(&rules), EXPECTED);
        assert_eq!((count(&rules), listed(EXPECTED)), (10, 10));
    }

    #[test]
    fn removes_its_table_when_nothing_is_wanted() {
        assert_eq!(
            script(&RuleSet::none(Vni::DEFAULT)),
            "table ip flannel.1\ndelete table ip flannel.1\n"
        );
    }

    #[test]
    fn instances_have_tables_of_their_own() {
        let other = Wanted {
            vni: Vni::try_from(7).expect("7 fits 24 bits"),
            random_fully: false,
            ..wanted()
        };
        let script = script(&other.rules(ALL));
        assert!(
            script.starts_with("table ip flannel.7\n") && !script.contains("fully-random"),
            "{script}"
        );
    }
}
