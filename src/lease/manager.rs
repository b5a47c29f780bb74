//! The lease manager (flannel's subnet manager): the task that acquires the lease of this host, renews it, and follows the
//! leases of the other hosts. This file is the shell: it executes the actions of `machine` over any [`Registry`] and
//! returns the answers as events. It decides nothing, and touches neither kernel nor files.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::conditions::{ConditionWriter, Problem};
use crate::lease::claim::Identity;
use crate::lease::manager::acquire::Acquirer;
use crate::lease::manager::machine::LeaseMachine;
use crate::lease::manager::state::{LeaseAction, LeaseEvent, StepContext};
use crate::lease::port::{
    AddressProbe, Entry, Registry, RegistryChange, RegistryError, RegistryWatch, WatchEnd,
};
use crate::lease::status::LeaseConditions;
use crate::model::host_network::HostNetwork;
use crate::model::lease::key::key_name;
use crate::model::lease_counts::LeaseCounts;
use crate::peers::update::LeaseUpdate;

mod acquire;
mod blocker;
mod contact;
mod contest;
mod etcd_lease;
mod followed;
mod machine;
mod network;
mod own_key;
mod progress;
mod relists;
mod state;
#[cfg(test)]
mod test_data;

/// How long the look-up of one lease may take. The packet that waits for it has given up by then.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// Tokio's clock stops in suspend, so no sleep is longer. An etcd lease that went on expiring meanwhile is renewed this
/// soon after.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// The times of the lease manager, and its sources of time and randomness.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeaseSettings {
    /// Time before expiry at which the lease must have been renewed.
    pub(crate) renew_margin: Duration,
    /// Returns numbers that are uniform in 0..1.
    pub(crate) random: fn() -> f64,
    /// Returns the time since boot, the time in which the machine slept included (`CLOCK_BOOTTIME`): leases expire while
    /// a machine sleeps.
    pub(crate) boot_time: fn() -> Duration,
}

impl LeaseSettings {
    fn context(&self) -> StepContext {
        StepContext {
            now: (self.boot_time)(),
            random: (self.random)(),
        }
    }
}

/// The channels between the lease manager and the rest of the daemon.
pub(crate) struct LeaseChannels {
    /// To the peer table: everything, in order.
    pub(crate) updates: mpsc::Sender<LeaseUpdate>,
    pub(crate) conditions: LeaseConditions,
    /// Keys that are not used, with the reasons.
    pub(crate) ignored: watch::Sender<BTreeMap<String, String>>,
    /// How many leases are used, and how many are not.
    pub(crate) counts: watch::Sender<LeaseCounts>,
    /// Subnets that packets need and that have no known lease.
    pub(crate) lookups: mpsc::Receiver<Ipv4Network>,
    /// The address at which the other hosts reach this one. Our lease follows it.
    pub(crate) public_ip: watch::Receiver<Ipv4Addr>,
    /// What this host needs outside of the overlay.
    pub(crate) host: watch::Receiver<HostNetwork>,
}

/// The task.
pub(crate) struct LeaseManager<R: Registry> {
    registry: R,
    settings: LeaseSettings,
    channels: LeaseChannels,
    machine: LeaseMachine,
    acquirer: Acquirer,
    watch: Option<R::Watch>,
}

/// Nobody receives the updates any more: the daemon stops.
struct UpdatesClosed;

impl<R: Registry> LeaseManager<R> {
    /// PublicIP and host network in `identity` may be older than those in `channels`, which count.
    pub(crate) fn new(
        registry: R,
        probe: Box<dyn AddressProbe>,
        mut identity: Identity,
        settings: LeaseSettings,
        mut channels: LeaseChannels,
    ) -> Self {
        identity.public_ip = *channels.public_ip.borrow_and_update();
        identity.host = channels.host.borrow_and_update().clone();
        Self {
            registry,
            settings,
            channels,
            machine: LeaseMachine::new(identity, settings.renew_margin),
            acquirer: Acquirer::new(settings, probe),
            watch: None,
        }
    }

    /// Runs until nobody receives the updates. The lease stays in place, also when the task is dropped.
    pub(crate) async fn run(mut self) {
        while let Ok(event) = self.next_event().await {
            if self.handle(event).await.is_err() {
                return;
            }
        }
    }

    async fn next_event(&mut self) -> Result<LeaseEvent, UpdatesClosed> {
        let now = (self.settings.boot_time)();
        let deadline = self.machine.deadline();
        let wait = deadline.map_or(MAX_SLEEP, |at| at.saturating_sub(now).min(MAX_SLEEP));
        // Cancel-safe: a watch and a queue lose nothing when their futures are dropped, and a sleep is computed anew.
        tokio::select! {
            changes = next_changes(&mut self.watch) => Ok(watched(changes)),
            Some(subnet) = self.channels.lookups.recv(), if self.machine.answers_lookups() => {
                Ok(LeaseEvent::LookupRequested(subnet))
            }
            ip = next_value(&mut self.channels.public_ip) => Ok(LeaseEvent::PublicIpChanged(ip)),
            host = next_value(&mut self.channels.host) => Ok(LeaseEvent::HostNetworkChanged(host)),
            () = sleep(wait) => Ok(LeaseEvent::Time),
            () = self.channels.updates.closed() => Err(UpdatesClosed),
        }
    }

