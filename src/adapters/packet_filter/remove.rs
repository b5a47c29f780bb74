//! Takes our rules out of the packet filter for good, and the tables with them that only our rules had made.

use tracing::{debug, info};

use crate::adapters::packet_filter::process::run;
use crate::adapters::packet_filter::{PacketFilter, Programs};
use crate::model::addr::Vni;
use crate::rules::iptables::saved::{EmptiedTable, emptied};
use crate::rules::nft;
use crate::rules::observed::ObservedRules;
use crate::rules::plan::{RuleOp, plan_removal};
use crate::rules::port::{RuleTable as _, RuleTableError};
use crate::rules::rule::RuleSet;
use crate::rules::tool::{IptablesVariant, RuleTool};

/// How often a removal is tried while another program changes rules at the same moment.
const MAX_TRIES: usize = 4;

impl PacketFilter {
    /// Returns what [`Self::remove`] would remove.
    pub(crate) async fn removable(&mut self, vni: Vni) -> Result<Vec<String>, RuleTableError> {
        let observed = self.observe(vni).await?;
        let ops = plan_removal(&RuleSet::none(vni), &observed);
        Ok(ops.iter().map(|op| subject(op.tool(), vni)).collect())
    }

    /// Removes all rules of one instance, from wherever they are. Tries everything, and returns what it removed and what
    /// failed.
    pub(crate) async fn remove(&mut self, vni: Vni) -> (Vec<String>, Vec<RuleTableError>) {
        let (mut removed, mut failed) = (Vec::new(), Vec::new());
        let before = match self.observe(vni).await {
            Ok(observed) => observed,
            Err(error) => return (removed, vec![error]),
        };
        for op in plan_removal(&RuleSet::none(vni), &before) {
            let tool = op.tool();
            let mut observed = before.clone();
            match self.remove_from(vni, op, &mut observed).await {
                Ok(()) => removed.push(subject(tool, vni)),
                Err(error) => failed.push(error),
            }
            if tool == RuleTool::Iptables(IptablesVariant::Nft) {
                failed.extend(self.remove_emptied(&before, &observed).await.err());
            }
        }
        (removed, failed)
    }

    /// Removes the rules from one tool, and reads back whether they are gone.
    async fn remove_from(
        &mut self,
        vni: Vni,
        mut op: RuleOp,
        observed: &mut ObservedRules,
    ) -> Result<(), RuleTableError> {
        for _ in 0..MAX_TRIES {
            self.apply(&op).await?;
            self.refresh(vni, op.tool(), observed).await?;
            let left = plan_removal(&RuleSet::none(vni), observed);
            match left.into_iter().find(|left| left.tool() == op.tool()) {
                None => return Ok(()),
                Some(left) => op = left,
            }
        }
        Err(RuleTableError {
            command: op.summary(),
            reason: "the rules are still there".to_owned(),
            crashed: false,
        })
    }

    /// iptables-nft makes a table and its chains when its first rule comes, and leaves them when the last one goes. Tables
    /// of iptables-legacy stay for as long as the kernel runs.
    async fn remove_emptied(
        &mut self,
        before: &ObservedRules,
        after: &ObservedRules,
    ) -> Result<(), RuleTableError> {
        let nft = IptablesVariant::Nft;
        let Some(programs) = self.installed().await.programs.get(&nft) else {
            return Ok(());
        };
        let texts = before.saved.get(&nft).zip(after.saved.get(&nft));
        let emptied = texts.map(|(before, after)| emptied(before, after));
        for table in emptied.unwrap_or_default() {
            remove_table(programs, &table).await?;
        }
        Ok(())
    }
}

fn subject(tool: RuleTool, vni: Vni) -> String {
    match tool {
        RuleTool::Nftables => format!("nftables table ip {}", nft::table(vni)),
        RuleTool::Iptables(variant) => format!("rules in {variant}"),
    }
}

/// Removes the chains of one table that do nothing, and the table if nothing else is in it. Other programs may have chains
/// in it that iptables does not show, and may put more there at any moment.
async fn remove_table(programs: &Programs, table: &EmptiedTable<'_>) -> Result<(), RuleTableError> {
    let iptables = programs.restore.trim_end_matches("-restore");
    let name = table.name;
    for chain in &table.chains {
        // Unlike nft, iptables has the kernel refuse if there is a rule by now. It shows chains that do not exist, too.
        // Before 1.8.8 it always refuses.
        let command = [iptables, "--wait", "--table", name, "--delete-chain", chain];
        if let Err(error) = run(&command, "").await {
            debug!(%error, "the chain stays");
        }
    }
    let listing = run(&["nft", "list", "table", "ip", name], "").await?;
    if nft::is_bare(&listing.unwrap_or_default()) {
        info!(table = name, "removing the empty table of iptables");
        run(&["nft", "delete", "table", "ip", name], "").await?;
    }
    Ok(())
}
