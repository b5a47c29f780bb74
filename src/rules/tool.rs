//! The tools that can hold our rules. iptables exists twice: on the kernel's old tables ("legacy") and on top of
//! nftables ("nft"). Packets pass both, and each `iptables` shows only its own rules. Pure.

use std::fmt;

/// One of the two kinds of iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IptablesVariant {
    /// On top of nftables.
    Nft,
    /// On the old tables.
    Legacy,
}

impl fmt::Display for IptablesVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
        })
    }
}

/// A place for rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RuleTool {
    /// An nftables table of our own.
    Nftables,
    /// Chains of our own in iptables.
    Iptables(IptablesVariant),
}

impl fmt::Display for RuleTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nftables => f.write_str("nftables"),
            Self::Iptables(variant) => variant.fmt(f),
        }
    }
}
