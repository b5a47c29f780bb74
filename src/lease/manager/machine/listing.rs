//! What follows a list, and the opening of the watch that continues it.

use std::rc::Rc;

use ipnetwork::Ipv4Network;
use tracing::warn;

use crate::conditions::Problem;
use crate::lease::claim::held_by_other_host;
use crate::lease::manager::blocker::NoLease;
use crate::lease::manager::machine::{LeaseMachine, Step};
use crate::lease::manager::state::{
    AcquireRequest, HeldLease, Holding, LeaseAction, LeaseState, ListOutcome, StepContext,
};
use crate::lease::port::Listing;
use crate::model::lease::key::key_name;
use crate::peers::update::LeaseUpdate;

impl LeaseMachine {
    pub(super) fn listed(&mut self, listing: Listing) -> Step {
        let mut actions = self.report_taken_subnet(&listing);
        self.look_for_own_key(&listing);
        let in_use = self.progress.membership();
        let in_use = in_use.map(|membership| &membership.config);
        let Some(config) = self.config.read(listing.config.as_deref(), in_use) else {
            let no_lease = match self.config.error() {
                Some(error) => NoLease::invalid_config(error),
                None => NoLease::no_config(&self.identity.prefix),
            };
            // `ObservedConfig` has logged what is wrong with it.
            self.no_lease_logged.is_new(&no_lease.message);
            actions.push(open_watch(&listing));
            return (
                LeaseState::OpeningWatch(ListOutcome::NoLease(no_lease)),
                actions,
            );
        };
        self.warn_of_overlap(config.network);
        let listing = Rc::new(listing);
        actions.push(LeaseAction::Acquire(Box::new(AcquireRequest {
            listing: Rc::clone(&listing),
            config: config.clone(),
            identity: self.identity.clone(),
            courtesy: self.progress.courtesy(),
            joined: self.progress.key().cloned(),
            persistent: self.contest.persistent().cloned(),
        })));
        (LeaseState::Acquiring { listing, config }, actions)
    }

    /// Names what of this host is inside the overlay: it works, but only because the subnets around it are not used.
    fn warn_of_overlap(&mut self, network: Ipv4Network) {
        if let Some(around) = self.identity.host.underlay_around(network) {
            let around = format!("{} ({})", around.network, around.what);
            if self.overlap_logged.is_new(&around) {
                warn!(
                    "Network {network} is a part of a network of the hosts, {around}: no host may have an address in it"
                );
            }
            return;
        }
        let inside = self.identity.host.inside(network);
        let inside: Vec<String> = inside
            .map(|needed| format!("{} ({})", needed.network, needed.what))
            .collect();
        if inside.is_empty() {
            return;
        }
        let inside = inside.join(", ");
        if self.overlap_logged.is_new(&inside) {
            warn!(
                "Network {network} contains networks of this host: {inside}; flanneld takes no subnet that overlaps them, \
                 and ignores leases that do; choose a Network apart from them"
            );
        }
    }

    fn look_for_own_key(&mut self, listing: &Listing) {
        let own_key = self.identity.previous.subnet.map(key_name);
        if own_key.is_some_and(|key| listing.entries.iter().all(|entry| entry.name != key)) {
            self.progress.own_key_is_gone();
        }
    }

    /// Tells the peer table if another host holds our previous subnet: the snapshot must not be used then.
    fn report_taken_subnet(&mut self, listing: &Listing) -> Vec<LeaseAction> {
        let previous = self.identity.previous.subnet;
        let taken = previous.filter(|subnet| held_by_other_host(listing, *subnet, &self.identity));
        let news = self.progress.taken(taken);
        news.map(|subnet| LeaseAction::Publish(LeaseUpdate::SubnetTaken(subnet)))
            .into_iter()
            .collect()
    }

    pub(super) fn watch_opened(&mut self, outcome: ListOutcome, context: StepContext) -> Step {
        let (state, held, news) = match outcome {
            ListOutcome::Lease(held) => self.hold(held, None, context),
            ListOutcome::Refused(held, no_lease) => self.hold(held, Some(no_lease), context),
            ListOutcome::NoLease(no_lease) => {
                let problem = no_lease.problem();
                let since = context.now;
                let state = LeaseState::Waiting { no_lease, since };
                (state, Err(problem), self.contact.record_waiting())
            }
        };
        let mut actions = vec![
            LeaseAction::SetLeaseHeld(held),
            LeaseAction::ShowIgnored(self.followed.ignored()),
            LeaseAction::SetEtcdReachable(Ok(())),
        ];
        actions.extend(self.changed_counts());
        actions.extend(news.map(LeaseAction::Publish));
        let outage = self.contact.end_outage(context.now);
        actions.extend(outage.map(LeaseAction::LogReachableAgain));
        (state, actions)
    }

    fn hold(
        &mut self,
        held: HeldLease,
        refused: Option<NoLease>,
        context: StepContext,
    ) -> (LeaseState, Result<(), Problem>, Option<LeaseUpdate>) {
        if refused.is_none() {
            self.no_lease_logged.clear();
        }
        let mut holding = Holding {
            held,
            since: context.now,
            write_back: None,
            refused,
            next_answer: context.now,
        };
        self.write_back_if_overwritten(&mut holding, context);
        let status = self.lease_status(&holding);
        let news = self.contact.record_synced();
        (LeaseState::Holding(holding), status, news)
    }
}

pub(super) fn open_watch(listing: &Listing) -> LeaseAction {
    LeaseAction::OpenWatch {
        from: listing.revision + 1,
    }
}
