//! Reads the filter rules of all programs on this host, for the checks of this host. Changes nothing.

use tracing::debug;

use crate::adapters::packet_filter::process::{legacy_tables, run};
use crate::adapters::packet_filter::{PacketFilter, save};
use crate::host::firewall::{
    FilterTable, iptables_table, is_table_relevant, nft_base_tables, nft_table,
};
use crate::host::port::Firewalls;
use crate::rules::observed::LegacyTables;
use crate::rules::port::{RuleTable, RuleTableError};
use crate::rules::tool::IptablesVariant;

/// The tables of iptables through which packets pass before their way is decided, or that filter.
const IPTABLES_TABLES: [&str; 3] = ["raw", "mangle", "filter"];

/// What nft prints if it was built without JSON: then tables of nftables are not known.
const NO_JSON: &str = "JSON support not compiled-in";

impl Firewalls for PacketFilter {
    async fn tables(&mut self) -> Result<Vec<FilterTable>, String> {
        let mut tables = nft_tables().await?;
        for (variant, programs) in self.installed().await.programs.clone() {
            // Without a table there is no rule. What is hidden from us is hidden from the program.
            let is_blank =
                variant == IptablesVariant::Legacy && legacy_tables() != LegacyTables::Used;
            if is_blank {
                continue;
            }
            let saved = save(&programs).await.map_err(text)?;
            let program = variant.to_string();
            tables.extend(IPTABLES_TABLES.map(|table| iptables_table(&program, table, &saved)));
        }
        Ok(tables)
    }

    fn needs_polling(&self) -> bool {
        RuleTable::needs_polling(self)
    }
}

async fn nft_tables() -> Result<Vec<FilterTable>, String> {
    let listing = match run(&["nft", "--json", "list", "chains"], "").await {
        Ok(Some(listing)) => listing,
        Ok(None) => return Ok(Vec::new()),
        // What iptables shows can be judged all the same.
        Err(error) if error.crashed || error.reason.contains(NO_JSON) => return Ok(Vec::new()),
        Err(error) => return Err(text(error)),
    };
    let mut tables = Vec::new();
    let relevant = nft_base_tables(&listing)?.into_iter();
    for (family, name) in relevant.filter(|(_, name)| is_table_relevant(name)) {
        let command = ["nft", "--json", "--terse", "list", "table", &family, &name];
        match run(&command, "").await {
            Ok(listing) => {
                let listing = listing.unwrap_or_default();
                tables.push(nft_table(&family, &name, &listing)?);
            }
            // It was removed in between, or this nft cannot show it.
            Err(error) => debug!(%error, "a table is not looked at"),
        }
    }
    Ok(tables)
}

fn text(error: RuleTableError) -> String {
    error.to_string()
}
