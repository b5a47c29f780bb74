//! What happens while this host holds its lease.

use std::time::Duration;

use ipnetwork::Ipv4Network;
use tracing::debug;

use crate::lease::manager::etcd_lease::renewal_time;
use crate::lease::manager::machine::{LeaseMachine, Step};
use crate::lease::manager::own_key;
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::{
    Holding, LeaseAction, LeaseEvent, LeaseState, Renewal, StepContext, ValueState,
};
use crate::lease::port::{Entry, RegistryChange};

impl LeaseMachine {
    /// Takes an event that is neither a time nor a failure.
    pub(super) fn while_holding(
        &mut self,
        holding: Holding,
        event: LeaseEvent,
        context: StepContext,
    ) -> Step {
        match event {
            LeaseEvent::Changed(changes) => self.changed_while_holding(holding, &changes, context),
            LeaseEvent::Renewed(ttl) => self.renewed(holding, ttl, context),
            LeaseEvent::LookupRequested(subnet) => look_up(holding, subnet),
            LeaseEvent::LookedUp { subnet, entry } => {
                self.looked_up(holding, subnet, entry, context)
            }
            LeaseEvent::Time
            | LeaseEvent::PublicIpChanged(_)
            | LeaseEvent::Failed(_)
            | LeaseEvent::Listed(_)
            | LeaseEvent::Acquired(_)
            | LeaseEvent::WatchOpened => (LeaseState::Holding(holding), Vec::new()),
        }
    }

    fn changed_while_holding(
        &mut self,
        holding: Holding,
        changes: &[RegistryChange],
        context: StepContext,
    ) -> Step {
        let checked = self.check_own_lease(&holding, changes);
        match checked.and_then(|()| self.publish_changes(changes)) {
            Ok(actions) => (LeaseState::Holding(holding), actions),
            Err(reason) => self.relist(reason, Some(holding.since), context),
        }
    }

    fn check_own_lease(
        &self,
        holding: &Holding,
        changes: &[RegistryChange],
    ) -> Result<(), RelistReason> {
        let Some(membership) = self.progress.membership() else {
            return Ok(());
        };
        let (held, config) = (&holding.held, &membership.config);
        changes
            .iter()
            .try_for_each(|change| own_key::check(change, held, config, &self.identity))
    }

    fn renewed(
        &mut self,
        mut holding: Holding,
        ttl: Option<Duration>,
        context: StepContext,
    ) -> Step {
        let held = &mut holding.held;
        let reason = match (ttl, held.value) {
            (None, _) => RelistReason::OwnEtcdLeaseExpired,
            (Some(_), ValueState::LacksNodeId) => RelistReason::ValueIncomplete,
            (Some(ttl), ValueState::Complete) => {
                debug!(subnet = %held.own.subnet, ?ttl, "lease renewed");
                let at = renewal_time(ttl, self.renew_margin, context);
                held.renewal = held.renewal.map(|renewal| Renewal { at, ..renewal });
                return (LeaseState::Holding(holding), Vec::new());
            }
        };
        self.relist(reason, Some(holding.since), context)
    }

    /// An entry that was looked up counts like one that the watch has brought.
    fn looked_up(
        &mut self,
        holding: Holding,
        subnet: Ipv4Network,
        entry: Option<Entry>,
        context: StepContext,
    ) -> Step {
        let Some(entry) = entry else {
            debug!(%subnet, "found no lease for the subnet of a packet");
            return (LeaseState::Holding(holding), Vec::new());
        };
        match self.publish_changes(&[RegistryChange::Put(entry)]) {
            Ok(actions) => (LeaseState::Holding(holding), actions),
            Err(reason) => self.relist(reason, Some(holding.since), context),
        }
    }
}

pub(super) fn renew_if_due(holding: Holding, context: StepContext) -> Step {
    let due = holding
        .held
        .renewal
        .filter(|renewal| renewal.at <= context.now);
    let actions = due.map(|renewal| LeaseAction::KeepAlive(renewal.lease));
    (LeaseState::Holding(holding), actions.into_iter().collect())
}

/// Looks the lease of a subnet up, which the watch may not have brought yet.
fn look_up(holding: Holding, subnet: Ipv4Network) -> Step {
    let actions = if subnet == holding.held.own.subnet {
        Vec::new()
    } else {
        vec![LeaseAction::LookUp(subnet)]
    };
    (LeaseState::Holding(holding), actions)
}
