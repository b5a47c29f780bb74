//! How the machine starts over: with a new list, after a delay.

use std::time::Duration;

use tracing::{debug, warn};

use crate::conditions::{Problem, Reason};
use crate::lease::manager::contact::Failure;
use crate::lease::manager::machine::{LeaseMachine, Step};
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::{LeaseAction, LeaseState, StepContext};
use crate::lease::port::RegistryError;
use crate::model::lease::key::key_name;

/// A watch that has lasted this long shows that etcd is well. One that ends again and again must not become a busy loop.
const STEADY_WATCH: Duration = Duration::from_secs(10);

impl LeaseMachine {
    /// Lists everything again, after a delay. `since`: when the watch was opened, if one is open.
    pub(super) fn relist(
        &mut self,
        reason: RelistReason,
        since: Option<Duration>,
        context: StepContext,
    ) -> Step {
        let mut actions = self.end_watch(since, context);
        let delay = self.relists.delay(reason, context.random);
        if self.relists.is_newly_stuck() {
            warn!(
                %reason,
                "all leases had to be listed again and again; listing them less often"
            );
            actions.extend(self.own_key_missing());
        } else {
            debug!(%reason, "listing all leases again");
        }
        let at = context.now + delay;
        (LeaseState::Relisting { at }, actions)
    }

    /// Tries again later. `since`: when the watch was opened, if one is open.
    pub(super) fn unreachable(
        &mut self,
        error: &RegistryError,
        since: Option<Duration>,
        context: StepContext,
    ) -> Step {
        let mut actions = self.end_watch(since, context);
        actions.extend(self.own_key_missing());
        let reason = crate::error::chain(error);
        let cause = crate::error::chain(&*error.source);
        let failure = Failure {
            reason: &reason,
            cause: &cause,
        };
        let news = self.contact.record_unreachable(&failure, context.now);
        let problem = Problem::new(Reason::EtcdUnreachable, reason);
        actions.push(LeaseAction::SetEtcdReachable(Err(problem)));
        actions.extend(news.map(LeaseAction::Publish));
        let retry_at = context.now + self.contact.retry_delay(context.random);
        (LeaseState::Unreachable { retry_at }, actions)
    }

    /// Lists again after a watch of an etcd that is well: no news for anybody.
    pub(super) fn watch_outdated(
        &mut self,
        state: LeaseState,
        why: &str,
        context: StepContext,
    ) -> Step {
        let Some(since) = watched_since(&state) else {
            return (state, Vec::new());
        };
        debug!(why, "the watch cannot be continued");
        self.relist(RelistReason::WatchOutdated, Some(since), context)
    }

    /// Says that our key is gone from etcd, if it is. When it comes back within milliseconds, as usual, nobody is told.
    fn own_key_missing(&self) -> Option<LeaseAction> {
        let subnet = self.identity.previous.subnet?;
        if !self.progress.is_own_key_gone() {
            return None;
        }
        let prefix = self.identity.prefix.trim_end_matches('/');
        let message = format!(
            "etcd does not hold our lease {prefix}/subnets/{}, and it could not be created again: the other hosts lose \
             their way to the pods of this one",
            key_name(subnet)
        );
        let problem = Problem::new(Reason::LeaseMissing, message);
        Some(LeaseAction::SetLeaseHeld(Err(problem)))
    }

    fn end_watch(&mut self, since: Option<Duration>, context: StepContext) -> Vec<LeaseAction> {
        let Some(since) = since else {
            return Vec::new();
        };
        if context.now.saturating_sub(since) > STEADY_WATCH {
            self.contact.reset_backoff();
            self.relists.steady();
        }
        vec![LeaseAction::CloseWatch]
    }
}

/// Returns when the watch was opened, if one is open.
pub(super) const fn watched_since(state: &LeaseState) -> Option<Duration> {
    match state {
        LeaseState::Holding(holding) => Some(holding.since),
        LeaseState::Waiting { since, .. } => Some(*since),
        LeaseState::Relisting { .. }
        | LeaseState::Unreachable { .. }
        | LeaseState::Listing
        | LeaseState::Acquiring { .. }
        | LeaseState::AwaitingOwner { .. }
        | LeaseState::OpeningWatch(_) => None,
    }
}
