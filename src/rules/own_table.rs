//! What earlier runs taught about our table in nftables: whether nft can make it, and how nft lists it. Pure.

use crate::rules::nft;
use crate::rules::observed::{ObservedRules, ObservedTable};
use crate::rules::rule::RuleSet;

/// Our table, by the runs so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OwnTable {
    /// nft has not made it yet, so it is open whether nft can.
    Untried,
    /// nft could not make it, for this reason. It is not tried again.
    Unusable(String),
    /// nft has made it, at least once.
    Works(Option<KnownListing>),
}

/// How nft listed the table right after it was made. The text differs between versions of nft, so a listing can only be
/// compared with an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownListing {
    rules: RuleSet,
    listing: String,
}

impl OwnTable {
    /// Returns why nftables cannot carry rules, if it cannot.
    pub(crate) fn problem(&self, observed: &ObservedRules) -> Option<String> {
        match (&observed.table, self) {
            (ObservedTable::NoNft, _) => Some("nft is not installed".to_owned()),
            (ObservedTable::Unreadable(reason) | ObservedTable::Crashed(reason), _)
            | (_, Self::Unusable(reason)) => Some(reason.clone()),
            (ObservedTable::Absent | ObservedTable::Listed(_), Self::Untried | Self::Works(_)) => {
                None
            }
        }
    }

    /// A table that nft has made before can be read as a rule. A failure now is no reason to choose iptables: another
    /// program may change rules while nft reads them.
    ///
    /// # Errors
    /// Why the table cannot be read.
    pub(crate) fn check_readable(&self, observed: &ObservedRules) -> Result<(), String> {
        match (&observed.table, self) {
            (ObservedTable::Unreadable(reason), Self::Works(_)) => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    /// Whether the table is as it was after nft made it from `rules`.
    pub(crate) fn holds(&self, rules: &RuleSet, observed: &ObservedRules) -> bool {
        match (self, &observed.table) {
            (Self::Works(Some(known)), ObservedTable::Listed(listing)) => {
                known.rules == *rules && known.listing == *listing
            }
            _ => false,
        }
    }

    /// Takes what nft shows after it was told to make the table from `rules`.
    ///
    /// # Errors
    /// It does not show all rules: this version shows them in another way, or another program was quicker.
    pub(crate) fn made(&mut self, rules: RuleSet, observed: &ObservedRules) -> Result<(), String> {
        let listing = match &observed.table {
            ObservedTable::Listed(listing) => listing.as_str(),
            ObservedTable::NoNft
            | ObservedTable::Unreadable(_)
            | ObservedTable::Crashed(_)
            | ObservedTable::Absent => "",
        };
        let (expected, shown) = (
            nft::expected_rule_count(&rules),
            nft::listed_rule_count(listing),
        );
        if expected != shown {
            return Err(format!(
                "nft shows {shown} rules in the table that it has just made, instead of {expected}"
            ));
        }
        let listing = listing.to_owned();
        *self = Self::Works(Some(KnownListing { rules, listing }));
        Ok(())
    }

    /// Takes that the table was removed on purpose.
    pub(crate) fn removed(&mut self) {
        if let Self::Works(known) = self {
            *known = None;
        }
    }
}
