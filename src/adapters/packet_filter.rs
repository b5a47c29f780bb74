//! Adapter: reads and writes the packet filter through `nft`, `iptables-save` and `iptables-restore`. Decides nothing:
//! which rules, and in which tool, is up to the slice `rules`; what the rules of others mean, to the slice `host`.

mod firewalls;
mod process;
mod remove;

use std::collections::BTreeMap;

use tracing::debug;

use crate::adapters::packet_filter::process::{legacy_tables, run};
use crate::model::addr::Vni;
use crate::rules::nft;
use crate::rules::observed::{LegacyTables, ObservedRules, ObservedTable};
use crate::rules::plan::RuleOp;
use crate::rules::port::{RuleTable, RuleTableError};
use crate::rules::tool::{IptablesVariant, RuleTool};

/// The programs of one iptables.
#[derive(Debug, Clone)]
struct Programs {
    save: &'static str,
    restore: &'static str,
}

/// Which iptables this host has.
#[derive(Debug, Clone, Default)]
struct Installed {
    /// What the plain name `iptables` means.
    default_variant: Option<IptablesVariant>,
    programs: BTreeMap<IptablesVariant, Programs>,
}

/// The tools of the packet filter on this host.
#[derive(Debug, Default)]
pub(crate) struct PacketFilter {
    /// `None` until it is looked up, once.
    installed: Option<Installed>,
}

impl RuleTable for PacketFilter {
    async fn observe(&mut self, vni: Vni) -> Result<ObservedRules, RuleTableError> {
        let installed = self.installed().await.clone();
        let has_legacy = installed.programs.contains_key(&IptablesVariant::Legacy);
        let legacy = if has_legacy {
            legacy_tables()
        } else {
            LegacyTables::Unused
        };
        let table = observe_table(vni).await;
        let mut saved = BTreeMap::new();
        for (variant, programs) in &installed.programs {
            // Without a table there is no rule, and no need for a process. What is hidden from us is hidden from it.
            let is_blank = *variant == IptablesVariant::Legacy && legacy != LegacyTables::Used;
            let text = if is_blank {
                String::new()
            } else {
                save(programs).await?
            };
            saved.insert(*variant, text);
        }
        Ok(ObservedRules {
            table,
            default_variant: installed.default_variant,
            saved,
            legacy,
            docker_nftables: false,
        })
    }

    async fn refresh(
        &mut self,
        vni: Vni,
        tool: RuleTool,
        observed: &mut ObservedRules,
    ) -> Result<(), RuleTableError> {
        match tool {
            RuleTool::Nftables => observed.table = observe_table(vni).await,
            RuleTool::Iptables(variant) => {
                if let Some(programs) = self.installed().await.programs.get(&variant) {
                    observed.saved.insert(variant, save(programs).await?);
                }
            }
        }
        Ok(())
    }

    async fn apply(&mut self, op: &RuleOp) -> Result<(), RuleTableError> {
        match op.tool() {
            RuleTool::Nftables => run(&["nft", "-f", "-"], op.script()).await?,
            RuleTool::Iptables(variant) => {
                let Some(programs) = self.installed().await.programs.get(&variant) else {
                    return Ok(());
                };
                let command = [programs.restore, "--wait", "--noflush"];
                run(&command, op.script()).await?
            }
        };
        Ok(())
    }

    /// The kernel announces no changes of iptables-legacy.
    fn needs_polling(&self) -> bool {
        let has_legacy = self
            .installed
            .as_ref()
            .is_some_and(|installed| installed.programs.contains_key(&IptablesVariant::Legacy));
        has_legacy && legacy_tables() == LegacyTables::Used
    }
}

impl PacketFilter {
    async fn installed(&mut self) -> &Installed {
        if self.installed.is_none() {
            let installed = find_installed().await;
            debug!(?installed, "iptables on this host");
            self.installed = Some(installed);
        }
        self.installed
            .as_ref()
            .expect("it was looked up just above")
    }
}

async fn observe_table(vni: Vni) -> ObservedTable {
    let table = nft::table(vni);
    match run(&["nft", "list", "table", "ip", &table], "").await {
        Ok(Some(listing)) => ObservedTable::Listed(listing),
        Ok(None) => ObservedTable::NoNft,
        Err(error) if error.reason.contains("No such file or directory") => ObservedTable::Absent,
        Err(error) if error.crashed => ObservedTable::Crashed(error.to_string()),
        Err(error) => ObservedTable::Unreadable(error.to_string()),
    }
}

async fn save(programs: &Programs) -> Result<String, RuleTableError> {
    Ok(run(&[programs.save], "").await?.unwrap_or_default())
}

/// Finds out which iptables there are: by their names, and by what the plain name means.
async fn find_installed() -> Installed {
    const NAMES: [(&str, &str); 3] = [
        ("iptables-nft-save", "iptables-nft-restore"),
        ("iptables-legacy-save", "iptables-legacy-restore"),
        ("iptables-save", "iptables-restore"),
    ];
    let mut installed = Installed::default();
    for (save, restore) in NAMES {
        let Some(variant) = variant_of(save).await else {
            continue;
        };
        if !installed.programs.contains_key(&variant) && works(variant, save).await {
            let programs = Programs { save, restore };
            installed.programs.insert(variant, programs);
        }
        if save == "iptables-save" && installed.programs.contains_key(&variant) {
            installed.default_variant = Some(variant);
        }
    }
    installed
}

/// `None` if the program is not installed, or cannot be run.
async fn variant_of(save: &str) -> Option<IptablesVariant> {
    let version = run(&[save, "--version"], "").await.ok()??;
    Some(if version.contains("nf_tables") {
        IptablesVariant::Nft
    } else {
        IptablesVariant::Legacy
    })
}

/// A program may be installed for a part of the packet filter that the kernel does not have. iptables-legacy is not asked:
/// that would make its tables.
async fn works(variant: IptablesVariant, save: &str) -> bool {
    variant == IptablesVariant::Legacy || run(&[save], "").await.is_ok()
}
