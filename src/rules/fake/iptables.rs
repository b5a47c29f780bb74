//! One iptables in memory: runs scripts and prints itself like `iptables-save`.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::change::RuleSetChange;
use crate::rules::fake::change;

#[derive(Debug, Default)]
pub(crate) struct FakeIptables {
    tables: BTreeMap<String, FakeTable>,
    /// Tables that this kernel does not have.
    pub(crate) unsupported: BTreeSet<&'static str>,
    /// Shows each word that is a key as its value.
    pub(crate) shown_as: BTreeMap<&'static str, &'static str>,
}

/// Chains by name.
type FakeTable = BTreeMap<String, FakeChain>;

#[derive(Debug)]
struct FakeChain {
    /// `-` for a chain that the kernel does not call by itself.
    policy: String,
    rules: Vec<String>,
}

impl FakeIptables {
    /// Runs a script like `iptables-restore --noflush`. Returns what changed, and whether all of it could be run.
    pub(crate) fn restore(&mut self, script: &str) -> (Vec<RuleSetChange>, Result<(), String>) {
        let mut changes = Vec::new();
        let mut table = String::new();
        for line in script.lines() {
            if let Err(reason) = self.run(line, &mut table, &mut changes) {
                return (changes, Err(format!("{reason}: {line}")));
            }
        }
        (changes, Ok(()))
    }

    fn run(
        &mut self,
        line: &str,
        table: &mut String,
        changes: &mut Vec<RuleSetChange>,
    ) -> Result<(), String> {
        if line == "COMMIT" {
            return Ok(());
        }
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(table);
            return self.open(name);
        }
        let chains = self.tables.get_mut(table).ok_or("no table")?;
        let chain = edit(chains, line)?;
        changes.push(change(table, Some(chain)));
        Ok(())
    }

    fn open(&mut self, table: &str) -> Result<(), String> {
        if self.unsupported.contains(table) {
            return Err("table does not exist".to_owned());
        }
        let built_in: &[&str] = match table {
            "nat" | "raw" | "mangle" => &["PREROUTING", "FORWARD", "OUTPUT", "POSTROUTING"],
            _ => &["INPUT", "FORWARD", "OUTPUT"],
        };
        let chains = self.tables.entry(table.to_owned()).or_default();
        for name in built_in {
            chains.entry((*name).to_owned()).or_insert(FakeChain {
                policy: "ACCEPT".to_owned(),
                rules: Vec::new(),
            });
        }
        Ok(())
    }

    pub(crate) fn save(&self) -> String {
        let text: String = self
            .tables
            .iter()
            .map(|(name, chains)| save_table(name, chains))
            .collect();
        self.shown_as
            .iter()
            .fold(text, |text, (word, shown)| text.replace(word, shown))
    }
}

/// Runs one line that changes a chain, and returns the name of that chain.
fn edit<'a>(chains: &mut FakeTable, line: &'a str) -> Result<&'a str, String> {
    let (verb, rest) = match line.strip_prefix(':') {
        Some(rest) => (":", rest),
        None => line.split_once(' ').ok_or("no verb")?,
    };
    let (name, rule) = rest.split_once(' ').unwrap_or((rest, ""));
    if verb == ":" {
        declare(chains, name, rule.split(' ').next().unwrap_or("-"));
        return Ok(name);
    }
    let rules = &mut chains.get_mut(name).ok_or("no chain")?.rules;
    match verb {
        "-A" => rules.push(rule.to_owned()),
        "-I" => insert(rules, rule)?,
        "-D" => {
            let at = rules.iter().position(|there| there == rule);
            rules.remove(at.ok_or("no rule")?);
        }
        "-F" => rules.clear(),
        "-X" => _ = chains.remove(name),
        _ => return Err("unknown verb".to_owned()),
    }
    Ok(name)
}

/// A number before the rule is its place, counted from 1.
fn insert(rules: &mut Vec<String>, rule: &str) -> Result<(), String> {
    let numbered = rule
        .split_once(' ')
        .and_then(|(number, rule)| Some((number.parse::<usize>().ok()?, rule)));
    let (place, rule) = numbered.unwrap_or((1, rule));
    if place == 0 || place > rules.len() + 1 {
        return Err("index of insertion too big".to_owned());
    }
    rules.insert(place - 1, rule.to_owned());
    Ok(())
}

/// Sets the policy of a chain of the kernel; makes or empties any other chain.
fn declare(chains: &mut FakeTable, name: &str, policy: &str) {
    let chain = chains.entry(name.to_owned()).or_insert(FakeChain {
        policy: String::new(),
        rules: Vec::new(),
    });
    policy.clone_into(&mut chain.policy);
    if policy == "-" {
        chain.rules.clear();
    }
}

fn save_table(name: &str, chains: &FakeTable) -> String {
    let declarations = chains
        .iter()
        .map(|(name, chain)| format!(":{name} {} [0:0]\n", chain.policy));
    let rules = chains.iter().flat_map(|(name, chain)| {
        chain
            .rules
            .iter()
            .map(move |rule| format!("-A {name} {rule}\n"))
    });
    let lines: String = declarations.chain(rules).collect();
    format!("*{name}\n{lines}COMMIT\n")
}
