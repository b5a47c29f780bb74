//! The scripts for `iptables-restore --noflush`: the difference between the desired rules and what `iptables-save`
//! showed. Our rules stand in chains of our own, with one jump to each from a chain of the kernel. Pure.

pub(crate) mod saved;

use std::fmt::Write as _;

use crate::model::{chains, docker};
use crate::rules::iptables::saved::{ObservedChain, Place, filters_for_others};
use crate::rules::ports::PortRange;
use crate::rules::rule::{
    AddressMatch, Connection, Hook, KUBE_MARK, Rule, RuleSet, UdpMatch, Verdict,
};

/// Returns the script that puts the rules where `saved` lacks them, or `None` if they are there. It names no chain and no
/// rule of other programs.
pub(crate) fn missing(rules: &RuleSet, saved: &str) -> Option<String> {
    repairs(rules, saved, |hook| !rules.at(hook).is_empty())
}

/// Returns the script that removes our chains that are not desired, or `None` if `saved` has none.
pub(crate) fn superfluous(rules: &RuleSet, saved: &str) -> Option<String> {
    repairs(rules, saved, |hook| rules.at(hook).is_empty())
}

/// Returns the part of [`missing`] without which pods are cut off. The accept is needed where other programs filter. Outer
/// packets that are tracked are no worse than without flanneld, and a kernel may lack what leaves them untracked.
pub(crate) fn essential(rules: &RuleSet, saved: &str) -> Option<String> {
    repairs(rules, saved, |hook| match hook {
        Hook::Postrouting => !rules.at(hook).is_empty(),
        Hook::Forward | Hook::ForwardEnd => !rules.at(hook).is_empty() && filters_for_others(saved),
        Hook::RawDocker | Hook::ForwardMangle => !rules.at(hook).is_empty(),
        Hook::RawPrerouting | Hook::RawOutput => false,
    })
}

/// Returns the names of our chains that a script makes or removes.
pub(crate) fn chains_of_script(script: &str) -> Vec<&str> {
    let names = script.lines().filter_map(|line| {
        let declared = line
            .strip_prefix(':')
            .or_else(|| line.strip_prefix("-X "))?;
        declared.split(' ').next()
    });
    names.collect()
}

fn repairs(rules: &RuleSet, saved: &str, includes: impl Fn(Hook) -> bool) -> Option<String> {
    let hooks = Hook::ALL.into_iter().filter(|hook| includes(*hook));
    let text: String = hooks
        .map(|hook| repair(&DesiredChain::at(hook, rules), saved))
        .collect();
    (!text.is_empty()).then_some(text)
}

/// Table, parent, place in the parent, name for the default VNI, and comment of one chain.
type ChainOf = (
    &'static str,
    &'static str,
    Place,
    &'static str,
    &'static str,
);

const RAW_PREROUTING: ChainOf = (
    "raw",
    "PREROUTING",
    Place::First,
    "FLANNEL-RAW-PRE",
    "flanneld notrack",
);
const RAW_DOCKER: ChainOf = (
    "raw",
    "PREROUTING",
    Place::First,
    "FLANNEL-RAW-DOCKER",
    "flanneld docker",
);
const RAW_OUTPUT: ChainOf = (
    "raw",
    "OUTPUT",
    Place::First,
    "FLANNEL-RAW-OUT",
    "flanneld notrack",
);
const POSTROUTING: ChainOf = (
    "nat",
    "POSTROUTING",
    Place::First,
    "FLANNEL-POSTRTG",
    "flanneld masq",
);
const FORWARD: ChainOf = (
    "filter",
    "FORWARD",
    Place::Behind(chains::DOCKER_USER),
    chains::FORWARD,
    "flanneld forward",
);
const FORWARD_END: ChainOf = (
    "filter",
    "FORWARD",
    Place::Last("DOCKER"),
    "FLANNEL-FWD-END",
    "flanneld forward",
);
const FORWARD_MANGLE: ChainOf = (
    "mangle",
    "FORWARD",
    Place::First,
    "FLANNEL-MARK",
    "flanneld docker",
);

/// A chain of our own and the place from which it is called.
struct DesiredChain {
    table: &'static str,
    parent: &'static str,
    /// Where in the parent it is called.
    place: Place,
    name: String,
    comment: &'static str,
    /// In the form of `iptables-save`; empty if the chain should not be there.
    lines: Vec<String>,
}

impl DesiredChain {
    /// The chain for one hook.
    fn at(hook: Hook, rules: &RuleSet) -> Self {
        let (table, parent, place, base, comment) = match hook {
            Hook::RawPrerouting => RAW_PREROUTING,
            Hook::RawDocker => RAW_DOCKER,
            Hook::RawOutput => RAW_OUTPUT,
            Hook::Postrouting => POSTROUTING,
            Hook::Forward => FORWARD,
            Hook::ForwardEnd => FORWARD_END,
            Hook::ForwardMangle => FORWARD_MANGLE,
        };
        let name = chains::name(base, rules.vni);
        let lines = rules
            .at(hook)
            .iter()
            .map(|rule| rule_line(&name, comment, rule, rules))
            .collect();
        Self {
            table,
            parent,
            place,
            name,
            comment,
            lines,
        }
    }

