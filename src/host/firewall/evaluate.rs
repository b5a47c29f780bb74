//! Sends a packet through a table, as the kernel does. Pure.

use ipnetwork::Ipv4Network;

use crate::host::firewall::packet::{FilterHook, Packet, Protocol, Tracking};
use crate::host::firewall::ruleset::{
    BaseChain, Condition, FilterRule, FilterTable, FilterVerdict, Subject,
};
use crate::model::addr::covers;

/// The kernel allows 16 jumps inside each other (NFT_JUMP_STACK_SIZE).
const MAX_DEPTH: u32 = 16;
/// Rules that are looked at for one packet: whoever writes rules must not keep us busy.
const MAX_RULES: u32 = 100_000;

/// What becomes of a packet in a chain, as far as it is certain.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Accepted,
    /// In this chain.
    Dropped(String),
    /// The chain ended without a verdict.
    Passed,
    /// One of the above.
    Undecided,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Unknown,
}

/// Returns the base chain and the chain in which the packet is dropped for certain, if it is.
pub(super) fn dropped<'a>(table: &'a FilterTable, packet: &Packet) -> Option<(&'a str, String)> {
    let mut bases = table.base.iter().filter(|base| base.hook == packet.hook);
    bases.find_map(|base| Some((base.name.as_str(), dropped_in(table, base, packet)?)))
}

fn dropped_in(table: &FilterTable, base: &BaseChain, packet: &Packet) -> Option<String> {
    let mut walk = Walk {
        table,
        packet,
        rules_left: MAX_RULES,
    };
    match walk.chain(&base.name, 0) {
        Outcome::Dropped(chain) => Some(chain),
        Outcome::Passed if base.drops_by_default => Some(base.name.clone()),
        Outcome::Passed | Outcome::Accepted | Outcome::Undecided => None,
    }
}

struct Walk<'a> {
    table: &'a FilterTable,
    packet: &'a Packet,
    rules_left: u32,
}

impl Walk<'_> {
    fn chain(&mut self, name: &str, depth: u32) -> Outcome {
        let Some(rules) = self.table.chains.get(name) else {
            return Outcome::Undecided;
        };
        for rule in rules {
            if self.rules_left == 0 || depth > MAX_DEPTH {
                return Outcome::Undecided;
            }
            self.rules_left -= 1;
            match self.rule(name, rule, depth) {
                Step::Next => {}
                Step::End(outcome) => return outcome,
            }
        }
        Outcome::Passed
    }

    fn rule(&mut self, chain: &str, rule: &FilterRule, depth: u32) -> Step {
        let matches = all(rule
            .conditions
            .iter()
            .map(|condition| holds(condition, self.packet)));
        match matches {
            Truth::No => Step::Next,
            Truth::Yes => self.verdict(chain, &rule.verdict, depth),
            // Whether the packet is dropped here does not matter: the rest decides for certain, or does not.
            Truth::Unknown => match self.verdict(chain, &rule.verdict, depth) {
                Step::Next | Step::End(Outcome::Dropped(_)) => Step::Next,
                Step::End(Outcome::Accepted | Outcome::Passed | Outcome::Undecided) => {
                    Step::End(Outcome::Undecided)
                }
            },
        }
    }

    fn verdict(&mut self, chain: &str, verdict: &FilterVerdict, depth: u32) -> Step {
        match verdict {
            FilterVerdict::Continue => Step::Next,
            FilterVerdict::Accept => Step::End(Outcome::Accepted),
            FilterVerdict::Drop => Step::End(Outcome::Dropped(chain.to_owned())),
            FilterVerdict::Return => Step::End(Outcome::Passed),
            FilterVerdict::Unknown => Step::End(Outcome::Undecided),
            FilterVerdict::Goto(target) => Step::End(self.chain(target, depth + 1)),
            FilterVerdict::Jump(target) => match self.chain(target, depth + 1) {
                Outcome::Passed => Step::Next,
                end @ (Outcome::Accepted | Outcome::Dropped(_) | Outcome::Undecided) => {
                    Step::End(end)
                }
            },
        }
    }
}

/// What follows a rule.
enum Step {
    /// The next rule.
    Next,
    /// The chain is left.
    End(Outcome),
}

fn all(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut result = Truth::Yes;
    for truth in truths {
        match truth {
            Truth::No => return Truth::No,
            Truth::Unknown => result = Truth::Unknown,
            Truth::Yes => {}
        }
    }
    result
}

fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    not(all(truths.map(not)))
}

const fn not(truth: Truth) -> Truth {
    match truth {
        Truth::Yes => Truth::No,
        Truth::No => Truth::Yes,
        Truth::Unknown => Truth::Unknown,
    }
}

const fn truth(known: bool) -> Truth {
    if known { Truth::Yes } else { Truth::No }
}

fn holds(condition: &Condition, packet: &Packet) -> Truth {
    let holds = subject_holds(&condition.subject, packet);
    if condition.negated { not(holds) } else { holds }
}

fn subject_holds(subject: &Subject, packet: &Packet) -> Truth {
    match subject {
        Subject::InInterface(names) => is_interface(packet.in_interface.as_deref(), names),
        Subject::OutInterface(names) => is_interface(packet.out_interface.as_deref(), names),
        Subject::Source(ranges) => any(ranges.iter().map(|range| is_in(packet.source, *range))),
        Subject::Destination(ranges) => {
            any(ranges.iter().map(|range| is_in(packet.destination, *range)))
        }
        Subject::Protocol(names) => truth(names.iter().any(|name| is_protocol(packet, name))),
        Subject::DestinationPort(ranges) => match packet.protocol {
            Protocol::UdpTo(port) => truth(ranges.iter().any(|range| range.contains(&port))),
            Protocol::Tcp => Truth::Unknown,
        },
        Subject::State(states) => truth(states.iter().any(|state| is_state(packet, state))),
        Subject::DestinationKind(kinds) => {
            let is_local = packet.hook == FilterHook::Input;
            let kind = if is_local { "local" } else { "unicast" };
            truth(kinds.iter().any(|found| found == kind))
        }
        Subject::Never => Truth::No,
        Subject::SourcePort | Subject::Unknown => Truth::Unknown,
    }
}

fn is_interface(name: Option<&str>, patterns: &[String]) -> Truth {
    let Some(name) = name else {
        return Truth::Unknown;
    };
    truth(patterns.iter().any(|pattern| {
        let start = pattern.strip_suffix(['*', '+']);
        start.map_or(name == pattern, |start| name.starts_with(start))
    }))
}

/// `known` are all addresses that the packet may have.
fn is_in(known: Ipv4Network, range: Ipv4Network) -> Truth {
    if covers(range, known) {
        Truth::Yes
    } else if covers(known, range) {
        Truth::Unknown
    } else {
        Truth::No
    }
}

fn is_protocol(packet: &Packet, name: &str) -> bool {
    match packet.protocol {
        Protocol::UdpTo(_) => matches!(name, "udp" | "17"),
        Protocol::Tcp => matches!(name, "tcp" | "6"),
    }
}

fn is_state(packet: &Packet, state: &str) -> bool {
    match packet.tracking {
        Tracking::New => state == "new",
        Tracking::Untracked => state == "untracked",
    }
}
