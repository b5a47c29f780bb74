//! The conditions of a daemon, as `flanneld status --json` shows them. It judges none of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host::Host;
use crate::wait::eventually;

/// One condition.
#[derive(Debug, Clone)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Host {
    /// Asks the daemon on this host for the condition `kind`, such as `KernelInSync`.
    ///
    /// # Errors
    /// When no daemon answers, or it has no such condition.
    pub fn condition(&self, kind: &str) -> Result<Condition> {
        let answer = self.flanneld().args(&["status", "--json"]).finish()?;
        let report: Value = serde_json::from_str(&answer.stdout)
            .with_context(|| format!("no status: {answer:?}"))?;
        let all = report["conditions"].as_array().context("no conditions")?;
        let found = all.iter().find(|condition| condition["type"] == kind);
        let found = found.with_context(|| format!("no condition {kind} in {all:?}"))?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Ok(Condition {
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
        })
    }

    /// Waits until the condition is false for this reason, and returns its message.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn wait_for_problem(&self, deadline: Duration, kind: &str, reason: &str) -> Result<String> {
        eventually(
            deadline,
            format_args!("{kind} to be false: {reason}"),
            || {
                let condition = self.condition(kind)?;
                ensure!(
                    condition.status == "False" && condition.reason == reason,
                    "{condition:?}"
                );
                Ok(condition.message)
            },
        )
    }

    /// Waits until the condition is true.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn wait_for_condition(&self, deadline: Duration, kind: &str) -> Result<()> {
        eventually(deadline, format_args!("{kind} to be true"), || {
            let condition = self.condition(kind)?;
            ensure!(condition.status == "True", "{condition:?}");
            Ok(())
        })
    }
}
