//! The messages of the kernel about nftables: which of them may concern our rules.

use std::collections::BTreeSet;
use std::io;

use futures_util::FutureExt as _;
use tracing::warn;

use crate::model::addr::Vni;
use crate::rules::change::RuleSetChange;
use crate::rules::port::RuleEvents;
use crate::rules::tool::{IptablesVariant, RuleTool};

/// A message of the kernel about nftables.
#[derive(Debug)]
pub(crate) enum RuleEvent {
    Changes(Vec<RuleSetChange>),
    /// Messages about changes were lost.
    Lost,
    /// No more messages can come, for this reason.
    Broken(io::Error),
    /// Messages about these tools came while a run failed.
    Unanswered(BTreeSet<RuleTool>),
}

/// Where the messages come from.
#[derive(Debug)]
pub(super) enum EventSource<E> {
    Open {
        events: E,
        /// The tools that the messages taken by the current run concern.
        unanswered: BTreeSet<RuleTool>,
    },
    /// The kernel sends none: rules are polled.
    None,
}

impl<E: RuleEvents> EventSource<E> {
    pub(super) fn new(events: Option<E>) -> Self {
        events.map_or(Self::None, |events| Self::Open {
            events,
            unanswered: BTreeSet::new(),
        })
    }

    /// Whether the kernel has this table; unknown counts as no.
    pub(super) fn has_table(&self, name: &str) -> bool {
        match self {
            Self::Open { events, .. } => events.has_table(name),
            Self::None => false,
        }
    }

    /// Waits for ever if there are no messages. Cancel-safe.
    pub(super) async fn next(&mut self) -> RuleEvent {
        let Self::Open { events, unanswered } = self else {
            return std::future::pending().await;
        };
        if !unanswered.is_empty() {
            return RuleEvent::Unanswered(std::mem::take(unanswered));
        }
        match events.next().await {
            Ok(Some(changes)) => RuleEvent::Changes(changes),
            Ok(None) => RuleEvent::Lost,
            Err(error) => RuleEvent::Broken(error),
        }
    }

    /// Returns the tools whose rules of this instance may have changed.
    pub(super) fn take(&mut self, event: RuleEvent, vni: Vni) -> BTreeSet<RuleTool> {
        let all_announced = [RuleTool::Nftables, RuleTool::Iptables(IptablesVariant::Nft)];
        match event {
            RuleEvent::Changes(changes) => changes
                .iter()
                .filter_map(|change| change.concerns(vni))
                .collect(),
            RuleEvent::Lost => all_announced.into(),
            RuleEvent::Broken(error) => {
                warn!(%error, "failed to listen to changes of nftables; rules are polled from now on");
                *self = Self::None;
                all_announced.into()
            }
            RuleEvent::Unanswered(tools) => tools,
        }
    }

    /// Takes the messages that wait, and returns the tools that they concern. The observation that follows covers them, if
    /// the run ends well. Our own changes are among them, and must not lead to another run.
    pub(super) fn drain(&mut self, vni: Vni) -> BTreeSet<RuleTool> {
        let mut tools = BTreeSet::new();
        while let Some(event) = self.next().now_or_never() {
            tools.extend(self.take(event, vni));
        }
        if let Self::Open { unanswered, .. } = self {
            unanswered.clone_from(&tools);
        }
        tools
    }

    /// Takes that no message has to lead to another run.
    pub(super) fn answered(&mut self) {
        if let Self::Open { unanswered, .. } = self {
            unanswered.clear();
        }
    }
}
