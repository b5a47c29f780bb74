//! Reads the filter rules of all programs on this host, for the checks of this host. Changes nothing.

use tracing::debug;

use crate::adapters::packet_filter::process::{legacy_tables, run};
use crate::adapters::packet_filter::{PacketFilter, save};
use crate::host::firewall::{FilterTable, iptables_table, nft_base_tables, nft_table};
use crate::host::port::Firewalls;
use crate::rules::observed::LegacyTables;
use crate::rules::port::{RuleTable, RuleTableError};
use crate::rules::tool::IptablesVariant;

/// The tables of iptables through which packets pass before their way is decided, or that filter.
const IPTABLES_TABLES: [&str; 3] = ["raw", "mangle", "filter"];

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
    let listing = run(&["nft", "--json", "list", "chains"], "").await;
    let Some(listing) = listing.map_err(text)? else {
        return Ok(Vec::new());
    };
    let mut tables = Vec::new();
    for (family, name) in nft_base_tables(&listing)? {
        if is_trusted(&name) {
            continue;
        }
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

/// Our own tables, and that of kube-proxy, which is large and drops no packet of the overlay.
fn is_trusted(table: &str) -> bool {
    table == "kube-proxy" || table.starts_with("flannel.")
}

fn text(error: RuleTableError) -> String {
    error.to_string()
}
