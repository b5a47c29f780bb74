//! Owns the texts of `iptables-save` and `iptables-restore`: what is there, what should be, and the script that makes
//! the difference, if there is one. Chains of our own, and one jump to each from a chain of the kernel. Pure.

use std::fmt::Write as _;

use crate::model::addr::Vni;
use crate::rules::desired::{Hook, KUBE_MARK, PortRange, Ports, Rule, RuleSet, Udp, Verdict};

/// A chain of our own and the place from which it is called.
struct Chain {
    table: &'static str,
    parent: &'static str,
    name: String,
    comment: &'static str,
    /// In the form of `iptables-save`; none if the chain should not be there.
    lines: Vec<String>,
}

/// Tables of iptables that hold chains of ours.
pub const TABLES: [&str; 3] = ["nat", "filter", "raw"];

/// The script for `iptables-restore --noflush` that puts the rules wanted where `saved` lacks them, or `None` if they are
/// there. Chains and rules of others are not mentioned in it.
pub fn missing(rules: &RuleSet, saved: &str) -> Option<String> {
    repairs(rules, saved, |hook| !rules.at(hook).is_empty())
}

/// The script that removes from `saved` the chains of ours that are not wanted, or `None` if there are none.
pub fn superfluous(rules: &RuleSet, saved: &str) -> Option<String> {
    repairs(rules, saved, |hook| rules.at(hook).is_empty())
}

/// The part of [`missing`] without which pods are cut off. An accept is needed where others filter. Outer packets that
/// are tracked are no worse than before us; a kernel may lack what keeps them untracked.
pub fn essential(rules: &RuleSet, saved: &str) -> Option<String> {
    repairs(rules, saved, |hook| match hook {
        Hook::Postrouting => !rules.at(hook).is_empty(),
        Hook::Forward => !rules.at(hook).is_empty() && filters_for_others(saved),
        Hook::RawPrerouting | Hook::RawOutput => false,
    })
}

fn repairs(rules: &RuleSet, saved: &str, of: impl Fn(Hook) -> bool) -> Option<String> {
    let hooks = Hook::ALL.into_iter().filter(|hook| of(*hook));
    let text: String = hooks
        .map(|hook| repair(&chain(hook, rules), saved))
        .collect();
    (!text.is_empty()).then_some(text)
}

/// Tables of which iptables shows nothing in `after` but chains of the kernel that let everything pass, and which were
/// more than that `before`. It shows only what is its own: others may have put more into the same table of nftables.
pub fn emptied(before: &str, after: &str) -> Vec<&'static str> {
    let blank = |saved: &str, table: &str| {
        let lines: Vec<&str> = lines_of(saved, table).collect();
        !lines.is_empty()
            && lines
                .iter()
                .all(|line| line.starts_with(':') && line.contains(" ACCEPT "))
    };
    TABLES
        .into_iter()
        .filter(|table| blank(after, table) && !blank(before, table))
        .collect()
}

/// Chains that iptables makes by itself, as `nft list table` shows those that hold nothing and let everything pass.
pub fn idle_chains(listing: &str) -> Vec<&str> {
    const BUILT_IN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
    let lines: Vec<&str> = listing.lines().map(str::trim).collect();
    let idle = lines.windows(3).filter_map(|window| {
        let &[head, place, "}"] = window else {
            return None;
        };
        let name = head.strip_prefix("chain ")?.strip_suffix(" {")?;
        let open = place.starts_with("type ") && place.ends_with("policy accept;");
        (open && BUILT_IN.contains(&name)).then_some(name)
    });
    idle.collect()
}

/// Whether `nft list table` shows a table in which there is nothing at all.
pub fn is_bare(listing: &str) -> bool {
    let mut lines = listing
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .next()
        .is_some_and(|head| head.starts_with("table ") && head.ends_with('{'))
        && lines.next() == Some("}")
        && lines.next().is_none()
}

/// Whether somebody else than us decides in the filter table: a rule, a chain or a policy that is not ours.
pub fn filters_for_others(saved: &str) -> bool {
    let silent = |line: &str| {
        let ours = line.contains("FLANNEL-");
        let open = line.starts_with(':') && line.split(' ').nth(1) == Some("ACCEPT");
        ours || open || !line.starts_with([':', '-'])
    };
    lines_of(saved, "filter").any(|line| !silent(line))
}

/// Whether rules of kube-proxy or Docker are there.
pub fn has_cluster_chains(saved: &str) -> bool {
    saved
        .lines()
        .any(|line| line.starts_with(":KUBE-") || line.starts_with(":DOCKER"))
}

/// Chains and rules of one table.
fn lines_of<'a>(saved: &'a str, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = saved.lines().map(str::trim_end).scan("", |table, line| {
        *table = line.strip_prefix('*').unwrap_or(table);
        Some((*table, line))
    });
    lines
        .filter(move |(table, line)| *table == wanted && line.starts_with([':', '-']))
        .map(|(_, line)| line)
}

