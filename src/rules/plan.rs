//! Which steps lead from the observed rules to the desired ones, and in which order. Pure.

use std::fmt;

use crate::rules::choice::{Choice, ChoiceError, choose};
use crate::rules::desired::{DesiredRules, RuleParts};
use crate::rules::observed::{ObservedRules, ObservedTable};
use crate::rules::own_table::OwnTable;
use crate::rules::rule::RuleSet;
use crate::rules::tool::{IptablesVariant, RuleTool};
use crate::rules::{iptables, nft};

/// One operation: a script for one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RuleOp {
    /// Puts rules in place, and takes away what is wrong in the same chains.
    Install {
        tool: RuleTool,
        rules: RuleSet,
        script: String,
    },
    /// Removes rules that this tool should not hold.
    Remove { tool: RuleTool, script: String },
}

impl RuleOp {
    pub(crate) const fn tool(&self) -> RuleTool {
        match self {
            Self::Install { tool, .. } | Self::Remove { tool, .. } => *tool,
        }
    }

    pub(crate) fn script(&self) -> &str {
        match self {
            Self::Install { script, .. } | Self::Remove { script, .. } => script,
        }
    }

    /// Returns the command without its script, but with the names of what it changes: for one line of the log.
    pub(crate) fn summary(&self) -> String {
        let subjects = match self.tool() {
            RuleTool::Nftables => self.script().lines().next().unwrap_or_default().to_owned(),
            RuleTool::Iptables(_) => iptables::chains_of_script(self.script()).join(", "),
        };
        format!("{} # {subjects}", self.command())
    }

    /// Returns the command without its script.
    pub(crate) fn command(&self) -> String {
        match self.tool() {
            RuleTool::Nftables => "nft -f -".to_owned(),
            RuleTool::Iptables(variant) => format!("{variant}-restore --wait --noflush"),
        }
    }
}

/// Prints the command that does the same.
impl fmt::Display for RuleOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <<'END'\n{}END", self.command(), self.script())
    }
}

/// The chosen tools, and the operations that put the rules into them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RulePlan {
    /// `None` if no rules are needed.
    pub(crate) choice: Option<Choice>,
    pub(crate) installs: Vec<RuleOp>,
    pub(crate) removals: Vec<RuleOp>,
}

impl RulePlan {
    /// Returns the operations to apply now. Nothing is removed before everything that should be there is in place, as
    /// read back: there is no moment without rules.
    pub(crate) fn ops(self) -> Vec<RuleOp> {
        if self.installs.is_empty() {
            self.removals
        } else {
            self.installs
        }
    }
}

/// Plans. What an earlier run left in another tool is among the removals.
///
/// # Errors
/// No tool can carry the rules.
pub(crate) fn plan(
    desired: &DesiredRules,
    observed: &ObservedRules,
    own_table: &OwnTable,
) -> Result<RulePlan, ChoiceError> {
    let choice = choose(desired, observed, own_table.problem(observed).as_deref())?;
    let mut installs: Vec<RuleOp> = Vec::new();
    let mut removals: Vec<RuleOp> = Vec::new();
    installs.extend(install_table(desired, choice.as_ref(), observed, own_table));
    for (variant, saved) in &observed.saved {
        let rules = rules_of(*variant, desired, choice.as_ref());
        removals.extend(remove_chains(*variant, &rules, saved));
        installs.extend(install_chains(*variant, rules, saved));
    }
    removals.extend(remove_table(desired, choice.as_ref(), observed));
    Ok(RulePlan {
        choice,
        installs,
        removals,
    })
}

/// Plans the removal of all rules of one instance, wherever they are.
pub(crate) fn plan_removal(none: &RuleSet, observed: &ObservedRules) -> Vec<RuleOp> {
    let chains = observed
        .saved
        .iter()
        .filter_map(|(variant, saved)| remove_chains(*variant, none, saved));
    let mut ops: Vec<RuleOp> = chains.collect();
    if matches!(observed.table, ObservedTable::Listed(_)) {
        ops.push(delete_table(none));
    }
    ops
}

fn rules_of(variant: IptablesVariant, desired: &DesiredRules, choice: Option<&Choice>) -> RuleSet {
    let parts = choice.map_or_else(RuleParts::default, |choice| {
        choice.parts(RuleTool::Iptables(variant))
    });
    desired.rules(parts)
}

fn is_by_nftables(choice: Option<&Choice>) -> bool {
    choice.is_some_and(|choice| choice.masquerade == RuleTool::Nftables)
}

fn install_table(
    desired: &DesiredRules,
    choice: Option<&Choice>,
    observed: &ObservedRules,
    own_table: &OwnTable,
) -> Option<RuleOp> {
    let choice = choice.filter(|choice| choice.masquerade == RuleTool::Nftables)?;
    let rules = desired.rules(choice.parts(RuleTool::Nftables));
    (!own_table.holds(&rules, observed)).then(|| RuleOp::Install {
        tool: RuleTool::Nftables,
        script: nft::script(&rules),
        rules,
    })
}

fn install_chains(variant: IptablesVariant, rules: RuleSet, saved: &str) -> Option<RuleOp> {
    iptables::missing(&rules, saved).map(|script| RuleOp::Install {
        tool: RuleTool::Iptables(variant),
        rules,
        script,
    })
}

fn remove_chains(variant: IptablesVariant, rules: &RuleSet, saved: &str) -> Option<RuleOp> {
    iptables::superfluous(rules, saved).map(|script| RuleOp::Remove {
        tool: RuleTool::Iptables(variant),
        script,
    })
}

fn remove_table(
    desired: &DesiredRules,
    choice: Option<&Choice>,
    observed: &ObservedRules,
) -> Option<RuleOp> {
    let is_there = matches!(observed.table, ObservedTable::Listed(_));
    (is_there && !is_by_nftables(choice)).then(|| delete_table(&RuleSet::none(desired.vni)))
}

fn delete_table(none: &RuleSet) -> RuleOp {
    RuleOp::Remove {
        tool: RuleTool::Nftables,
        script: nft::script(none),
    }
}

#[cfg(test)]
mod tests;
