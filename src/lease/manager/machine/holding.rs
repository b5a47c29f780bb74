//! What happens while this host holds its lease.

use std::time::Duration;

use ipnetwork::Ipv4Network;
use tracing::debug;

use crate::lease::manager::etcd_lease::renewal_time;
use crate::lease::manager::machine::{LeaseMachine, Step};
use crate::lease::manager::own_key::{self, OwnKey};
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::{
    Holding, LeaseAction, LeaseEvent, LeaseState, Renewal, StepContext, ValueState,
};
use crate::lease::port::{Entry, RegistryChange};

/// A program that writes our key in a loop must not make us renew in a loop.
const MIN_ANSWER_INTERVAL: Duration = Duration::from_secs(1);

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
            LeaseEvent::WrittenBack(outcome) => self.written_back(holding, outcome, context),
            LeaseEvent::Renewed(ttl) => self.renewed(holding, ttl, context),
            LeaseEvent::LookupRequested(subnet) => look_up(holding, subnet),
            LeaseEvent::LookedUp { subnet, entry } => {
                self.looked_up(holding, subnet, entry, context)
            }
            LeaseEvent::Time
            | LeaseEvent::WatchOutdated(_)
            | LeaseEvent::PublicIpChanged(_)
            | LeaseEvent::HostNetworkChanged(_)
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
        let since = Some(holding.since);
        let checked = self.check_own_key(&holding, changes);
        let published = checked.and_then(|own_key| Ok((own_key, self.publish_changes(changes)?)));
        let (own_key, mut actions) = match published {
            Ok(both) => both,
            Err(reason) => {
                if reason == RelistReason::OwnKeyDeleted {
                    self.progress.own_key_is_gone();
                }
                return self.relist(reason, since, context);
            }
        };
        let (state, more) = match own_key {
            OwnKey::Unaffected => (LeaseState::Holding(holding), Vec::new()),
            OwnKey::Confirmed { revision } => {
                let holding = answer_challenge(holding, revision, context);
                self.stands_again(holding, context)
            }
            OwnKey::Overwritten(entry) => self.overwritten(holding, entry, context),
        };
        actions.extend(more);
        (state, actions)
    }

    /// Returns what the last of the changes that are about our key means for it.
    fn check_own_key(
        &self,
        holding: &Holding,
        changes: &[RegistryChange],
    ) -> Result<OwnKey, RelistReason> {
        let mut own_key = OwnKey::Unaffected;
        let Some(membership) = self.progress.membership() else {
            return Ok(own_key);
        };
        let (held, config) = (&holding.held, &membership.config);
        for change in changes {
            if let Some(refused) = &holding.refused
                && refused.may_end_with(change, true)
            {
                return Err(RelistReason::WaitMayBeOver);
            }
            match own_key::check(change, held, config, &self.identity)? {
                OwnKey::Unaffected => {}
                now @ (OwnKey::Confirmed { .. } | OwnKey::Overwritten(_)) => own_key = now,
            }
        }
        Ok(own_key)
    }

    /// Returns when there is something to do next.
    pub(super) fn next_while_holding(&self, holding: &Holding) -> Option<Duration> {
        let renewal = holding.held.renewal.map(|renewal| renewal.at);
        let write_back = holding.write_back.as_ref().map(|write_back| write_back.at);
        let recheck = holding
            .refused
            .as_ref()
            .map(|no_lease| holding.since + no_lease.recheck_after());
        let times = [renewal, write_back, recheck, self.contest.calm_at()];
        times.into_iter().flatten().min()
    }

    pub(super) fn time_while_holding(&mut self, holding: Holding, context: StepContext) -> Step {
        if let Some(write) = self.write_back_if_due(&holding, context) {
            return (LeaseState::Holding(holding), vec![write]);
        }
        if let Some(refused) = &holding.refused
            && holding.since + refused.recheck_after() <= context.now
        {
            return self.relist(RelistReason::RecheckDue, Some(holding.since), context);
        }
        if let Some(renewal) = holding.held.renewal
            && renewal.at <= context.now
        {
            let renew = LeaseAction::KeepAlive(renewal.lease);
            return (LeaseState::Holding(holding), vec![renew]);
        }
        self.calm_if_due(holding, context)
    }

    fn renewed(
        &mut self,
        mut holding: Holding,
        ttl: Option<Duration>,
        context: StepContext,
    ) -> Step {
        let held = &mut holding.held;
        let reason = match (ttl, &held.value) {
            (None, _) => RelistReason::OwnEtcdLeaseExpired,
            (Some(_), ValueState::LacksNodeId) => RelistReason::ValueIncomplete,
            (Some(ttl), ValueState::Complete | ValueState::Overwritten(_)) => {
                debug!(subnet = %held.own.subnet, ?ttl, "lease renewed");
                let at = renewal_time(ttl, self.renew_margin, context);
                held.renewal = held.renewal.map(|renewal| Renewal { at, ..renewal });
                holding.next_answer = context.now + MIN_ANSWER_INTERVAL;
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

/// Renews the etcd lease if another client has written our key with our own value: a host that has our PublicIP asks
/// whether we live. At most once a second.
fn answer_challenge(mut holding: Holding, revision: i64, context: StepContext) -> Holding {
    if revision == holding.held.revision {
        return holding;
    }
    holding.held.revision = revision;
    let at = holding.next_answer.max(context.now);
    if let Some(renewal) = &mut holding.held.renewal {
        renewal.at = renewal.at.min(at);
    }
    holding
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