    /// The jump to this chain, without the verb before it.
    fn jump(&self) -> String {
        format!(
            "{} -m comment --comment \"{}\" -j {}",
            self.parent, self.comment, self.name
        )
    }

    /// Whether the chain is as it should be, and called once, from the right place.
    fn is_in_place(&self, observed: &ObservedChain) -> bool {
        let jump = format!("-A {}", self.jump());
        observed.lines == self.lines
            && observed.jumps == [jump.as_str()]
            && observed.is_placed(self.place)
    }
}

/// Returns the part of the script for one chain; empty if nothing is to do.
fn repair(chain: &DesiredChain, saved: &str) -> String {
    let DesiredChain { table, name, .. } = chain;
    let observed = saved::find(table, chain.parent, name, saved);
    let delete_jumps: String = observed
        .jumps
        .iter()
        .map(|line| format!("-D{}\n", line.trim_start_matches("-A")))
        .collect();
    if chain.lines.is_empty() {
        return if observed.is_declared {
            format!("*{table}\n{delete_jumps}-F {name}\n-X {name}\nCOMMIT\n")
        } else {
            String::new()
        };
    }
    if chain.is_in_place(&observed) {
        return String::new();
    }
    let lines: String = chain.lines.iter().map(|line| format!("{line}\n")).collect();
    // The line that declares a chain makes it, or empties it.
    format!(
        "*{table}\n:{name} - [0:0]\n{lines}{delete_jumps}{}\nCOMMIT\n",
        call(chain, &observed)
    )
}

/// The line that calls the chain from its place, once all other jumps to it are gone.
fn call(chain: &DesiredChain, observed: &ObservedChain) -> String {
    match chain.place {
        Place::First => format!("-I {}", chain.jump()),
        Place::Last(_) => format!("-A {}", chain.jump()),
        Place::Behind(target) => match observed.last_jump_to(target) {
            None => format!("-I {}", chain.jump()),
            Some(before) => {
                let jump = chain.jump();
                let (parent, rest) = jump.split_once(' ').unwrap_or((&jump, ""));
                format!("-I {parent} {} {rest}", before + 1)
            }
        },
    }
}

/// Writes a rule word by word as `iptables-save` shows it, so that the two can be compared.
fn rule_line(chain: &str, comment: &str, rule: &Rule, rules: &RuleSet) -> String {
    let mut text = format!("-A {chain}");
    if let Some(range) = rule.source {
        _ = write!(text, " {}", operand("-s", range));
    }
    if let Some(range) = rule.destination {
        _ = write!(text, " {}", operand("-d", range));
    }
    if let Some(input) = rule.input {
        _ = write!(text, " -i {}", rules.interface(input));
    }
    if let Some(output) = rule.output {
        _ = write!(text, " -o {}", rules.interface(output));
    }
    if let Some(ports) = rule.udp {
        _ = write!(text, " -p udp -m udp {}", udp(ports));
    }
    if let Some(connection) = rule.connection {
        _ = write!(text, " -m conntrack --ctstate {}", states(connection));
    }
    if rule.marked {
        _ = write!(text, " -m mark --mark {KUBE_MARK:#x}/{KUBE_MARK:#x}");
    }
    let target = target(rule.verdict, rules.random_fully);
    _ = write!(text, " -m comment --comment \"{comment}\" -j {target}");
    text
}

fn target(verdict: Verdict, random_fully: bool) -> String {
    match verdict {
        Verdict::Return => "RETURN".to_owned(),
        Verdict::Accept => "ACCEPT".to_owned(),
        Verdict::Drop => "DROP".to_owned(),
        Verdict::Mark => format!("MARK --set-xmark {0:#x}/{0:#x}", docker::MARK),
        Verdict::NoTrack => "CT --notrack".to_owned(),
        Verdict::Masquerade(ports) => masquerade(ports, random_fully),
    }
}

fn masquerade(ports: Option<PortRange>, random_fully: bool) -> String {
    let ports = ports
        .map(|PortRange { first, last }| format!(" --to-ports {first}-{last}"))
        .unwrap_or_default();
    let random = if random_fully { " --random-fully" } else { "" };
    format!("MASQUERADE{ports}{random}")
}

const fn states(connection: Connection) -> &'static str {
    match connection {
        Connection::Established => "RELATED,ESTABLISHED",
        Connection::Translated => "DNAT",
    }
}

fn udp(udp: UdpMatch) -> String {
    match udp {
        UdpMatch::To(port) => format!("--dport {port}"),
        UdpMatch::From(PortRange { first, last }) => format!("--sport {first}:{last}"),
    }
}

fn operand(flag: &str, range: AddressMatch) -> String {
    match range {
        AddressMatch::In(net) => format!("{flag} {net}"),
        AddressMatch::NotIn(net) => format!("! {flag} {net}"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
