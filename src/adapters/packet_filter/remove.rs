//! Owns taking our rules out of the packet filter for good, and the tables with them that only our rules had made.

use tracing::{debug, info};

use crate::adapters::packet_filter::tool;
use crate::adapters::packet_filter::tool::run;
use crate::adapters::packet_filter::{Error, Firewall, Programs};
use crate::adapters::packet_filter::{iptables, nft};
use crate::model::addr::Vni;
use crate::rules::choice::Variant;
use crate::rules::desired::RuleSet;

impl Firewall {
    /// Removes all rules of one instance, from wherever they are. Tries everything; answers what it removed, and what failed.
    pub async fn remove(&mut self, vni: Vni) -> (Vec<String>, Vec<Error>) {
        let (mut removed, mut failed) = (Vec::new(), Vec::new());
        let seen = match self.look(vni).await {
            Ok(seen) => seen,
            Err(error) => return (removed, vec![error]),
        };
        let none = RuleSet::none(vni);
        for (variant, saved) in &seen.host.saved {
            match self
                .restore(*variant, &none, saved, iptables::superfluous)
                .await
            {
                Ok(true) => {
                    removed.push(format!("rules in {variant}"));
                    failed.extend(self.remove_emptied(*variant, saved).await.err());
                }
                Ok(false) => {}
                Err(error) => failed.push(error),
            }
        }
        if seen.table.is_some() {
            match run(&["nft", "-f", "-"], &nft::script(&none)).await {
                Ok(_) => removed.push(format!("nftables table ip {}", nft::table(vni))),
                Err(error) => failed.push(error.into()),
            }
        }
        (removed, failed)
    }

    /// iptables-nft makes a table and its chains when its first rule comes, and leaves them when the last one goes. Tables
    /// of iptables-legacy stay for as long as the kernel runs.
    async fn remove_emptied(&self, variant: Variant, before: &str) -> Result<(), Error> {
        let Some(programs) = self.programs(variant).filter(|_| variant == Variant::Nft) else {
            return Ok(());
        };
        let after = run(&[programs.save], "").await?.unwrap_or_default();
        for table in iptables::emptied(before, &after) {
            remove_idle(programs, table).await?;
        }
        Ok(())
    }
}

/// Removes the chains of one table that do nothing, and the table if it is bare then. Others may have chains of their own in
/// it, which iptables does not show, and may put more there at any moment.
async fn remove_idle(programs: &Programs, table: &str) -> Result<(), Error> {
    let iptables = programs.restore.trim_end_matches("-restore");
    for chain in iptables::idle_chains(&listing(table).await?) {
        // Unlike nft, it has the kernel refuse if there is a rule by now. Before 1.8.8 it refuses always.
        if let Err(error) = run(
            &[
                iptables,
                "--wait",
                "--table",
                table,
                "--delete-chain",
                chain,
            ],
            "",
        )
        .await
        {
            debug!(
                error = crate::error::chain(&error),
                table, chain, "the chain stays"
            );
        }
    }
    if iptables::is_bare(&listing(table).await?) {
        info!(
            table,
            "removing the table of iptables in which there is nothing now"
        );
        run(&["nft", "delete", "table", "ip", table], "").await?;
    }
    Ok(())
}

/// The whole of a table, whoever put it there.
async fn listing(table: &str) -> Result<String, tool::Error> {
    Ok(run(&["nft", "list", "table", "ip", table], "")
        .await?
        .unwrap_or_default())
}
