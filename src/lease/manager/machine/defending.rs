//! What happens when another client overwrites our key: pods run in the subnet, so our value is written back, unless a
//! host lives there.

use tracing::{debug, error, warn};

use crate::conditions::{Problem, Reason};
use crate::lease::claim::{claimant, describe, lease_value};
use crate::lease::manager::machine::{LeaseMachine, Step};
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::{
    Holding, LeaseAction, LeaseState, StepContext, ValueState, WriteBack,
};
use crate::lease::port::{Entry, RegistryError, WriteOutcome};

impl LeaseMachine {
    /// Takes what a list has found in our key.
    pub(super) fn write_back_if_overwritten(
        &mut self,
        holding: &mut Holding,
        context: StepContext,
    ) {
        match std::mem::replace(&mut holding.held.value, ValueState::Complete) {
            ValueState::Overwritten(entry) => self.plan_write_back(holding, entry, context),
            unchanged @ ValueState::LacksNodeId => holding.held.value = unchanged,
            ValueState::Complete => {}
        }
    }

    /// Takes what the watch has found in our key.
    pub(super) fn overwritten(
        &mut self,
        mut holding: Holding,
        entry: Entry,
        context: StepContext,
    ) -> Step {
        self.plan_write_back(&mut holding, entry, context);
        let mut actions = self.not_well(&holding);
        if self.contest.asks_for_life() {
            // The claim that follows the list finds out whether the host lives.
            let (state, more) =
                self.relist(RelistReason::RivalPersists, Some(holding.since), context);
            actions.extend(more);
            return (state, actions);
        }
        actions.extend(self.write_back_if_due(&holding, context));
        (LeaseState::Holding(holding), actions)
    }

    fn plan_write_back(&mut self, holding: &mut Holding, over: Entry, context: StepContext) {
        let subnet = holding.held.own.subnet;
        let found = describe(&over.value);
        let before = self.contest.is_contested();
        let claimant = self
            .progress
            .membership()
            .and_then(|membership| claimant(&over, &membership.config, holding.held.etcd_lease()));
        let StepContext { now, random } = context;
        let at = self
            .contest
            .found(over.revision, claimant.as_ref(), now, random);
        // Once the key is contested, the error says what was found: a program that writes a new value each time must not
        // fill the log.
        if self.overwrite_logged.is_new(&found) && !before {
            warn!(%subnet, found, "another client has overwritten the key of our lease; writing our lease back");
        } else {
            debug!(%subnet, found, "the key of our lease was overwritten again");
        }
        holding.write_back = Some(WriteBack { over, at });
        if self.contest.is_contested() && !before {
            error!("{}", self.contested(holding));
        }
    }

    /// Returns the request to write our value back, if its time has come.
    pub(super) fn write_back_if_due(
        &self,
        holding: &Holding,
        context: StepContext,
    ) -> Option<LeaseAction> {
        let due = holding.write_back.as_ref();
        let WriteBack { over, .. } = due.filter(|write_back| write_back.at <= context.now)?;
        let config = &self.progress.membership()?.config;
        let held = &holding.held;
        let read = Entry {
            lease: held.etcd_lease(),
            ..over.clone()
        };
        let value = lease_value(&held.own, config, &self.identity);
        Some(LeaseAction::WriteBack { read, value })
    }

    pub(super) fn written_back(
        &mut self,
        mut holding: Holding,
        outcome: Result<WriteOutcome, RegistryError>,
        context: StepContext,
    ) -> Step {
        match outcome {
            Ok(WriteOutcome::Done { revision }) => {
                holding.held.revision = revision;
                self.stands_again(holding, context)
            }
            // The watch brings what was written meanwhile.
            Ok(WriteOutcome::Lost) => {
                holding.write_back = None;
                (LeaseState::Holding(holding), Vec::new())
            }
            Err(error) => self.not_written_back(holding, &error, context),
        }
    }

    /// Our value is in etcd, whoever wrote it.
    pub(super) fn stands_again(&mut self, mut holding: Holding, context: StepContext) -> Step {
        let before = self.lease_status(&holding);
        holding.write_back = None;
        self.contest.restored(context.now);
        let now = self.lease_status(&holding);
        let news = (before != now).then_some(LeaseAction::SetLeaseHeld(now));
        (LeaseState::Holding(holding), news.into_iter().collect())
    }

    /// The etcd lease may have expired, which a list finds out. What else there is, such as an etcd that is out of space,
    /// takes its time.
    fn not_written_back(
        &mut self,
        mut holding: Holding,
        error: &RegistryError,
        context: StepContext,
    ) -> Step {
        let StepContext { now, random } = context;
        let Some(at) = self.contest.failed(now, random) else {
            return self.unreachable(error, Some(holding.since), context);
        };
        if let Some(write_back) = &mut holding.write_back {
            write_back.at = at;
        }
        let reason = crate::error::chain(error);
        if self.overwrite_logged.is_new(&reason) {
            error!(subnet = %holding.held.own.subnet, reason, "failed to write our lease back; trying again");
        }
        let actions = self.not_well(&holding);
        (LeaseState::Holding(holding), actions)
    }

    /// Ends the contest when our value has stood for a while.
    pub(super) fn calm_if_due(&mut self, holding: Holding, context: StepContext) -> Step {
        let before = self.lease_status(&holding);
        if self.contest.end_if_calm(context.now) {
            self.overwrite_logged.clear();
        }
        let now = self.lease_status(&holding);
        let news = (before != now).then_some(LeaseAction::SetLeaseHeld(now));
        (LeaseState::Holding(holding), news.into_iter().collect())
    }

    fn not_well(&self, holding: &Holding) -> Vec<LeaseAction> {
        let status = self.lease_status(holding);
        let news = status.is_err().then_some(LeaseAction::SetLeaseHeld(status));
        news.into_iter().collect()
    }

    /// Returns the condition `LeaseHeld` while this host holds its lease.
    pub(super) fn lease_status(&self, holding: &Holding) -> Result<(), Problem> {
        if let Some(no_lease) = &holding.refused {
            return Err(no_lease.problem());
        }
        if self.contest.is_contested() {
            return Err(Problem::new(Reason::Contested, self.contested(holding)));
        }
        if self.contest.has_failed() {
            let message = format!(
                "the key of our lease was overwritten, and our lease for {} cannot be written back",
                holding.held.own.subnet
            );
            return Err(Problem::failed(message));
        }
        Ok(())
    }

    fn contested(&self, holding: &Holding) -> String {
        let subnet = holding.held.own.subnet;
        let prefix = self.identity.prefix.trim_end_matches('/');
        let key = crate::model::lease::key::key_name(subnet);
        let found = self.overwrite_logged.last().unwrap_or_default();
        format!(
            "another client keeps overwriting our key {prefix}/subnets/{key}, last with {found}; this host keeps subnet \
             {subnet}, in which its pods run, and writes its lease back, more and more slowly: stop the program that \
             writes there; if another host is to have the subnet, stop flanneld on this one first"
        )
    }
}
