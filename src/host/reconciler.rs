//! Looks at this host at the start, at each event and once a minute, and says what keeps packets of the overlay from flowing.
//! It changes nothing: its plans are empty, or fail with the problem.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::conditions::status::PeerSummary;
use crate::conditions::{Problem, Reason};
use crate::host::docker_nftables;
use crate::host::exclusions::{Exclusion, ExclusionWatch};
use crate::host::firewall::{self, FilterTable, FirewallSetup};
use crate::host::neighbour_table::{self, NeighbourTable};
use crate::host::pod_bridges;
use crate::host::port::{Firewalls, HostEvent, HostEvents, HostKernel};
use crate::host::settings::HostSettings;
use crate::host::sysctls;
use crate::model::chains;
use crate::model::lease_counts::LeaseCounts;
use crate::model::membership::Membership;
use crate::model::pod_bridge::PodBridge;
use crate::model::underlay::Underlay;
use crate::reconcile::followed::Followed;
use crate::reconcile::schedule::Timing;
use crate::reconcile::slice::{Effect, OpFailed, Slice};

/// A firewall writes its rules in many steps, and reading them takes processes.
pub(crate) const TIMING: Timing = Timing {
    debounce: Duration::from_millis(100),
    max_debounce: Duration::from_secs(10),
    audit: Some(Duration::from_secs(60)),
    min_backoff: Duration::from_secs(60),
    max_backoff: Duration::from_secs(60),
    max_backoff_once_in_sync: Duration::from_secs(60),
    rest: 9,
};

/// What the slice waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostInput {
    Start,
    /// The lease of this host changed.
    Membership,
    /// Leases of other hosts are used, or are not used any more.
    Leases,
    /// The external interface is another one, or has changed.
    Underlay,
    /// Bridges or their addresses have changed.
    Bridges,
    Event(HostEvent),
    /// The lease cannot change any more: the daemon stops.
    Closed,
}

/// What the slice knows of the packet filters.
#[derive(Debug)]
enum FirewallView {
    /// They have to be read: nothing is known, or they have changed.
    Outdated(Vec<FilterTable>),
    Current(Vec<FilterTable>),
}

impl FirewallView {
    fn tables(&self) -> &[FilterTable] {
        match self {
            Self::Outdated(tables) | Self::Current(tables) => tables,
        }
    }
}

/// Checks never operate on anything.
#[derive(Debug)]
pub(crate) enum HostOp {}

pub(crate) struct HostSlice<K, F, E> {
    kernel: K,
    firewalls: F,
    events: E,
    settings: HostSettings,
    membership: watch::Receiver<Option<Membership>>,
    underlay: Followed<Underlay>,
    peers: watch::Receiver<PeerSummary>,
    leases: watch::Receiver<LeaseCounts>,
    bridges: watch::Receiver<Vec<PodBridge>>,
    /// What is wrong with bridges now.
    bridge_warnings: watch::Sender<Vec<String>>,
    view: FirewallView,
    neighbours: NeighbourTable,
    is_started: bool,
    /// Warnings that were logged: each is logged once.
    logged: BTreeSet<String>,
    had_problem: bool,
    exclusions: ExclusionWatch,
    recheck_after: Option<Duration>,
    started: Instant,
}

impl<K: HostKernel, F: Firewalls, E: HostEvents> HostSlice<K, F, E> {
    pub(crate) fn new(
        (kernel, firewalls, events): (K, F, E),
        settings: HostSettings,
        membership: watch::Receiver<Option<Membership>>,
        peers: watch::Receiver<PeerSummary>,
        leases: watch::Receiver<LeaseCounts>,
        underlay: Followed<Underlay>,
    ) -> Self {
        let neighbours = kernel.neighbour_table();
        Self {
            kernel,
            firewalls,
            events,
            settings,
            membership,
            underlay,
            peers,
            leases,
            bridges: watch::Sender::default().subscribe(),
            bridge_warnings: watch::Sender::default(),
            view: FirewallView::Outdated(Vec::new()),
            neighbours,
            is_started: false,
            logged: BTreeSet::new(),
            had_problem: false,
            exclusions: ExclusionWatch::default(),
            recheck_after: None,
            started: Instant::now(),
        }
    }

