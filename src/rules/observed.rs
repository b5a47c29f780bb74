//! What the tools of the packet filter showed last. Pure.

use std::collections::BTreeMap;

use crate::rules::tool::IptablesVariant;

/// What `nft` shows of our table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ObservedTable {
    /// `nft` is not installed.
    NoNft,
    /// `nft` failed, for this reason.
    Unreadable(String),
    /// `nft` crashed. Up to 1.1.1 it does, while there is a table with sets that a newer nft has made.
    Crashed(String),
    Absent,
    /// The text of `nft list table`.
    Listed(String),
}

/// What is known of the tables of iptables-legacy without a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LegacyTables {
    /// There are none.
    Unused,
    /// There are some, and flanneld may read them.
    Used,
    /// flanneld may not even ask whether there are any.
    Hidden,
    /// flanneld may not ask, and the kernel has loaded modules that only they need.
    HiddenAndLoaded,
}

/// The packet filter of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObservedRules {
    pub(crate) table: ObservedTable,
    /// The variant that the plain name `iptables` means; `None` if there is no such program.
    pub(crate) default_variant: Option<IptablesVariant>,
    /// The text of `iptables-save`, for each variant that is installed.
    pub(crate) saved: BTreeMap<IptablesVariant, String>,
    /// Whether `saved` can show what is in iptables-legacy.
    pub(crate) legacy: LegacyTables,
    /// Whether the table of Docker's nftables backend is there. The tools are not asked: the slice asks the kernel.
    pub(crate) docker_nftables: bool,
}

#[cfg(test)]
impl ObservedRules {
    /// A host with nft and both variants of iptables, on which `iptables` means iptables-nft.
    pub(crate) fn for_test(nft: &str, legacy: &str) -> Self {
        let saved = [
            (IptablesVariant::Nft, nft),
            (IptablesVariant::Legacy, legacy),
        ];
        Self {
            table: ObservedTable::Absent,
            default_variant: Some(IptablesVariant::Nft),
            saved: saved
                .map(|(variant, saved)| (variant, saved.to_owned()))
                .into(),
            legacy: LegacyTables::Used,
            docker_nftables: false,
        }
    }
}
