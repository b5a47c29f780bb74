//! Follows the external interface: waits until one fits, and then for changes, and tells the slices. `machine` decides when
//! to look and what to take; this file looks.

use std::net::Ipv4Addr;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::conditions::{ConditionWriter, Problem, Reason};
use crate::model::external_interface::ExternalInterface;
use crate::model::host_network::HostNetwork;
use crate::model::pod_bridge::PodBridge;
use crate::model::underlay::Underlay;
use crate::reconcile::log_once::LogOnce;
use crate::underlay::machine::{UnderlayAction, UnderlayEvent, UnderlayMachine};
use crate::underlay::members::EtcdMembers;
use crate::underlay::needs::{needs, pod_bridges};
use crate::underlay::observation::{MemberRoute, Observation};
use crate::underlay::port::{Links, Resolver};
use crate::underlay::settings::UnderlaySettings;

/// An address that no host has (RFC 5737): the route to it is the default route.
const NO_HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What the slices follow.
pub(crate) struct FollowedValues {
    pub(crate) underlay: watch::Sender<Underlay>,
    /// The address that other hosts send to; `None` if the operator names it.
    pub(crate) public_ip: Option<watch::Sender<Ipv4Addr>>,
}

/// Follows the external interface of one host.
pub(crate) struct UnderlayFollower<L, R> {
    links: L,
    members: EtcdMembers<R>,
    can_reach: Option<Ipv4Addr>,
    /// Whether the way to etcd says which interface it is.
    needs_names: bool,
    machine: UnderlayMachine,
    /// Counts the times that connections to etcd had to be made anew.
    etcd_path: watch::Sender<u64>,
    /// The external interface that was told last.
    external: Option<ExternalInterface>,
    host: watch::Sender<HostNetwork>,
    bridges: watch::Sender<Vec<PodBridge>>,
    /// Without an interface there is no lease: the condition that says why, until the first is found.
    lease_held: Option<ConditionWriter>,
    failures: LogOnce,
    started: Instant,
}