    /// Judges bridges, and keeps `warnings` at what is wrong with them.
    pub(crate) fn judging_bridges(
        self,
        bridges: watch::Receiver<Vec<PodBridge>>,
        warnings: watch::Sender<Vec<String>>,
    ) -> Self {
        Self {
            bridges,
            bridge_warnings: warnings,
            ..self
        }
    }

    fn take_underlay(&mut self) -> Effect {
        let Some(Underlay { external, .. }) = self.underlay.take() else {
            return Effect::None;
        };
        let before = (&self.settings.external, self.settings.local);
        if before == (&external.name, external.address) {
            return Effect::None;
        }
        self.settings.external = external.name;
        self.settings.local = external.address;
        Effect::Desired
    }

    /// Reads the packet filters if they may have changed. A tool that fails leaves us with what we know, and is asked again by
    /// the audit.
    async fn read_firewalls(&mut self) {
        let polled = self.firewalls.needs_polling();
        let known = match &mut self.view {
            FirewallView::Current(_) if !polled => return,
            FirewallView::Current(known) | FirewallView::Outdated(known) => std::mem::take(known),
        };
        self.view = match self.firewalls.tables().await {
            Ok(tables) => FirewallView::Current(tables),
            Err(reason) => {
                debug!(reason, "the packet filters of other programs are not known");
                FirewallView::Outdated(known)
            }
        };
    }

    fn problems(&mut self) -> Vec<Problem> {
        let bridges = self.own_bridges();
        let sysctls = self.kernel.sysctls(&self.settings.external, &bridges);
        let mut problems: Vec<Problem> = sysctls::problem(&sysctls).into_iter().collect();
        let neighbours = self.kernel.neighbour_table();
        problems.extend(neighbour_table::problem(self.neighbours, neighbours));
        self.neighbours = neighbours;
        if let Some(setup) = self.setup(bridges.into_iter().next()) {
            problems.extend(firewall::problems(&setup, self.view.tables()));
            let docker = self.kernel.docker_nftables();
            let bridge = setup.bridge.as_deref();
            problems.extend(docker_nftables::problem(
                &docker,
                setup.subnet,
                bridge,
                &setup.device,
            ));
        }
        problems.extend(self.exclusion());
        let mut warnings = sysctls::warnings(&sysctls);
        warnings.extend(neighbour_table::warning(
            neighbours,
            self.peers.borrow().peers,
        ));
        self.warn(warnings);
        problems
    }

    fn exclusion(&mut self) -> Option<Problem> {
        let now = self.started.elapsed();
        match self.exclusions.judge(&self.leases.borrow(), now) {
            Exclusion::Fine => None,
            Exclusion::MayPass(left) => {
                self.recheck_after = Some(left);
                None
            }
            Exclusion::Problem(problem) => Some(problem),
        }
    }

    fn warn(&mut self, warnings: Vec<String>) {
        for warning in warnings {
            if self.logged.insert(warning.clone()) {
                warn!("{warning}");
            }
        }
    }

    fn judge_bridges(&mut self) {
        let membership = self.membership.borrow();
        let now = membership.as_ref().map_or_else(Vec::new, |membership| {
            let Membership { own, config } = membership;
            pod_bridges::warnings(&self.bridges.borrow(), config.network, own.subnet)
        });
        let before = self.bridge_warnings.send_replace(now.clone());
        for new in now.iter().filter(|warning| !before.contains(warning)) {
            warn!("{new}");
        }
        if now.is_empty() && !before.is_empty() {
            info!("no bridge shares addresses with other subnets of the overlay any more");
        }
    }

