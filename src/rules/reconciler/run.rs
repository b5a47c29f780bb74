//! What one run of the slice has observed and done so far, and which optional rules are missing. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::rules::choice::Choice;
use crate::rules::iptables;
use crate::rules::observed::ObservedRules;
use crate::rules::plan::RuleOp;
use crate::rules::rule::RuleSet;
use crate::rules::tool::{IptablesVariant, RuleTool};

/// Time after which optional rules that could not be installed are tried once more: another program may have changed
/// rules at the same moment.
const OPTIONAL_RECHECK: Duration = Duration::from_secs(2);

/// What the next plan can build on.
#[derive(Debug, Default)]
pub(super) enum View {
    /// Nothing: the last plan failed, or there was none.
    #[default]
    Unknown,
    /// A plan was made. If nothing is applied, the next plan starts a new run.
    Planned(RulesRun),
    /// Operations were applied: the next plan reads back what they touched.
    Applied(RulesRun),
}

impl View {
    pub(super) const fn run(&self) -> Option<&RulesRun> {
        match self {
            Self::Unknown => None,
            Self::Planned(run) | Self::Applied(run) => Some(run),
        }
    }
}

#[derive(Debug)]
pub(super) struct RulesRun {
    pub(super) observed: ObservedRules,
    pub(super) choice: Option<Choice>,
    /// The tools that operations touched since they were observed.
    pub(super) touched: BTreeSet<RuleTool>,
    /// The rules from which nft was told to make our table, until its listing is checked.
    pub(super) made_table: Option<RuleSet>,
    /// Where optional rules could not be installed.
    pub(super) without_optional: BTreeSet<IptablesVariant>,
}

impl RulesRun {
    pub(super) const fn new(observed: ObservedRules) -> Self {
        Self {
            observed,
            choice: None,
            touched: BTreeSet::new(),
            made_table: None,
            without_optional: BTreeSet::new(),
        }
    }

    /// Whether rules are missing in this iptables without which pods are cut off.
    pub(super) fn lacks_essential(&self, variant: IptablesVariant, rules: &RuleSet) -> bool {
        let saved = self.observed.saved.get(&variant);
        saved.is_none_or(|saved| iptables::essential(rules, saved).is_some())
    }

    /// Whether an operation would only try again, in the same run, to install optional rules.
    pub(super) fn can_do_without(&self, op: &RuleOp) -> bool {
        match op {
            RuleOp::Install {
                tool: RuleTool::Iptables(variant),
                rules,
                ..
            } => self.without_optional.contains(variant) && !self.lacks_essential(*variant, rules),
            RuleOp::Install { .. } | RuleOp::Remove { .. } => false,
        }
    }

    /// Takes the choice of the plan, without the places where the accept could not be installed.
    pub(super) fn take_choice(&mut self, choice: Option<Choice>) {
        self.choice = choice.map(|mut choice| {
            let masquerade = choice.masquerade;
            choice.forward.retain(|variant| {
                masquerade == RuleTool::Iptables(*variant)
                    || !self.without_optional.contains(variant)
            });
            choice
        });
    }
}

/// The optional rules that could not be installed: each reason is logged once, and leads to one more try.
#[derive(Debug, Default)]
pub(super) struct OptionalFailures {
    /// The reasons as logged last.
    reasons: BTreeMap<IptablesVariant, String>,
    recheck_after: Option<Duration>,
}

impl OptionalFailures {
    /// Takes a failure, and returns whether it is new.
    pub(super) fn failed(&mut self, variant: IptablesVariant, reason: String) -> bool {
        if self.reasons.get(&variant) == Some(&reason) {
            return false;
        }
        self.reasons.insert(variant, reason);
        self.recheck_after = Some(OPTIONAL_RECHECK);
        true
    }

    pub(super) fn installed(&mut self, variant: IptablesVariant) {
        self.reasons.remove(&variant);
    }

    /// Forgets failures where nothing is left to install.
    pub(super) fn keep_only(&mut self, installs: &[RuleOp]) {
        self.reasons.retain(|variant, _| {
            installs
                .iter()
                .any(|op| op.tool() == RuleTool::Iptables(*variant))
        });
    }

    /// Returns, once for each new failure, when to try again.
    pub(super) fn recheck_after(&mut self) -> Option<Duration> {
        self.recheck_after.take()
    }
}
