//! What happens while this host cannot have a lease.

use std::time::Duration;

use crate::lease::manager::blocker::NoLease;
use crate::lease::manager::machine::{LeaseMachine, Step};
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::{LeaseState, StepContext};
use crate::lease::port::RegistryChange;

impl LeaseMachine {
    pub(super) fn changed_while_waiting(
        &mut self,
        no_lease: NoLease,
        since: Duration,
        changes: Vec<RegistryChange>,
        context: StepContext,
    ) -> Step {
        let joined = self.progress.membership().is_some();
        if changes
            .iter()
            .any(|change| no_lease.may_end_with(change, joined))
        {
            let is_config = |change: &RegistryChange| matches!(change, RegistryChange::Config(_));
            if changes.iter().any(is_config) {
                self.progress.owes_no_courtesy();
            }
            return self.relist(RelistReason::WaitMayBeOver, Some(since), context);
        }
        match self.publish_changes(&changes) {
            Ok(actions) => (LeaseState::Waiting { no_lease, since }, actions),
            Err(reason) => self.relist(reason, Some(since), context),
        }
    }
}
