//! Owns the texts of `iptables-save` and `iptables-restore`: what is there, what should be, and the script that makes
//! the difference, if there is one. Chains of our own, and one jump to each from a chain of the kernel. Pure.

use std::fmt::Write as _;

use super::{KUBE_MARK, Range, Rule, Verdict, Wanted};
use crate::addr::Vni;

/// A chain of our own and the place from which it is called.
struct Chain {
    table: &'static str,
    parent: &'static str,
    name: String,
    comment: &'static str,
    /// In the form of `iptables-save`; none if the chain should not be there.
    lines: Vec<String>,
}

/// Which rules iptables is to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    Everything,
    /// Only forwarding, because nftables masquerades.
    ForwardOnly,
}

/// The script for `iptables-restore --noflush` that turns the rules `saved` into those wanted, or `None` if they are
/// right. Chains and rules of others are not mentioned in it.
pub fn script(wanted: &Wanted, part: Part, saved: &str) -> Option<String> {
    let masquerade = match part {
        Part::Everything => wanted.masquerade_rules(),
        Part::ForwardOnly => Vec::new(),
    };
    let nat = chain("nat", "POSTROUTING", &name("FLANNEL-POSTRTG", wanted.vni), "flanneld masq");
    let filter = chain("filter", "FORWARD", &name("FLANNEL-FWD", wanted.vni), "flanneld forward");
    let text = [
        repair(&nat.with(&masquerade, wanted.random_fully), saved),
        repair(&filter.with(&wanted.forward_rules(), wanted.random_fully), saved),
    ]
    .concat();
    (!text.is_empty()).then_some(text)
}

/// flannel's own names for the usual VNI, so that what it left behind is taken over; others have the VNI behind them.
fn name(base: &str, vni: Vni) -> String {
    if vni == Vni::DEFAULT { base.to_owned() } else { format!("{base}-{vni}") }
}

fn chain(table: &'static str, parent: &'static str, name: &str, comment: &'static str) -> Chain {
    Chain { table, parent, name: name.to_owned(), comment, lines: Vec::new() }
}

impl Chain {
    fn with(mut self, rules: &[Rule], random_fully: bool) -> Self {
        self.lines = rules.iter().map(|rule| self.line(rule, random_fully)).collect();
        self
    }

    fn line(&self, rule: &Rule, random_fully: bool) -> String {
        let mut text = format!("-A {}", self.name);
        if let Some(range) = rule.source {
            _ = write!(text, " {}", operand("-s", range));
        }
        if let Some(range) = rule.destination {
            _ = write!(text, " {}", operand("-d", range));
        }
        if rule.marked {
            _ = write!(text, " -m mark --mark {KUBE_MARK:#x}/{KUBE_MARK:#x}");
        }
        _ = write!(text, " -m comment --comment \"{}\" -j {}", self.comment, target(rule.verdict, random_fully));
        text
    }

    /// The jump to this chain, without the verb before it.
    fn jump(&self) -> String {
        format!("{} -m comment --comment \"{}\" -j {}", self.parent, self.comment, self.name)
    }
}

fn target(verdict: Verdict, random_fully: bool) -> &'static str {
    match verdict {
        Verdict::Return => "RETURN",
        Verdict::Accept => "ACCEPT",
        Verdict::Masquerade if random_fully => "MASQUERADE --random-fully",
        Verdict::Masquerade => "MASQUERADE",
    }
}

fn operand(flag: &str, range: Range) -> String {
    match range {
        Range::In(net) => format!("{flag} {net}"),
        Range::NotIn(net) => format!("! {flag} {net}"),
    }
}

/// The lines of one chain's table in the output of `iptables-save`.
struct Found<'a> {
    declared: bool,
    lines: Vec<&'a str>,
    /// All jumps to the chain from its parent, whatever their comment.
    jumps: Vec<&'a str>,
    /// Whether a rule that is not one of flannel's jumps stands before ours.
    behind_others: bool,
}

fn find<'a>(chain: &Chain, saved: &'a str) -> Found<'a> {
    let mut found = Found { declared: false, lines: Vec::new(), jumps: Vec::new(), behind_others: false };
    let mut table = "";
    for line in saved.lines().map(str::trim_end) {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if table == chain.table {
            note(chain, line, &mut found);
        }
    }
    found
}

