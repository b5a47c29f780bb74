//! The ports to the packet filter: what the slice needs of its tools, and of the kernel's messages about changes.

use std::io;

use crate::model::addr::Vni;
use crate::reconcile::slice::OpFailed;
use crate::rules::change::RuleSetChange;
use crate::rules::observed::ObservedRules;
use crate::rules::plan::RuleOp;
use crate::rules::tool::RuleTool;

/// A tool of the packet filter could not be run, or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to run \"{command}\": {reason}")]
pub(crate) struct RuleTableError {
    pub(crate) command: String,
    /// What the tool printed, or why it did not run.
    pub(crate) reason: String,
    /// Whether the tool was ended by a signal: it has a fault, and will end like that again.
    pub(crate) crashed: bool,
}

impl From<RuleTableError> for OpFailed {
    fn from(error: RuleTableError) -> Self {
        Self {
            command: error.command,
            reason: error.reason,
        }
    }
}

/// The packet filter of this host. It starts a process only when a method is called.
pub(crate) trait RuleTable {
    /// Observes our rules, and what decides which tool carries them, in all tools.
    ///
    /// # Errors
    /// iptables is installed, and failed. Failures of nft are part of what is observed.
    async fn observe(&mut self, vni: Vni) -> Result<ObservedRules, RuleTableError>;

    /// Observes one tool again, after a change of it.
    ///
    /// # Errors
    /// As for `observe`; `observed` stays as it was.
    async fn refresh(
        &mut self,
        vni: Vni,
        tool: RuleTool,
        observed: &mut ObservedRules,
    ) -> Result<(), RuleTableError>;

    /// Applies one operation.
    ///
    /// # Errors
    /// The tool failed. The operation may be half done.
    async fn apply(&mut self, op: &RuleOp) -> Result<(), RuleTableError>;

    /// Whether rules may change without a message of the kernel. Starts no process.
    fn needs_polling(&self) -> bool;
}

/// What the kernel says of nftables: whether a table is there, and its messages about changes, including those made through iptables-nft.
pub(crate) trait RuleEvents {
    /// Waits for the next changes. Returns `None` if some were lost. Cancel-safe.
    ///
    /// # Errors
    /// No more messages can come.
    async fn next(&mut self) -> io::Result<Option<Vec<RuleSetChange>>>;

    /// Whether there is a table for IPv4 with this name. Starts no process.
    fn has_table(&self, name: &str) -> bool;
}
