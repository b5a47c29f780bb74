//! Applies one operation, and decides what its failure means: an error, a reason for another tool, or nothing that the
//! overlay needs.

use tracing::{debug, warn};

use crate::reconcile::slice::OpFailed;
use crate::rules::desired::DesiredRules;
use crate::rules::own_table::OwnTable;
use crate::rules::plan::RuleOp;
use crate::rules::port::RuleTable;
use crate::rules::reconciler::RulesSlice;
use crate::rules::reconciler::run::RulesRun;
use crate::rules::rule::RuleSet;
use crate::rules::tool::{IptablesVariant, RuleTool};

impl<T: RuleTable, E> RulesSlice<T, E> {
    pub(super) async fn apply_one(
        &mut self,
        desired: &DesiredRules,
        op: &RuleOp,
        run: &mut RulesRun,
    ) -> Result<(), OpFailed> {
        debug!(command = op.to_string(), "applying");
        match op {
            RuleOp::Install { tool, rules, .. } => match tool {
                RuleTool::Nftables => self.install_table(desired, op, rules, run).await,
                RuleTool::Iptables(variant) => {
                    self.install_chains(desired, op, *variant, rules, run).await
                }
            },
            RuleOp::Remove { .. } => self.remove(op, run).await,
        }
    }

    async fn install_table(
        &mut self,
        desired: &DesiredRules,
        op: &RuleOp,
        rules: &RuleSet,
        run: &mut RulesRun,
    ) -> Result<(), OpFailed> {
        run.touched.insert(RuleTool::Nftables);
        match self.table.apply(op).await {
            Ok(()) => {
                run.made_table = Some(rules.clone());
                Ok(())
            }
            Err(error) => {
                // It worked before, and does not any more.
                if error.crashed {
                    self.own_table = OwnTable::Untried;
                }
                let fell_back = self.fall_back(desired, error.to_string());
                fell_back.map_err(|_| error.into())
            }
        }
    }

    /// Checks the table if nft was told to make it in this run.
    ///
    /// # Errors
    /// nft does not show what it was told to make, and there is no other tool to turn to.
    pub(super) fn check_table(
        &mut self,
        desired: &DesiredRules,
        run: &mut RulesRun,
    ) -> Result<(), String> {
        let Some(rules) = run.made_table.take() else {
            return Ok(());
        };
        let made = self.own_table.made(rules, &run.observed);
        made.or_else(|reason| self.fall_back(desired, reason))
    }

    /// Turns to iptables if nft never made our table here and the host may choose.
    ///
    /// # Errors
    /// The reason, if there is no other tool to turn to.
    fn fall_back(&mut self, desired: &DesiredRules, reason: String) -> Result<(), String> {
        match self.own_table {
            OwnTable::Untried if desired.lets_the_host_choose() => {
                debug!(reason, "nft cannot make our table; trying iptables");
                self.own_table = OwnTable::Unusable(reason);
                Ok(())
            }
            OwnTable::Untried | OwnTable::Unusable(_) | OwnTable::Works(_) => Err(reason),
        }
    }

    /// A failure is none if everything that pods depend on is there all the same.
    async fn install_chains(
        &mut self,
        desired: &DesiredRules,
        op: &RuleOp,
        variant: IptablesVariant,
        rules: &RuleSet,
        run: &mut RulesRun,
    ) -> Result<(), OpFailed> {
        let Err(error) = self.table.apply(op).await else {
            run.touched.insert(op.tool());
            self.optional.installed(variant);
            return Ok(());
        };
        // Where nothing can be read there could be nothing before: then what was observed still holds.
        let refreshed = self
            .table
            .refresh(desired.vni, op.tool(), &mut run.observed);
        _ = refreshed.await;
        if run.lacks_essential(variant, rules) {
            return Err(error.into());
        }
        run.without_optional.insert(variant);
        self.log_optional_failure(variant, error.to_string());
        Ok(())
    }

    fn log_optional_failure(&mut self, variant: IptablesVariant, reason: String) {
        if self.optional.failed(variant, reason.clone()) {
            warn!(
                reason,
                "optional rules could not be installed; the overlay does not need them with this host's current rules"
            );
        }
    }

    async fn remove(&mut self, op: &RuleOp, run: &mut RulesRun) -> Result<(), OpFailed> {
        run.touched.insert(op.tool());
        self.table.apply(op).await?;
        if op.tool() == RuleTool::Nftables {
            self.own_table.removed();
        }
        Ok(())
    }
}
