//! Keeps our rules in the packet filter: installs them when the lease comes or changes, and repairs them when another
//! program changes them.

mod apply;
mod events;
mod run;

use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::conditions::Problem;
use crate::model::addr::Vni;
use crate::model::docker;
use crate::model::membership::Membership;
use crate::model::underlay::Underlay;
use crate::reconcile::followed::Followed;
use crate::reconcile::schedule::Timing;
use crate::reconcile::slice::{Effect, OpFailed, Slice};
use crate::rules::choice::Choice;
use crate::rules::desired::{DesiredRules, desired};
use crate::rules::own_table::OwnTable;
use crate::rules::plan::{RuleOp, plan};
use crate::rules::port::{RuleEvents, RuleTable, RuleTableError};
use crate::rules::reconciler::events::{EventSource, RuleEvent};
use crate::rules::reconciler::run::{OptionalFailures, RulesRun, View};
use crate::rules::settings::RulesSettings;
use crate::rules::tool::RuleTool;

/// Docker, which starts when flanneld is ready, puts its own jumps first at that very moment.
const MAX_ROUNDS: usize = 4;

/// Returns the times of this slice.
pub(crate) fn timing(settings: &RulesSettings) -> Timing {
    Timing {
        debounce: Duration::from_millis(20),
        max_debounce: Duration::from_secs(1),
        audit: Some(settings.resync),
        min_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(30),
        max_backoff_once_in_sync: Duration::from_secs(2),
        rest: 0,
    }
}

/// What the slice waits for.
#[derive(Debug)]
pub(crate) enum RulesInput {
    /// The lease of this host, or the network configuration, changed.
    Membership,
    /// The external interface is another one, or has changed.
    Underlay,
    Event(RuleEvent),
    /// The lease cannot change any more: the daemon stops.
    Closed,
}

pub(crate) struct RulesSlice<T, E> {
    table: T,
    events: EventSource<E>,
    settings: RulesSettings,
    membership: watch::Receiver<Option<Membership>>,
    underlay: Followed<Underlay>,
    /// `None` without a lease.
    desired: Option<DesiredRules>,
    own_table: OwnTable,
    view: View,
    optional: OptionalFailures,
    /// The choice that was logged last; `None` before the first one.
    logged: Option<Option<Choice>>,
}

impl<T: RuleTable, E: RuleEvents> RulesSlice<T, E> {
    /// Without `events` the rules are polled.
    pub(crate) fn new(
        table: T,
        events: Option<E>,
        settings: RulesSettings,
        membership: watch::Receiver<Option<Membership>>,
        underlay: Followed<Underlay>,
    ) -> Self {
        Self {
            table,
            events: EventSource::new(events),
            settings,
            membership,
            underlay,
            desired: None,
            own_table: OwnTable::Untried,
            view: View::Unknown,
            optional: OptionalFailures::default(),
            logged: None,
        }
    }

    fn take_underlay(&mut self) -> Effect {
        let Some(underlay) = self.underlay.take() else {
            return Effect::None;
        };
        self.settings.external = underlay.external;
        self.take_membership()
    }

    fn take_membership(&mut self) -> Effect {
        let membership = self.membership.borrow_and_update();
        let Some(membership) = membership.as_ref() else {
            // The rules with our names may be those of another instance.
            self.desired = None;
            return Effect::None;
        };
        let desired = desired(membership, &self.settings);
        if self.desired.as_ref() == Some(&desired) {
            return Effect::None;
        }
        self.desired = Some(desired);
        Effect::Desired
    }

    fn take_event(&mut self, event: RuleEvent) -> Effect {
        match self.desired.as_ref().map(|desired| desired.vni) {
            Some(vni) if !self.events.take(event, vni).is_empty() => Effect::Resync,
            Some(_) | None => Effect::None,
        }
    }

    /// Observes everything at the start of a run, and afterwards only what may have changed since.
    async fn observe(&mut self, vni: Vni) -> Result<RulesRun, RuleTableError> {
        let named = self.events.drain(vni);
        match std::mem::take(&mut self.view) {
            View::Unknown | View::Planned(_) => {
                // They have led to this run. If it fails, it is repeated anyway.
                self.events.answered();
                Ok(RulesRun::new(self.table.observe(vni).await?))
            }
            View::Applied(mut run) => {
                run.touched.extend(named);
                for tool in std::mem::take(&mut run.touched) {
                    self.table.refresh(vni, tool, &mut run.observed).await?;
                }
                Ok(run)
            }
        }
    }

    async fn try_plan(&mut self) -> Result<Vec<RuleOp>, String> {
        let Some(desired) = self.desired.clone() else {
            return Ok(Vec::new());
        };
        let observed = self.observe(desired.vni).await;
        let mut run = observed.map_err(|error| error.to_string())?;
        run.observed.docker_nftables = self.events.has_table(docker::NFT_TABLE);
        self.own_table.check_readable(&run.observed)?;
        self.check_table(&desired, &mut run)?;
        let plan = plan(&desired, &run.observed, &self.own_table);
        let mut plan = plan.map_err(|error| error.to_string())?;
        self.optional.keep_only(&plan.installs);
        plan.installs.retain(|op| !run.can_do_without(op));
        run.take_choice(plan.choice.take());
        self.view = View::Planned(run);
        Ok(plan.ops())
    }
}