    /// Returns the interfaces that have an address of our subnet.
    fn own_bridges(&self) -> Vec<String> {
        let membership = self.membership.borrow();
        membership
            .as_ref()
            .map_or_else(Vec::new, |Membership { own, config }| {
                self.kernel.bridges(own.subnet, &config.vxlan.vni.device())
            })
    }

    /// `bridge` is that of the pods.
    fn setup(&self, bridge: Option<String>) -> Option<FirewallSetup> {
        let membership = self.membership.borrow();
        let Membership { own, config } = membership.as_ref()?;
        let device = config.vxlan.vni.device();
        Some(FirewallSetup {
            external: self.settings.external.clone(),
            local: self.settings.local,
            bridge,
            device,
            our_chain: chains::name(chains::FORWARD, config.vxlan.vni),
            port: config.vxlan.port,
            network: config.network,
            subnet: own.subnet,
            untracked: self.settings.has_rules,
            accepts_forward: self.settings.accepts_forward,
        })
    }
}

impl<K: HostKernel, F: Firewalls, E: HostEvents> Slice for HostSlice<K, F, E> {
    type Input = HostInput;
    type Op = HostOp;
    const FAILED: &'static str = "packets of the overlay cannot flow";

    async fn next(&mut self) -> HostInput {
        if !self.is_started {
            return HostInput::Start;
        }
        // Each arm is cancel-safe: a change and an event stay until they are taken.
        tokio::select! {
            changed = self.membership.changed() => match changed {
                Ok(()) => HostInput::Membership,
                Err(_) => HostInput::Closed,
            },
            () = self.underlay.changed() => HostInput::Underlay,
            Ok(()) = self.leases.changed() => HostInput::Leases,
            Ok(()) = self.bridges.changed() => HostInput::Bridges,
            event = self.events.next() => HostInput::Event(event),
        }
    }

    async fn handle(&mut self, input: HostInput) -> Effect {
        match input {
            HostInput::Start => {
                self.is_started = true;
                Effect::Desired
            }
            HostInput::Membership => {
                self.membership.mark_unchanged();
                Effect::Desired
            }
            HostInput::Underlay => self.take_underlay(),
            HostInput::Leases => {
                self.leases.mark_unchanged();
                Effect::Resync
            }
            HostInput::Bridges => {
                self.bridges.mark_unchanged();
                Effect::Resync
            }
            HostInput::Event(HostEvent::Settings | HostEvent::DockerNftables) => Effect::Resync,
            HostInput::Event(HostEvent::Firewalls) => {
                if let FirewallView::Current(known) = &mut self.view {
                    self.view = FirewallView::Outdated(std::mem::take(known));
                }
                Effect::Resync
            }
            HostInput::Closed => Effect::Closed,
        }
    }

    async fn plan(&mut self) -> Result<Vec<HostOp>, Problem> {
        self.judge_bridges();
        self.read_firewalls().await;
        let problems = self.problems();
        self.had_problem |= !problems.is_empty();
        let reason = problems.first().map(|problem| problem.reason);
        let messages: Vec<String> = problems
            .into_iter()
            .map(|problem| problem.message)
            .collect();
        reason.map_or(Ok(Vec::new()), |reason: Reason| {
            Err(Problem::new(reason, messages.join("; ")))
        })
    }

    async fn apply(&mut self, _ops: &[HostOp]) -> Vec<OpFailed> {
        Vec::new()
    }

    fn command(&self, op: &HostOp) -> String {
        match *op {}
    }

    fn recheck_after(&mut self) -> Option<Duration> {
        self.recheck_after.take()
    }

    /// Without a lease nobody knows which packets a firewall must let through.
    fn knows_enough(&self) -> bool {
        self.membership.borrow().is_some()
    }

    fn log_in_sync(&mut self) {
        if std::mem::take(&mut self.had_problem) {
            info!("nothing on this host keeps packets of the overlay from flowing any more");
        }
    }
}

#[cfg(test)]
mod tests;
