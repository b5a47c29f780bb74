//! The messages about changes of nftables, as the slice `rules` wants them.

use std::io;

use crate::adapters::netlink::RuleChanges;
use crate::rules::change::RuleSetChange;
use crate::rules::port::RuleEvents;

impl RuleEvents for RuleChanges {
    async fn next(&mut self) -> io::Result<Option<Vec<RuleSetChange>>> {
        Self::next(self).await
    }
}