/// The chain for one place. flannel's own names for the usual VNI, so that what it left behind is taken over; others
/// have the VNI behind them.
fn chain(hook: Hook, rules: &RuleSet) -> Chain {
    let (table, parent, base, comment) = match hook {
        Hook::RawPrerouting => ("raw", "PREROUTING", "FLANNEL-RAW-PRE", "flanneld notrack"),
        Hook::RawOutput => ("raw", "OUTPUT", "FLANNEL-RAW-OUT", "flanneld notrack"),
        Hook::Postrouting => ("nat", "POSTROUTING", "FLANNEL-POSTRTG", "flanneld masq"),
        Hook::Forward => ("filter", "FORWARD", "FLANNEL-FWD", "flanneld forward"),
    };
    let name = if rules.vni == Vni::DEFAULT {
        base.to_owned()
    } else {
        format!("{base}-{}", rules.vni)
    };
    let mut chain = Chain {
        table,
        parent,
        name,
        comment,
        lines: Vec::new(),
    };
    chain.lines = rules
        .at(hook)
        .iter()
        .map(|rule| chain.line(rule, rules.random_fully))
        .collect();
    chain
}

impl Chain {
    fn line(&self, rule: &Rule, random_fully: bool) -> String {
        let mut text = format!("-A {}", self.name);
        if let Some(range) = rule.source {
            _ = write!(text, " {}", operand("-s", range));
        }
        if let Some(range) = rule.destination {
            _ = write!(text, " {}", operand("-d", range));
        }
        if let Some(ports) = rule.udp {
            _ = write!(text, " -p udp -m udp {}", udp(ports));
        }
        if rule.marked {
            _ = write!(text, " -m mark --mark {KUBE_MARK:#x}/{KUBE_MARK:#x}");
        }
        _ = write!(
            text,
            " -m comment --comment \"{}\" -j {}",
            self.comment,
            target(rule.verdict, random_fully)
        );
        text
    }

    /// The jump to this chain, without the verb before it.
    fn jump(&self) -> String {
        format!(
            "{} -m comment --comment \"{}\" -j {}",
            self.parent, self.comment, self.name
        )
    }
}

fn target(verdict: Verdict, random_fully: bool) -> String {
    match verdict {
        Verdict::Return => "RETURN".to_owned(),
        Verdict::Accept => "ACCEPT".to_owned(),
        Verdict::NoTrack => "CT --notrack".to_owned(),
        Verdict::Masquerade(ports) => masquerade(ports, random_fully),
    }
}

fn masquerade(ports: Option<Ports>, random_fully: bool) -> String {
    let ports = ports
        .map(|Ports { first, last }| format!(" --to-ports {first}-{last}"))
        .unwrap_or_default();
    let random = if random_fully { " --random-fully" } else { "" };
    format!("MASQUERADE{ports}{random}")
}

fn udp(udp: Udp) -> String {
    match udp {
        Udp::To(port) => format!("--dport {port}"),
        Udp::From(Ports { first, last }) => format!("--sport {first}:{last}"),
    }
}

fn operand(flag: &str, range: PortRange) -> String {
    match range {
        PortRange::In(net) => format!("{flag} {net}"),
        PortRange::NotIn(net) => format!("! {flag} {net}"),
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
    let mut found = Found {
        declared: false,
        lines: Vec::new(),
        jumps: Vec::new(),
        behind_others: false,
    };
    lines_of(saved, chain.table).for_each(|line| note(chain, line, &mut found));
    found
}

fn note<'a>(chain: &Chain, line: &'a str, found: &mut Found<'a>) {
    let rule_of = |name: &str| {
        line.strip_prefix("-A ")
            .and_then(|rest| rest.strip_prefix(name)?.strip_prefix(' '))
    };
    if line
        .strip_prefix(':')
        .and_then(|rest| rest.split(' ').next())
        == Some(chain.name.as_str())
    {
        found.declared = true;
    } else if rule_of(&chain.name).is_some() {
        found.lines.push(line);
    } else if rule_of(chain.parent).is_some() {
        let target = line
            .split(' ')
            .skip_while(|word| *word != "-j")
            .nth(1)
            .unwrap_or_default();
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
    let unjump: String = found
        .jumps
        .iter()
        .map(|line| format!("-D{}\n", line.trim_start_matches("-A")))
        .collect();
    if chain.lines.is_empty() {
        return match found.declared {
            false => String::new(),
            true => format!(
                "*{}\n{unjump}-F {name}\n-X {name}\nCOMMIT\n",
                chain.table,
                name = chain.name
            ),
        };
    }
    let jump = format!("-A {}", chain.jump());
    if found.lines == chain.lines && found.jumps == [jump.as_str()] && !found.behind_others {
        return String::new();
    }
    // Naming a chain of our own makes it, or empties it.
    let lines: String = chain.lines.iter().map(|line| format!("{line}\n")).collect();
    format!(
        "*{}\n:{} - [0:0]\n{lines}{unjump}-I {}\nCOMMIT\n",
        chain.table,
        chain.name,
        chain.jump()
    )
}

#[cfg(test)]
mod tests;