impl<T: RuleTable, E: RuleEvents> Slice for RulesSlice<T, E> {
    type Input = RulesInput;
    type Op = RuleOp;

    async fn next(&mut self) -> RulesInput {
        // Each arm is cancel-safe: a change stays until it is taken, a message stays in the socket.
        tokio::select! {
            changed = self.membership.changed() => match changed {
                Ok(()) => RulesInput::Membership,
                Err(_) => RulesInput::Closed,
            },
            () = self.underlay.changed() => RulesInput::Underlay,
            event = self.events.next(), if self.desired.is_some() => RulesInput::Event(event),
        }
    }

    async fn handle(&mut self, input: RulesInput) -> Effect {
        match input {
            RulesInput::Membership => self.take_membership(),
            RulesInput::Underlay => self.take_underlay(),
            RulesInput::Event(event) => self.take_event(event),
            RulesInput::Closed => Effect::Closed,
        }
    }

    async fn plan(&mut self) -> Result<Vec<RuleOp>, Problem> {
        let planned = self.try_plan().await.map_err(Problem::failed);
        let is_in_sync = planned.as_ref().is_ok_and(Vec::is_empty);
        // A program that undoes a change before it is read back is met like one that does so later: its messages bring the
        // next run forward. Where the rules never were in place, the messages are echoes of our own attempts.
        if is_in_sync || self.logged.is_none() {
            self.events.answered();
        }
        planned
    }

    async fn apply(&mut self, ops: &[RuleOp]) -> Vec<OpFailed> {
        let (Some(desired), View::Planned(mut run)) =
            (self.desired.clone(), std::mem::take(&mut self.view))
        else {
            return Vec::new();
        };
        let mut failed = Vec::new();
        for op in ops {
            failed.extend(self.apply_one(&desired, op, &mut run).await.err());
        }
        self.view = View::Applied(run);
        failed
    }

    fn command(&self, op: &RuleOp) -> String {
        op.summary()
    }

    /// Only iptables-legacy, and a kernel without messages about nftables, have to be polled.
    fn needs_audit(&self) -> bool {
        matches!(self.events, EventSource::None) || self.table.needs_polling()
    }

    fn max_rounds(&self) -> usize {
        MAX_ROUNDS
    }

    fn optional_failures(&self) -> usize {
        self.view.run().map_or(0, |run| run.without_optional.len())
    }

    fn has_chosen_anew(&self) -> bool {
        match (&self.logged, self.view.run()) {
            (Some(logged), Some(run)) => !is_same_placement(logged.as_ref(), run.choice.as_ref()),
            (None, _) | (_, None) => false,
        }
    }

    fn recheck_after(&mut self) -> Option<Duration> {
        self.optional.recheck_after()
    }

    fn log_in_sync(&mut self) {
        let (Some(desired), Some(run)) = (&self.desired, self.view.run()) else {
            return;
        };
        log_choice(desired, run.choice.as_ref());
        self.logged = Some(run.choice.clone());
    }
}

fn is_same_placement(one: Option<&Choice>, other: Option<&Choice>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is_same_placement(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn log_choice(desired: &DesiredRules, choice: Option<&Choice>) {
    let Some(choice) = choice else {
        if desired.is_nothing() {
            info!("no firewall rules are configured in the packet filter");
        } else {
            info!(
                "no firewall rules are needed: neither nft nor iptables can be used here, so nothing drops what we would \
                 accept"
            );
        }
        return;
    };
    let masquerade = desired.masquerade.then(|| choice.masquerade.to_string());
    let masquerade = masquerade.unwrap_or_else(nothing);
    let variants: Vec<String> = choice.forward.iter().map(ToString::to_string).collect();
    let forward = if desired.forward && !variants.is_empty() {
        variants.join(",")
    } else {
        nothing()
    };
    let docker = docker_text(desired, choice);
    let why = &choice.why;
    info!(masquerade, forward, docker, subnet = %desired.subnet, why, "rules are in place");
    if let Some(warning) = &choice.warning {
        warn!("{warning}");
    }
}

/// The rules of Docker through which the way is opened.
fn docker_text(desired: &DesiredRules, choice: &Choice) -> String {
    let variants = choice.docker.iter().filter(|_| desired.forward);
    let mut texts: Vec<String> = variants.map(ToString::to_string).collect();
    texts.extend(
        choice
            .docker_nftables
            .then(|| RuleTool::Nftables.to_string()),
    );
    if texts.is_empty() {
        nothing()
    } else {
        texts.join(",")
    }
}

fn nothing() -> String {
    "nothing".to_owned()
}

#[cfg(test)]
mod tests;
