//! Reads what `iptables-save` prints: chains, policies and rules. A match that it does not know becomes a condition that is
//! unknown. Pure.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::host::firewall::packet::FilterHook;
use crate::host::firewall::ruleset::{
    BaseChain, Condition, FilterRule, FilterTable, FilterVerdict, Subject, TableName,
};

/// Modules whose options are understood below, or stand for nothing.
const KNOWN_MODULES: [&str; 8] = [
    "addrtype",
    "comment",
    "conntrack",
    "icmp",
    "multiport",
    "state",
    "tcp",
    "udp",
];
/// Targets after which the next rule follows.
const CONTINUING: [&str; 13] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "LOG",
    "MARK",
    "NFLOG",
    "NOTRACK",
    "SECMARK",
    "TCPMSS",
    "TRACE",
];

/// Reads one table of the text; `program` is the one that printed it.
pub(crate) fn iptables_table(program: &str, table: &str, saved: &str) -> FilterTable {
    let mut read = FilterTable {
        name: TableName::Iptables {
            program: program.to_owned(),
            name: table.to_owned(),
        },
        base: Vec::new(),
        chains: BTreeMap::new(),
    };
    let lines = saved
        .lines()
        .skip_while(|line| line.strip_prefix('*') != Some(table));
    for line in lines.take_while(|line| *line != "COMMIT") {
        if let Some(chain) = line.strip_prefix(':') {
            add_chain(&mut read, chain);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            add_rule(&mut read, rule);
        }
    }
    read
}

fn add_chain(table: &mut FilterTable, line: &str) {
    let mut words = line.split(' ');
    let (Some(name), policy) = (words.next(), words.next()) else {
        return;
    };
    table.chains.insert(name.to_owned(), Vec::new());
    // A chain of a person has no policy.
    if let (Some(hook), Some("ACCEPT" | "DROP")) = (FilterHook::of_iptables(name), policy) {
        table.base.push(BaseChain {
            name: name.to_owned(),
            hook,
            drops_by_default: policy == Some("DROP"),
        });
    }
}

fn add_rule(table: &mut FilterTable, line: &str) {
    let words = words(line);
    if let Some((chain, rest)) = words.split_first() {
        let rules = table.chains.entry(chain.clone()).or_default();
        rules.push(rule(rest));
    }
}

/// Splits a line at blanks, but not inside quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for char in line.chars() {
        let word = words.last_mut().expect("there is one from the start");
        match char {
            _ if escaped => {
                word.push(char);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => word.push(char),
        }
    }
    words
}

fn rule(words: &[String]) -> FilterRule {
    let mut conditions = Vec::new();
    let mut verdict = FilterVerdict::Continue;
    let mut negated = false;
    let mut rest = words.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        let mut value = || rest.next().unwrap_or_default();
        let condition = match word {
            "!" => {
                negated = true;
                continue;
            }
            "-j" => {
                verdict = target(value());
                break;
            }
            "-g" => {
                verdict = FilterVerdict::Goto(value().to_owned());
                break;
            }
            "-m" if KNOWN_MODULES.contains(&value()) => continue,
            "--comment" => {
                value();
                continue;
            }
            "-i" => Some(Subject::InInterface(vec![value().to_owned()])),
            "-o" => Some(Subject::OutInterface(vec![value().to_owned()])),
            "-s" => value().parse().ok().map(|net| Subject::Source(vec![net])),
            "-d" => value()
                .parse()
                .ok()
                .map(|net| Subject::Destination(vec![net])),
            "-p" => Some(Subject::Protocol(vec![value().to_lowercase()])),
            "--dport" | "--dports" => ports(value()).map(Subject::DestinationPort),
            "--sport" | "--sports" => {
                value();
                Some(Subject::SourcePort)
            }
            "--ctstate" | "--state" => Some(Subject::State(small_words(value()))),
            "--dst-type" => Some(Subject::DestinationKind(small_words(value()))),
            _ => None,
        };
        let condition = condition.map(|subject| Condition::new(subject, negated));
        conditions.push(condition.unwrap_or_else(Condition::unknown));
        negated = false;
    }
    FilterRule {
        conditions,
        verdict,
    }
}

fn target(name: &str) -> FilterVerdict {
    match name {
        "ACCEPT" => FilterVerdict::Accept,
        "DROP" | "REJECT" => FilterVerdict::Drop,
        "RETURN" => FilterVerdict::Return,
        "NFQUEUE" | "QUEUE" | "TPROXY" | "SYNPROXY" => FilterVerdict::Unknown,
        name if CONTINUING.contains(&name) => FilterVerdict::Continue,
        chain => FilterVerdict::Jump(chain.to_owned()),
    }
}

fn small_words(list: &str) -> Vec<String> {
    list.split(',').map(str::to_lowercase).collect()
}

/// Reads `80`, `80:90` and `80,443:444`.
fn ports(list: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let range = |item: &str| match item.split_once(':') {
        Some((first, last)) => Some(first.parse().ok()?..=last.parse().ok()?),
        None => item.parse().ok().map(|port| port..=port),
    };
    list.split(',').map(range).collect()
}