    /// Feeds the event to the machine, and the answers to its requests, until it waits again.
    async fn handle(&mut self, event: LeaseEvent) -> Result<(), UpdatesClosed> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            for action in self.machine.handle(event, self.settings.context()) {
                next = self.execute(action).await?;
            }
        }
        Ok(())
    }

    /// Executes an action. Returns the answer to a request.
    async fn execute(&mut self, action: LeaseAction) -> Result<Option<LeaseEvent>, UpdatesClosed> {
        match action {
            LeaseAction::List => Ok(Some(event(self.registry.list().await, LeaseEvent::Listed))),
            LeaseAction::Acquire(request) => {
                let acquired = self.acquirer.acquire(&self.registry, &request).await;
                Ok(Some(event(acquired, LeaseEvent::Acquired)))
            }
            LeaseAction::OpenWatch { from } => Ok(Some(self.open_watch(from).await)),
            LeaseAction::KeepAlive(lease) => {
                let renewed = self.registry.keep_alive(lease).await;
                Ok(Some(event(renewed, LeaseEvent::Renewed)))
            }
            LeaseAction::WriteBack { read, value } => {
                let outcome = self.registry.replace(&read, &value).await;
                Ok(Some(LeaseEvent::WrittenBack(outcome)))
            }
            LeaseAction::LookUp(subnet) => {
                let entry = self.look_up(subnet).await;
                Ok(Some(LeaseEvent::LookedUp { subnet, entry }))
            }
            LeaseAction::CloseWatch => {
                self.watch = None;
                Ok(None)
            }
            LeaseAction::Publish(update) => self.publish(update).await,
            LeaseAction::SetEtcdReachable(status) => {
                let etcd = &self.channels.conditions.etcd;
                Ok(set(etcd, &status))
            }
            LeaseAction::LogReachableAgain(outage) => {
                let endpoint = self.registry.endpoint().unwrap_or_default();
                let after = humantime::format_duration(rounded(outage));
                info!(endpoint, %after, "etcd is reachable again");
                Ok(None)
            }
            LeaseAction::SetLeaseHeld(status) => {
                let lease = &self.channels.conditions.lease;
                Ok(set(lease, &status))
            }
            LeaseAction::ShowIgnored(reasons) => {
                self.channels.ignored.send_replace(reasons);
                Ok(None)
            }
            LeaseAction::ShowCounts(counts) => {
                self.channels.counts.send_replace(counts);
                Ok(None)
            }
        }
    }

    async fn open_watch(&mut self, from: i64) -> LeaseEvent {
        match self.registry.watch(from).await {
            Ok(watch) => {
                self.watch = Some(watch);
                LeaseEvent::WatchOpened
            }
            Err(error) => LeaseEvent::Failed(error),
        }
    }

    /// A failure here is no reason to list again: if etcd is unreachable, the watch tells.
    async fn look_up(&self, subnet: Ipv4Network) -> Option<Entry> {
        let name = key_name(subnet);
        let answer = timeout(LOOKUP_TIMEOUT, self.registry.get(&name)).await;
        answer.ok()?.ok()?
    }

    async fn publish(&self, update: LeaseUpdate) -> Result<Option<LeaseEvent>, UpdatesClosed> {
        let sent = self.channels.updates.send(update).await;
        sent.map(|()| None).map_err(|_| UpdatesClosed)
    }
}

fn event<T>(answer: Result<T, RegistryError>, event: impl FnOnce(T) -> LeaseEvent) -> LeaseEvent {
    answer.map_or_else(LeaseEvent::Failed, event)
}

fn watched(changes: Result<Vec<RegistryChange>, WatchEnd>) -> LeaseEvent {
    match changes {
        Ok(changes) => LeaseEvent::Changed(changes),
        Err(WatchEnd::Outdated(reason)) => LeaseEvent::WatchOutdated(reason),
        Err(WatchEnd::Failed(error)) => LeaseEvent::Failed(error),
    }
}

fn set(condition: &ConditionWriter, status: &Result<(), Problem>) -> Option<LeaseEvent> {
    match status {
        Ok(()) => condition.set_true(),
        Err(problem) => condition.set_false(problem),
    }
    None
}

/// Cuts off what nobody reads in the length of an outage.
const fn rounded(outage: Duration) -> Duration {
    if outage.as_secs() < 10 {
        Duration::new(outage.as_secs(), outage.subsec_millis() * 1_000_000)
    } else {
        Duration::from_secs(outage.as_secs())
    }
}

/// Waits for another value; for ever, if nobody can send one any more. Cancel-safe.
async fn next_value<T: Clone>(values: &mut watch::Receiver<T>) -> T {
    match values.changed().await {
        Ok(()) => values.borrow_and_update().clone(),
        Err(_) => std::future::pending().await,
    }
}

async fn next_changes<W: RegistryWatch>(
    watch: &mut Option<W>,
) -> Result<Vec<RegistryChange>, WatchEnd> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