impl<L: Links, R: Resolver + 'static> UnderlayFollower<L, R> {
    /// `etcd_path` changes whenever connections to etcd have to be made anew.
    pub(crate) fn new(
        links: L,
        resolver: R,
        settings: UnderlaySettings,
        etcd_path: watch::Sender<u64>,
    ) -> Self {
        Self {
            links,
            members: EtcdMembers::new(resolver, settings.etcd),
            can_reach: settings.selectors.can_reach,
            needs_names: settings.selectors.name_no_interface(),
            machine: UnderlayMachine::new(settings.selectors, settings.last_interface),
            etcd_path,
            external: None,
            host: watch::Sender::new(HostNetwork::default()),
            bridges: watch::Sender::default(),
            lease_held: None,
            failures: LogOnce::default(),
            started: Instant::now(),
        }
    }

    /// Returns what this host needs outside of the overlay, from the first look on.
    pub(crate) fn host_network(&self) -> watch::Receiver<HostNetwork> {
        self.host.subscribe()
    }

    /// Returns the bridges that may hold the subnets of containers, from the first look on.
    pub(crate) fn pod_bridges(&self) -> watch::Receiver<Vec<PodBridge>> {
        self.bridges.subscribe()
    }

    /// Waits until an interface fits, and logs each reason why none does once. `lease_held` is false with the reason
    /// meanwhile.
    pub(crate) async fn first(&mut self, lease_held: ConditionWriter) -> Underlay {
        self.lease_held = Some(lease_held);
        // A look without the names would only say that they are unknown yet. An interface that is named needs none.
        if self.needs_names && !self.members.are_known() {
            self.members.changed().await;
        }
        let underlay = self.next().await;
        if let Some(lease_held) = self.lease_held.take() {
            lease_held.set_unknown();
        }
        let external = &underlay.external;
        let (interface, address, mtu) = (&external.name, external.address, external.mtu);
        info!(interface, %address, mtu, "external interface");
        underlay
    }

    /// Tells the slices each change, until all of them have ended.
    pub(crate) async fn run(mut self, to: FollowedValues) {
        loop {
            // Cancel-safe: nothing else happens when the daemon stops.
            tokio::select! {
                underlay = self.next() => tell(&to, underlay),
                () = to.underlay.closed() => return,
            }
        }
    }

    /// Waits for the next state to publish.
    async fn next(&mut self) -> Underlay {
        loop {
            let due = self.started + self.machine.due();
            // Each arm is cancel-safe: a report stays in its socket, a lookup goes on, a time is a time.
            let event = tokio::select! {
                changed = self.links.changed() => {
                    if let Err(reason) = changed {
                        debug!(reason, "changes of interfaces cannot be received; looking anyway");
                    }
                    UnderlayEvent::Changed
                }
                () = self.members.changed() => UnderlayEvent::Changed,
                () = sleep_until(due) => UnderlayEvent::Time,
            };
            if let Some(underlay) = self.handle(event).await {
                return underlay;
            }
        }
    }

    async fn handle(&mut self, event: UnderlayEvent) -> Option<Underlay> {
        let actions = self.machine.handle(event, self.started.elapsed());
        if !actions.contains(&UnderlayAction::Look) {
            return self.act_on(actions);
        }
        let started = self.started.elapsed();
        match self.look().await {
            Ok(observation) => {
                let observed = observation.clone();
                let event = UnderlayEvent::Observed {
                    observation,
                    started,
                };
                let actions = self.machine.handle(event, self.started.elapsed());
                let underlay = self.act_on(actions);
                self.tell_needs(&observed);
                underlay
            }
            Err(reason) => {
                let failed = UnderlayEvent::Failed(reason);
                let actions = self.machine.handle(failed, self.started.elapsed());
                self.act_on(actions)
            }
        }
    }

    fn act_on(&mut self, actions: Vec<UnderlayAction>) -> Option<Underlay> {
        let told = actions.into_iter().filter_map(|action| self.act(action));
        let told = told.last();
        if let Some(underlay) = &told {
            self.external = Some(underlay.external.clone());
        }
        told
    }

    fn tell_needs(&self, observed: &Observation) {
        let Some(external) = &self.external else {
            return;
        };
        send_if_new(&self.host, needs(observed, external));
        send_if_new(&self.bridges, pod_bridges(observed, external));
    }

    fn act(&mut self, action: UnderlayAction) -> Option<Underlay> {
        match action {
            UnderlayAction::Publish(underlay) => return Some(underlay),
            // Before the slices are told: what they ask of etcd then takes the new way.
            UnderlayAction::RenewEtcdConnections => self.etcd_path.send_modify(|path| *path += 1),
            UnderlayAction::LogWaiting(reason) => self.say_waiting(&reason),
            UnderlayAction::LogLastRun => {
                warn!(
                    "the route to etcd is unknown; taking the external interface of the last run"
                );
            }
            UnderlayAction::Look => {}
        }
        None
    }

    async fn look(&self) -> Result<Observation, String> {
        let can_reach = match self.can_reach {
            Some(address) => self.links.lookup_route(address).await?,
            None => None,
        };
        let (mut etcd, mut etcd_addresses) = (Vec::new(), Vec::new());
        for (url, address) in self.members.addresses() {
            let route = match address {
                Ok(Some(address)) => {
                    let route = self.look_up_member(address).await?;
                    if route != MemberRoute::OnThisHost {
                        etcd_addresses.push((url.to_owned(), address));
                    }
                    route
                }
                Ok(None) => MemberRoute::OnThisHost,
                Err(reason) => MemberRoute::Unknown(reason),
            };
            etcd.push((url.to_owned(), route));
        }
        let default = self.links.lookup_route(NO_HOST).await?;
        // Last: a route that names an interface which is gone by now is no choice, an old list of interfaces would be.
        let interfaces = self.links.interfaces().await?;
        Ok(Observation {
            interfaces,
            can_reach,
            etcd,
            etcd_addresses,
            default,
        })
    }

    async fn look_up_member(&self, address: Ipv4Addr) -> Result<MemberRoute, String> {
        if address.is_loopback() {
            return Ok(MemberRoute::OnThisHost);
        }
        Ok(match self.links.lookup_route(address).await? {
            None => MemberRoute::None(format!("no route to {address}")),
            // A packet to an address of this host has that address as its source.
            Some(route) if route.source == address => MemberRoute::OnThisHost,
            Some(route) => MemberRoute::Via(route),
        })
    }

    fn say_waiting(&mut self, reason: &str) {
        if let Some(lease_held) = &self.lease_held {
            let message = format!("no external interface yet: {reason}");
            lease_held.set_false(&Problem::new(Reason::NoExternalInterface, message));
        }
        if self.failures.is_new(reason) {
            warn!(reason, "no external interface yet; waiting for one");
        } else {
            debug!(reason, "still no external interface");
        }
    }
}

fn send_if_new<T: PartialEq>(to: &watch::Sender<T>, now: T) {
    to.send_if_modified(|before| {
        let is_new = *before != now;
        *before = now;
        is_new
    });
}

fn tell(to: &FollowedValues, underlay: Underlay) {
    log_change(&to.underlay.borrow(), &underlay);
    let address = underlay.external.address;
    to.underlay.send_replace(underlay);
    if let Some(public_ip) = &to.public_ip {
        public_ip.send_if_modified(|before| std::mem::replace(before, address) != address);
    }
}

fn log_change(before: &Underlay, now: &Underlay) {
    let external = &now.external;
    let (interface, address, mtu) = (&external.name, external.address, external.mtu);
    match &now.problem {
        None => info!(interface, %address, mtu, "external interface changed"),
        Some(problem) if before.problem.as_ref() != Some(problem) => {
            warn!(interface, %address, "{problem}; the overlay stays as it is");
        }
        Some(_) => debug!(interface, %address, mtu, "external interface changed"),
    }
}

#[cfg(test)]
mod tests;