fn note<'a>(chain: &Chain, line: &'a str, found: &mut Found<'a>) {
    let rule_of = |name: &str| line.strip_prefix("-A ").and_then(|rest| rest.strip_prefix(name)?.strip_prefix(' '));
    if line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) == Some(chain.name.as_str()) {
        found.declared = true;
    } else if rule_of(&chain.name).is_some() {
        found.lines.push(line);
    } else if rule_of(chain.parent).is_some() {
        let target = line.split(' ').skip_while(|word| *word != "-j").nth(1).unwrap_or_default();
        if target == chain.name {
            found.jumps.push(line);
        } else if found.jumps.is_empty() && !target.starts_with("FLANNEL-") {
            found.behind_others = true;
        }
    }
}

/// The part of the script for one chain; empty if it is right. Our jump is the first rule of its parent: behind a rule
/// that rejects everything it would never be reached. Only the jumps of other instances may stand before it, or two
/// of them would push each other away for ever.
fn repair(chain: &Chain, saved: &str) -> String {
    let found = find(chain, saved);
    let unjump: String = found.jumps.iter().map(|line| format!("-D{}\n", line.trim_start_matches("-A"))).collect();
    if chain.lines.is_empty() {
        return match found.declared {
            false => String::new(),
            true => format!("*{}\n{unjump}-F {name}\n-X {name}\nCOMMIT\n", chain.table, name = chain.name),
        };
    }
    let jump = format!("-A {}", chain.jump());
    if found.lines == chain.lines && found.jumps == [jump.as_str()] && !found.behind_others {
        return String::new();
    }
    // Naming a chain of our own makes it, or empties it.
    let lines: String = chain.lines.iter().map(|line| format!("{line}\n")).collect();
    format!("*{}\n:{} - [0:0]\n{lines}{unjump}-I {}\nCOMMIT\n", chain.table, chain.name, chain.jump())
}

#[cfg(test)]
mod tests {
    use super::super::tests::wanted;
    use super::*;

    /// As flannel v0.20.2 leaves it.
    const FLANNEL: &str = r#"# Generated by iptables-save v1.8.9 (nf_tables)
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j RETURN
COMMIT
"#;

    const FORWARD: &str = r#"*filter
:FLANNEL-FWD - [0:0]
-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-I FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
"#;

    const MASQUERADE: &str = r#"*nat
:FLANNEL-POSTRTG - [0:0]
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.96.0/24 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 -d 10.5.96.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.96.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-I POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
COMMIT
"#;

    fn check(part: Part, saved: &str, expected: Option<&str>) {
        assert_eq!(script(&wanted(), part, saved).as_deref(), expected);
    }

    #[test]
    fn makes_both_chains_where_there_is_nothing() {
        check(Part::Everything, "", Some(&[MASQUERADE, FORWARD].concat()));
    }

    #[test]
    fn takes_over_what_flannel_left() {
        let moved = MASQUERADE
            .replace("-I POST", "-D POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n-I POST");
        check(Part::Everything, FLANNEL, Some(&moved));
    }

    #[test]
    fn leaves_alone_what_is_right() {
        check(Part::ForwardOnly, FLANNEL.split("*nat").next().unwrap_or_default(), None);
    }

    #[test]
    fn removes_the_masquerading_of_flannel_where_nftables_does_it() {
        let expected = "*nat\n-D POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n-F FLANNEL-POSTRTG\n-X FLANNEL-POSTRTG\nCOMMIT\n";
        check(Part::ForwardOnly, FLANNEL, Some(expected));
    }

    #[test]
    fn puts_its_jump_first_again() {
        let behind = FLANNEL.replace("-A FORWARD -m", "-A FORWARD -j REJECT\n-A FORWARD -m");
        let behind = behind.split("*nat").next().unwrap_or_default();
        let expected =
            FORWARD.replace("-I FOR", "-D FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n-I FOR");
        check(Part::ForwardOnly, behind, Some(&expected));
    }

    #[test]
    fn two_instances_do_not_push_each_other_away() {
        let other = "-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD-7\n-A FORWARD -m";
        let second = FLANNEL.replace("-A FORWARD -m", other);
        check(Part::ForwardOnly, second.split("*nat").next().unwrap_or_default(), None);
    }

    #[test]
    fn does_not_mistake_the_chains_of_others_for_its_own() {
        let other = FLANNEL.replace("FLANNEL-FWD", "FLANNEL-FWD-7").replace("FLANNEL-POSTRTG", "FLANNEL-POSTRTG-7");
        check(Part::ForwardOnly, &other, Some(FORWARD));
    }
}
