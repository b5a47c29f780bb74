//! Reads the text of `iptables-save`: our chains, and whether other programs have rules there. Changes nothing. Pure.

/// Tables of iptables that hold chains of ours.
const TABLES: [&str; 4] = ["nat", "filter", "raw", "mangle"];

/// How the names of our chains begin, in every instance.
const OWN: &str = "FLANNEL-";

/// Where in a chain of the kernel ours is called. Only the calls of other instances may be in between, or two instances would
/// push each other away for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// First: behind a rule that rejects everything it would never be called.
    First,
    /// Right behind the call of this chain, and first where there is none.
    Behind(&'static str),
    /// Behind all calls of chains whose names begin like this.
    Last(&'static str),
}

/// What `iptables-save` shows of one of our chains.
#[derive(Debug, Default)]
pub(crate) struct ObservedChain<'a> {
    pub(crate) is_declared: bool,
    pub(crate) lines: Vec<&'a str>,
    /// All jumps to the chain from its parent, whatever their comment.
    pub(crate) jumps: Vec<&'a str>,
    /// The targets of the rules of its parent, without our jumps; and how many of them stand before the first of those.
    targets: Vec<&'a str>,
    before: usize,
}

/// Finds the chain `name` that is called from `parent`.
pub(crate) fn find<'a>(
    table: &'a str,
    parent: &str,
    name: &str,
    saved: &'a str,
) -> ObservedChain<'a> {
    let mut chain = ObservedChain::default();
    for line in lines_of(saved, table) {
        if declared_name(line) == Some(name) {
            chain.is_declared = true;
        } else if is_rule_of(name, line) {
            chain.lines.push(line);
        } else if is_rule_of(parent, line) {
            chain.add_rule_of_parent(name, line);
        }
    }
    chain
}

impl<'a> ObservedChain<'a> {
    fn add_rule_of_parent(&mut self, name: &str, line: &'a str) {
        let target = line
            .split(' ')
            .skip_while(|word| !["-j", "-g"].contains(word))
            .nth(1)
            .unwrap_or_default();
        if target == name {
            self.jumps.push(line);
            return;
        }
        if self.jumps.is_empty() {
            self.before += 1;
        }
        self.targets.push(target);
    }

    /// Returns how many rules of the parent, without our jumps, it takes to be behind the last call of `chain`.
    pub(crate) fn last_jump_to(&self, chain: &str) -> Option<usize> {
        let last = self.targets.iter().rposition(|target| *target == chain)?;
        Some(last + 1)
    }

    /// Whether the first jump is in its place.
    pub(crate) fn is_placed(&self, place: Place) -> bool {
        let (before, behind) = self.targets.split_at(self.before);
        match place {
            Place::First => before.iter().all(|target| target.starts_with(OWN)),
            Place::Behind(chain) => {
                let start = self.last_jump_to(chain).unwrap_or_default();
                let between = before.get(start..);
                between.is_some_and(|targets| targets.iter().all(|target| target.starts_with(OWN)))
            }
            Place::Last(start) => !behind.iter().any(|target| target.starts_with(start)),
        }
    }
}

fn declared_name(line: &str) -> Option<&str> {
    line.strip_prefix(':')?.split(' ').next()
}

fn is_rule_of(chain: &str, line: &str) -> bool {
    line.strip_prefix("-A ")
        .and_then(|rest| rest.strip_prefix(chain))
        .is_some_and(|rest| rest.starts_with(' '))
}

/// Whether another program decides in the filter table: by a rule, a chain or a policy that is not ours.
pub(crate) fn filters_for_others(saved: &str) -> bool {
    lines_of(saved, "filter").any(|line| !line.contains(OWN) && !is_open_policy(line))
}

fn is_open_policy(line: &str) -> bool {
    line.starts_with(':') && line.split(' ').nth(1) == Some("ACCEPT")
}

/// Whether kube-proxy or Docker has chains there.
pub(crate) fn has_cluster_chains(saved: &str) -> bool {
    saved
        .lines()
        .any(|line| line.starts_with(":KUBE-") || line.starts_with(":DOCKER"))
}

/// Whether Docker has chains there.
pub(crate) fn has_docker_chains(saved: &str) -> bool {
    saved.lines().any(|line| line.starts_with(":DOCKER"))
}

/// A table in which iptables shows nothing any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EmptiedTable<'a> {
    pub(crate) name: &'static str,
    /// The chains of the kernel that iptables may have made in it.
    pub(crate) chains: Vec<&'a str>,
}

/// Returns the tables of which `after` shows only chains of the kernel that accept everything, and `before` more than
/// that. iptables shows only its own: other programs may have more in the same table of nftables.
pub(crate) fn emptied<'a>(before: &str, after: &'a str) -> Vec<EmptiedTable<'a>> {
    let emptied = TABLES
        .into_iter()
        .filter(|table| !is_blank(before, table) && is_blank(after, table));
    emptied
        .map(|name| EmptiedTable {
            name,
            chains: lines_of(after, name).filter_map(declared_name).collect(),
        })
        .collect()
}

fn is_blank(saved: &str, table: &str) -> bool {
    let mut lines = lines_of(saved, table).peekable();
    lines.peek().is_some() && lines.all(is_open_policy)
}

/// Chains and rules of one table.
fn lines_of<'a>(saved: &'a str, table: &'a str) -> impl Iterator<Item = &'a str> {
    saved
        .lines()
        .map(str::trim_end)
        .scan("", |current, line| {
            *current = line.strip_prefix('*').unwrap_or(current);
            Some((*current, line))
        })
        .filter(move |(current, line)| *current == table && line.starts_with([':', '-']))
        .map(|(_, line)| line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::iptables::tests::FLANNEL;

    /// Compares the emptied tables, each with its chains behind it.
    fn check_emptied(before: &str, after: &str, expected: &[&str]) {
        let texts: Vec<String> = emptied(before, after)
            .iter()
            .map(|table| format!("{} {}", table.name, table.chains.join(" ")))
            .collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_table_that_we_emptied_differs_from_one_that_drops_or_was_empty_before() {
        let after =
            "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n*nat\n:POSTROUTING ACCEPT [3:4]\nCOMMIT\n";
        let [nat, filter] = ["nat POSTROUTING", "filter FORWARD"];
        check_emptied(FLANNEL, after, &[nat, filter]);
        let drops = after.replace("FORWARD ACCEPT", "FORWARD DROP");
        check_emptied(FLANNEL, &drops, &[nat]);
        let kube = after.replace("*nat\n", "*nat\n:KUBE-SERVICES - [0:0]\n");
        check_emptied(FLANNEL, &kube, &[filter]);
        check_emptied(after, after, &[]);
        check_emptied(FLANNEL, "", &[]);
    }

    #[test]
    fn only_rules_chains_and_policies_of_other_programs_filter() {
        assert!(!filters_for_others(FLANNEL));
        for more in [
            ":FORWARD DROP [0:0]",
            ":DOCKER - [0:0]",
            "-A INPUT -j REJECT",
        ] {
            let saved = FLANNEL.replace("*filter\n", &format!("*filter\n{more}\n"));
            assert!(filters_for_others(&saved), "{more}");
        }
    }
}
